"""Draw the pictures of docs/views.md from synthetic tissue: `make pictures`.

One contact sheet a sample type, of the row that the border of the small volumes cuts least.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from segmend.apps.building import Order, build_benchmark
from segmend.apps.progress import Progress
from segmend.apps.rendering import KEY, show_sample
from segmend.apps.sheet.sheet import contact_sheet
from segmend.core.sample import SPLITS
from segmend.shards.reader import Benchmark

IMAGES = Path(__file__).parent / "images"
SHOWN = ("merge_edit", "split_edit")

PLAN = """
name = "pictures"
seed = 1
[edits]
source = "synthetic-log"
[view]
half_extent_nm = [450, 600]
jitter_nm = 50
[em]
pixel_size_nm = 6
[splits]
rule = "volume"
"""

SOURCE = """
[[sources]]
dataset = "synthetic"
volume = "tissue-{seed}"
split = "{split}"
parameters = {{ seed = {seed}, shape = [96, 128, 128], false_merges = 4 }}
"""


def main() -> None:
    """Build a small benchmark and draw one row of each shown type."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.toml"
        sources = [SOURCE.format(seed=i + 1, split=split) for i, split in enumerate(SPLITS)]
        plan.write_text(PLAN + "".join(sources))
        with Progress(quiet=True) as progress:
            build_benchmark(Order(plan), Path(folder) / "bench", progress)
        benchmark = Benchmark.open(Path(folder) / "bench")
        rows = benchmark.read_rows(range(len(benchmark)), (KEY, "sample_type", "metadata"))
        for kind in SHOWN:
            of_kind = [row for row in rows.to_pylist() if row["sample_type"] == kind]
            best = max(of_kind, key=lambda row: json.loads(row["metadata"])["em_coverage"])
            picture = contact_sheet(show_sample(benchmark, best[KEY]))
            # 64 colours do: the file stays small enough for a repository.
            picture.quantize(64).save(IMAGES / f"{kind}.png", optimize=True)


if __name__ == "__main__":
    main()
