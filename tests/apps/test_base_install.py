"""The base install reads, verifies and scores benchmarks: no extra is imported on the way."""

from __future__ import annotations

import subprocess
import sys

import pytest

from segmend.evaluate.predictions import write_predictions
from segmend.models.chance import Chance
from segmend.models.model import TrainSettings
from segmend.models.run import Run
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.testing.rows import random_benchmark

EXTRAS = (
    "cc3d", "fastremap", "h5py", "jinja2", "matplotlib", "numba", "pandas", "safetensors", "scipy",
    "skan", "skimage", "sklearn", "torch", "zmesh",
)  # fmt: skip

BASE_ONLY = f"""
import sys
from importlib.machinery import PathFinder

class BaseOnly(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in {EXTRAS!r}
        return None if absent else super().find_spec(name, path, target)

sys.meta_path = [BaseOnly if finder is PathFinder else finder for finder in sys.meta_path]
from segmend.apps.cli.main import main
main()
"""


def base(*arguments, status=0):
    done = subprocess.run(
        [sys.executable, "-c", BASE_ONLY, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "bench"
    counts = {"merge_edit": 3, "adjacent_control": 3}
    return random_benchmark(folder, dict.fromkeys(("train", "validation", "test"), counts))


def test_verify_and_evaluate_need_no_extra(bench, tmp_path):
    assert "intact" in base("verify", bench).stdout
    benchmark, task = Benchmark.open(bench), TASKS["false_split_correction"]
    model = Chance()
    model.fit(benchmark, (task,), TrainSettings())
    run = Run(name="r", tasks=(task,), model=model, config={"model": "chance"})
    write_predictions(tmp_path / "p.parquet", run.predict(benchmark, "test"))
    assert "auroc" in base("evaluate", bench, tmp_path / "p.parquet").stdout


def test_the_catalogue_is_listed_without_any_extra():
    assert "hemibrain" in base("datasets", "list", "--species", "fly").stdout
    assert "v1300 (default)" in base("datasets", "show", "microns").stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["build", "plan.toml", "--out", "b"], "build"),
        (["report", "BENCH"], "report"),
        (["train", "false_split_correction", "BENCH", "--model", "cnn", "--out", "r"], "torch"),
        (["demo"], "build"),
        (["explore", "fib25"], "report"),
        (["link", "malecns", "--region", "EB"], "build"),
        (["fetch", "em.zarr", "--box", "0:9,0:9,0:9", "--to", "em.h5"], "build"),
    ],
)
def test_what_needs_an_extra_says_how_to_install_it(bench, arguments, extra):
    arguments = [bench if a == "BENCH" else a for a in arguments]
    done = base(*arguments, status=3)
    assert f"pip install 'segmend[{extra}]'" in done.stderr
