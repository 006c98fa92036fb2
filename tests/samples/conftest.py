"""A small volume by hand in which every sample type has a candidate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segmend.core.grid import VoxelGrid
from segmend.edits.operation import Identity
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.samples.candidate import Candidate
from segmend.samples.context import SampleContext, SampleRules
from segmend.segments.contacts import find_contacts
from segmend.synthetic.history import Synapse

BIG = 2**60  # ids that a float64 cannot hold
GRID = VoxelGrid((20, 10, 10), (1000, 2000, 3000), (40, 60, 80))
RULES = SampleRules((150, 200), 10.0)
WEST, EAST, NEIGHBOUR, TRIPLE, FORKED = (BIG + i for i in range(1, 6))
"""Automatic segments: two halves of neuron 11, neuron 12, neurons 13 to 15 in one, neuron 16."""


def make_context() -> SampleContext:
    automatic = np.zeros(GRID.shape, np.uint64)
    neurons = np.zeros(GRID.shape, np.uint64)
    automatic[:, :10, :40], automatic[:, :10, 40:], neurons[:, :10] = WEST, EAST, BIG + 11
    automatic[:, 10:20], neurons[:, 10:20] = NEIGHBOUR, BIG + 12
    automatic[:, 20:30] = TRIPLE
    for i, part in enumerate((slice(0, 30), slice(30, 55), slice(55, 80))):
        neurons[:, 20:30, part] = BIG + 13 + i
    fork = fork_mask()
    automatic[fork], neurons[fork] = FORKED, BIG + 16
    contacts = find_contacts(automatic, GRID)
    identity = Identity("handmade", "1", "a")
    edits = overlap_edits(
        automatic, neurons, contacts, GRID, rules=OverlapRules(), identity=identity
    )
    cleft = (1400.0, 2100.0, 3200.0)
    synapse = Synapse(7, BIG + 11, BIG + 12, WEST, NEIGHBOUR, cleft, cleft, cleft)
    return SampleContext(
        *("handmade", "1", "a", "synthetic"),
        grid=GRID,
        automatic=automatic,
        neurons=neurons,
        contacts=contacts,
        edits=edits,
        synapses=(synapse, replace(synapse, cleft_id=8, center_nm=(1600.0, 2100.0, 3300.0))),
        rules=RULES,
        seed=0,
    )


def fork_mask() -> np.ndarray:
    """A trunk along x that forks at voxel (20, 45, 40) into two arms, tubes of 35 nm radius."""
    centres = GRID.centers(np.moveaxis(np.indices(GRID.shape), 0, -1))
    ends = [[20, 45, 4], [20, 34, 66], [20, 56, 66]]
    middle, *tips = GRID.centers(np.array([[20, 45, 40], *ends]))
    inside = np.zeros(GRID.shape, bool)
    for tip in tips:
        along = (tip - middle) / np.linalg.norm(tip - middle)
        t = np.clip((centres - middle) @ along, 0, np.linalg.norm(tip - middle))
        inside |= np.linalg.norm(centres - middle - t[..., None] * along, axis=-1) < 35
    return inside


@pytest.fixture(scope="session")
def handmade() -> SampleContext:
    return make_context()


@pytest.fixture(scope="session")
def fib25(shared_data) -> SampleContext:
    """FIB-25 as the example plan reads it: half-width 500 nm, jitter 50 nm."""
    from segmend.volumes.drivers.hdf5 import open_hdf5

    path = shared_data / "fib25" / "fib25.h5"
    volumes = [open_hdf5(path, f"volumes/labels/{key}") for key in ("automatic", "neuron_ids")]
    automatic, neurons = (volume[volume.box] for volume in volumes)
    grid = volumes[0].grid
    contacts = find_contacts(automatic, grid)
    identity = Identity("fib25", "automatic", "fib25")
    edits = overlap_edits(
        automatic, neurons, contacts, grid, rules=OverlapRules(), identity=identity
    )
    return SampleContext(
        *("fib25", "automatic", "fib25", "fly"),
        grid=grid,
        automatic=automatic,
        neurons=neurons,
        contacts=contacts,
        edits=edits,
        synapses=(),
        rules=SampleRules((500, 500), 50.0),
        seed=0,
    )


@pytest.fixture(scope="session")
def candidate() -> Candidate:
    """A merge at the origin; tests replace what they are about."""
    return Candidate(
        kind="merge_edit",
        dataset="handmade",
        version="1",
        volume="a",
        species="synthetic",
        operation_id="op",
        key="",
        anchor_nm=(0.0, 0.0, 0.0),
        segments=(1, 2),
        sides=(),
        swapped=False,
        render_center_nm=(0.0, 0.0, 0.0),
        view_extent_nm=100.0,
        cluster_id=1,
        neurons=(1,),
    )
