"""docs/writing-a-rule.md runs from top to bottom."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from graphprune.cli import cli
from graphprune.rules.plugins import import_rules

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-rule.md"


def test_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    for text in blocks:
        first = text.partition("\n")[0]
        if first.startswith("# file: "):
            name = first.removeprefix("# file: ")
            (tmp_path / name).write_text(text)
            import_rules(name.removesuffix(".py"))
            page.__dict__.update(vars(sys.modules[name.removesuffix(".py")]))
        else:
            exec(compile(text, PAGE.name, "exec", dont_inherit=True), page.__dict__)  # noqa: S102


def test_the_page_names_an_option_that_exists() -> None:
    options = {option for p in cli.commands["inspect"].params for option in p.opts}
    assert "--rules" in options
