"""A plug-in that is really installed: its pass and its criterion join the road by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "plugins" / "example_plugin"

USE = """
import torch
from torch import nn
from graphprune.capturing.capture import capture
from graphprune.passes import make_pass, run_passes
from graphprune.registry import PASSES
from graphprune.testing import assert_pass

entry = PASSES.describe("merge-relus")
print(entry.target, "from", entry.distribution)

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.ReLU(), nn.ReLU())
x = torch.randn(5, 3)
relu = torch.ops.aten.relu.default
for text in ("merge-relus", "merge-relus{limit=1}"):
    pass_ = make_pass(text)
    assert_pass(pass_, module=model, inputs=x, modified=True)
    result = run_passes(capture(model, x).module, [pass_])
    nodes = result.graph_module.graph.find_nodes(op="call_function", target=relu)
    print(text, result.modified, len(nodes))
"""


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the plug-in has been installed with pip."""
    root = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, root / "source")  # building writes beside the sources
    target = root / "site"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    run("-m", "pip", "install", "--quiet", *options, str(source))
    return target


def test_an_installed_plug_in_is_found_and_runs(site: Path) -> None:
    out = run("-c", USE, PYTHONPATH=str(site))
    assert out.splitlines() == [
        "graphprune_example_plugin:MergeRelus from graphprune-example-plugin 0.3.0",
        "merge-relus True 1",
        "merge-relus{limit=1} True 2",
    ]


CRITERION = """
import torch
from torch import nn
from graphprune import compress

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
with torch.no_grad():
    model[0].weight[1, 2], model[2].weight[0, 3] = 9.0, -7.0
result = compress(model, torch.randn(5, 3), method="largest-weight", target="channels=0.5")
print(result.report.method, result.plan.kept["0.weight"][0])
"""


def test_an_installed_criterion_ranks_channels(site: Path) -> None:
    out = run("-c", CRITERION, PYTHONPATH=os.pathsep.join([str(site), *sys.path]))
    assert out.split("\n")[0] == "largest-weight [1, 3]"


def test_its_name_cannot_be_taken_again(site: Path) -> None:
    out = run(
        "-c",
        "from graphprune.errors import UsageError\n"
        "from graphprune.registry import PASSES\n"
        "try: PASSES.register('merge-relus', object)\n"
        "except UsageError as error: print(error)",
        PYTHONPATH=str(site),
    )
    assert "from graphprune-example-plugin 0.3.0 and by builtins:object" in out
