"""The table of operators: one record for each rule. See op_record.py."""

from __future__ import annotations

from op_records_depthwise import DEPTHWISE
from op_records_direct import DECOMPOSED, IN_PLACE, RECURRENT
from op_records_indexed import CELLS, EXTREMES, INDEXED, MASKED, UNFOLDED
from op_records_losses import LOSSES
from op_records_moves import CREATED, MOVES
from op_records_pointwise import NORMS, POINTWISE
from op_records_products import CONTRACTIONS
from op_records_reductions import REDUCTIONS
from op_records_spectral import SPECTRAL
from op_records_windows import WINDOWS

FAMILIES = (
    POINTWISE,
    CONTRACTIONS,
    DEPTHWISE,
    NORMS,
    REDUCTIONS,
    MOVES,
    WINDOWS,
    CREATED,
    DECOMPOSED,
    IN_PLACE,
    RECURRENT,
    EXTREMES,
    MASKED,
    INDEXED,
    UNFOLDED,
    CELLS,
    SPECTRAL,
    LOSSES,
)
RECORDS = {record.name: record for family in FAMILIES for record in family}
assert len(RECORDS) == sum(map(len, FAMILIES)), "two records of one name"
