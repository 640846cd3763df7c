"""Ctrl-C and SIGTERM: one line, the customary exit status, and nothing unfinished on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

# The stage at which the process is to wait, long enough for any signal to arrive.
SCRIPT = """
import signal, sys, time
import torch
# A shell starts background jobs with Ctrl-C ignored, and the tests may run in one.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
from pathlib import Path
from graphprune import clock
from graphprune.cli import main

stage, ready = sys.argv.pop(1), Path(sys.argv.pop(1))
original = clock.Clock.stage

def stage_that_waits(self, name):
    if name == stage:
        ready.touch()
        time.sleep(120)
    return original(self, name)

if stage == "learn":  # within a training step, called by autograd-using code
    import userland
    def loss(output, target):
        ready.touch()
        time.sleep(120)
    userland.squared = loss
else:
    clock.Clock.stage = stage_that_waits
main()
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("stage", "number", "status", "word"),
    [
        ("learn", signal.SIGINT, 130, "interrupted"),
        ("finetune", signal.SIGINT, 130, "interrupted"),
        ("measure", signal.SIGINT, 130, "interrupted"),
        ("certify files", signal.SIGTERM, 143, "terminated"),
    ],
)
def test_a_signal_leaves_nothing(
    stage: str, number: int, status: int, word: str, work: Path, tmp_path: Path
) -> None:
    ready, out, scratch = tmp_path / "ready", tmp_path / "place" / "out", tmp_path / "scratch"
    scratch.mkdir()
    out.parent.mkdir()
    arguments = ["compress", "model.pt2", "--data", "train.npz", "--loss", "userland:squared"]
    arguments += ["--finetune-epochs", "1", "-q", "-o", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(work)])
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, stage, str(ready), *arguments],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(ready, process)
        if stage in ("measure", "certify files"):
            partial = [item.name for item in out.parent.iterdir()]
            assert ".out.graphprune-partial" in partial  # there is something to be removed
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status, stderr
    assert stderr.splitlines() == [f"error: {word}; no unfinished output is left"]
    assert stdout == ""
    assert list(out.parent.iterdir()) == []
    assert (
        list(scratch.glob("tmp*")) == []
    )  # what tempfile made; libraries leave files of their own


def _wait_for(ready: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not ready.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_interrupt_in_process(run: Callable[..., Result], tmp_path: Path) -> None:
    """Ctrl-C within a training step, sent by the loss itself."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = run(
            *("compress", "model.pt2", "--data", "train.npz", "-q"),
            *("--loss", "userland:interrupting_loss", "-o", tmp_path / "out"),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert result.stderr == "error: interrupted; no unfinished output is left\n"
    assert list(tmp_path.iterdir()) == []
