"""A folder of images as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

from graphprune.errors import DataError
from graphprune.io.data import DataBundle, DataOptions, bundle
from graphprune.io.text import few, one_line, reason

_TRAIN = ("train", "training")
_HOLDOUT = ("val", "valid", "validation", "test")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class ImageFiles(Dataset[Any]):
    """Image files decoded on demand: floats ``(C, H, W)`` on [0, 1], normalised if asked for.

    Every image is converted to ``shape[0]`` channels (1, 3 or 4) and resized, bilinear, to
    ``shape[1:]``, its aspect ratio ignored. Items are ``(image, label)``, or the image alone.
    Raises :class:`DataError` naming a file that cannot be decoded.
    """

    files: Sequence[Path]
    labels: Sequence[int] | None
    shape: tuple[int, int, int]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        channels, height, width = self.shape
        picture = open_image(self.files[index]).convert(_MODES[channels])
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, dtype=np.float32) / 255
        image = torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1)
        if self.mean is not None and self.std is not None:
            image = (image - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[
                :, None, None
            ]
        image = image.contiguous().to(self.dtype)
        return image if self.labels is None else (image, self.labels[index])


def open_image(path: Path) -> Image.Image:
    """Decode an image file in full. Raises :class:`DataError` naming it if that fails."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.copy()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as exc:
        raise DataError(
            f"{one_line(path)}: cannot be decoded as an image ({reason(exc, 100)})"
        ) from exc
    except Image.DecompressionBombError as exc:
        raise DataError(f"{one_line(path)}: image too large ({reason(exc, 100)})") from exc


def load_image_folder(folder: Path, options: DataOptions) -> DataBundle:
    """Read a folder whose sub-folders are classes, numbered in the order of their names.

    With sub-folders ``train`` and ``val`` or ``test``, the classes lie in those. Images lying in
    the folder itself, with no sub-folders, are data without labels. All are brought to
    ``options.input_shape`` (C, H, W), or else to the size of the first one, grey if that is.
    Raises :class:`DataError` if there are no images.
    """
    source = one_line(folder)
    train_dir = _first_dir(folder, _TRAIN)
    held_dir = _first_dir(folder, _HOLDOUT)
    if train_dir is None or held_dir is None:
        train_dir, held_dir = folder, None
    classes = [entry.name for entry in _sub_folders(train_dir)]
    files, labels = _list_images(train_dir, classes)
    if not files:
        raise DataError(
            f"{source}: no images in it; expected one sub-folder of images for each class"
        )
    shape = _shape(files[0], options, source)
    dtype = options.input_dtype
    if dtype is None or not dtype.is_floating_point:
        dtype = torch.float32
    train = ImageFiles(files, labels, shape, options.mean, options.std, dtype)
    held: ImageFiles | None = None
    if held_dir is not None:
        extra = [entry.name for entry in _sub_folders(held_dir) if entry.name not in classes]
        if extra:
            raise DataError(f"{one_line(held_dir)}: classes not in {train_dir.name}: {few(extra)}")
        held_files, held_labels = _list_images(held_dir, classes)
        held = ImageFiles(held_files, held_labels, shape, options.mean, options.std, dtype)
    return bundle(train, held, options)


def _shape(first: Path, options: DataOptions, source: str) -> tuple[int, int, int]:
    if options.input_shape is None:
        picture = open_image(first)
        shape = (1 if picture.mode in ("1", "L", "I;16") else 3, picture.height, picture.width)
    elif len(options.input_shape) == 3 and options.input_shape[0] in _MODES:
        channels, height, width = options.input_shape
        shape = (channels, height, width)
    else:
        sizes = "x".join(map(str, options.input_shape))
        raise DataError(
            f"{source}: the model's input is {sizes}, not an image of 1, 3 or 4 channels, height "
            "and width; give the data as .npz or as package.module:function"
        )
    if options.mean is not None and len(options.mean) != shape[0]:
        raise DataError(f"{source}: {shape[0]} channels but {len(options.mean)} means")
    return shape


def _list_images(folder: Path, classes: list[str]) -> tuple[list[Path], list[int] | None]:
    """Return the image files under a folder and their class numbers (None without classes)."""
    suffixes = set(Image.registered_extensions())
    if not classes:
        return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes], None
    files: list[Path] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        found = sorted(
            path
            for path in (folder / name).rglob("*")
            if path.is_file() and path.suffix.lower() in suffixes
        )
        files += found
        labels += [number] * len(found)
    return files, labels


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _first_dir(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)
