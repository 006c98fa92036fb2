"""What can be said without looking: the floor under every score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.core.random import keyed_generator
from segmend.core.sample import channel
from segmend.loaders.examples import Reading, examples
from segmend.models.model import (
    ALONE,
    Answers,
    Arrays,
    LogRow,
    Session,
    TrainSettings,
    pack_masks,
)
from segmend.models.views import VIEW_AXES
from segmend.shards.reader import Benchmark
from segmend.tasks.task import GEOMETRY, Inputs, Task


class Chance:
    """The prevalence for binary tasks; a random straight cut for masks.

    The constant prevalence has exactly AUROC 0.5, balanced accuracy 0.5 and an average precision
    equal to the prevalence of the split. The cut is the honest floor for masks: a random plane in
    space, keyed by seed and row, moved in each view through the centroid of the silhouette.
    """

    def __init__(self) -> None:
        self._prior = np.full(1, 0.5)
        self._seed = 0

    def fit(
        self,
        benchmark: Benchmark,
        tasks: Sequence[Task],
        settings: TrainSettings,
        session: Session = ALONE,
    ) -> Sequence[LogRow]:
        """Count the labels of the training split (binary tasks)."""
        (task,) = tasks
        self._seed = settings.seed
        if task.target_kind != "binary":
            return ()
        self._prior = np.array([float(examples(benchmark, task, "train").labels.mean())])
        session.report("counting labels", 1, 1)
        return ({"prevalence": float(self._prior[0])},)

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, session: Session = ALONE
    ) -> Answers:
        """The same probability for every row, or a random cut through every row."""
        # Only the silhouettes are looked at: EM is not even read.
        looked_at = replace(task, input_columns=(GEOMETRY,))
        rows = examples(benchmark, looked_at, split, Reading(targets=False, packed=session.packed))
        hashes = tuple(map(str, rows.hashes))
        if task.target_kind == "binary":
            return Answers(hashes, scores=np.full(len(rows), self._prior[0]))
        masks = []
        for done, example in enumerate(rows, start=1):
            masks.append(random_cut(example.inputs, self._seed, example.sample_hash))
            session.report("cutting", done, len(rows))
        return Answers(hashes, masks=pack_masks(masks))

    def arrays(self) -> Arrays:
        """The prevalence."""
        return {"prior": self._prior}

    def config(self) -> dict[str, Any]:
        """The key of the cuts."""
        return {"seed": self._seed}

    def restore(self, arrays: Arrays, config: Mapping[str, Any]) -> None:
        """Become a saved chance model."""
        prior = arrays.get("prior", np.zeros(0))
        if prior.shape != (1,) or not 0 <= prior[0] <= 1:
            raise BadInputError("these weights are not those of 'chance'", found=f"prior {prior}")
        self._prior, self._seed = prior, int(config["seed"])


def random_cut(inputs: Inputs, *key: object) -> NDArray[np.bool_]:
    """Side B of a random plane through the silhouette, (views, rows, columns).

    Args:
        inputs: A row.
        *key: What the direction of the plane depends on.
    """
    normal = keyed_generator("random_cut", *key).normal(size=3)
    silhouettes = inputs.geometry[:, channel("silhouette")] > 0
    return np.stack(
        [_cut(mask, view, normal) for mask, view in zip(silhouettes, inputs.views, strict=True)]
    )


def _cut(mask: NDArray[np.bool_], view: str, normal: NDArray[np.float64]) -> NDArray[np.bool_]:
    right, up, _ = np.array(VIEW_AXES[view]) @ normal
    rows, columns = np.indices(mask.shape)
    height = columns * right - rows * up
    return mask & (height > (height[mask].mean() if mask.any() else 0.0))
