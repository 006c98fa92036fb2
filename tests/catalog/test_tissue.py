"""Synthetic tissue in the cache: grown once, whoever asks for it and however often."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GROW = """
import os, sys
from segmend.catalog.tissue import cached_tissue
from segmend.synthetic import write
print("ready", flush=True)
sys.stdin.readline()
found = cached_tissue({"seed": 77, "shape": (32, 48, 48), "voxel_size": (30.0, 8.0, 8.0)})
print(os.stat(found).st_ino, os.stat(found).st_mtime_ns, found)
"""


def test_processes_that_grow_the_same_tissue_at_once_all_open_the_same_file(tmp_path):
    environment = os.environ | {"SEGMEND_CACHE": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", GROW],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    inode, changed, name = found[0]
    assert found[1:] == [[inode, changed, name]] * 2
    left = Path(name).stat()
    assert (left.st_ino, left.st_mtime_ns) == (int(inode), int(changed))
