"""Data from the command line: an ``.npz`` file, a folder of images, or a function."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from graphprune.errors import DataError
from graphprune.io.anydata import as_data
from graphprune.io.data import DataBundle, DataOptions, bundle
from graphprune.io.examples import TARGETS, ArrayDataset
from graphprune.io.images import load_image_folder
from graphprune.io.imports import call_user, import_callable, is_import_spec
from graphprune.io.text import few, one_line, reason

_INPUTS = ("x", "inputs", "input", "images", "image", "data", "features")
_TRAIN = ("train", "training", "tr")
_HOLDOUT = ("val", "valid", "validation", "test", "holdout", "eval")
_KINDS = "an .npz file, a folder of class folders of images, or package.module:function"

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class ImageScale:
    """Turn images of 8 bits into floats on [0, 1], then normalise the channels (dim 1)."""

    eight_bit: bool = True
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dtype: torch.dtype = torch.float32

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        images = images.float().div_(255) if self.eight_bit else images.float()
        if self.mean is None or self.std is None:
            return images.to(self.dtype)
        shape = (1, -1) + (1,) * (images.ndim - 2)
        mean, std = torch.tensor(self.mean).view(shape), torch.tensor(self.std).view(shape)
        return ((images - mean) / std).to(self.dtype)


def load_data(spec: str | Path, options: DataOptions | None = None) -> DataBundle:
    """Read data from ``spec``: an ``.npz``, a folder of images or ``package.module:function``.

    ``.npz``: arrays ``x`` and, where there are labels, ``y``; or ``x_train``, ``y_train``,
    ``x_test`` and the like (see :func:`load_npz`). Folder: see
    :func:`graphprune.io.images.load_image_folder`. The function is called without arguments
    and returns what :func:`graphprune.io.anydata.as_data` accepts.
    Raises :class:`DataError` if it cannot be read.
    """
    options = options or DataOptions()
    text = str(spec)
    path = Path(text)
    source = one_line(text)
    try:
        exists, folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as exc:
        raise DataError(f"{source}: cannot be read ({reason(exc)}); expected {_KINDS}") from exc
    if folder:
        return load_image_folder(path, options)
    if exists:
        return load_npz(path, options)
    if is_import_spec(text):
        function = import_callable(text, "--data", DataError)
        return as_data(call_user(function, f"--data {text}", DataError), options)
    raise DataError(f"{source}: no such file or folder; expected {_KINDS}")


def load_npz(path: Path, options: DataOptions) -> DataBundle:
    """Read an ``.npz``; nothing in it is unpickled.

    Inputs are called x, inputs, images, data or features, targets y, targets or labels, alone or
    with ``_train`` and ``_val`` or ``_test`` (a validation set is preferred as held-out set).
    8-bit inputs are images: floats on [0, 1], ``(N, H, W)`` made ``(N, 1, H, W)`` and
    ``(N, H, W, C)`` made ``(N, C, H, W)``. Floats become the model's own, else float32, integers
    int64.
    """
    source = one_line(path)
    arrays = _read_arrays(path, source)
    train = _pick(arrays, _INPUTS, ("", *_TRAIN))
    if train is None:
        raise DataError(
            f"{source}: no inputs in it, only {few(arrays, 6) or 'nothing'}; name the arrays x and "
            "y (or x_train, y_train, x_test, y_test)"
        )
    y = _pick(arrays, TARGETS, ("", *_TRAIN))
    held_x, held_y = _pick(arrays, _INPUTS, _HOLDOUT), _pick(arrays, TARGETS, _HOLDOUT)
    learn = _dataset(train, y, options, source)
    # A held-out set without labels cannot judge a model that learns from labels.
    judge = held_x is not None and (held_y is None) == (y is None)
    held = _dataset(held_x, held_y, options, source) if judge and held_x is not None else None
    return bundle(learn, held, options)


def _read_arrays(path: Path, source: str) -> dict[str, Array]:
    try:
        if not zipfile.is_zipfile(path):
            raise DataError(f"{source}: not an .npz file, or cut off; expected {_KINDS}")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as exc:
        if "allow_pickle" in str(exc) or "Object arrays" in str(exc):
            raise DataError(
                f"{source}: holds pickled Python objects, which are never loaded; save plain "
                "number arrays"
            ) from exc
        raise DataError(f"{source}: damaged .npz file ({reason(exc, 120)})") from exc
    except (OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, KeyError) as exc:
        raise DataError(f"{source}: damaged .npz file ({reason(exc, 120)})") from exc


def _pick(
    arrays: Mapping[str, Array], bases: tuple[str, ...], splits: tuple[str, ...]
) -> Array | None:
    named = {name.lower(): array for name, array in arrays.items()}
    for split in splits:
        for base in bases:
            for name in (f"{base}_{split}", f"{split}_{base}") if split else (base,):
                if name in named:
                    return named[name]
    return None


def _dataset(x: Array, y: Array | None, options: DataOptions, source: str) -> ArrayDataset:
    inputs, transform = _inputs(x, options, source)
    target = None if y is None else _target(y, source)
    if target is not None and len(inputs) != len(target):
        raise DataError(
            f"{source}: {len(inputs)} inputs but {len(target)} targets; they must agree"
        )
    return ArrayDataset((inputs,), target, transform)


def _inputs(
    x: Array, options: DataOptions, source: str
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor] | None]:
    if x.ndim == 0 or x.dtype.kind not in "fiub":
        raise DataError(
            f"{source}: inputs of dtype {x.dtype} and shape {x.shape}; expected numbers"
        )
    dtype = options.input_dtype or torch.float32
    if not dtype.is_floating_point:
        return _converted(x, dtype, source), None
    eight_bit = x.dtype == np.uint8
    scale: ImageScale | None = None
    if eight_bit or options.mean is not None:
        scale = ImageScale(eight_bit, options.mean, options.std, dtype)
    tensor = _channels_first(_tensor(x, dtype), options.input_shape, eight_bit)
    channels = tensor.shape[1] if tensor.ndim > 1 else 1
    if scale is not None and scale.mean is not None and len(scale.mean) not in (1, channels):
        raise DataError(f"{source}: {channels} channels but {len(scale.mean)} means")
    return tensor, scale


def _converted(x: Array, dtype: torch.dtype, source: str) -> torch.Tensor:
    """Inputs for a model that takes no floats; where it takes integers, no value may change."""
    given = _tensor(x, torch.float64)
    converted = given.to(dtype)
    changed = converted != given  # NaN too
    if bool(changed.any()) and not dtype.is_complex:
        name = str(dtype).removeprefix("torch.")
        raise DataError(
            f"{source}: inputs hold {given[changed][0].item()}, but the model takes {name}, which "
            "has no such value; give the inputs that it was trained on, such as token numbers"
        )
    return converted


def _channels_first(
    x: torch.Tensor, shape: tuple[int, ...] | None, eight_bit: bool
) -> torch.Tensor:
    """Give images the layout (N, C, H, W) if the shape wanted, or 8-bit data, ask for it."""
    if shape is None and eight_bit:
        few_channels = (1, 3, 4)
        if x.ndim == 3:
            return x.unsqueeze(1)
        if x.ndim == 4 and x.shape[-1] in few_channels and x.shape[1] not in few_channels:
            return x.permute(0, 3, 1, 2)
    if shape is not None and len(shape) == 3 and tuple(x.shape[1:]) != shape:
        if tuple(x.shape[1:]) == shape[1:] and shape[0] == 1:
            return x.unsqueeze(1)
        if tuple(x.shape[1:]) == (*shape[1:], shape[0]):
            return x.permute(0, 3, 1, 2)
    return x


def _target(y: Array, source: str) -> torch.Tensor:
    if y.dtype.kind not in "fiub":
        raise DataError(f"{source}: targets of dtype {y.dtype}; expected numbers (class indices)")
    target = _tensor(y)
    # (N, 1) is how some tools write one label for each example.
    if y.dtype.kind != "f" and target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    return target.long() if y.dtype.kind != "f" else target


def _tensor(array: Array, floats: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the array as ``floats``, int64, uint8 or bool, copied only where needed."""
    if array.dtype.kind == "f":
        wide = np.float64 if floats == torch.float64 else np.float32
        array = array.astype(wide, copy=False)
        return torch.from_numpy(np.ascontiguousarray(array)).to(floats)
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise DataError("integers beyond the range of int64 in the data")
        array = array.astype(np.int64, copy=False)
    return torch.from_numpy(np.ascontiguousarray(array))
