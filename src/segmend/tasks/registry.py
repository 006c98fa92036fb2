"""All tasks by name."""

from __future__ import annotations

from segmend.core.errors import BadInputError
from segmend.core.registry import Registry
from segmend.tasks.false_merge_identification import FALSE_MERGE_IDENTIFICATION
from segmend.tasks.false_split_correction import FALSE_SPLIT_CORRECTION
from segmend.tasks.split_mask_generation import SPLIT_MASK_GENERATION
from segmend.tasks.task import Task

TASKS: Registry[Task] = Registry("task")
"""To add a task: one file that defines it, one line here, one subclass of `TaskContract`."""

for _task in (FALSE_SPLIT_CORRECTION, FALSE_MERGE_IDENTIFICATION, SPLIT_MASK_GENERATION):
    TASKS.add(_task.name, _task)

ALL = "all"


def tasks_named(names: str) -> tuple[Task, ...]:
    """Tasks by name, in the order of `TASKS`, so that the order of asking has no influence.

    Args:
        names: Names with commas between them, or ``all``.

    Raises:
        UnknownNameError: if there is no such task.
        BadInputError: if one is named twice.
    """
    if names == ALL:
        return tuple(TASKS.values())
    asked = names.split(",")
    if len(set(asked)) < len(asked):
        raise BadInputError(f"a task is named twice in '{names}'", fix="Name each once")
    wanted = {TASKS[name].name for name in asked}
    return tuple(task for name, task in TASKS.items() if name in wanted)
