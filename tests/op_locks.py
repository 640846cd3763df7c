"""What is locked, held against what would come of removing it.

A lock is needed where a call on slices without some position is not the call on the whole with that
position at zero: what the layers before and behind lose then changes what the call makes of the
rest. A call that cannot be made on the slices at all needs it too.
"""

from __future__ import annotations

import torch
from op_oracle import LIMIT, Kept, named, network_of, recomputed, zeroed
from op_record import Around, Record

from graphprune.errors import CertificateError
from graphprune.proof.compare import max_relative_error


def locked_name(record: Record) -> str:
    """The dimension that layers bring forth and that may lose nothing, "" for none."""
    if record.along:
        return record.along if record.along in record.locked.split() else ""
    brought = {record.brought(term) for term in record.inputs if "b" in term}
    return "" if record.free else min(brought)


def is_needed(record: Record) -> bool:
    """Whether removing some position along the locked dimension of this network is wrong."""
    model, _ = network_of(record)
    locked = locked_name(record)
    return any(_is_wrong(model, locked, position) for position in range(record.size[locked]))


def _is_wrong(model: Around, name: str, position: int) -> bool:
    record = model.record
    kept = {record.read: list(range(record.size[record.read]))}
    kept[name] = [other for other in range(record.size[name]) if other != position]
    every = {other: list(range(size)) for other, size in record.size.items()} | kept
    kept |= {other: of(every) for other, of in record.maps.items()}
    with torch.no_grad():
        try:
            alone = recomputed(record, model, kept)
        except (RuntimeError, IndexError):  # torch refuses the slices
            return True
        whole = zeroed(record, model, _by_parameter(record, kept))
    if name in record.output and name != record.read:
        whole = whole.index_select(record.output.index(name), torch.tensor(kept[name]))
    try:
        return max_relative_error(alone, whole) > LIMIT
    except CertificateError:  # of other shapes, or no numbers
        return True


def _by_parameter(record: Record, kept: dict[str, list[int]]) -> Kept:
    """What is kept of each parameter of the network."""
    found: Kept = {}
    for parameter, dim, name in named(record):
        if name in kept:
            found.setdefault(parameter, {})[dim] = kept[name]
    return found
