"""The wheel and the sdist hold what the source tree holds, no more and no less."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where a folder of the tree goes in the installed package.
FOLDERS = {"graphprune": "graphprune", "passes": "graphprune/passes"} | {
    "exporters": "graphprune/exporters"
}


def files_to_install() -> dict[str, Path]:
    """Installed path to source file; the symbolic links inside graphprune are not followed."""
    found: dict[str, Path] = {}
    for folder, installed in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*")):
            relative = path.relative_to(ROOT / folder)
            linked = any((ROOT / folder / parent).is_symlink() for parent in relative.parents)
            if path.is_file() and not linked and "__pycache__" not in relative.parts:
                found[f"{installed}/{relative.as_posix()}"] = path
    return found


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from that sdist, as for a release."""
    root = tmp_path_factory.mktemp("distributions")
    tree = root / "tree"
    tree.mkdir()
    for folder in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tree / folder, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(root / "dist")]
    done = subprocess.run([*command, str(tree)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "dist"


def test_the_wheel_holds_the_tree(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        contents = {
            name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name
        }
        metadata = [name for name in archive.namelist() if ".dist-info/" in name]
    expected = {name: path.read_bytes() for name, path in files_to_install().items()}
    assert sorted(contents) == sorted(expected)
    assert contents == expected
    assert "graphprune/py.typed" in contents
    assert "graphprune/passes/base.py" in contents
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_sdist_holds_the_sources_and_the_licence(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    sources = {path.relative_to(ROOT).as_posix() for path in files_to_install().values()}
    missing = sources - names
    assert not missing
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_every_package_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name.rpartition("/")[0] for name in files_to_install() if name.endswith(".py")}
    assert sorted(settings["packages"]) == sorted(folder.replace("/", ".") for folder in folders)


def test_every_package_is_a_regular_one() -> None:
    folders = {path.parent for path in files_to_install().values() if path.suffix == ".py"}
    without = sorted(str(path) for path in folders if not (path / "__init__.py").is_file())
    assert without == []


@pytest.mark.parametrize("name", ["passes", "exporters"])
def test_the_links_lead_to_the_top_level_folders(name: str) -> None:
    link = ROOT / "graphprune" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name
    assert [path.name for path in (ROOT / name).iterdir() if path.is_dir()] in ([], ["__pycache__"])
