"""Synapses: the table agrees with the voxels, and the picture shows which side is which."""

from __future__ import annotations

import numpy as np

from segmend.synthetic.tissue import Tissue


def test_the_table_agrees_with_the_voxels(tissue: Tissue) -> None:
    grid = tissue.spec.grid
    assert {s.cleft_id for s in tissue.synapses} == set(np.unique(tissue.clefts).tolist()) - {0}
    for synapse in tissue.synapses:
        assert tissue.clefts[grid.voxel_at(synapse.center_nm)] == synapse.cleft_id
        pre, post = grid.voxel_at(synapse.pre_point_nm), grid.voxel_at(synapse.post_point_nm)
        assert tissue.neurons[pre] == synapse.pre_neuron
        assert tissue.neurons[post] == synapse.post_neuron
        assert tissue.automatic[pre] == synapse.pre_segment
        assert tissue.automatic[post] == synapse.post_segment
        assert tissue.clefts[pre] == tissue.clefts[post] == 0
        assert synapse.pre_neuron != synapse.post_neuron


def test_a_cleft_lies_between_its_two_partners(tissue: Tissue) -> None:
    for synapse in tissue.synapses:
        held = np.unique(tissue.neurons[tissue.clefts == synapse.cleft_id])
        assert set(held.tolist()) == {synapse.pre_neuron, synapse.post_neuron}


def test_the_postsynaptic_side_is_darker(tissue: Tissue) -> None:
    size = np.array(tissue.spec.voxel_size)
    index = np.moveaxis(np.indices(tissue.spec.shape), 0, -1)
    seen = np.broadcast_to((tissue.em.max(axis=(1, 2)) > 0)[:, None, None], tissue.spec.shape)
    darker = 0
    for synapse in tissue.synapses:
        middle = np.array(tissue.spec.grid.voxel_at(synapse.center_nm))
        low = np.maximum(middle - (np.array([90, 90, 90]) / size).astype(int), 0)
        high = middle + (np.array([90, 90, 90]) / size).astype(int) + 1
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        cleft = (index[box][tissue.clefts[box] == synapse.cleft_id] + 0.5) * size
        away = np.linalg.norm((index[box] + 0.5)[..., None, :] * size - cleft, axis=-1).min(axis=-1)
        near = (away < 30) & (tissue.clefts[box] == 0) & seen[box]
        sides = [
            tissue.em[box][near & (tissue.neurons[box] == n)].mean()
            for n in (synapse.pre_neuron, synapse.post_neuron)
        ]
        darker += sides[1] < sides[0]
    assert darker > 0.8 * len(tissue.synapses)
