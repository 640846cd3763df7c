"""What Tables 2 and 3 hold: the paper's rows and ours, and the schedules they are run by."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.paper.cifar import DENSE, DENSE_TUNED, Row, Schedule


@dataclass(frozen=True)
class Quoted:
    """A row of the paper: error in per cent on clean CIFAR-10, MACs and parameters in millions.

    ``removed``: per cent of the parameters, where the paper says it.
    """

    method: str
    architecture: str
    error: float
    macs: float | None
    parameters: float
    removed: float | None = None


@dataclass(frozen=True)
class Experiment:
    """One table: its dense models by scale, the paper's rows, and the same network untrained.

    ``zoo`` is the full-size network's name in ``benchmarks.models``, for counting.
    """

    dense: dict[str, str]
    zoo: str
    quoted: tuple[Quoted, ...]


EXPERIMENTS = {
    "vgg16": Experiment(
        {"full": "vgg16", "cpu": "vgg16_quarter"},
        "vgg16_bn",
        (
            Quoted("Dirichlet (50)", "39-39-63-48-55-88-87-52-62-22-42-47-47-47", 8.6, 46, 0.7),
            Quoted(
                "Dirichlet (mean)",
                "34-34-68-68-75-106-101-92-102-92-92-67-67-62-62",
                8.6,
                46,
                0.7,
            ),
            Quoted("BC-GNJ", "63-64-128-128-245-155-63-26-24-24-20-14-12-11-15", 8.3, 142, 1.0),
            Quoted("BC-GHS", "51-62-125-128-228-129-38-13-9-6-5-6-6-20", 9.0, 122, 0.8),
            Quoted("RDP", "27-57-125-122-236-244-246-340-127-77-89-52-380-414", 8.7, 172, 3.1),
        ),
    ),
    "wrn": Experiment(
        {"full": "wrn28_10", "cpu": "wrn10_1"},
        "wide_resnet28_10",
        (
            Quoted(
                "Dirichlet", "65-75-70-90-149-149-164-149-305-325-304-306", 4.5, None, 17.4, 52.2
            ),
            Quoted("L0-ARM", "82-75-82-87-164-169-156-161-317-317-317-324", 4.4, None, 18.3, 49.9),
            Quoted("L0-ARM", "75-72-78-78-157-165-131-162-336-325-331-343", 4.3, None, 18.4, 49.6),
        ),
    ),
}
# The paper's widths for "Dirichlet (mean)", for 13 convolutions and our one hidden linear layer.
VGG_WIDTHS = (34, 34, 68, 68, 75, 106, 101, 92, 102, 92, 92, 67, 67, 62)
SHARE = {"full": 1.0, "cpu": 0.25}
SCHEDULES = {
    "vgg16": {
        "full": Schedule(epochs=100, lr=0.1),
        "cpu": Schedule(
            train_images=10_000, test_images=4_000, rank_images=3_000, epochs=3, augment=False
        ),
    },
    "wrn": {
        "full": Schedule(epochs=40, lr=0.1),
        "cpu": Schedule(
            train_images=4_000,
            test_images=4_000,
            rank_images=2_000,
            learn_epochs=4,
            batch_size=32,
            augment=False,
        ),
    },
}


def rows(table: str, scale: str) -> list[Row]:
    """The rows of a table, the costliest on a CPU last."""
    if table == "vgg16":
        methods = ["mean", "fisher", "l2", "random"]
        if scale == "full":
            methods[1:1] = ["dirichlet{variant=implicit,samples=50}", "per-example"]
        else:  # the reduced ranking set makes few steps for switches
            methods[1:1] = ["dirichlet{variant=mean,epochs=8}"]
        given = [Row(method, vgg_widths(SHARE[scale])) for method in methods]
        # As many MACs, or parameters, as the paper's widths cost, spread by the ranking itself.
        own = [Row("mean", "macs=0.147"), Row("mean", "params=0.048", "global")]
        return [Row(DENSE), *given, *own, Row(DENSE_TUNED)]
    methods = ["mean", "l2", "random"] + (["l0-arm"] if scale == "full" else [])
    inner = [Row(method, "params=0.478", inner=True) for method in methods]
    return [Row(DENSE), *inner, Row("mean", "params=0.478"), Row(DENSE_TUNED)]


def counted_rows(table: str) -> list[Row]:
    """The rows whose cost does not hang on trained weights, for the full-size network."""
    if table == "vgg16":
        return [Row("l2", vgg_widths(1.0), tuned=False)]
    return [
        Row("l2", f"widths={EXPERIMENTS['wrn'].quoted[0].architecture}", inner=True, tuned=False),
        Row("l2", "params=0.478", inner=True, tuned=False),
        Row("l2", "params=0.478", tuned=False),
    ]


def vgg_widths(share: float) -> str:
    """The paper's widths as a target, for a network with this share of VGG-16's channels."""
    return "widths=" + "-".join(str(round(width * share)) for width in VGG_WIDTHS)
