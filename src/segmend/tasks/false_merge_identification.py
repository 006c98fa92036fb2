"""Does this segment hold more than one neuron?"""

from __future__ import annotations

from segmend.core.sample import EM_COLUMNS, em_column
from segmend.tasks.task import GEOMETRY, Task

FALSE_MERGE_IDENTIFICATION = Task(
    name="false_merge_identification",
    version="1",
    dual=False,
    target_kind="binary",
    input_columns=(GEOMETRY, *(c for c in EM_COLUMNS if c != em_column("best"))),
    label_columns=("false_merge_identification_label",),
    doc="Given one segment: is it several neurons, wrongly united?",
)
