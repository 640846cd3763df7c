"""Which channel groups are of one structure, whatever their sizes and names.

After Fang, Ma, Mi & Wang, "Isomorphic pruning for vision models" (ECCV 2024): scores of unlike
structures (the stream, the inside of an MLP, attention) lie on unlike scales, so only groups whose
graphs are isomorphic are ranked against each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import networkx as nx
import numpy as np
from torch import fx

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.labels.slots import varying
from graphprune.shrinking.rewrite import all_labels

_ROUNDS = 8
"""How far around it a node's surroundings are compared, in steps of the graph."""


def signatures(analysis: Analysis, clusters: Sequence[Sequence[ChannelGroup]]) -> list[str]:
    """A text for each cluster of groups, the same for those of one structure.

    The structure of a cluster is a graph: the operators and parameters that hold its channels and
    the operators that read those, linked as values flow. Nodes are told apart by their operator and
    by the dimensions along which the channels lie, edges by the place of the argument. Sizes,
    strides and names play no part. Two graphs count as isomorphic if the Weisfeiler-Lehman test
    does not tell them apart.

    Args:
        analysis: of the captured graph.
        clusters: groups that are thinned together.
    """
    owner = np.full(analysis.classes + 1, -1)
    for number, groups in enumerate(clusters):
        for group in groups:
            owner[group.channels] = number
    held: dict[int, dict[fx.Node, str]] = defaultdict(dict)
    for node in analysis.module.graph.nodes:
        for number, dims in _held_by(analysis, node, owner).items():
            held[number][node] = f"{_kind(node)} {sorted(dims)}"
    return [_hash(held[number]) for number in range(len(clusters))]


def _held_by(
    analysis: Analysis, node: fx.Node, owner: np.ndarray
) -> dict[int, set[tuple[int, ...]]]:
    """By cluster, the dimensions of the node's values along which its channels lie."""
    found: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    for slot in all_labels(analysis.context, node):
        for number in np.unique(owner[analysis.slot_classes(slot)]).tolist():
            if number >= 0:
                found[number].add(varying(slot))
    return found


def _kind(node: fx.Node) -> str:
    return "parameter" if node.op == "get_attr" else str(node.target)


def _hash(holding: dict[fx.Node, str]) -> str:
    graph = nx.Graph()
    for node, label in holding.items():
        graph.add_node(node, kind=label)
        for user in node.users:
            if user not in holding and user.op == "call_function":
                graph.add_node(user, kind=_kind(user))
    for node in graph:
        for place, source in enumerate(node.all_input_nodes):
            if source in graph:
                graph.add_edge(source, node, place=str(place))
    return str(
        nx.weisfeiler_lehman_graph_hash(
            graph, node_attr="kind", edge_attr="place", iterations=_ROUNDS, digest_size=32
        )
    )
