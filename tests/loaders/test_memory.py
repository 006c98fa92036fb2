from __future__ import annotations

import pickle

import numpy as np
import torch

from segmend.loaders.memory import Pool


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_last_view_is_gone_and_not_before() -> None:
    pool = Pool()
    first = pool.empty((4, 5), "float16")
    first[:] = 7
    place, tensor = address(first), torch.from_numpy(first)
    part = tensor[1:3]
    del first, tensor
    other = pool.empty((4, 5), "float16")
    other[:] = 0
    assert address(other) != place
    assert (part == 7).all()
    del part
    assert address(pool.empty((5, 4), "float16")) == place


def test_pieces_of_another_size_are_not_handed_out() -> None:
    pool = Pool()
    place = address(pool.empty((100,), "uint8"))
    small, near = pool.empty((50,), "uint8"), pool.empty((90,), "uint8")
    assert address(small) != place
    assert address(near) == place
    assert near.shape == (90,)


def test_no_two_arrays_in_use_share_memory() -> None:
    pool = Pool()
    rng = np.random.default_rng(0)
    held: list[np.ndarray] = []
    for number in range(200):
        held.append(pool.empty((int(rng.integers(1, 64)),), "int64"))
        held[-1][:] = number
        assert all(len(np.unique(array)) == 1 for array in held)
        if len(held) > 6:
            held.pop(int(rng.integers(len(held))))


def test_copies_begin_empty() -> None:
    pool = Pool()
    pool.empty((8,), "uint8")
    assert pickle.loads(pickle.dumps(pool)).empty((8,), "uint8").shape == (8,)
