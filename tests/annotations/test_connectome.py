"""The connectome reads as numpy reads it, counts again to the same, and says where it differs."""

import numpy as np
import pytest

from segmend.annotations.connectome import CellDifference, ClassDifference, compare, read_connectome
from segmend.annotations.connectome import recount as recount_synapses
from segmend.annotations.neurites import read_axons, read_dendrites
from segmend.annotations.synapses import read_synapses
from segmend.core.errors import BadInputError


@pytest.fixture
def recount(matlab):
    def run(**more):
        return recount_synapses(
            read_synapses(matlab.folder / "synapses.hdf5"),
            read_axons(matlab.folder / "axons.hdf5"),
            read_dendrites(matlab.folder / "dendrites.hdf5"),
            **more,
        )

    return run


def changed(matlab, tmp_path, row, column, text):
    """The published file with one cell changed; row and column from 0, the names included."""
    lines = (matlab.folder / "connectome.csv").read_text().splitlines()
    cells = lines[row].split(",")
    cells[column] = text
    lines[row] = ",".join(cells)
    path = tmp_path / "connectome.csv"
    path.write_text("\n".join(lines))
    return path


def test_the_matrix_is_that_of_the_file(matlab):
    connectome = read_connectome(matlab.folder / "connectome.csv")
    text = np.loadtxt(matlab.folder / "connectome.csv", str, delimiter=",")
    assert connectome.axon_classes == tuple(text[1:, 0])
    assert connectome.target_types == tuple(text[0, 1:])
    np.testing.assert_array_equal(connectome.counts.toarray(), text[1:, 1:].astype(int))
    assert connectome.counts.nnz > 2


def test_counting_synapses_again_gives_the_published_counts(matlab, recount):
    found = recount()
    published = read_connectome(matlab.folder / "connectome.csv")
    result = compare(published, found.connectome)
    assert result.equal
    assert result.classes == ()
    total = found.counted + found.without_axon + found.without_target
    assert total == len(matlab.tissue.synapses)
    assert found.counted == sum(matlab.truth.counts.values())
    assert found.without_target > 0


def test_a_cell_that_differs_is_reported_by_place_and_by_class(matlab, recount, tmp_path):
    (row, column), count = next(iter(matlab.truth.counts.items()))
    path = changed(matlab, tmp_path, row + 1, column + 1, str(count + 4))
    result = compare(read_connectome(path), recount().connectome)
    assert result.cells == (CellDifference(row, column, count + 4, count),)
    (difference,) = result.classes
    assert difference.published == difference.recounted + 4
    assert not result.equal


def test_the_case_of_class_names_does_not_count(matlab, recount, tmp_path):
    first = read_connectome(matlab.folder / "connectome.csv").axon_classes[0]
    path = changed(matlab, tmp_path, 1, 0, first.upper())
    assert compare(read_connectome(path), recount().connectome).equal


def test_rows_that_cannot_be_paired_are_compared_by_class_only(matlab, recount):
    published = read_connectome(matlab.folder / "connectome.csv")
    chosen = list(range(2, len(matlab.truth.axons) + 1))
    result = compare(published, recount(axon_ids=chosen).connectome)
    assert result.cells is None
    assert f"{len(chosen) + 1} published rows, {len(chosen)} recounted" in result.unpaired
    assert not result.equal


def test_other_classes_in_the_rows_are_not_paired(matlab, recount, tmp_path):
    path = changed(matlab, tmp_path, 2, 0, "astrocyte")
    result = compare(read_connectome(path), recount().connectome)
    assert "number 2 is published as 'astrocyte'" in result.unpaired


def test_rows_can_be_chosen_in_any_order(matlab, recount):
    (row, column), count = next(iter(matlab.truth.counts.items()))
    found = recount(axon_ids=[1, row + 1] if row else [2, 1], dendrite_ids=[column + 1])
    assert found.connectome.counts[1, 0] == count
    assert found.connectome.counts.shape == (2, 1)


def test_sums_by_class_are_those_of_the_matrix(matlab):
    connectome = read_connectome(matlab.folder / "connectome.csv")
    dense = connectome.counts.toarray()
    for (axon, target), total in connectome.by_class().items():
        rows = [a == axon for a in connectome.axon_classes]
        columns = [t == target for t in connectome.target_types]
        assert total == dense[rows][:, columns].sum()


def test_classes_of_one_side_only_are_differences(tmp_path):
    texts = (",soma\ninhibitory,2\n", ",dendrite\ninhibitory,2\n")
    both = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.csv"
        path.write_text(text)
        both.append(read_connectome(path))
    assert compare(*both).classes == (
        ClassDifference("inhibitory", "dendrite", 0, 2),
        ClassDifference("inhibitory", "soma", 2, 0),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no target types"),
        ("x\n", "names no target types"),
        (",a,b\nc,1\n", "line 2 .* 2 cells, the first line has 3"),
        (",a,b\nc,1,2\nd,1,2,3\n", "line 3 .* 4 cells"),
        (",a\nc,-1\n", r"line 2 .* '-1' \(cell 2\)"),
        (",a\nc,1.5\n", "'1.5'"),
        (",a\nc,NaN\n", "'NaN'"),
        (",a\nc,\n", "''"),
        (",a\nc,1\n\nd,1\n", "line 3 .* 0 cells"),
        (",a\n,1\n", "no name of a class"),
        (",1,2\nc,1,2\n", "no name of a class"),
        (",a\nc,12345678\n", "no number of synapses"),
        (',a\n"c,1\n', "line [23] .* cannot be read"),
        (",a\nc,1\nd", "line 3 .* 1 cells"),
    ],
)
def test_what_is_no_connectome_is_refused(tmp_path, text, message):
    path = tmp_path / "connectome.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        read_connectome(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "connectome.csv"
    path.write_bytes(b",a\nc,\xff\n")
    with pytest.raises(BadInputError, match="UTF-8"):
        read_connectome(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"axon_ids": [0]}, "axon_ids must be of 1 to"),
        ({"axon_ids": [1, 1]}, "twice"),
        ({"dendrite_ids": [10**9]}, "dendrite_ids must be of"),
    ],
)
def test_ids_that_do_not_exist_are_refused(recount, more, message):
    with pytest.raises(BadInputError, match=message):
        recount(**more)
