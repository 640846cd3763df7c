"""Plan: which positions of which parameters stay. It computes nothing and slices nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphprune.analysis.groups import Analysis
from graphprune.errors import UsageError
from graphprune.labels.slots import varying
from graphprune.shrinking.keep import Keep

FORMAT = 1

Kept = dict[str, dict[int, list[int] | list[list[int]]]]


class PlanError(UsageError):
    """The plan cannot be read or does not fit the model."""


@dataclass(frozen=True)
class Plan:
    """What stays of a model.

    Attributes:
        kept: for each shrunk parameter or buffer, by qualified name, the kept positions of each
            shrunk dimension in order; a list per kept row where rows keep different positions.
        fingerprint: of the graph and its parameter shapes; a plan fits no other model.
        target: what was asked for, such as ``macs=0.5``.
        method: how channels were scored.
        widths: by channel group, (channels before, channels after). Pinned channels are in no
            group: all of a group may go where such stay.
    """

    kept: Kept
    fingerprint: str
    target: str = ""
    method: str = ""
    widths: dict[str, tuple[int, int]] = field(default_factory=dict)

    def keep(self, analysis: Analysis) -> Keep:
        """The plan as a Keep over the analysed graph.

        Raises:
            PlanError: it was made for another model, or its positions do not agree.
        """
        if self.fingerprint != fingerprint(analysis):
            raise PlanError(
                "the plan was made for another model (its graph or shapes differ); "
                "make a new plan for this one"
            )
        keep = analysis.keep(self.classes(analysis))
        for name, (labels, _) in analysis.leaves.items():
            if keep.indices(labels) != self.kept.get(name, {}):
                raise PlanError(
                    f"the plan contradicts itself at {name}: coupled channels must go together; "
                    "make a new plan"
                )
        return keep

    def classes(self, analysis: Analysis) -> np.ndarray:
        """Which classes of the analysed graph stay, bool by class.

        Raises:
            PlanError: the plan names a parameter that the model does not have.
        """
        classes = np.ones(analysis.classes, dtype=bool)
        for name, dims in self.kept.items():
            if name not in analysis.leaves:
                raise PlanError(f"the plan names {name}, which the model does not have")
            labels, shape = analysis.leaves[name]
            for slot in labels:
                vary = varying(slot)
                if not vary or vary[-1] not in dims:
                    continue
                matrix = analysis.slot_classes(slot).reshape(-1, shape[vary[-1]])
                removed = _removed(matrix, dims[vary[-1]], dims.get(vary[0]))
                classes[removed[removed >= 0]] = False
        return classes

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dump``."""
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "target": self.target,
            "method": self.method,
            "widths": {name: list(pair) for name, pair in self.widths.items()},
            "kept": {
                name: {str(dim): positions for dim, positions in dims.items()}
                for name, dims in self.kept.items()
            },
        }

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """Inverse of :meth:`to_json`.

        Raises:
            PlanError: the data are no plan of this format.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise PlanError(f"not a graphprune plan of format {FORMAT}; make a new plan")
        try:
            kept: Kept = {
                name: {int(dim): positions for dim, positions in dims.items()}
                for name, dims in data["kept"].items()
            }
            widths = {name: (int(a), int(b)) for name, (a, b) in data["widths"].items()}
            return cls(
                kept, str(data["fingerprint"]), str(data["target"]), str(data["method"]), widths
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(f"the plan is damaged ({error}); make a new plan") from error

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan written by :meth:`save`.

        Raises:
            PlanError: the file is missing or no plan.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise PlanError(f"cannot read the plan {path}: {error}") from error


def _removed(matrix: np.ndarray, positions: Any, rows: Any) -> np.ndarray:
    """Classes that a plan removes from a (rows, columns) matrix of classes, in any order."""
    gone = np.ones(matrix.shape, dtype=bool)
    if positions and isinstance(positions[0], list):
        chosen = rows if rows is not None and len(rows) == len(positions) else range(len(positions))
        gone[:] = False
        for row, kept in zip(chosen, positions, strict=True):
            gone[row] = True
            gone[row, kept] = False
    else:
        gone[:, list(positions)] = False
    result: np.ndarray = matrix[gone]
    if len(matrix) == 1:  # what is kept of rows and of their columns says which of both went
        result = np.setdiff1d(result, matrix[~gone])
    return result


def fingerprint(analysis: Analysis) -> str:
    """SHA-256 over operations, parameter names and shapes; the weights' values do not matter."""
    digest = hashlib.sha256()
    for node in analysis.module.graph.nodes:
        if node.op == "call_function":
            digest.update(f"{node.target}({[str(n) for n in node.all_input_nodes]})".encode())
    for name, (_, shape) in sorted(analysis.leaves.items()):
        digest.update(f"{name}{shape}".encode())
    return digest.hexdigest()


def plan_from_classes(
    analysis: Analysis, classes: np.ndarray, *, target: str = "", method: str = ""
) -> Plan:
    """Plan that keeps the classes marked True (bool by class)."""
    keep = analysis.keep(classes)
    kept = {name: keep.indices(labels) for name, (labels, _) in analysis.leaves.items()}
    widths = {g.name: (g.size, int(classes[g.channels].sum())) for g in analysis.groups}
    return Plan(
        {name: dims for name, dims in kept.items() if dims},
        fingerprint(analysis),
        target,
        method,
        widths,
    )
