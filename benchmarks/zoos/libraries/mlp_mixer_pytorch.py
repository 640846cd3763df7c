"""mlp_mixer_pytorch: mixers of pictures and clips, and the permutator."""

from __future__ import annotations

from typing import Any

from mlp_mixer_pytorch import MLPMixer, MLPMixer3D, Permutator
from torch import nn

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures


def _mixer() -> tuple[nn.Module, Any]:
    model = MLPMixer(image_size=32, channels=3, patch_size=8, dim=32, depth=2, num_classes=5)
    return model, pictures(4, 3, 32, 32)


def _clips() -> tuple[nn.Module, Any]:
    model = MLPMixer3D(
        image_size=32,
        time_size=4,
        time_patch_size=2,
        channels=3,
        patch_size=8,
        dim=32,
        depth=2,
        num_classes=5,
    )
    return model, pictures(2, 3, 4, 32, 32)


def _permutator() -> tuple[nn.Module, Any]:
    model = Permutator(image_size=32, patch_size=8, dim=32, depth=2, num_classes=5, segments=4)
    return model, pictures(4, 3, 32, 32)


MODELS: dict[str, Builder] = {"mixer": _mixer, "mixer_3d": _clips, "permutator": _permutator}
