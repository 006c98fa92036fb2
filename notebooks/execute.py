"""Run the notebooks on stand-ins and keep what they show: `make notebooks`.

Their outputs are of synthetic tissue in the published layout, never of anybody's data. A person who
has the data runs the same cells on them: only the cell tagged ``parameters`` names the data sets.
`tests/notebooks` runs them the same way and compares.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from segmend.catalog.fetching import fetch_files
from segmend.catalog.record import load_record
from segmend.core.box import Box
from segmend.testing.standins import write_standin

FOLDER = Path(__file__).parent
TIMEOUT_S = 120
PARAMETERS = "parameters"
"""Tag of the cell that says which data sets are explored."""

DATASETS = {
    "01_explore_snemi3d": ("snemi3d",),
    "02_explore_cremi3d": ("cremi-a", "cremi-b", "cremi-c"),
    "03_explore_microns": ("microns",),
    "04_explore_mitoem2": (
        "mitoem2-beta", "mitoem2-jurkat", "mitoem2-macro", "mitoem2-mossy", "mitoem2-podo",
        "mitoem2-pyra", "mitoem2-sperm", "mitoem2-stem",
    ),
    "05_l4dense2019": ("l4dense2019", "l4dense2019-synem"),
}  # fmt: skip
"""What each notebook explores."""


def standin(name: str, folder: Path) -> Path:
    """The record of a stand-in whose files are where its record has them."""
    file = write_standin(name, folder / name)
    record, place = load_record(str(file))
    assert place is not None
    if record.files:
        # What is published as cubes is fetched by a box.
        box = Box(*record.default_box_nm) if record.default_box_nm else None
        fetch_files(record, place, volume="all", box=box)
    return file


def executed(name: str, records: Sequence[Path]) -> NotebookNode:
    """A notebook as it is after running, on other data sets than it names.

    Args:
        name: In `DATASETS`.
        records: Records to explore in their place.

    Returns:
        The notebook with its own cells and new outputs, and nothing that says when or where it ran.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    running = deepcopy(notebook)
    (at,) = [i for i, c in enumerate(running.cells) if PARAMETERS in c.metadata.get("tags", ())]
    running.cells[at].source = f"NAMES = {[str(record) for record in records]}"
    # A socket file, not a port that others on the machine can reach.
    config = Config(KernelManager={"transport": "ipc"})
    NotebookClient(running, timeout=TIMEOUT_S, record_timing=False, config=config).execute()
    for cell, ran in zip(notebook.cells, running.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    return notebook


def main() -> None:
    """Run every notebook and write it again."""
    with tempfile.TemporaryDirectory() as folder:
        for name, datasets in DATASETS.items():
            records = [standin(one, Path(folder)) for one in datasets]
            nbformat.write(executed(name, records), FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
