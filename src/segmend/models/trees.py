"""Boosted trees as plain arrays: saved without pickle, evaluated without scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trees:
    """Binary regression trees whose leaves add up to a log odds.

    All nodes of all trees lie one after the other; a row goes left where its feature is at most
    the threshold.

    Attributes:
        roots: First node of each tree, int32 (trees,).
        feature: Feature that a node asks for, int32 (nodes,).
        threshold: What it is compared with, float64 (nodes,).
        left: Node for smaller or equal values, int32 (nodes,); a leaf points at itself.
        right: Node for larger values, int32 (nodes,); a leaf points at itself.
        value: What a leaf adds, float64 (nodes,).
        baseline: Log odds before the first tree, float64 (1,).
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Matrix
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Matrix
    baseline: Matrix

    def staged(self, rows: Matrix) -> Matrix:
        """Log odds after the baseline and after each tree, float64 (rows, trees + 1).

        Args:
            rows: Finite features, float64 (rows, features).
        """
        stages = np.empty((len(rows), len(self.roots) + 1))
        stages[:, 0] = self.baseline[0]
        index = np.arange(len(rows))
        for tree, root in enumerate(self.roots):
            node = np.full(len(rows), root)
            while True:
                goes_left = rows[index, self.feature[node]] <= self.threshold[node]
                child = np.where(goes_left, self.left[node], self.right[node])
                if np.array_equal(child, node):
                    break
                node = child
            stages[:, tree + 1] = stages[:, tree] + self.value[node]
        return stages

    def log_odds(self, rows: Matrix) -> Matrix:
        """Log odds of label 1, float64 (rows,)."""
        return self.staged(rows)[:, -1]

    def first(self, count: int) -> Trees:
        """Only the first trees."""
        stop = self.roots[count] if count < len(self.roots) else len(self.feature)
        nodes = {
            name: getattr(self, name)[:stop]
            for name in ("feature", "threshold", "left", "right", "value")
        }
        return Trees(roots=self.roots[:count], baseline=self.baseline, **nodes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The attributes by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, features: int) -> Trees:
        """Trees from saved arrays, checked so that evaluation ends and stays inside the arrays.

        Args:
            arrays: As `arrays` gives them.
            features: Number of features of a row.

        Raises:
            BadInputError: if a name is missing or the arrays are no trees.
        """
        names = {field.name for field in fields(cls)}
        if set(arrays) != names:
            raise BadInputError(
                "these weights are not boosted trees", found=f"arrays {sorted(arrays)}"
            )
        trees = cls(**{name: np.asarray(arrays[name]) for name in names})
        trees._check(features)
        return trees

    def _check(self, features: int) -> None:
        count = len(self.feature)
        nodes = np.arange(count)
        sizes = {getattr(self, name).shape for name in ("threshold", "left", "right", "value")}
        if sizes != {(count,)} or self.roots.ndim != 1 or self.baseline.shape != (1,):
            raise BadInputError("these weights are damaged: arrays of unequal length")
        leaf = (self.left == nodes) & (self.right == nodes)
        # Children come after their parent: no walk can run in a circle.
        inner = (self.left > nodes) & (self.right > nodes)
        inside = max(self.left.max(initial=0), self.right.max(initial=0)) < max(count, 1)
        asked = not count or (self.feature.min() >= 0 and self.feature.max() < features)
        roots = not len(self.roots) or (self.roots.min() >= 0 and self.roots.max() < count)
        numbers = all(
            np.isfinite(x).all() for x in (self.threshold[~leaf], self.value, self.baseline)
        )
        if not ((leaf | inner).all() and inside and asked and roots and numbers):
            raise BadInputError("these weights are damaged: the nodes do not form trees")


def from_sklearn(booster: Any) -> Trees:
    """Take the trees out of a fitted binary ``HistGradientBoostingClassifier``.

    scikit-learn offers no public access to them (its own answer to saving is pickle), so the
    private node arrays are read; the caller checks that both evaluate to the same.

    Args:
        booster: Fitted without categorical features, on finite features.
    """
    nodes = [stage[0].nodes for stage in booster._predictors]  # noqa: SLF001
    starts = np.cumsum([0, *(len(tree) for tree in nodes)])
    every: NDArray[Any] = np.concatenate(nodes)
    offset = np.repeat(starts[:-1], np.diff(starts))
    leaf = every["is_leaf"].astype(bool)
    itself = np.arange(len(every))
    return Trees(
        roots=starts[:-1].astype(np.int32),
        feature=np.where(leaf, 0, every["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, 0.0, every["num_threshold"]),
        left=np.where(leaf, itself, every["left"] + offset).astype(np.int32),
        right=np.where(leaf, itself, every["right"] + offset).astype(np.int32),
        value=np.where(leaf, every["value"], 0.0).astype(np.float64),
        baseline=np.array(booster._baseline_prediction, dtype=np.float64).reshape(1),  # noqa: SLF001
    )
