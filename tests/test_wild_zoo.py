"""The wild zoo: all of it is small and runs, and some of it loses what a person would remove."""

from __future__ import annotations

import pytest
import torch
from torch.utils import _pytree as pytree

from benchmarks.zoos.wild_zoo import build, names
from graphprune import compress
from graphprune.capturing.capture import normalise_inputs
from graphprune.graph.trees import to_plain
from graphprune.quiet import quiet

MOST_PARAMETERS = 2_000_000

# Half of every dimension of channels, worked out by hand from each forward.
EXPECTED = {
    # Maxima and means over channels are those of the channels kept.
    "cbam": {
        "stem.0.weight": (16, 3, 3, 3),
        "conv1.weight": (32, 16, 3, 3),
        "gate1.mlp.1.weight": (8, 32),
        "gate1.spatial.weight": (1, 2, 7, 7),
        "fc.weight": (10, 16),
    },
    # Nine window positions for each of 16 channels; four of each channel that is folded back,
    # which are 64 still: a channel is added to one of 32.
    "unfold_fold": {
        "conv2.weight": (16, 16, 3, 3),
        "score.weight": (9, 16, 1, 1),
        "soft.weight": (32, 16 * 9),
        "back.weight": (16 * 4, 32),
    },
    # Both ends of an edge and its own features, 24 each; three gates of 24 hidden units.
    "message_passing_index_add": {
        "embedding.weight": (9, 24),
        "edge.weight": (24, 4),
        "message.weight": (32, 3 * 24),
        "update.weight_ih": (3 * 24, 32),
        "update.weight_hh": (3 * 24, 24),
        "readout.weight": (3, 32 + 24),
    },
    # All 16 pixels of a channel go together; the noise, an input, keeps the embedding's width.
    "dcgan_class_conditional": {
        "label_emb.weight": (4, 32),
        "l1.weight": (32 * 16, 32),
        "deconv1.weight": (32, 24, 4, 4),
        "gain.weight": (4, 2 * 24),
    },
    # The vectors of the power iteration follow; one channel more of deviations.
    "discriminator_spectral_norm": {
        "conv1.parametrizations.weight.original": (16, 3, 4, 4),
        "conv2.weight_orig": (32, 16, 4, 4),
        "final.weight": (32, 32 + 1, 3, 3),
        "linear.0.weight": (16, 32 * 16),
    },
    # Two of four heads, as they lie side by side in one parameter.
    "graph_attention_edges": {
        "source": (1, 2, 16),
        "proj.weight": (4 * 8, 12),
        "bias": (4 * 8,),
        "mlp.0.weight": (32, 4 * 8),
    },
    # The kernel that is the identity loses the same channels on both sides.
    "repvgg_fused": {
        "stem.weight": (8, 3, 3, 3),
        "conv3.weight": (8, 8, 3, 3),
        "conv1.weight": (8, 8, 1, 1),
        "norms.2.weight": (8,),
        "fc.weight": (4, 8),
    },
    # Nine offsets in two directions stay; the features that they pick from do not.
    "deform_gather": {
        "stem.weight": (6, 3, 3, 3),
        "offset.weight": (18, 6, 3, 3),
        "conv.weight": (10, 6, 3, 3),
    },
    # A table of sines is shortened as a buffer would be.
    "sines_in_forward": {
        "embed.weight": (16, 5),
        "encoder.layers.1.linear1.weight": (32, 16),
        "out.weight": (3, 16),
    },
}


@pytest.mark.parametrize("name", names())
def test_model_is_small_and_runs(name: str) -> None:
    torch.manual_seed(0)
    with quiet():  # as people write it, warnings and all
        model, inputs = build(name)
    assert not any(module.training for module in model.modules())
    assert 0 < sum(parameter.numel() for parameter in model.parameters()) < MOST_PARAMETERS
    args, kwargs = normalise_inputs(inputs)
    with torch.no_grad(), quiet():
        outputs = pytree.tree_leaves(to_plain(model(*args, **kwargs)))
    tensors = [leaf for leaf in outputs if isinstance(leaf, torch.Tensor)]
    assert tensors
    assert all(bool(leaf.isfinite().all()) for leaf in tensors)


@pytest.mark.parametrize("name", EXPECTED)
def test_model_loses_what_it_should(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = build(name)
    result = compress(model, inputs, method="l2", target="channels=0.5")
    assert result.certificate.passed
    shapes = {key: tuple(value.shape) for key, value in result.model.named_parameters()}
    assert {key: shapes[key] for key in EXPECTED[name]} == EXPECTED[name]
