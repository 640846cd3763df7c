"""Operators with a rule but without a record, and why."""

from __future__ import annotations

_RANDOM = "random: two calls on the same channels differ"
_CONSTANT = "makes numbers that depend on the position, without any input; see 'arange added'"
_NO_TENSOR = "returns a number, not a tensor"
_NEVER = "torch.export does not leave it in a graph; it is there for graphs made otherwise"

REASONS: dict[str, str] = {
    **dict.fromkeys(("rand", "rand_like", "randn", "randn_like", "randint"), _RANDOM),
    **dict.fromkeys(("bernoulli", "bernoulli_"), _RANDOM),
    **dict.fromkeys(("eye", "linspace", "scalar_tensor"), _CONSTANT),
    **dict.fromkeys(("sym_size", "sym_numel"), _NO_TENSOR),
    "dot": "its operands and its result have no batch; it is matmul in all else",
    "_weight_norm_interface": f"{_NEVER}; the records have _weight_norm",
    "lift_fresh": f"{_NEVER}: it marks constants, and is dropped as it does nothing",
    **dict.fromkeys(("grid_sampler_2d", "grid_sampler_3d"), f"{_NEVER}; the records: grid_sample"),
    "_embedding_bag": f"{_NEVER}; the records have embedding_bag",
    **dict.fromkeys(("_fft_r2c", "_fft_c2r", "_fft_c2c"), f"{_NEVER}; the records have fft_…"),
}
