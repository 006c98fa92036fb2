"""Counting faces: the same whatever the blocks, and as a slow count says."""

from __future__ import annotations

from collections import Counter

import numpy as np

from segmend.synthetic.blocks import render_box
from segmend.synthetic.design import draw_blueprint
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.survey import Survey, survey_blocks
from segmend.synthetic.tissue import Tissue


def test_faces_do_not_depend_on_the_blocks(spec: TissueSpec) -> None:
    blueprint, whole = draw_blueprint(spec), spec.grid.voxels
    by_blocks, at_once = Survey(blueprint), Survey(blueprint)
    blocks = list(survey_blocks(blueprint, by_blocks))
    assert len(blocks) > 4
    at_once.add(whole, render_box(blueprint, whole).fragments)
    np.testing.assert_array_equal(by_blocks.voxels, at_once.voxels)
    first, second = by_blocks.faces(), at_once.faces()
    assert list(first) == list(second)
    for pair, faces in first.items():
        np.testing.assert_array_equal(faces, second[pair])


def test_faces_are_those_a_slow_count_finds(spec: TissueSpec, tissue: Tissue) -> None:
    blueprint = draw_blueprint(spec)
    survey = Survey(blueprint)
    for _ in survey_blocks(blueprint, survey):
        pass
    owner, segment = blueprint.owner, blueprint.segment
    ours = Counter(
        ("neuron" if owner[a] == owner[b] else "segment", axis)
        for (a, b), faces in survey.faces().items()
        for axis in faces[:, 3].tolist()
    )
    assert all(owner[a] == owner[b] or segment[a] == segment[b] for a, b in survey.faces())
    slow: Counter[tuple[str, int]] = Counter()
    for axis in range(3):
        n = np.moveaxis(tissue.neurons, axis, 0)
        s = np.moveaxis(tissue.automatic, axis, 0)
        slow["neuron", axis] = int(((n[:-1] == n[1:]) & (s[:-1] != s[1:])).sum())
        slow["segment", axis] = int(((n[:-1] != n[1:]) & (s[:-1] == s[1:])).sum())
    assert ours == slow
