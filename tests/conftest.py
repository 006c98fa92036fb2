"""Fixtures that every test may use."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]


# Before anything imports numba, here and in the processes that tests start.
KERNELS = Path(os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".pytest_cache" / "numba")))


def forget_stale_kernels() -> None:
    """Remove compiled kernels of files that call a changed one, which numba's own cache misses.

    It looks only at the file that a kernel stands in itself.
    """
    texts = {p: p.read_text() for p in sorted((ROOT / "src").rglob("*.py"))}
    texts = {path: text for path, text in texts.items() if "numba" in text}
    digests = {str(p): hashlib.sha256(text.encode()).hexdigest() for p, text in texts.items()}
    manifest = KERNELS / "sources.json"
    known = json.loads(manifest.read_text()) if manifest.is_file() else {}
    stale = {path for path in texts if known.get(str(path)) != digests[str(path)]}
    while callers := {p for p in texts.keys() - stale if any(_uses(texts[p], s) for s in stale)}:
        stale |= callers
    for path in stale:
        for compiled in KERNELS.glob(f"{path.parent.name}_*/{path.stem}.*.nb?"):
            compiled.unlink()
    KERNELS.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps(digests))


def _uses(text: str, path: Path) -> bool:
    """Whether a source imports a file, as a module or names out of it."""
    package = ".".join(path.parent.relative_to(ROOT / "src").parts)
    named = f"from {package} import" in text and re.search(rf"\b{path.stem}\b", text)
    return f"{package}.{path.stem}" in text or bool(named)


if "PYTEST_XDIST_WORKER" not in os.environ:
    forget_stale_kernels()


# A busy machine is no defect: nothing is timed, the first example of a kernel least of all.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A loopback server may get the port of an earlier test's: no test may see what that one answered.
# Tests of the cache of remote objects say so.
os.environ["SEGMEND_CACHE_BYTES"] = "0"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real EM volumes; see its README."""
    named = os.environ.get("SEGMEND_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real EM volumes are neither at {folder} nor at $SEGMEND_TEST_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def segmend_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of derived volumes for this run, so that tests never see an older one's."""
    folder = tmp_path_factory.mktemp("cache")
    # The processes of one run share synthetic tissue: it is grown once.
    run = tmp_path_factory.getbasetemp()
    grown = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / "synthetic"
    grown.mkdir(exist_ok=True)
    (folder / "synthetic").symlink_to(grown)
    before = os.environ.get("SEGMEND_CACHE")
    os.environ["SEGMEND_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SEGMEND_CACHE"]
    else:
        os.environ["SEGMEND_CACHE"] = before


PLAN = """
name = "small"
seed = 3
[edits]
source = "synthetic-log"
[samples]
adjacent_per_merge = 1
max_rows = { merge_edit = 6, split_edit = 6, junction_control = 6, synapse_control = 6 }
[view]
half_extent_nm = [400, 500]
jitter_nm = 40
[em]
pixel_size_nm = 6
[splits]
rule = "volume"
[shards]
rows = 7
row_group = 3
"""

SOURCE = """
[[sources]]
dataset = "synthetic"
volume = "v{seed}"
split = "{split}"
parameters = {{ seed = {seed}, shape = [48, 128, 128], false_merges = 4 }}
"""


@pytest.fixture(scope="session")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "small.toml"
    splits = {1: "train", 2: "train", 4: "validation", 5: "test"}
    sources = [SOURCE.format(seed=seed, split=split) for seed, split in splits.items()]
    path.write_text(PLAN + "".join(sources))
    return path
