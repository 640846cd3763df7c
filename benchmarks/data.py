"""MNIST and JPEG CIFAR-10 as tensors, with the usual augmentation done a whole batch at a time."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[1]
Batch = tuple[torch.Tensor, torch.Tensor]


def data_dir() -> Path:
    """Folder of the data files: GRAPHPRUNE_DATA, by default ``../shared/data`` of the project."""
    return Path(os.environ.get("GRAPHPRUNE_DATA", ROOT.parent / "shared" / "data"))


def cache_dir() -> Path:
    """Folder for what can be made again (decoded images, baselines): GRAPHPRUNE_CACHE or .cache."""
    folder = Path(os.environ.get("GRAPHPRUNE_CACHE", ROOT / ".cache"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def data_file(name: str) -> Path:
    """Path of data file ``name``; FileNotFoundError says where it was looked for."""
    path = data_dir() / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: set GRAPHPRUNE_DATA to the folder with {name}")
    return path


@dataclass(frozen=True)
class Images:
    """A labelled image set held in memory, the CPU's or a GPU's.

    ``pixels``: (N, C, H, W) uint8; ``labels``: (N,) int64; ``mean`` and ``std``: per channel, on
    pixels scaled to [0, 1].
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: torch.Tensor | slice) -> Images:
        """The images at ``indices`` (int64 vector or slice)."""
        return Images(self.pixels[indices], self.labels[indices], self.mean, self.std)

    def to(self, device: torch.device) -> Images:
        """The same set in the memory of ``device``; its batches are then made there too."""
        return Images(self.pixels.to(device), self.labels.to(device), self.mean, self.std)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (B, C, H, W) to normalised float32 of the same shape."""
        mean = torch.tensor(self.mean, device=pixels.device).view(-1, 1, 1) * 255
        std = torch.tensor(self.std, device=pixels.device).view(-1, 1, 1) * 255
        return (pixels.float() - mean) / std


@dataclass(frozen=True)
class Augment:
    """Random shift by up to ``shift`` pixels (pad with zeros, crop) and, if ``flip``, mirroring."""

    shift: int = 0
    flip: bool = False

    def __call__(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """uint8 (B, C, H, W) to the same shape and type; each example is drawn on its own.

        ``generator`` is of the device that the pixels are on.
        """
        batch, _, height, width = pixels.shape
        device = pixels.device
        rows = torch.arange(height, device=device).expand(batch, height)
        columns = torch.arange(width, device=device).expand(batch, width)
        if self.flip:
            mirror = torch.rand(batch, 1, generator=generator, device=device) < 0.5
            columns = torch.where(mirror, columns.flip(1), columns)
        if self.shift:
            pixels = torch.nn.functional.pad(pixels, (self.shift,) * 4)
            most = 2 * self.shift
            size = (2, batch, 1)
            offsets = torch.randint(0, most + 1, size, generator=generator, device=device)
            rows, columns = rows + offsets[0], columns + offsets[1]
        example = torch.arange(batch, device=device)[:, None, None]
        # Index arrays around the sliced channel dimension put it last: (B, H, W, C).
        picked = pixels[example, :, rows[:, :, None], columns[:, None, :]]
        return picked.permute(0, 3, 1, 2).contiguous()


class _BatchedImages(Dataset[Batch]):
    """Map-style dataset that hands out whole batches, which spares per-image Python work."""

    def __init__(self, images: Images, augment: Augment | None, seed: int) -> None:
        self.images = images
        self.augment = augment
        self.generator = torch.Generator(images.pixels.device).manual_seed(seed)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        inputs, labels = self.__getitems__([index])
        return inputs[0], labels[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        pixels = self.images.pixels[indices]
        if self.augment is not None:
            pixels = self.augment(pixels, self.generator)
        return self.images.normalise(pixels), self.images.labels[indices]


def _as_is(batch: Any) -> Any:
    return batch


def loader(
    images: Images,
    batch_size: int = 128,
    *,
    shuffle: bool = False,
    augment: Augment | None = None,
    seed: int = 0,
) -> DataLoader[Batch]:
    """Batches of (float32 (B, C, H, W), int64 (B,)); the same seed gives the same batches."""
    return DataLoader(
        _BatchedImages(images, augment, seed),
        batch_size=batch_size,
        shuffle=shuffle,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=_as_is,
    )


def mnist() -> tuple[Images, Images]:
    """MNIST as (60,000 training images, 10,000 test images), each (1, 28, 28)."""
    with np.load(data_file("mnist.npz")) as arrays:
        sets = []
        for split in ("train", "test"):
            pixels = torch.from_numpy(arrays[f"x_{split}"])[:, None]
            labels = torch.from_numpy(arrays[f"y_{split}"].astype(np.int64))
            sets.append(Images(pixels, labels, (0.1307,), (0.3081,)))
    return sets[0], sets[1]


def _decode_jpegs(joined: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """JPEG files end to end (uint8) and their byte lengths to (N, 3, H, W) uint8."""
    ends = np.cumsum(sizes.astype(np.int64))
    pictures = []
    for start, end in zip(ends - sizes, ends, strict=True):
        with Image.open(io.BytesIO(joined[start:end].tobytes())) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))


def cifar10() -> tuple[Images, Images]:
    """JPEG CIFAR-10 as (50,000 training images, 10,000 test images), each (3, 32, 32).

    The first call decodes the JPEGs (seconds) and keeps the pixels in the cache folder.
    """
    cached = cache_dir() / "cifar10.npz"
    if not cached.is_file():
        with np.load(data_file("cifar10_jpeg.npz")) as arrays:
            decoded = {}
            for split in ("train", "test"):
                decoded[f"x_{split}"] = _decode_jpegs(
                    arrays[f"jpeg_{split}"], arrays[f"size_{split}"]
                )
                decoded[f"y_{split}"] = arrays[f"y_{split}"].astype(np.int64)
        # Rename at the end: another process must never read half a file.
        partial = cached.with_name(f"cifar10.{os.getpid()}.npz")
        np.savez(partial, **decoded)  # type: ignore[arg-type]
        partial.replace(cached)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with np.load(cached) as arrays:
        sets = [
            Images(
                torch.from_numpy(arrays[f"x_{split}"]),
                torch.from_numpy(arrays[f"y_{split}"]),
                mean,
                std,
            )
            for split in ("train", "test")
        ]
    return sets[0], sets[1]
