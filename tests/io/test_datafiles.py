"""Data from files, folders and functions, and every way of being wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import error_lines
import numpy as np
import pytest
import torch
from PIL import Image

from graphprune.errors import DataError
from graphprune.io import DataOptions, load_data

FUNCTIONS = """
import torch
from torch.utils.data import DataLoader, TensorDataset
def loader():
    return DataLoader(TensorDataset(torch.randn(20, 4), torch.arange(20) % 3), batch_size=5)
def batches():
    for _ in range(4):
        yield torch.randn(5, 4)
def number(): return 3
def fails(): raise RuntimeError("no disk\\nleft")
"""


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


IMAGES = np.arange(10 * 6 * 5, dtype=np.uint8).reshape(10, 6, 5)
LABELS = np.arange(10, dtype=np.uint8) % 3


@pytest.mark.parametrize(
    ("arrays", "options", "shape", "labelled"),
    [
        ({"x": IMAGES, "y": LABELS}, DataOptions(), (1, 6, 5), True),
        ({"x": IMAGES}, DataOptions(input_shape=(1, 6, 5)), (1, 6, 5), False),
        ({"X": IMAGES, "Y": LABELS[:, None]}, DataOptions(), (1, 6, 5), True),
        ({"images": IMAGES, "labels": LABELS}, DataOptions(), (1, 6, 5), True),
        ({"data": np.zeros((10, 8))}, DataOptions(), (8,), False),
        ({"x": np.zeros((10, 6, 5, 3), np.uint8)}, DataOptions(), (3, 6, 5), False),
        ({"x": np.zeros((10, 3, 6, 5), np.uint8)}, DataOptions(), (3, 6, 5), False),
        ({"x": np.zeros((10, 6, 5, 2))}, DataOptions(input_shape=(2, 6, 5)), (2, 6, 5), False),
        ({"x": np.zeros((10, 6, 5))}, DataOptions(input_shape=(1, 6, 5)), (1, 6, 5), False),
        ({"x": np.zeros((10, 6, 5))}, DataOptions(), (6, 5), False),
    ],
)
def test_npz_layouts(
    arrays: dict[str, Any],
    options: DataOptions,
    shape: tuple[int, ...],
    labelled: bool,
    tmp_path: Path,
) -> None:
    data = load_data(write_npz(tmp_path / "a.npz", **arrays), options)
    inputs, target = data.example_batch(4)
    assert inputs[0].shape == (4, *shape)
    assert inputs[0].dtype == torch.float32
    assert data.has_labels == labelled
    if target is not None:
        assert target.shape == (4,)
        assert target.dtype == torch.int64
    if "x" in arrays and arrays["x"].max() > 0:
        assert float(inputs[0].max()) <= 1


def test_npz_values(tmp_path: Path) -> None:
    path = write_npz(
        tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:4], y_test=LABELS[:4]
    )
    data = load_data(path, DataOptions(mean=(0.5,), std=(0.25,)))
    assert (len(data.train), len(data.holdout)) == (10, 4)
    inputs, target = data.example_batch(10)
    want = (torch.from_numpy(IMAGES).float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(inputs[0][:, 0], want)
    assert target is not None
    assert target.tolist() == LABELS.tolist()


def test_npz_tokens_stay_integers(tmp_path: Path) -> None:
    tokens = np.arange(20, dtype=np.int32).reshape(10, 2)
    path = write_npz(tmp_path / "a.npz", x=tokens, y=np.zeros(10))
    inputs, target = load_data(path).example_batch(2)
    assert inputs[0].dtype == torch.int64
    assert target is not None
    assert target.dtype == torch.float32
    path = write_npz(tmp_path / "b.npz", x=tokens.astype(np.uint8))
    inputs, _ = load_data(path, DataOptions(input_dtype=torch.int64)).example_batch(2)
    assert inputs[0].dtype == torch.int64
    assert inputs[0].max() > 1


class MakesFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


def npz(**arrays: Any) -> Callable[[Path], object]:
    return lambda path: write_npz(path, **arrays)


def cut_npz(path: Path) -> None:
    write_npz(path, x=IMAGES)
    path.write_bytes(path.read_bytes()[:-100])


def damaged_npz(path: Path) -> None:
    write_npz(path, x=np.arange(1000.0))
    data = bytearray(path.read_bytes())
    data[400:420] = bytes(20)
    path.write_bytes(data)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent.npz": (lambda _: None, "no such file or folder"),
    "empty.npz": (lambda path: path.write_bytes(b""), "not an .npz"),
    "text.npz": (lambda path: path.write_text("x,y\n1,2\n"), "not an .npz"),
    "cut.npz": (cut_npz, "not an .npz file, or cut off"),
    "damaged.npz": (damaged_npz, "damaged .npz"),
    "table.csv": (lambda path: path.write_text("x,y\n1,2\n"), "not an .npz"),
    "array.npy": (lambda path: np.save(path, IMAGES), "not an .npz"),
    "pickle.npz": (lambda path: path.write_bytes(pickle.dumps(3)), "not an .npz"),
    "names.npz": (npz(a=IMAGES, b=LABELS), "only a, b"),
    "nothing.npz": (npz(), "only nothing"),
    "strings.npz": (npz(x=np.array(["a", "b"])), "expected numbers"),
    "string_labels.npz": (npz(x=IMAGES[:2], y=np.array(["a", "b"])), "expected numbers"),
    "lengths.npz": (npz(x=IMAGES, y=LABELS[:3]), "10 inputs but 3 targets"),
    "scalar.npz": (npz(x=np.float32(3)), "expected numbers"),
    "nan.npz": (npz(x=np.full((10, 2), np.nan)), "NaN"),
    "one.npz": (npz(x=IMAGES[:1]), "at least 2"),
    "no_images": (lambda path: path.mkdir(), "no images"),
    "no_images_in_classes": (lambda path: (path / "cat").mkdir(parents=True), "no images"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_data_files(name: str, tmp_path: Path) -> None:
    make, message = BAD_FILES[name]
    make(tmp_path / name)
    check_error(lambda: load_data(tmp_path / name), message)


def test_pickled_arrays_are_refused_and_do_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = write_npz(tmp_path / "a.npz", x=np.array([MakesFolder(made)], dtype=object))
    check_error(lambda: load_data(path), "pickled Python objects")
    assert not made.exists()
    np.load(path, allow_pickle=True)["x"]
    assert made.exists()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat", "dog", "eel")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(3):
            picture = Image.new("RGB", (8 + index, 6), (80 * number, 0, 255))
            picture.save(tmp_path / "set" / name / f"{index}.png")
    (tmp_path / "set" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (DataOptions(), (3, 6, 8)),
        (DataOptions(input_shape=(3, 4, 5)), (3, 4, 5)),
        (DataOptions(input_shape=(1, 4, 5)), (1, 4, 5)),
    ],
)
def test_image_folder(options: DataOptions, shape: tuple[int, ...], pictures: Path) -> None:
    data = load_data(str(pictures), options)
    assert data.num_examples == 9
    for inputs, target in data.batches(9):
        assert inputs[0].shape == (8, *shape)
        assert target is not None
        if shape[0] == 3:
            torch.testing.assert_close(inputs[0][:, 0, 0, 0] * 255, target * 80.0)
            assert float(inputs[0][:, 2].min()) == 1


def test_image_folder_with_a_split(pictures: Path) -> None:
    root = pictures.parent / "whole"
    root.mkdir()
    pictures.rename(root / "train")
    (root / "val" / "eel").mkdir(parents=True)
    Image.new("L", (8, 6)).save(root / "val" / "eel" / "a.png")
    data = load_data(root, DataOptions(mean=(0.5,) * 3, std=(0.5,) * 3))
    assert (len(data.train), len(data.holdout)) == (9, 1)
    inputs, target = next(iter(data.batches(1, holdout=True)))
    assert target is not None
    assert target.tolist() == [2]
    torch.testing.assert_close(inputs[0], torch.full((1, 3, 6, 8), -1.0))
    (root / "val" / "zebra").mkdir()
    check_error(lambda: load_data(root), "classes not in train: zebra")


def test_images_without_classes(pictures: Path) -> None:
    data = load_data(pictures / "dog")
    assert data.has_labels is False
    assert data.num_examples == 3


def test_broken_image_is_named(pictures: Path) -> None:
    (pictures / "cat" / "0.png").write_bytes(b"\x89PNG broken")
    check_error(lambda: load_data(pictures), "0.png: cannot be decoded")


def test_model_that_takes_no_images(pictures: Path) -> None:
    check_error(lambda: load_data(pictures, DataOptions(input_shape=(7,))), "not an image")


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data_of_test.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("functions")
def test_functions() -> None:
    assert load_data("data_of_test:loader").has_labels
    assert not load_data("data_of_test:batches").has_labels


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("data_of_test:number", "type int"),
        ("data_of_test:fails", "RuntimeError: no disk left"),
        ("data_of_test:absent", "no attribute 'absent'"),
        ("no_such_module:f", "no module named"),
        ("data_of_test:", "no such file or folder"),
    ],
)
def test_bad_functions(spec: str, message: str) -> None:
    check_error(lambda: load_data(spec), message)


def check_error(action: Callable[[], object], message: str) -> None:
    error_lines.check_error(action, message, DataError)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_become_those_of_the_model(dtype: torch.dtype, tmp_path: Path) -> None:
    options = DataOptions(input_dtype=dtype)
    values = np.full((10, 4), 1 / 3)
    inputs, _ = load_data(write_npz(tmp_path / "a.npz", x=values), options).example_batch(2)
    assert inputs[0].dtype == dtype
    assert torch.equal(inputs[0], torch.full((2, 4), 1 / 3, dtype=torch.float64).to(dtype))
    normalised = DataOptions(input_dtype=dtype, mean=(0.5,), std=(0.25,))
    for one in (options, normalised):
        images, _ = load_data(write_npz(tmp_path / "i.npz", x=IMAGES), one).example_batch(2)
        assert images[0].dtype == dtype
        (tmp_path / "images" / "0").mkdir(parents=True, exist_ok=True)
        for number in range(2):
            picture = Image.fromarray(IMAGES[number])
            picture.save(tmp_path / "images" / "0" / f"{number}.png")
        files, _ = load_data(tmp_path / "images", one).example_batch(1)
        assert files[0].dtype == dtype


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (3.7, torch.int64, "3.7"),
        (float("nan"), torch.int64, "nan"),
        (1e30, torch.int64, "1e[+]30"),
        (300, torch.uint8, "300"),
        (2, torch.bool, "2"),
    ],
)
def test_values_that_the_model_cannot_take_are_refused(
    value: float, dtype: torch.dtype, shown: str, tmp_path: Path
) -> None:
    path = write_npz(tmp_path / "a.npz", x=np.array([[1, 0], [0, value], [1, 1]]))
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(DataError, match=f"inputs hold {shown}.*, but the model takes {name}"):
        load_data(path, DataOptions(input_dtype=dtype))


def test_whole_numbers_in_floats_are_numbers(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", x=np.array([[1.0, 2.0], [3.0, 2.0**24 + 1]]))
    inputs, _ = load_data(path, DataOptions(input_dtype=torch.int64)).example_batch(1)
    assert inputs[0].tolist() in ([[1, 2]], [[3, 2**24 + 1]])


def test_real_values_are_complex_ones(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", x=np.full((4, 2), 1 / 3))
    inputs, _ = load_data(path, DataOptions(input_dtype=torch.complex64)).example_batch(1)
    assert torch.equal(inputs[0], torch.full((1, 2), 1 / 3, dtype=torch.complex64))
