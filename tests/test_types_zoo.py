"""The zoo of model types that are made small by the names of their options."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks.zoos.types_small import make_small


def test_options_are_made_small_by_name() -> None:
    part = SimpleNamespace(model_type="part", hidden_size=768, num_attention_heads=12)
    config = SimpleNamespace(
        text_config=part,
        num_attention_heads=32,
        num_key_value_heads=32,
        layer_types=["full", "sliding", "full", "sliding"],
        num_hidden_layers=4,
        vocab_size=30_000,
        eos_token_id=29_999,
        use_cache=True,
        depths=[2, 2, 18, 2],
        hidden_sizes=[128, 256, 512],
        rope_theta=10_000,
        model_type="whole",
    )
    make_small(config)
    assert (part.hidden_size, part.num_attention_heads) == (64, 4)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 4)
    assert (config.layer_types, config.num_hidden_layers) == (["full", "sliding"], 2)
    assert (config.vocab_size, config.eos_token_id, config.use_cache) == (200, 2, False)
    assert (config.depths, config.hidden_sizes) == ([2, 2, 2, 2], [16, 32, 64])
    assert config.rope_theta == 10_000


def test_few_heads_of_keys_stay_fewer() -> None:
    config = SimpleNamespace(num_attention_heads=32, num_key_value_heads=8)
    make_small(config)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)


def test_those_listed_are_not_in_the_other_zoo() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from benchmarks.zoos import types_zoo

    names = types_zoo.names()
    assert len(names) > 200
    assert set(names) <= set(types_zoo.further())


@pytest.mark.parametrize("name", ["glm4", "deberta"])
def test_a_listed_type_runs(name: str) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from benchmarks.zoos import types_zoo

    model, inputs = types_zoo.build(name)
    assert not model.training
    assert model(**inputs).shape == (2, 12, 10)
