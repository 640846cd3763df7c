"""``graphprune features`` as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.html"


def test_the_page_is_written(run: Run, page: Path) -> None:
    road = ["features", "model.pt2", "--data", "train.npz", "--channels", "2", "--count", "3", "-o"]
    result = run(*road, page)
    assert result.exit_code == 0, result.output
    assert "2 of 2 channel groups, ranked by dirichlet; 3 examples" in result.stdout
    assert result.stderr == ""
    text = page.read_text()
    HTMLParser().feed(text)
    for words in ("model.pt2", "conv1.weight", "conv2.weight", "two halves of the data", "class "):
        assert words in text
    assert text.count("<img") == 2 * (3 + 3 * 4 + 1)
    again = run(*road, page)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert run(*road, page, "--overwrite", "--method", "l2").exit_code == 0


def test_examples_and_groups_are_chosen(run: Run, page: Path) -> None:
    road = "features model.pt2 --data train.npz --method l2 --group conv2.weight --example 5"
    result = run(*road.split(), "-o", page)
    assert result.exit_code == 0, result.output
    assert "1 of 2 channel groups" in result.stdout
    assert "held-out example 5" in page.read_text()
    assert "conv1.weight" not in page.read_text()


def test_without_data_the_example_inputs_are_shown(run: Run, page: Path) -> None:
    result = run("features", "model.pt2", "-o", page)
    assert result.exit_code == 0, result.output
    assert "no data given" in result.stderr
    assert "the inputs are the example inputs" in page.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("model.pt2 --data train.npz --group nothing", "conv1.weight"),
        ("model.pt2 --data train.npz --example 900", "examples 0 to"),
        ("model.pt2 --example 1", "--data"),
        ("model.pt2 --data train.npz --method nothing", "not known"),
        ("model.pt2 --data train.npz --token-grid 7", "such as 1+14x14"),
        ("model.pt2 --data train.npz --channels 0", "channels must be at least 1"),
        ("model.pt2 --data missing.npz", "missing.npz"),
        ("model.pt2 --method dirichlet", "--data"),
        ("missing.pt2", "missing.pt2"),
        ("weights.safetensors --model userland:make_only_head", "weights.safetensors"),
    ],
)
def test_wrong_input_is_one_line(run: Run, page: Path, words: str, says: str) -> None:
    result = run("features", *words.split(), "-o", page)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not page.exists()


def test_a_place_that_cannot_be_written_is_refused_first(run: Run, tmp_path: Path) -> None:
    result = run("features", "missing.pt2", "-o", tmp_path / "no" / "page.html")
    assert result.exit_code == 2
    assert "page.html" not in result.stderr
    assert "no folder" in result.stderr
