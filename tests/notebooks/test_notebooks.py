"""The notebooks run on stand-ins, and what they are committed with is what they show."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"


def runner():
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNER = runner()


def shown(notebook):
    """What the cells print and how many pictures they draw, cell by cell."""
    cells = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        printed = "".join(o.text for o in outputs if o.output_type == "stream")
        pictures = sum("image/png" in o.get("data", {}) for o in outputs)
        cells.append((printed, pictures))
    return cells


@pytest.mark.parametrize("name", RUNNER.DATASETS)
def test_a_notebook_shows_on_stand_ins_what_it_was_committed_with(
    name, tmp_path, segmend_cache, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    records = [RUNNER.standin(one, tmp_path) for one in RUNNER.DATASETS[name]]
    ran = RUNNER.executed(name, records)
    committed = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert shown(ran) == shown(committed), "run `make notebooks`"
    assert not [o for c in ran.cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
    assert sum(pictures for _, pictures in shown(ran)) >= 1


@pytest.mark.parametrize("name", RUNNER.DATASETS)
def test_a_notebook_uses_names_of_the_catalogue_and_public_modules(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    code = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    assert all(f'"{dataset}"' in code for dataset in RUNNER.DATASETS[name])
    assert "segmend.testing" not in code
    assert "segmend.apps" not in code
    assert not re.search(r"\._[a-z]", code), "a private name"
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 300_000


def test_every_notebook_is_run():
    assert {f.stem for f in FOLDER.glob("*.ipynb")} == set(RUNNER.DATASETS)
