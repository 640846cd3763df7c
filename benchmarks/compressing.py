"""One compression of a classifier as the tables need it: choose, shrink, fine-tune, measure."""

from __future__ import annotations

import dataclasses
import functools
import time
from dataclasses import dataclass, field
from typing import Any

import click
import torch
from torch import nn

from benchmarks.data import Augment, Images, loader
from benchmarks.measure import macs, parameters, widths
from benchmarks.training import compiled, error_percent
from graphprune.compress import compress
from graphprune.compressed import CompressConfig
from graphprune.errors import UsageError
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.methods import Method, make_method
from graphprune.options import Spec, build
from graphprune.switches.method import SwitchMethod
from graphprune.training.devices import module_device, move
from graphprune.training.finetune import FinetuneConfig, FinetuneResult, finetune
from graphprune.training.objective import Objective, soft_cross_entropy

# Short names for ways of choosing channels. Any other registered method goes by its own name, with
# options of its own and of LearnConfig: "l0{strength=30}", "sbp{mode=sequential,epochs=2}".
AS_IN_PAPERS: dict[str, Any] = {"halves": False, "limit_penalty": False}
"""How switches are learned there: one for each group, and the penalty as it stands."""

METHODS: dict[str, str] = {
    "mean": "dirichlet{variant=mean}",
    "implicit-1": "dirichlet{variant=implicit,samples=1}",
    "implicit-5": "dirichlet{variant=implicit,samples=5}",
    "per-example": "dirichlet{variant=per-example}",
    "mean-sequential": "dirichlet{variant=mean,mode=sequential}",
    "per-example-sequential": "dirichlet{variant=per-example,mode=sequential}",
    "mean-sum": "dirichlet{variant=mean,scale=sum}",
}


def method_and_learning(text: str) -> tuple[Method, dict[str, Any]]:
    """The method that ``text`` names, and the fields of ``LearnConfig`` that it sets.

    Args:
        text: a key of METHODS or ``name{option=value,...}``, see ``graphprune methods``.

    Raises:
        UsageError: there is no such method, or it refuses its options.
    """
    spec = Spec.parse(METHODS.get(text, text))
    # The seed is the run's.
    known = {field.name for field in dataclasses.fields(LearnConfig)} - {"seed"}
    own = [f'{key}="{value}"' for key, value in spec.options.items() if key not in known]
    rest = {key: value for key, value in spec.options.items() if key in known}
    method = make_method(f"{spec.name}{{{','.join(own)}}}")
    if rest and not isinstance(method, SwitchMethod):
        raise UsageError(f"{text}: {spec.name} learns nothing; leave out {', '.join(rest)}")
    learning = build(LearnConfig, Spec(spec.name, rest))
    return method, {key: getattr(learning, key) for key in rest}


class MethodName(click.ParamType[str]):
    """A method on the command line: refused there and then if no run could use it."""

    name = "method"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """``value`` as it is; fails where ``method_and_learning`` does."""
        try:
            method_and_learning(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return value


@dataclass(frozen=True)
class Task:
    """What is compressed, on what data.

    ``augment`` applies to fine-tuning alone; the switches learn on the images as they are. The
    images may be on a GPU, the model stays on the CPU and is moved where it runs. ``compiled``
    fine-tunes with torch.compile.
    """

    model: nn.Module
    train: Images
    test: Images
    augment: Augment | None = None
    batch_size: int = 128
    compiled: bool = False

    @property
    def example(self) -> torch.Tensor:
        """Two normalised training images on the CPU, (2, C, H, W)."""
        return self.train.normalise(self.train.pixels[:2]).cpu()

    @functools.cached_property
    def scored(self) -> Images:
        """The training images with the dense model's scores, see ``with_scores``."""
        return with_scores(self.train, self.model)


@dataclass(frozen=True)
class Choice:
    """How it is compressed: a method as ``method_and_learning`` reads it, a target, the schedule.

    ``finetune`` None leaves fine-tuning out.
    """

    method: str
    target: str
    seed: int = 0
    learn_epochs: int = 1
    ranking: str = "local"
    finetune: FinetuneConfig | None = field(default_factory=FinetuneConfig)


def compress_and_measure(task: Task, choice: Choice) -> tuple[nn.Module, dict[str, Any]]:
    """The compressed model and what was measured of it, as plain data.

    Errors are in per cent of the test images, times in seconds of wall time. ``choice.finetune``
    None leaves fine-tuning out.
    """
    method, learning = method_and_learning(choice.method)
    config = CompressConfig(
        round_to=1,
        learn=LearnConfig(
            **{"epochs": choice.learn_epochs, **AS_IN_PAPERS, **learning, "seed": choice.seed}
        ),
        ranking=choice.ranking,
        batch_size=task.batch_size,
        evaluate=False,
        seed=choice.seed,
    )
    started = time.perf_counter()
    compressed = compress(
        task.model,
        (task.example,),
        target=choice.target,
        method=method,
        data=(task.train.normalise(task.train.pixels), task.train.labels),
        config=config,
    )
    small = compressed.model
    record: dict[str, Any] = {
        "method": choice.method,
        "target": choice.target,
        "ranking": choice.ranking,
        "seconds_compress": round(time.perf_counter() - started, 1),
        "parameters": parameters(small),
        "macs": macs(small, task.example),
        "widths": widths(small),
        "error_pruned": error_percent(small, task.test),
    }
    if choice.finetune is not None:
        tuned = fine_tune(small, task, choice.finetune)
        record["seconds_finetune"] = round(tuned.seconds, 1)
        record["error"] = error_percent(small, task.test)
    return small, record


def fine_tune(model: nn.Module, task: Task, config: FinetuneConfig) -> FinetuneResult:
    """Fine-tune ``model`` in place towards the labels and the outputs of ``task.model``."""
    images, objective = task.train, Objective(teacher=task.model)
    if task.augment is None:
        # The same images in every epoch: the teacher need see them only once.
        images, objective = task.scored, Objective(loss=distilled)
    batches = loader(images, task.batch_size, shuffle=True, augment=task.augment, seed=config.seed)
    with compiled(model, task.compiled):
        return finetune(model, batches, config, objective)


@torch.no_grad()
def with_scores(images: Images, teacher: nn.Module) -> Images:
    """``images`` with float targets (N, 1 + classes): the label, then the teacher's scores."""
    home = module_device(teacher)
    move(teacher, images.pixels.device)
    scores = torch.cat([teacher(inputs) for inputs, _ in loader(images, 500)])
    move(teacher, home)
    targets = torch.cat([images.labels[:, None].float(), scores], dim=1)
    return dataclasses.replace(images, labels=targets)


def distilled(output: Any, target: Any) -> torch.Tensor:
    """Loss against the targets of ``with_scores``, equal to ``Objective`` with a teacher."""
    weight, temperature = Objective().distill_weight, Objective().temperature
    task = nn.functional.cross_entropy(output, target[:, 0].long())
    return (1 - weight) * task + weight * soft_cross_entropy(output, target[:, 1:], temperature)
