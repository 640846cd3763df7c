"""Sequence and tabular networks of the wild zoo, with the widths worked out by hand."""

from __future__ import annotations

import pytest
import torch

from benchmarks.zoos import wild_zoo
from graphprune.compress import compress
from graphprune.compressed import CompressConfig, Compressed

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    # 8 query heads of 8 share 2 of keys; rope turns pairs, so 2 of the 4 pairs of a head stay.
    "llama2c": {
        "tok_embeddings.weight": (97, 32),
        "layers.0.wq.weight": (32, 32),
        "layers.0.wk.weight": (8, 32),
        "layers.0.wv.weight": (8, 32),
        "layers.0.wo.weight": (32, 32),
        "layers.1.w1.weight": (96, 32),
        "layers.1.w2.weight": (32, 96),
    },
    # Captured whole although nn.TransformerEncoder asks whether the mask is causal.
    "tutorial_transformer": {
        "embedding.weight": (83, 24),
        "transformer_encoder.layers.0.self_attn.in_proj_weight": (72, 24),
        "transformer_encoder.layers.1.linear1.weight": (48, 24),
        "pos_encoder.pe": (50, 1, 24),
    },
    "cell_loop": {
        "lstm1.weight_ih": (80, 6),
        "lstm1.weight_hh": (80, 20),
        "gru2.weight_ih": (60, 20),
        "linear.weight": (2, 20),
    },
    "mamba_minimal": {
        "embedding.weight": (83, 24),
        "blocks.0.in_proj.weight": (96, 24),
        "blocks.0.conv1d.weight": (48, 1, 4),
        "blocks.0.out_proj.weight": (24, 48),
        "blocks.1.D": (48,),
    },
    # The two parts of a complex number stay; the state is a table's, which no layer brings forth.
    "s4d": {"embedding.weight": (83, 24), "blocks.0.C": (24, 2, 2), "blocks.1.D": (24,)},
    "experts_loop": {
        "first.weight": (24, 12),
        "layers.0.gate.weight": (4, 24),
        "layers.1.experts.3.0.weight": (48, 24),
    },
    # 10 products of pairs stay, beside 8 of the 16 of the dense features.
    "dlrm": {
        "emb_l.0.weight": (7, 8),
        "bot_l.2.weight": (8, 24),
        "top_l.0.weight": (32, 8 + 10),
    },
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", SHAPES)
def test_half_of_the_channels(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = wild_zoo.build(name)
    config = CompressConfig(heads="inside")
    result = compress(model, inputs, method="l2", target="channels=0.5", config=config)
    assert isinstance(result, Compressed)
    state = result.model.state_dict()
    found = {key: tuple(state[key].shape) for key in SHAPES[name]}
    assert found == SHAPES[name]
    assert result.certificate.passed
