"""The list of the catalogue."""

from __future__ import annotations

import pytest

from segmend.catalog.listing import entries
from segmend.core.errors import UnknownNameError


def test_the_catalogue_is_narrowed_by_what_records_say():
    everything = {e.name: e for e in entries()}
    flies = {e.name for e in entries(species="FLY")}
    assert {"cremi-a", "hemibrain", "fib25"} <= flies
    assert flies < set(everything)
    assert {e.name for e in entries(labels="cleft", species="fly")} == {
        "cremi-a", "cremi-b", "cremi-c",
    }  # fmt: skip
    unstated = {e.name for e in entries(licence="unstated")}
    assert unstated == {n for n, e in everything.items() if e.licence_state == "unstated"}
    assert {e.name for e in entries(licence="cc-by-4.0")} >= {"snemi3d"}
    with pytest.raises(UnknownNameError, match="species named 'flie'"):
        entries(species="flie")


def test_a_line_of_the_catalogue_says_what_the_record_holds():
    cremi = next(e for e in entries() if e.name == "cremi-a")
    assert cremi.layers[0] == "image"
    assert set(cremi.layers) == {"image", "neurons", "clefts"}
    assert cremi.labels == ("cleft", "neuron")
    assert 2 <= cremi.hashed < cremi.sources
    microns = next(e for e in entries() if e.name == "microns")
    assert microns.versions[0] == "v1300"
    assert set(microns.versions) == {"v117", "v343", "v943", "v1300"}
    assert microns.uncertain > 0
