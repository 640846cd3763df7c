"""Scales of normalisations: a channel that its norm makes small matters little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import Evidence, parameters_by_channel, sum_by_channel
from graphprune.criteria.magnitude import L2
from graphprune.graph.schema import get_argument
from graphprune.io.text import few
from graphprune.switches.affine import affine_operands


@dataclass(frozen=True)
class NormScale:
    """Absolute scale (gamma) of the normalisation, its mean where a channel passes several.

    ``|gamma_j|`` of ``gamma_j (x - mean) / sqrt(var + eps) + beta_j``: Liu, Li, Shen, Huang, Yan &
    Zhang, "Learning efficient convolutional networks through network slimming" (ICCV 2017), section
    3 (numbers of its equations were not checked), without their sparsity training, which is the
    user's. They have batch norms alone; here the scales of layer, group, instance and RMS norms
    count too.

    A group that no norm scales, or not all of it, is ranked by L2 instead, scaled so that its mean
    is that of the other groups' scores, and a note says so.
    """

    name: ClassVar[str] = "bn-scale"

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float64, shape (D,)."""
        analysis = evidence.analysis
        scales = _scale_names(analysis)
        found = {g.name: _mean_scale(analysis, g, scales) for g in analysis.groups}
        scaled = {name: values for name, values in found.items() if values is not None}
        without = tuple(g for g in analysis.groups if g.name not in scaled)
        if without:
            shown = few(group.name for group in without)
            evidence.note(f"no norm scales all of {shown}: ranked by the L2 norm of weights")
        return {**scaled, **_by_weights(evidence, without, scaled)}


def _scale_names(analysis: Analysis) -> set[str]:
    """Parameters that some normalisation of the graph takes for its scale."""
    names = set()
    for node in analysis.module.graph.nodes:
        if "weight" in affine_operands(node):
            weight = get_argument(node, "weight")
            if isinstance(weight, fx.Node) and weight.op == "get_attr":
                names.add(str(weight.target))
    return names


def _mean_scale(analysis: Analysis, group: ChannelGroup, scales: set[str]) -> torch.Tensor | None:
    total = torch.zeros(group.size, dtype=torch.float64)
    count = torch.zeros(group.size, dtype=torch.float64)
    for name, values, channels in parameters_by_channel(analysis, group):
        if name in scales:
            total += sum_by_channel(values.abs(), channels, group.size).cpu()
            count += sum_by_channel(torch.ones_like(values), channels, group.size).cpu()
    return total / count if bool((count > 0).all()) else None


def _by_weights(
    evidence: Evidence, groups: tuple[ChannelGroup, ...], scaled: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    if not groups:
        return {}
    norms = L2().score(evidence)
    level = torch.cat(list(scaled.values())).mean() if scaled else torch.ones(())
    return {g.name: norms[g.name] / norms[g.name].mean().clamp(min=1e-30) * level for g in groups}
