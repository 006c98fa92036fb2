"""All tasks by name."""

from __future__ import annotations

from segmend.core.registry import Registry
from segmend.tasks.false_merge_identification import FALSE_MERGE_IDENTIFICATION
from segmend.tasks.false_split_correction import FALSE_SPLIT_CORRECTION
from segmend.tasks.split_mask_generation import SPLIT_MASK_GENERATION
from segmend.tasks.task import Task

TASKS: Registry[Task] = Registry("task")
"""To add a task: one file that defines it, one line here, one subclass of `TaskContract`."""

for _task in (FALSE_SPLIT_CORRECTION, FALSE_MERGE_IDENTIFICATION, SPLIT_MASK_GENERATION):
    TASKS.add(_task.name, _task)
