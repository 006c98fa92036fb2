"""Should these two segments be merged?"""

from __future__ import annotations

from segmend.core.sample import EM_COLUMNS
from segmend.tasks.task import GEOMETRY, Task

FALSE_SPLIT_CORRECTION = Task(
    name="false_split_correction",
    version="1",
    dual=True,
    target_kind="binary",
    input_columns=(GEOMETRY, *EM_COLUMNS),
    label_columns=("false_split_correction_label",),
    doc="Given two segments: are they parts of one neuron, wrongly separated?",
)
