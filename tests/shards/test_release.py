"""What stands beside the shards, checked by those who read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from segmend.core.sample import ROW_SCHEMA
from segmend.shards.card import Source
from segmend.shards.layout import read_shards_csv
from segmend.shards.legal import citation_text, licences_text
from segmend.testing.rows import STANDIN_FACTS


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mlcroissant_accepts_and_reads_what_we_describe(bench: Path) -> None:
    import mlcroissant

    described = mlcroissant.Dataset(jsonld=str(bench / "croissant.json"))
    assert not described.metadata.issues.errors
    rows = list(described.records("rows"))
    record = rows[0]
    assert set(record) == {f"rows/{field.name}" for field in ROW_SCHEMA}
    assert record["rows/em_xy_before"].size == (224, 224)
    keys = {row["rows/combined_sample_hash"].decode() for row in rows}
    assert len(keys) == sum(r.n_samples for r in read_shards_csv(bench))


def test_every_shard_is_in_croissant_with_its_digest(bench: Path) -> None:
    said = json.loads((bench / "croissant.json").read_text())
    files = {f["@id"]: f for f in said["distribution"] if f["@type"] == "cr:FileObject"}
    for record in read_shards_csv(bench):
        assert files[record.path]["sha256"] == record.sha256
        assert files[record.path]["contentSize"] == f"{record.size_bytes} B"
    assert "http://mlcommons.org/croissant/RAI/1.0" in said["conformsTo"]
    assert "14 rows" in said["rai:dataLimitations"]


def test_the_figure_is_made_from_the_data(bench: Path) -> None:
    with Image.open(bench / "figures/channel_decomposition.png") as figure:
        assert figure.width > 7 * 100
        assert len(set(figure.convert("L").tobytes())) > 50
    assert "figures/channel_decomposition.png" in (bench / "README.md").read_text()


def test_a_citation_names_every_source() -> None:
    sources = (Source('A "b": c', "CC", "Doe 2020\nand more", "https://x.org"), Source("D", "", ""))
    cited = yaml.safe_load(citation_text(replace(STANDIN_FACTS, sources=sources)))
    assert [r["title"] for r in cited["references"]] == ['A "b": c', "D"]
    assert cited["references"][0]["notes"] == "Doe 2020 and more"


def test_licences_say_what_is_forbidden() -> None:
    text = licences_text(
        [Source("A", "own", "", forbids=("redistribution",)), Source("B", "unstated", "")]
    )
    assert "**A**: its terms forbid to pass on copies" in text
    assert "**B**: its owners state no licence" in text
