"""Writes precomputed volumes with tensorstore and cloud-volume; run as a process of its own.

tensorstore aborts a process that forks, so that it never enters the one that runs the tests.
Beside every volume lies ``NAME.npy``: its voxels ``(z, y, x)`` as the writer's library reads them.
"""

import sys
from pathlib import Path

import numpy as np

SHAPE = (53, 45, 37)
"""x, y, z: no multiple of any chunk."""

OFFSET = (11, 6, 100)
"""x, y, z: no multiple of any chunk either."""

SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 1,
    "hash": "murmurhash3_x86_128",
    "minishard_bits": 2,
    "shard_bits": 3,
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}

PLAIN_SHARDING = SHARDING | {
    "preshift_bits": 0,
    "hash": "identity",
    "minishard_bits": 0,
    "shard_bits": 1,
    "minishard_index_encoding": "raw",
    "data_encoding": "raw",
}

BLOCK8 = {"compressed_segmentation_block_size": [8, 8, 8]}

TENSORSTORE = {
    "raw_uint8": ("uint8", "raw", {}),
    "raw_int16": ("int16", "raw", {}),
    "raw_uint64": ("uint64", "raw", {}),
    "raw_float32": ("float32", "raw", {}),
    "jpeg": ("uint8", "jpeg", {"jpeg_quality": 80}),
    "png_uint8": ("uint8", "png", {}),
    "png_uint16": ("uint16", "png", {}),
    "cseg_uint32": ("uint32", "compressed_segmentation", BLOCK8),
    "cseg_uint64": ("uint64", "compressed_segmentation", BLOCK8),
    "cseg_many": ("uint64", "compressed_segmentation", BLOCK8),
    "cseg_blocks": (
        "uint64",
        "compressed_segmentation",
        {"compressed_segmentation_block_size": [5, 3, 9]},
    ),
    "sharded_cseg": ("uint64", "compressed_segmentation", {**BLOCK8, "sharding": SHARDING}),
    "sharded_jpeg": ("uint8", "jpeg", {"sharding": PLAIN_SHARDING}),
    "sharded_raw": ("uint16", "raw", {"sharding": SHARDING | {"shard_bits": 0}}),
}

CLOUD_VOLUME = {
    "gzipped": ("uint64", "raw", "gzip"),
    "cv_cseg": ("uint64", "compressed_segmentation", "gzip"),
    "compresso": ("uint64", "compresso", False),
    "crackle": ("uint32", "crackle", False),
}

CHANNELS = {
    "channels_raw": ("uint16", "raw", 3),
    "channels_cseg": ("uint32", "compressed_segmentation", 2),
    "channels_jpeg": ("uint8", "jpeg", 3),
    "channels_png": ("uint8", "png", 4),
}


def voxels(name, dtype, channels=1):
    rng = np.random.default_rng(len(name))
    shape = (*SHAPE, channels)
    if dtype == "float32":
        return rng.normal(size=shape).astype(dtype)
    high = {"cseg_many": 2**40, "int16": 2**14}.get(name, min(np.iinfo(dtype).max, 2**62))
    coarse = rng.integers(0, high, [-(-n // 5) for n in SHAPE] + [channels], dtype=dtype)
    blocky = coarse
    for axis in range(3):
        blocky = blocky.repeat(5, axis)
    blocky = blocky[tuple(slice(0, n) for n in SHAPE)]
    if name == "cseg_many":
        blocky = rng.integers(0, high, shape, dtype=dtype)
    return np.asfortranarray(blocky)


def write_tensorstore(folder, name, dtype, encoding, extra, channels=1):
    import tensorstore as ts

    scale = {
        "size": SHAPE,
        "voxel_offset": OFFSET,
        "encoding": encoding,
        "chunk_size": [16, 20, 12],
        "resolution": [4, 6, 40.5],
        **extra,
    }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(folder / name)},
        "multiscale_metadata": {
            "type": "image",
            "data_type": dtype,
            "num_channels": channels,
        },
        "scale_metadata": scale,
    }
    store = ts.open(spec, create=True).result()
    store.write(voxels(name, dtype, channels)).result()
    np.save(folder / f"{name}.npy", store.read().result().T)


def write_cloud_volume(folder, name, dtype, encoding, compress):
    from cloudvolume import CloudVolume

    info = CloudVolume.create_new_info(
        1, "image", dtype, encoding, [4, 6, 40], OFFSET, SHAPE, chunk_size=[16, 20, 12]
    )
    place = f"file://{folder / name}"
    volume = CloudVolume(place, info=info, compress=compress, progress=False, bounded=True)
    volume.commit_info()
    volume[volume.bounds] = voxels(name, dtype)
    np.save(folder / f"{name}.npy", np.asarray(volume[volume.bounds]).T)


def main(folder):
    for name, (dtype, encoding, extra) in TENSORSTORE.items():
        write_tensorstore(folder, name, dtype, encoding, extra)
    # A second, coarser scale beside the first.
    coarse = {"resolution": [8, 12, 40.5], "jpeg_quality": 80}
    write_tensorstore(folder, "jpeg", "uint8", "jpeg", coarse)
    for name, (dtype, encoding, channels) in CHANNELS.items():
        extra = BLOCK8 if encoding == "compressed_segmentation" else {}
        write_tensorstore(folder, name, dtype, encoding, extra, channels)
    for name, (dtype, encoding, compress) in CLOUD_VOLUME.items():
        write_cloud_volume(folder, name, dtype, encoding, compress)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
