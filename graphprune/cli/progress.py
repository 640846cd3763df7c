"""Progress on the terminal: one line per stage, a bar where the stage counts its steps."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

WORDS = {
    "capture": "Capturing the graph",
    "analyse": "Finding channel groups",
    "score": "Scoring channels",
    "learn": "Learning importance switches",
    "learn halves": "Learning from each half of the data",
    "curve": "Judging budgets",
    "features": "Running the examples",
    "search": "Trying allocations",
    "plan": "Choosing channels for the budget",
    "shrink": "Shrinking tensors",
    "certify": "Proving shrunk = masked original",
    "reconstruct": "Fitting layers to the original",
    "recalibrate": "Recalibrating batch norm",
    "finetune": "Fine-tuning",
    "certify again": "Proving the trained model",
    "evaluate": "Evaluating on held-out data",
    "export": "Exporting ONNX and pt2",
    "certify files": "Proving the files",
    "measure": "Measuring latency",
}


def progress_on(
    console: Console, *, quiet: bool = False
) -> AbstractContextManager[TerminalProgress | None]:
    """Bars on a terminal; None elsewhere, where they would only fill a log, and where asked."""
    return TerminalProgress(console) if console.is_terminal and not quiet else nullcontext()


class TerminalProgress:
    """A progress callback, ``progress(stage, done, total, figures)``, drawn with rich."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<36}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
        )
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Draw one step of a stage."""
        if stage not in self._tasks:
            words = WORDS.get(stage, stage)
            self._tasks[stage] = self._bars.add_task(words, total=total or None, figures="")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        task = self._bars.tasks[self._tasks[stage]]
        self._bars.update(task.id, completed=done, total=total or None, figures=shown)
