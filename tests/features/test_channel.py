"""A channel's part of a value is what the labels say, wherever its dimension lies."""

from __future__ import annotations

import numpy as np
import torch

from graphprune.features.channel import channel_part


def numbers(*shape: int) -> torch.Tensor:
    return torch.arange(float(np.prod(shape))).reshape(shape)


def test_channels_in_front_and_behind() -> None:
    image, tokens = numbers(1, 5, 4, 3), numbers(1, 7, 5)
    part = channel_part(image, torch.arange(5).reshape(1, 5, 1, 1), 2)
    assert torch.equal(part.values, image[0, 2])
    assert part.dims == ("dimension 2", "dimension 3")
    part = channel_part(tokens, torch.arange(5).reshape(1, 1, 5), 2)
    assert torch.equal(part.values, tokens[0, :, 2])
    assert part.dims == ("dimension 1",)
    assert not part.inner
    signal = channel_part(numbers(1, 5, 7), torch.arange(5).reshape(1, 5, 1), 2)
    assert signal.inner


def test_a_vector_has_one_number_for_each_channel() -> None:
    part = channel_part(numbers(1, 5), torch.arange(5)[None], 3)
    assert part.values.shape == ()
    assert part.values == 3


def test_the_order_of_channels_is_that_of_the_labels() -> None:
    value, order = numbers(1, 4, 3), torch.tensor([2, -1, 0, 1])
    part = channel_part(value, order.reshape(1, 4, 1), 0)
    assert torch.equal(part.values, value[0, 2])
    assert part.places == 0


def test_heads_lie_on_a_grid() -> None:
    value = numbers(1, 2, 6, 3)  # heads, tokens, width
    index = torch.arange(6).reshape(1, 2, 1, 3)
    assert torch.equal(channel_part(value, index, 4).values, value[0, 1, :, 1])
    # A channel in every head.
    part = channel_part(value, torch.arange(3).reshape(1, 1, 1, 3).expand(1, 2, 1, 3), 1)
    assert torch.equal(part.values, value[0, :, :, 1])
    assert part.dims == ("dimension 1", "dimension 2")


def test_a_channel_at_several_places() -> None:
    value = numbers(1, 6, 4)
    index = torch.tensor([0, 1, 0, 1]).reshape(1, 1, 4)
    part = channel_part(value, index, 1)
    assert torch.equal(part.values, value[0, :, [1, 3]].T)
    assert part.dims == ("dimension 2", "dimension 1")
    assert part.places == 1


def test_a_pixel_shuffle_is_a_coarser_image() -> None:
    value = numbers(1, 1, 4, 6)
    rows, columns = torch.arange(4)[:, None] % 2, torch.arange(6)[None] % 2
    index = (2 * rows + columns).reshape(1, 1, 4, 6)
    part = channel_part(value, index, 3)
    assert torch.equal(part.values, value[0, 0, 1::2, 1::2])


def test_places_that_form_no_box_lie_in_a_row() -> None:
    value = numbers(1, 2, 2, 5)
    index = torch.tensor([[0, 1], [1, 0]]).reshape(1, 2, 2, 1)
    part = channel_part(value, index, 1)
    assert torch.equal(part.values, torch.stack([value[0, 0, 1], value[0, 1, 0]]))
    assert part.dims == ("places", "dimension 3")


def test_complex_values_are_shown_by_size() -> None:
    value = torch.tensor([[3 + 4j, 0j]])
    assert channel_part(value, torch.arange(2)[None], 0).values == 5
