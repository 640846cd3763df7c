"""The benchmarks' data: decoding, augmentation, batches."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import data
from benchmarks.data import Augment, Images, loader


def numbered(count: int = 10, channels: int = 2, side: int = 4) -> Images:
    shape = (count, channels, side, side)
    pixels = (torch.arange(count * channels * side * side) % 251).to(torch.uint8).view(shape)
    return Images(pixels, torch.arange(count), (0.5,) * channels, (0.25,) * channels)


def test_loader_hands_out_normalised_images_in_order() -> None:
    images = numbered()
    batches = list(loader(images, batch_size=4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    inputs = torch.cat([inputs for inputs, _ in batches])
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs, (images.pixels.float() / 255 - 0.5) / 0.25)
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(10))


def test_shuffled_loader_keeps_pairs_together_and_repeats_with_its_seed() -> None:
    images = numbered()

    def once(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches = list(loader(images, 3, shuffle=True, seed=seed))
        return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])

    inputs, labels = once(0)
    assert labels.tolist() != list(range(10))
    assert sorted(labels.tolist()) == list(range(10))
    torch.testing.assert_close(inputs, images.normalise(images.pixels[labels]))
    assert torch.equal(once(0)[1], labels)
    assert not torch.equal(once(1)[1], labels)


def test_augment_is_a_padded_crop_perhaps_mirrored() -> None:
    pixels = numbered(64).pixels + 1
    out = Augment(shift=1, flip=True)(pixels, torch.Generator().manual_seed(0))
    assert out.shape == pixels.shape
    assert out.dtype == torch.uint8
    padded = torch.nn.functional.pad(pixels, (1, 1, 1, 1))
    seen = set()
    for before, after in zip(padded, out, strict=True):
        matches = [
            (top, left, mirrored)
            for top, left, mirrored in itertools.product(range(3), range(3), (False, True))
            for crop in [before[:, top : top + 4, left : left + 4]]
            if torch.equal(after, crop.flip(-1) if mirrored else crop)
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) >= 14  # 64 draws of 18 equally likely outcomes


def test_no_augmentation_changes_nothing() -> None:
    pixels = numbered().pixels
    assert torch.equal(Augment()(pixels, torch.Generator()), pixels)


def test_cifar10_is_decoded_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHPRUNE_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHPRUNE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="set GRAPHPRUNE_DATA"):
        data.cifar10()
    shades = {"train": (10, 200, 90), "test": (250, 0)}
    arrays: dict[str, np.ndarray] = {}
    for split, levels in shades.items():
        files = []
        for level in levels:
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (level, 255 - level, 0)).save(file, "JPEG", quality=95)
            files.append(file.getvalue())
        arrays[f"jpeg_{split}"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"size_{split}"] = np.array([len(file) for file in files], np.uint16)
        arrays[f"y_{split}"] = np.arange(len(levels), dtype=np.uint8)
    np.savez(tmp_path / "cifar10_jpeg.npz", **arrays)
    train, test = data.cifar10()
    assert train.pixels.shape == (3, 3, 32, 32)
    assert test.labels.tolist() == [0, 1]
    for level, picture in zip(shades["train"], train.pixels.float(), strict=True):
        wanted = torch.tensor([level, 255.0 - level, 0.0]).view(3, 1, 1).expand(3, 32, 32)
        torch.testing.assert_close(picture, wanted, atol=4, rtol=0)
    (tmp_path / "cifar10_jpeg.npz").unlink()
    again, _ = data.cifar10()
    assert torch.equal(again.pixels, train.pixels)
