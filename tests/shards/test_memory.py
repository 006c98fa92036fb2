from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from segmend.shards.memory import Pool


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_last_view_is_gone_and_not_before() -> None:
    pool = Pool()
    first = pool.empty((400, 500), "float16")
    first[:] = 7
    place, tensor = address(first), torch.from_numpy(first)
    part = tensor[1:3]
    del first, tensor
    other = pool.empty((400, 500), "float16")
    other[:] = 0
    assert address(other) != place
    assert (part == 7).all()
    del part
    assert address(pool.empty((500, 400), "float16")) == place


def test_pieces_of_another_size_are_not_handed_out() -> None:
    pool = Pool()
    place = address(pool.empty((1_000_000,), "uint8"))
    small, near = pool.empty((500_000,), "uint8"), pool.empty((900_000,), "uint8")
    assert address(small) != place
    assert address(near) == place
    assert near.shape == (900_000,)


def test_no_two_arrays_in_use_share_memory() -> None:
    pool = Pool()
    rng = np.random.default_rng(0)
    held: list[np.ndarray] = []
    for number in range(200):
        held.append(pool.empty((int(rng.integers(8_000, 64_000)),), "int64"))
        held[-1][:] = number
        assert all(len(np.unique(array)) == 1 for array in held)
        if len(held) > 6:
            held.pop(int(rng.integers(len(held))))


def test_as_much_is_kept_as_was_used_at_a_time_and_no_more() -> None:
    pool = Pool()
    held = [pool.empty((100_000,), "uint8") for _ in range(7)]
    places = {address(array) for array in held}
    del held
    again = [pool.empty((100_000,), "uint8") for _ in range(7)]
    assert {address(array) for array in again} == places
    del again
    for size in range(1, 20):  # pieces of many sizes do not pile up
        pool.empty((200_000 * size,), "uint8")
    assert len(pool._free) <= 7


def test_a_pool_may_have_a_limit() -> None:
    pool = Pool(at_most=2)
    held = [pool.empty((100_000,), "uint8") for _ in range(7)]
    del held
    assert len(pool._free) == 2
    assert pickle.loads(pickle.dumps(pool))._at_most == 2


def test_threads_share_a_pool_and_never_a_piece() -> None:
    pool = Pool()

    def work(number: int) -> bool:
        arrays = [pool.empty((70_000 + number,), "uint8") for _ in range(3)]
        for array in arrays:
            array[:] = number % 251
        return all((array == number % 251).all() for array in arrays)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(400)))
    assert len(pool._free) <= 12


def test_copies_begin_empty() -> None:
    pool = Pool()
    pool.empty((8,), "uint8")
    assert pickle.loads(pickle.dumps(pool)).empty((8,), "uint8").shape == (8,)
