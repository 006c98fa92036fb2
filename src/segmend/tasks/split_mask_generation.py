"""Where does this segment have to be cut?"""

from __future__ import annotations

from segmend.core.sample import EM_COLUMNS, SPLIT_MASK_COLUMNS, em_column
from segmend.tasks.task import GEOMETRY, Task

SPLIT_MASK_GENERATION = Task(
    name="split_mask_generation",
    version="1",
    dual=False,
    target_kind="split_mask",
    input_columns=(GEOMETRY, *(c for c in EM_COLUMNS if c != em_column("best"))),
    label_columns=SPLIT_MASK_COLUMNS,
    doc="Given one segment that is several neurons: which side does each of its pixels belong to?",
)
