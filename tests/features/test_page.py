"""The page holds all it shows, is well formed, and says what must be said."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphprune.errors import UsageError
from graphprune.features.forms import form_of, input_form
from graphprune.features.pictures import Scale, bar, colour_map, line, photograph, reduced
from graphprune.features.result import (
    Activation,
    Channel,
    Features,
    GroupFeatures,
    ShownInput,
    check_page,
)

VOID = {"meta", "img", "path", "rect", "polyline", "br"}


class Page(HTMLParser):
    """Elements by tag with their attributes, the text, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + " "


def activation(
    values: object, dims: int, *, inner: bool = False, places: int = 0, unread: bool = False
) -> Activation:
    names = tuple(f"dimension {n + 2}" for n in range(dims))
    return Activation(np.asarray(values, dtype=np.float32), names, inner, places, unread)


def made(*activations: Activation, name: str = "stem.weight", grid: object = None) -> Features:
    """A page of one group: the first half of the channels on the left."""
    channels = [
        Channel(number, number + 1, 1.0 - number / 10, (0.5 - number / 10, 1.5), (one,))
        for number, one in enumerate(activations)
    ]
    half = -(-len(channels) // 2)
    group = GroupFeatures(
        name=name,
        size=len(channels) + 3,
        node="relu",
        op="aten.relu.default",
        source="model.py:3",
        shape=(2, 8, 4, 4),
        scaled=True,
        others=("conv2d", "conv2d_1"),
        readers=("max_pool2d",),
        here=len(channels),
        most=tuple(channels[:half]),
        least=tuple(channels[half:]),
        importance=np.linspace(1, 0, len(channels) + 3),
        separated=0.01,
    )
    image = ShownInput("held-out example 3", 7, np.random.default_rng(0).random((3, 8, 8)), 1)
    return Features("net.pt2", "dirichlet", (image,), (group,), 9, grid, ("a note",))  # type: ignore[arg-type]


def image_of(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def test_the_page_parses_and_loads_nothing() -> None:
    maps = [activation(np.random.default_rng(n).normal(size=(4, 4)), 2) for n in range(4)]
    text = made(*maps).to_html()
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "source", "audio"}
    for tag, attributes in page.elements:
        for key in ("src", "href", "srcset", "data", "action", "background", "poster"):
            if key in attributes:
                assert str(attributes[key]).startswith(("data:image/png;base64,", "#")), (tag, key)
        if tag == "img":
            assert "alt" in attributes
            image_of(str(attributes["src"])).load()
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[^\"]*", "", text))
    assert len([1 for tag, a in page.elements if tag == "img" and a["alt"]]) == 5
    anchors = {a["href"] for tag, a in page.elements if tag == "a"}
    assert anchors == {"#group-0"}
    assert "group-0" in {a.get("id") for _, a in page.elements}


def test_the_page_says_what_a_reader_must_know() -> None:
    maps = [activation(np.full((4, 4), n), 2) for n in range(4)]
    text = " ".join(Page(made(*maps).to_html()).text.split())
    for words in (
        "Features of net.pt2",
        "1 of 9 channel groups",
        "dirichlet",
        "a note",
        "7 channels",
        "4 of the channels lie there",
        "come forth at conv2d, conv2d_1 too",
        "read them from max_pool2d",
        "relu",
        "model.py:3",
        "held-out example 3, class 7",
        "channel 0 rank 1 importance 1 0.5 to 1.5",
        "90% intervals that do not overlap",
        "cannot be told from chance",
        "4 × 4: dimension 2 downwards, dimension 3 to the right",
        "zero everywhere",
        "flat at 3",
    ):
        assert words in text, words


def test_intervals_are_drawn_or_said_to_be_missing() -> None:
    features = made(*[activation(np.full((4, 4), n), 2) for n in range(4)])
    (group,) = features.groups
    bounds = np.stack([group.importance[:5] - 0.25, group.importance[:5] + 0.25])
    sure = dataclasses.replace(group, intervals=bounds)
    unsure = "l2 gives no intervals"
    page = Page(dataclasses.replace(features, groups=(sure,)).to_html())
    whiskers = [a["d"] for tag, a in page.elements if tag == "path"]
    # From 0, drawn at 40, to 1.25, at 0; the first bar's middle is at 320 / 7 / 2.
    assert len(whiskers) == 5
    assert whiskers[0] == "M22.86 16.0V0.0"
    assert "lines are 90% intervals" in page.text
    plain = Page(dataclasses.replace(features, certainty=unsure).to_html())
    assert not [tag for tag, _ in plain.elements if tag == "path"]
    assert unsure in plain.text


def test_channels_that_nobody_reads_are_said_so() -> None:
    text = made(activation([[1, 2]], 2), activation([[-3, -2]], 2, unread=True)).to_html()
    assert text.count("<b>zero where it is read</b>") == 1


def test_names_cannot_break_out() -> None:
    evil = '"><script>alert(1)</script>&'
    features = made(activation([[0.0, 1.0]], 2), name=evil)
    features = dataclasses.replace(features, source=evil, method=evil, notes=(evil,))
    group = dataclasses.replace(features.groups[0], node=evil, op=evil, source=evil)
    page = Page(dataclasses.replace(features, groups=(group,)).to_html())
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count(evil) >= 7


def test_every_form_has_its_picture() -> None:
    cases = {
        "number": activation(1.0, 0),
        "line": activation([1.0, -2.0, 3.0], 1, inner=True),
        "strip": activation([1.0, -2.0, 3.0], 1),
        "map": activation(np.ones((3, 4)), 2),
    }
    for kind, one in cases.items():
        form = form_of(one)
        assert form.kind == kind
        np.testing.assert_array_equal(form.values, one.values)
    volume = np.arange(60.0).reshape(5, 4, 3)
    form = form_of(activation(volume, 3))
    np.testing.assert_array_equal(form.values, volume[2])
    assert "slice 3 of 5 along dimension 2" in form.words
    text = made(*cases.values()).to_html()
    assert (
        text.count('class="line"') == text.count('class="bar"') == text.count('class="strip"') == 1
    )


