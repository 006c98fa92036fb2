"""Values by key in shards, written here by the words of the specification."""

import gzip
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import ReadFailedError
from segmend.store.files import FileStore
from segmend.testing.servers import range_server
from segmend.volumes.drivers.precomputed_info import parse_sharding
from segmend.volumes.drivers.precomputed_shards import IndexCache, ShardedKeys, Sharding


def write_shards(folder, values, sharding):
    """All values, in shards of identity hash, as plain Python writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    pack = {"raw": lambda data: data, "gzip": gzip.compress}
    shards = {}
    for key in sorted(values):
        hashed = key >> sharding.preshift_bits
        minishard = hashed & (1 << sharding.minishard_bits) - 1
        shard = hashed >> sharding.minishard_bits & (1 << sharding.shard_bits) - 1
        shards.setdefault(shard, {}).setdefault(minishard, []).append(key)
    for shard, minishards in shards.items():
        body, entries = b"", [(0, 0)] * (1 << sharding.minishard_bits)
        for minishard, keys in minishards.items():
            rows, last_key, last_end = [], 0, 0
            for key in keys:
                data = pack[sharding.data_encoding](values[key])
                rows.append((key - last_key, len(body) - last_end, len(data)))
                body += data
                last_key, last_end = key, len(body)
            index = pack[sharding.minishard_index_encoding](np.array(rows, "<u8").T.tobytes())
            entries[minishard] = (len(body), len(body) + len(index))
            body += index
        name = f"{shard:x}".zfill(-(-sharding.shard_bits // 4))
        (folder / f"{name}.shard").write_bytes(np.array(entries, "<u8").tobytes() + body)


def read_all(store, keys, wanted):
    requests = keys.locate(store, np.array(wanted, np.uint64))
    found = {}
    for key, request in zip(wanted, requests, strict=True):
        if request is not None:
            data = store.read(request.key, request.start, request.stop)
            found[key] = keys.unpack(data, limit=10_000)
    return found


shardings = st.builds(
    Sharding,
    preshift_bits=st.sampled_from([0, 1, 9, 63, 64]),
    hash=st.just("identity"),
    minishard_bits=st.sampled_from([0, 1, 3, 13]),
    shard_bits=st.integers(0, 5),
    minishard_index_encoding=st.sampled_from(["raw", "gzip"]),
    data_encoding=st.sampled_from(["raw", "gzip"]),
)


@settings(deadline=None, max_examples=60)
@given(
    sharding=shardings,
    values=st.dictionaries(st.integers(0, 2**64 - 1), st.binary(min_size=1), max_size=20),
    strangers=st.lists(st.integers(0, 2**64 - 1), max_size=5),
)
def test_every_key_is_found_and_no_other(tmp_path_factory, sharding, values, strangers):
    root = tmp_path_factory.mktemp("shards")
    write_shards(root / "m", values, sharding)
    keys = ShardedKeys("m", sharding)
    wanted = [*strangers, *values]
    assert read_all(FileStore(root), keys, wanted) == values
    assert read_all(FileStore(root), keys, wanted) == values


SHARDING = Sharding(2, "identity", 2, 3, "gzip", "raw")
VALUES = {i * 3: bytes([i]) * (i + 1) for i in range(64)}


def test_indices_that_were_read_are_not_read_again(tmp_path):
    write_shards(tmp_path, VALUES, SHARDING)
    with range_server(tmp_path) as server:
        from segmend.store.open import open_store

        store, keys = open_store(server.url), ShardedKeys("", SHARDING)
        first = keys.locate(store, np.arange(200, dtype=np.uint64))
        asked = len(server.log)
        assert keys.locate(store, np.arange(200, dtype=np.uint64)) == first
        assert len(server.log) == asked > 0
        fresh = pickle.loads(pickle.dumps(keys))
        assert fresh == keys
        assert fresh.locate(store, np.arange(200, dtype=np.uint64)) == first
        assert len(server.log) == 2 * asked


def test_the_cache_of_indices_keeps_to_its_budget(tmp_path):
    cache = IndexCache(budget=3 * 1000)
    for shard in range(10):
        cache.put(("store", shard, 0, True), np.zeros(125, np.uint64))
    assert [cache.get(("store", shard, 0, True))[0] for shard in range(10)] == [False] * 7 + [
        True
    ] * 3
    cache.put(("store", 99, 0, False), None)
    assert cache.get(("store", 99, 0, False)) == (True, None)


def test_no_keys_read_nothing(tmp_path):
    assert ShardedKeys("", SHARDING).locate(FileStore(tmp_path), np.zeros(0, np.uint64)) == []


def test_a_value_larger_than_its_limit_is_corrupt(tmp_path):
    sharding = Sharding(0, "identity", 0, 0, "raw", "gzip")
    write_shards(tmp_path, {7: bytes(5000)}, sharding)
    keys, store = ShardedKeys("", sharding), FileStore(tmp_path)
    (request,) = keys.locate(store, np.array([7], np.uint64))
    data = store.read(request.key, request.start, request.stop)
    assert keys.unpack(data, limit=5000) == bytes(5000)
    with pytest.raises(ReadFailedError, match="more than 4999 bytes"):
        keys.unpack(data, limit=4999)


def test_a_sharding_of_meshes_is_parsed_as_one_of_chunks():
    spec = {"@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 2, "hash": "identity"}
    spec |= {"minishard_bits": 2, "shard_bits": 3, "minishard_index_encoding": "gzip"}
    assert parse_sharding(spec, where="meshes") == SHARDING
