"""Small stand-ins of published data sets: synthetic tissue in exactly the published layout.

    record = write_standin("cremi-a", folder)
    dataset = segmend.catalog.dataset.open(str(record))

A stand-in is the published files (or, for a remote volume, the published folder), smaller, and a
record derived from the shipped one: URLs, sizes, checksums and shapes are the stand-in's, every
layout, key, driver and label meaning is the real record's. ``python -m segmend.testing.standins
NAME FOLDER`` writes one for people.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from segmend.catalog.record import load_record
from segmend.core.registry import unknown_name
from segmend.testing.standins.toml import to_toml

PUBLISHED = "published"
"""Folder of a stand-in that holds what the owners of the real data set publish."""

WRITERS = {
    "snemi3d": "snemi",
    "cremi-a": "cremi",
    "cremi-b": "cremi",
    "cremi-c": "cremi",
    "mitoem2-beta": "nnunet",
    "mitoem2-jurkat": "nnunet",
    "mitoem2-macro": "nnunet",
    "mitoem2-mossy": "nnunet",
    "mitoem2-podo": "nnunet",
    "mitoem2-pyra": "nnunet",
    "mitoem2-sperm": "nnunet",
    "mitoem2-stem": "nnunet",
    "l4dense2019": "l4dense",
    "l4dense2019-synem": "l4dense_synem",
    "fib25": "fib25",
    "microns": "precomputed",
    "malecns": "precomputed",
    "flywire": "precomputed",
    "h01": "precomputed",
    "fish1": "precomputed",
    "hemibrain": "precomputed",
    "manc": "precomputed",
}
"""Module of this package that writes the stand-in, by name of the data set. Its function
``write(record, published, url)`` writes below the folder ``published``, which will be reached under
``url``, and returns the derived record."""


def write_standin(name: str, folder: str | Path, *, url: str | None = None) -> Path:
    """Write the stand-in of a data set.

    Args:
        name: Name in the catalogue.
        folder: Where; the record lies in it, the published files in its folder ``published``, and
            fetched files go to the places that the record gives them.
        url: Under which ``folder`` will be served; by default its ``file://`` URL.

    Returns:
        The derived record, a ``.toml`` file to open or to fetch.

    Raises:
        UnknownNameError: if there is no stand-in of that name.
    """
    if name not in WRITERS:
        raise unknown_name("stand-in", name, dict.fromkeys(WRITERS))
    place = Path(folder).absolute()
    published = place / PUBLISHED
    published.mkdir(parents=True, exist_ok=True)
    writer = importlib.import_module(f"{__name__}.{WRITERS[name]}")
    record, _ = load_record(name)
    derived = writer.write(record, published, f"{url or place.as_uri()}/{PUBLISHED}")
    file = place / f"{name}.toml"
    file.write_text(to_toml(derived))
    return file