def test_tokens_become_a_grid_only_where_the_user_says_so() -> None:
    tokens = np.arange(17.0)
    assert form_of(activation(tokens, 1)).kind == "strip"
    assert form_of(activation(tokens[1:], 1)).kind == "strip"
    form = form_of(activation(tokens, 1), (1, 4, 4))
    np.testing.assert_array_equal(form.values, tokens[1:].reshape(4, 4))
    assert form.words.endswith("as a grid of 4 × 4 without the first 1 of 17")
    assert form_of(activation(tokens[1:], 1), (1, 4, 4)).kind == "strip"
    pair = np.stack([tokens, -tokens])
    drawn = form_of(activation(pair, 2, places=1), (1, 4, 4))
    assert drawn.values.shape == (4, 9)
    np.testing.assert_array_equal(drawn.values[:, 5:], -form.values)
    image = form_of(activation(pair, 2), (1, 4, 4))
    np.testing.assert_array_equal(image.values, pair)


def test_a_channel_at_several_places_is_shown_at_all_of_them() -> None:
    maps = np.arange(4 * 2 * 3.0).reshape(4, 2, 3)
    drawn = form_of(activation(maps, 3, places=1)).values
    assert drawn.shape == (5, 7)
    assert np.isnan(drawn[2]).all()
    assert np.isnan(drawn[:, 3]).all()
    for place, (row, column) in enumerate([(0, 0), (0, 4), (3, 0), (3, 4)]):
        np.testing.assert_array_equal(drawn[row : row + 2, column : column + 3], maps[place])
    assert form_of(activation(np.zeros((17, 2, 3)), 3, places=1)).values.shape == (2, 3)


def test_what_is_not_finite_is_said_so() -> None:
    page = Page(made(activation([[1.0, np.nan]], 2), activation([[0, np.inf]], 2)).to_html())
    assert page.text.count("not finite") == 2


def test_inputs_are_images_signals_or_words() -> None:
    shapes = {
        (1, 8, 9): "map",
        (3, 8, 9): "map",
        (8, 9, 3): "map",
        (8, 9): "map",
        (2, 8, 9, 9): None,
        (1, 30): "line",
    }
    for shape, kind in shapes.items():
        form = input_form(np.zeros(shape, dtype=np.float32))
        assert (form.kind if form else None) == kind, shape
    assert input_form(np.zeros((3, 8, 9), dtype=np.float32)).values.shape == (8, 9, 3)  # type: ignore[union-attr]
    ids = dataclasses.replace(made(activation(1.0, 0)).inputs[0], values=np.arange(40), inputs=2)
    features = dataclasses.replace(made(activation(1.0, 0)), inputs=(ids,))
    text = Page(features.to_html()).text
    assert "40 values: 0, 1, 2" in text
    assert "23 …" in text
    assert "first of 2 inputs" in text


def test_colours_mean_the_same_in_all_pictures() -> None:
    scale = Scale.of([np.array([-2.0, 1.0]), np.array([4.0])])
    assert (scale.low, scale.high) == (-4.0, 4.0)
    values = np.array([[-4.0, 0.0, 4.0], [9.0, np.nan, -9.0]])
    pixels = np.asarray(image_of(colour_map(values, scale, 64)).convert("RGBA")).tolist()
    blue, white, red = [33, 102, 172, 255], [247, 247, 247, 255], [178, 24, 43, 255]
    assert pixels[0][0] == pixels[1][2] == blue
    assert pixels[0][1] == white
    assert pixels[0][2] == pixels[1][0] == red
    assert pixels[1][1][3] == 0
    positive = Scale.of([np.array([0.0, 3.0])])
    assert (positive.low, positive.high) == (0.0, 3.0)
    assert Scale.of([np.zeros(3)]).high == 1.0
    assert Scale.of([np.full(3, np.inf)]).high == 1.0
    spikes = np.append(np.linspace(0, 1, 10_000), 1e6)
    assert Scale.of([spikes]).high < 1.1


def test_sizes_are_bounded() -> None:
    values = np.arange(10_000.0).reshape(100, 100)
    assert image_of(colour_map(values, Scale(1e4, signed=False), 20)).size == (20, 20)
    assert image_of(photograph(values, 20)).size == (20, 20)
    np.testing.assert_allclose(reduced(values, (1, 1)), values.mean())
    assert line(np.arange(10_000.0), Scale(1e4, signed=False), "x").count(",") == 128
    noise = np.random.default_rng(0).normal(size=(150, 150))
    features = made(*[activation(noise, 2)] * 40)
    features = dataclasses.replace(features, groups=features.groups * 10)
    assert len(features.to_html()) < 8_000_000


def test_bars_start_at_zero() -> None:
    scale = Scale(2.0, signed=True)
    assert 'class="above" x="48.0" y="2" width="24.0"' in bar(1.0, scale, "x")
    assert 'class="below" x="24.0" y="2" width="24.0"' in bar(-1.0, scale, "x")


def test_saving(tmp_path: Path) -> None:
    features, place = made(activation(1.0, 0)), tmp_path / "page.html"
    assert features.save(place) == place.stat().st_size
    assert place.read_text() == features.to_html()
    with pytest.raises(UsageError, match="--overwrite"):
        features.save(place)
    features.save(place, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    for wrong in (tmp_path, tmp_path / "missing" / "page.html", "a\0b"):
        with pytest.raises(UsageError):
            check_page(wrong, overwrite=True)
