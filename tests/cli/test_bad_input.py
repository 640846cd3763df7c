"""Whatever the user gets wrong: one line, an exit status, nothing left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

Run = Callable[..., Result]


@dataclass(frozen=True)
class Wrong:
    """A command line that must fail; ``says`` must all be in its one line."""

    name: str
    arguments: str
    status: int
    says: tuple[str, ...]


def wrong(name: str, arguments: str, *says: str, status: int = 2) -> Wrong:
    return Wrong(name, arguments, status, says)


DATA = "model.pt2 --data train.npz"
STATE = "state.pt --model userland:make"
SHAPE = "--input-shape 2x1x8x8"

COMPRESS = [
    # the model's file
    wrong("no file", "none.pt2", "none.pt2", "no such file"),
    wrong("a folder", "images", "is a folder"),
    wrong("empty", "bad/empty.pt2", "is empty"),
    wrong("cut off", "bad/cut.pt2", "damaged or cut-off"),
    wrong("a byte flipped", "bad/flipped.pt2", "bad/flipped.pt2"),
    wrong("foreign", "bad/image.pt", "PNG image"),
    wrong("text", "bad/text.pt2", "is not a model file"),
    wrong("data as model", "train.npz", "train.npz"),
    wrong("cut state dict", "bad/cut.pt --model userland:make", "damaged or cut-off"),
    wrong("cut safetensors", "bad/cut.safetensors --model userland:make", "damaged"),
    wrong("weights alone", f"state.pt {SHAPE}", "holds weights only", "--model"),
    wrong("safetensors alone", f"weights.safetensors {SHAPE}", "holds weights only", "--model"),
    wrong("pickle", f"pickled.pt {SHAPE}", "unpickling runs code", "--trust-pickle"),
    wrong("factory for program", "model.pt2 --model userland:make", "leave --model out"),
    wrong("factory missing", f"state.pt --model userland:absent {SHAPE}", "no attribute 'absent'"),
    wrong("factory's module", "state.pt --model nowhere:make", "no module named 'nowhere'"),
    wrong("factory malformed", "state.pt --model userland.make", "package.module:name"),
    wrong("other factory", f"state.pt --model userland:make_pair {SHAPE}", "state.pt"),
    wrong("NaN weights", f"bad/nan.pt --model userland:make {SHAPE}", "conv2.weight", "NaN"),
    # the inputs
    wrong("no inputs", STATE, "--input-shape"),
    wrong("wrong shape", f"{STATE} --input-shape 2x3x8x8", "3", "check that the example inputs"),
    wrong("wrong rank", f"{STATE} --input-shape 2x64", "check that the example inputs"),
    wrong("wrong dtype", f"{STATE} --input-shape 2x1x8x8:int64", "check that the example inputs"),
    wrong("shape malformed", f"{STATE} --input-shape 2,1,8,8", "SHAPE[:DTYPE]"),
    wrong("unknown dtype", f"{STATE} --input-shape 2x1x8x8:float33", "no dtype 'float33'"),
    wrong("too many inputs", f"{STATE} {SHAPE} {SHAPE}", "check that the example inputs"),
    wrong("program, wrong shape", "model.pt2 --input-shape 2x3x8x8", "3x8x8", "1x8x8"),
    wrong("program, wrong dtype", "model.pt2 --input-shape 2x1x8x8:float64", "float64", "float32"),
    wrong("program, two inputs", f"model.pt2 {SHAPE} {SHAPE}", "takes 1 input", "2 are given"),
    # the data
    wrong("no data", "model.pt2 --data none.npz", "no such file or folder"),
    wrong("cut data", "model.pt2 --data bad/cut.npz", "bad/cut.npz"),
    wrong("foreign data", "model.pt2 --data bad/text.pt2", "not an .npz file"),
    wrong("objects", "model.pt2 --data bad/objects.npz", "pickled Python objects"),
    wrong("no x", "model.pt2 --data bad/names.npz", "name the arrays x and y"),
    wrong("counts differ", "model.pt2 --data bad/counts.npz", "80 inputs but 79 targets"),
    wrong("data shape", "model.pt2 --data bad/shape.npz", "expected Nx1x8x8", "1x9x9"),
    wrong("one example", "model.pt2 --data bad/one.npz", "expected at least 2"),
    wrong("label too large", "model.pt2 --data bad/label.npz", "label 4", "0 to 3"),
    wrong("label, one batch", "one_batch.pt2 --data bad/label.npz", "label 4", "0 to 3"),
    wrong("label negative", "model.pt2 --data bad/negative.npz", "label -1", "0 to 3"),
    wrong("float labels", "model.pt2 --data bad/floats.npz", "not class labels", "--loss"),
    wrong("NaN data", "model.pt2 --data bad/nan.npz", "NaN", "clean the data"),
    wrong("infinite data", "model.pt2 --data bad/inf.npz", "infinite", "clean the data"),
    wrong("function absent", "model.pt2 --data userland:absent", "no attribute 'absent'"),
    wrong("function's value", "model.pt2 --data userland:not_data", "int", "DataLoader"),
    wrong("no batches", "model.pt2 --data userland:no_batches", "no batches"),
    wrong("no classes", "model.pt2 --data bad/empty_folder", "bad/empty_folder"),
    # the loss
    wrong("loss absent", f"{DATA} --loss userland:absent", "no attribute 'absent'"),
    wrong("loss a number", f"{DATA} --loss userland:CLASSES", "cannot be called"),
    wrong("NaN loss", f"{DATA} --loss userland:nan_loss", "original", "is nan", status=4),
    wrong("vector loss", f"{DATA} --loss userland:vector_loss", "expected a scalar"),
    wrong("broken loss", f"{DATA} --loss userland:raising_loss", "the loss is broken"),
    wrong("constant loss", f"{DATA} --loss userland:constant_loss", "gradient"),
    wrong("loss without data", "model.pt2 --loss userland:squared", "--data"),
    wrong(
        "loss without labels",
        "model.pt2 --data unlabelled.npz --loss userland:squared --switch-epochs 1",
        "the loss raised",
        "target 8x4",
    ),
    # what is asked for
    wrong("target malformed", "model.pt2 --target half", "channels=0.5, params=0.5, macs=0.5"),
    wrong("target's kind", "model.pt2 --target width=0.5", "channels=0.5"),
    wrong("target no number", "model.pt2 --target macs=abc", "'abc' is no number"),
    wrong("target 0", "model.pt2 --target macs=0", "above 0 and at most 1"),
    wrong("target above 1", "model.pt2 --target macs=150%", "above 0 and at most 1"),
    wrong("target NaN", "model.pt2 --target macs=nan", "above 0 and at most 1"),
    wrong("auto's option", "model.pt2 --target auto{sure=1}", "no option 'sure'; known are conf"),
    wrong(
        "auto's confidence", f"{DATA} --target auto{{confidence=95}}", "at least 0.5 and below 1"
    ),
    wrong("auto blind", "model.pt2 --target auto", "l2 gives scores alone", "dirichlet", "--data"),
    wrong("auto without spread", f"{DATA} --target auto --variant mean", "learns no spread"),
    wrong("auto ranked", f"{DATA} --target auto --ranking global", "leave ranking global out"),
    wrong("auto too early", f"{DATA} --target auto --switch-epochs 1", "removes nothing"),
    wrong(
        "target out of reach", "model.pt2 --target params=0.01", "cannot be reached", "params=0.0"
    ),
    wrong(
        "nothing to prune",
        "head.pt --model userland:make_only_head --input-shape 2x4",
        "no channels can be removed",
        "inspect",
    ),
    wrong("unknown method", "model.pt2 --method best", "'best'", "l1, l2, lamp, obd, random"),
    wrong(
        "batches of none",
        f"{DATA} --method fisher{{batches=0}}",
        "batches of fisher must be at least",
    ),
    wrong("method's module", "model.pt2 --method nowhere:Best", "nowhere"),
    wrong("method no criterion", "model.pt2 --method userland:make", "userland:make"),
    wrong("dirichlet blind", "model.pt2 --method dirichlet", "learns from data", "--data"),
    wrong("fine-tune blind", "model.pt2 --finetune-epochs 2", "fine-tuning needs data"),
    wrong("negative epochs", f"{DATA} --finetune-epochs -1", "give 0 or more"),
    wrong("negative rate", f"{DATA} --finetune-epochs 1 --lr -1", "learning rate"),
    wrong("rate NaN", f"{DATA} --finetune-epochs 1 --lr nan", "learning rate"),
    wrong("batch of 0", f"{DATA} --batch-size 0", "--batch-size is 0"),
    wrong("no draws", f"{DATA} --samples 0", "samples must be at least 1"),
    wrong("no switch epochs", f"{DATA} --switch-epochs 0", "epochs must be at least 1"),
    wrong("negative KL", f"{DATA} --kl-weight -1", "kl_weight"),
    wrong("huge rate", f"{DATA} --finetune-epochs 1 --lr 1e30", "finetune", status=4),
    wrong("unknown variant", f"{DATA} --variant best", "best", "per-example"),
    wrong("unknown pass", "model.pt2 --pass best", "best"),
    wrong("pass's module", "model.pt2 --pass nowhere:Best", "nowhere"),
    wrong("no pass", "model.pt2 --pass userland:Small", "not a graph pass"),
    wrong("pass malformed", "model.pt2 --pass normalise{", "normalise{"),
    wrong("pass's option", "model.pt2 --pass normalise{x=1}", "no option 'x'"),
    wrong("pass fails", "model.pt2 --pass userland:Failing", "Failing", "never works", status=5),
    wrong("unknown option", "model.pt2 --best", "--best"),
    wrong("no model", "", "MODEL"),
    wrong("two models", "model.pt2 model.pt2", "model.pt2"),
    wrong("seed negative", "model.pt2 --seed -1", "--seed is -1; give a whole number from 0"),
    wrong("seed no number", "model.pt2 --seed abc", "abc"),
]


@pytest.fixture(scope="module")
def bad(work: Path, user: Any) -> Path:
    """A folder of files that are wrong, each in one way."""
    folder = work / "bad"
    folder.mkdir()
    (folder / "empty_folder").mkdir()
    (folder / "empty.pt2").touch()
    (folder / "text.pt2").write_text("hello, this is no model\n")
    (folder / "image.pt").write_bytes((work / "images/0/0.png").read_bytes())
    for name in ("model.pt2", "state.pt", "weights.safetensors", "train.npz"):
        data = (work / name).read_bytes()
        (folder / f"cut{Path(name).suffix}").write_bytes(data[: len(data) // 2])
    data = bytearray((work / "model.pt2").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (folder / "flipped.pt2").write_bytes(data)
    torch.save(user.make_nan().state_dict(), folder / "nan.pt")
    torch.save(user.make_only_head().state_dict(), work / "head.pt")
    _save_bad_data(folder, *user.arrays())
    return folder


def _save_bad_data(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    def changed(array: np.ndarray, value: float) -> np.ndarray:
        copy = array.copy()
        copy.reshape(-1)[-1] = value
        return copy

    np.savez(folder / "objects.npz", x=np.array([{}, None], dtype=object))
    np.savez(folder / "names.npz", first=x, second=y)
    np.savez(folder / "counts.npz", x=x, y=y[:-1])
    np.savez(folder / "shape.npz", x=np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1))), y=y)
    np.savez(folder / "one.npz", x=x[:1], y=y[:1])
    np.savez(folder / "label.npz", x=x, y=changed(y, 4))
    np.savez(folder / "negative.npz", x=x, y=changed(y, -1))
    np.savez(folder / "floats.npz", x=x, y=y.astype(np.float32))
    np.savez(folder / "nan.npz", x=changed(x, np.nan), y=y)
    np.savez(folder / "inf.npz", x=changed(x, np.inf), y=y)


def check_failed(result: Result, status: int, says: tuple[str, ...]) -> None:
    assert result.exit_code == status, result.output
    lines = result.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert lines == errors
    for text in says:
        assert text in errors[0]
    assert result.stdout == ""


@pytest.mark.parametrize("case", COMPRESS, ids=lambda case: case.name.replace(" ", "-"))
def test_compress_refuses(case: Wrong, run: Run, bad: Path, tmp_path: Path) -> None:
    result = run("compress", *case.arguments.split(), "-q", "-o", tmp_path / "deep" / "out")
    check_failed(result, case.status, case.says)
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class BadFolder:
    """An output folder that must be refused before any work is done."""

    name: str
    prepare: Callable[[Path], None]
    says: str


def in_use(folder: Path) -> None:
    folder.mkdir()
    (folder / "mine.txt").write_text("precious")


def partly_foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "report.json").write_text('{"kind": "graphprune-report"}')
    (folder / "mine.txt").write_text("precious")


def earlier(folder: Path) -> None:
    folder.mkdir()
    (folder / "report.json").write_text('{"kind": "graphprune-report"}')


def a_file(folder: Path) -> None:
    folder.write_text("precious")


FOLDERS = [
    BadFolder("in use", in_use, "is not empty (it holds mine.txt)"),
    BadFolder("partly foreign", partly_foreign, "is not empty (it holds mine.txt)"),
    BadFolder("earlier output", earlier, "--overwrite"),
    BadFolder("a file", a_file, "is a file"),
]


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case.name.replace(" ", "-"))
def test_output_folder_refused_before_the_work(
    case: BadFolder, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.prepare(tmp_path / "out")
    before = {p: p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.setattr(
        sys.modules["graphprune.compress"], "compress", None
    )  # any work would be a TypeError
    overwrite = [] if case.name == "earlier output" else ["--overwrite"]
    result = run("compress", "model.pt2", *overwrite, "-o", tmp_path / "out")
    check_failed(result, 2, (case.says,))
    assert {p: p.read_text() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_output_under_a_file_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    result = run("compress", "model.pt2", "-o", tmp_path / "file" / "out")
    check_failed(result, 2, ("give another output folder",))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_unwritable_parent_refused(run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        check_failed(run("compress", "model.pt2", "-o", tmp_path / "out"), 2, ("written to",))
    finally:
        tmp_path.chmod(0o700)


def test_output_missing(run: Run) -> None:
    check_failed(run("compress", "model.pt2"), 2, ("--output",))


OTHERS = [
    wrong("no command", "frobnicate", "frobnicate"),
    wrong("no such top option", "--best", "--best"),
    wrong("inspect nothing", "inspect", "MODEL"),
    wrong("inspect no file", "inspect none.pt2", "no such file"),
    wrong("inspect pickle", "inspect pickled.pt --input-shape 2x1x8x8", "--trust-pickle"),
    wrong("inspect shape", "inspect model.pt2 --input-shape 2x3x8x8", "3x8x8"),
    wrong("inspect option", "inspect model.pt2 --target macs=0.5", "--target"),
    wrong("verify nothing", "verify", "FOLDER"),
    wrong("verify no folder", "verify none", "give the folder that compress wrote"),
    wrong("verify a file", "verify model.pt2", "give the folder that compress wrote"),
    wrong("verify a stranger", "verify images", "report.json is missing"),
    *(
        wrong(f"huge seed of {name}", f"{name} --seed {10**20}", "--seed is 1000", "to 2^63 - 1")
        for name in (
            *("compress model.pt2 -o none", "curve model.pt2 --data train.npz"),
            *("search model.pt2 --data train.npz -o none", "features model.pt2"),
        )
    ),
    wrong("passes and more", "passes normalise", "normalise"),
]


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name.replace(" ", "-"))
def test_other_commands_refuse(case: Wrong, run: Run) -> None:
    check_failed(run(*case.arguments.split()), case.status, case.says)


def test_debug_adds_the_traceback(run: Run, tmp_path: Path) -> None:
    result = run("compress", "none.pt2", "--debug", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert "ModelError" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: none.pt2: no such file")


def test_an_error_of_our_own_is_one_line_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(sys.modules["graphprune.run"], "analyse", broken)
    result = run("compress", "model.pt2", "-q", "-o", tmp_path / "out")
    check_failed(result, 70, ("unexpected ZeroDivisionError: first second", "--debug"))
    assert list(tmp_path.iterdir()) == []
