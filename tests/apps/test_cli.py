"""The command line: help, exit statuses, one sentence for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from segmend import __version__
from segmend.apps.cli.main import VERBS
from segmend.apps.progress import Progress
from segmend.apps.tables import counts_table, text_table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(segmend, verb):
    shown = segmend(verb, "--help").stdout
    assert f"Example: segmend {verb}" in shown


def test_the_bare_command_lists_every_verb(segmend):
    shown = " ".join(segmend("--help").stdout.split())  # a long line is broken in two
    for verb, doc in VERBS.items():
        assert verb in shown
        assert doc in shown
    assert __version__ in segmend("--version").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["build", "none.toml", "--out", "b"], 2, "cannot read the plan none.toml"),
        (["build", ROOT / "examples/fib25.toml", "--out", "b", "--set", "sede=1"], 2, "'seed'"),
        (["build", ROOT / "examples/fib25.toml", "--out", "no/b"], 5, "does not exist"),
        (["verify", "none"], 2, "there is no folder none"),
        (["train", "false_split", "none"], 2, "Did you mean 'false_split_correction'"),
        (["train", "false_split_correction", "none"], 2, "not a finished benchmark"),
        (["train", "all", "none", "--weight", "masks=2"], 2, "no task named 'masks'"),
        (["train", "all", "none", "--weight", "split_mask_generation"], 2, "is not a weight"),
        (["train", "all", "none", "--imagenet"], 2, "belong to a backbone"),
        (["predict", "none", "none", "--out", "p"], 2, "none is not a run"),
        (["evaluate", "none", "none"], 2, "not a finished benchmark"),
        (["report", "none"], 2, "not a finished benchmark"),
        (["biuld"], 2, "No such command"),
        (["build"], 2, "Missing argument"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    segmend, tmp_path, arguments, status, message
):
    done = segmend(*arguments, status=status, cwd=tmp_path)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_models_are_listed_with_what_they_learn(segmend):
    said = json.loads(segmend("models", "list", "--json").stdout)["models"]
    tasks = {model["name"]: model["tasks"] for model in said}
    assert {"chance", "artefact", "geometry", "cnn", "vit-base", "fusion"} <= set(tasks)
    assert len(tasks["fusion"]) == 3
    assert "split_mask_generation" not in tasks["geometry"]
    painters = segmend("models", "list", "--task", "split_mask_generation").stdout
    names = {line.split()[0] for line in painters.splitlines() if line.strip()}
    assert "fusion" in names
    assert "geometry" not in names


def test_doctor_says_what_is_there(segmend):
    said = json.loads(segmend("doctor", "--json").stdout)
    assert said["machine"]["segmend"] == __version__
    assert said["missing"] == []
    assert {"numpy", "pyarrow", "torch"} <= {p["name"] for p in said["packages"]}
    assert "numpy" in segmend("doctor").stdout


def test_importing_segmend_is_light():
    heavy = ("torch", "numba", "h5py", "pyarrow", "numpy")
    code = f"import sys, segmend; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tables_line_up():
    assert text_table(["a", "bb"], [["x", 1], ["long", 22]]) == "a     bb\nx      1\nlong  22"
    shown = counts_table({("merge_edit", "train"): 3, ("merge_edit", "test"): 2})
    assert shown.splitlines()[1].split() == ["merge_edit", "3", "0", "2", "5"]
    assert shown.splitlines()[-1].split() == ["all", "3", "0", "2", "5"]


def test_progress_without_a_terminal_is_plain_lines_and_quiet_is_silent(capsys):
    with Progress() as progress:
        progress.say("working")
        for i in range(1, 101):
            progress.report("counting", i, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("working")
    assert len(lines) == 11
    assert lines[-1].strip() == "counting: 100 of 100"
    with Progress(quiet=True) as progress:
        progress.say("working")
        progress.report("counting", 1, 1)
    assert capsys.readouterr().err == ""
