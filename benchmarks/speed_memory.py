"""Peak memory of analysing a Llama of 7 billion parameters that exists on the meta device only."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.conditions import set_up
from benchmarks.models.imagenet import torchvision
from benchmarks.speed_versus import Stopwatch
from graphprune import Plan, analyse, capture, choose, score_channels
from graphprune.importance.learn_config import LearnConfig
from graphprune.quiet import quiet

LLAMAS: dict[str, dict[str, int]] = {
    "llama-7b": {"num_key_value_heads": 32},
    "llama-7b-gqa": {"num_key_value_heads": 8},
}
SIZES = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "vocab_size": 32000,
}
TOKENS = 16


def build(name: str, layers: int, **sizes: int) -> nn.Module:
    """A Llama without weights."""
    torchvision()  # transformers looks at it on import
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{**SIZES, **LLAMAS[name], **sizes}, num_hidden_layers=layers, use_cache=False
    )
    with torch.device("meta"):
        model: nn.Module = LlamaForCausalLM(config)
    return model.eval()


def high_water() -> float:
    """Most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, layers: int, **sizes: int) -> dict[str, Any]:
    """Capture, analysis, plan and its file, with CPU seconds and MB above what was held before."""
    with quiet():
        model = build(name, layers, **sizes)
    watch = Stopwatch()
    before = high_water()
    tokens = {"input_ids": torch.zeros(1, TOKENS, dtype=torch.int64, device="meta")}
    dense = watch.time("capture", lambda: capture(model, tokens))
    captured = high_water()
    analysis = watch.time("analyse", lambda: analyse(dense.module))
    learn = LearnConfig()
    scores = watch.time(
        "score", lambda: score_channels(dense, analysis, "random", None, learn=learn)
    )
    choice = watch.time("plan", lambda: choose(analysis, scores.by_group, "channels=0.5"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        choice.plan.save(path)
        Plan.load(path).keep(analysis)
    kept = [pair[1] for pair in choice.plan.widths.values()]
    return {
        "model": name,
        "layers": layers,
        "parameters": sum(p.numel() for p in model.parameters()),
        "groups": len(analysis.groups),
        "channels_kept": sum(kept) / sum(pair[0] for pair in choice.plan.widths.values()),
        "seconds": {stage: round(n, 2) for stage, n in watch.seconds.items()},
        "mb_before": round(before),
        "mb_capture": round(captured - before),
        "mb_peak": round(high_water() - before),
    }


if __name__ == "__main__":
    set_up(0, 1)
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
