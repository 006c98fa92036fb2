"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from segmend.testing.rows import random_benchmark

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch, shared_data, segmend_cache):
    """A folder with the files that the README talks about."""
    counts = {"merge_edit": 3, "adjacent_control": 3}
    random_benchmark(tmp_path / "bench", dict.fromkeys(("train", "validation", "test"), counts))
    (tmp_path / "fib25.h5").symlink_to(shared_data / "fib25" / "fib25.h5")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    return tmp_path


@pytest.mark.slow
def test_the_readmes_python_runs(workplace):
    names: dict[str, object] = {}
    # The first block is plain `datasets`, which tests/shards/test_peers.py runs without segmend.
    for block in BLOCKS[1:]:
        exec(block, names)
    assert names["em"].shape == names["ids"].shape == (50, 50, 50)
    assert names["tissue"].edits
    batch = next(iter(names["rows"]))
    assert batch["geometry"].shape == (3, 7, 224, 224)


def test_the_readme_shows_every_verb_that_makes_something():
    for verb in ("demo", "build", "verify", "train", "predict", "evaluate", "report", "doctor"):
        assert f"segmend {verb}" in README
