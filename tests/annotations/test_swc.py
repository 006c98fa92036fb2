"""SWC: what is written comes back, parents may stand anywhere, bad lines are named."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmend.annotations.swc import Swc, read_swc, write_swc
from segmend.core.errors import BadInputError, OutputError, ReadFailedError

reals = st.floats(allow_nan=False, allow_infinity=False)
FIELDS = ("ids", "types", "xyz", "radius", "parents")


@st.composite
def forests(draw):
    count = draw(st.integers(0, 12))
    ids = draw(st.lists(st.integers(0, 10**17), unique=True, min_size=count, max_size=count))
    order = draw(st.permutations(range(count)))  # parents before or after their children
    parents = np.full(count, -1)
    for at, row in enumerate(order):
        if at and draw(st.booleans()):
            parents[row] = order[draw(st.integers(0, at - 1))]
    xyz = draw(st.lists(reals, min_size=3 * count, max_size=3 * count))
    radius = draw(st.lists(reals.map(abs), min_size=count, max_size=count))
    types = draw(st.lists(st.integers(-3, 99), min_size=count, max_size=count))
    text = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=9)
    return Swc(
        np.array(ids, np.int64),
        np.array(types, np.int64),
        np.array(xyz, np.float64).reshape(-1, 3),
        np.array(radius, np.float64),
        parents,
        tuple(draw(st.lists(text, max_size=3))),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(forests())
def test_a_written_skeleton_comes_back(tmp_path, skeleton):
    path = tmp_path / "a.swc"
    write_swc(skeleton, path)
    back = read_swc(path)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(back, field), getattr(skeleton, field))
    assert back.header == skeleton.header


def read(tmp_path, text):
    path = tmp_path / "a.swc"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_swc(path)


def test_a_file_of_another_program_is_understood(tmp_path):
    lines = (
        "# made by hand\r",
        "\r",
        "  7 1 1.5 -2 3e1 .5 -1\r",
        "2 3 1 2 3 0 9",
        "9 2 +1 2. 3 1 7",
    )
    skeleton = read(tmp_path, "\n".join((*lines, "4 0 0 0 0 0 -1")))
    assert skeleton.header == (" made by hand",)
    assert skeleton.ids.tolist() == [7, 2, 9, 4]
    assert skeleton.parents.tolist() == [-1, 2, 0, -1]
    assert skeleton.roots.tolist() == [0, 3]
    np.testing.assert_array_equal(skeleton.positions_nm(1000)[0], [30_000, -2000, 1500])
    np.testing.assert_array_equal(skeleton.positions_nm((40, 4, 2))[0], [1200, -8, 3])


@pytest.mark.parametrize("unit", [0, -1, np.nan, (1, 2), "nm"])
def test_a_unit_must_be_positive(tmp_path, unit):
    with pytest.raises((BadInputError, ValueError)):
        read(tmp_path, "1 1 0 0 0 1 -1").positions_nm(unit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1 0 0 0 1", "line 1 .* 6 words"),
        ("1 1 0 0 0 1 -1 5", "8 words"),
        ("#\n1 1 0 0 nan 1 -1", "line 2 .* 'nan' is not a finite"),
        ("1 1 0 0 inf 1 -1", "not a finite"),
        ("1 1 0 0 1e999 1 -1", "not a finite"),
        ("1 1 0 0 1_0 1 -1", "not a finite"),
        ("1.0 1 0 0 0 1 -1", "'1.0' is no whole number"),
        ("-1 1 0 0 0 1 -1", "negative"),
        ("99999999999999999999 1 0 0 0 1 -1", "no whole number"),
        ("1 1 0 0 0 -1 -1", "radius"),
        ("1 1 0 0 0 NA -1", "not a finite"),
        ("1 1 0 0 0 1 -1\n\n1 1 0 0 0 1 -1", "line 3 .* stands in line 1"),
        ("1 1 0 0 0 1 -1\n2 1 0 0 0 1 5", "line 2 .* no node 5"),
        ("1 1 0 0 0 1 -2", "no node -2"),
        ("1 1 0 0 0 1 1", "circle"),
        ("5 1 0 0 0 1 -1\n1 1 0 0 0 1 2\n2 1 0 0 0 1 3\n3 1 0 0 0 1 1", "line 2 .* circle"),
        (b"# \xff\n1 1 0 0 0 1 -1", "UTF-8"),
        ("#" * 5000, "longer than"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        read(tmp_path, text)


def test_a_long_chain_is_no_circle(tmp_path):
    lines = [f"{i} 2 0 0 {i} 1 {i - 1 if i > 1 else -1}" for i in range(1, 5000)]
    assert len(read(tmp_path, "\n".join(lines[::-1])).roots) == 1


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    good = read(tmp_path, "1 1 0 0 0 1 -1\n2 1 0 0 0 1 1")
    path = tmp_path / "b.swc"
    fields = {name: getattr(good, name) for name in (*FIELDS, "header")}
    for change in (
        {"parents": np.array([1, 0])},
        {"parents": np.array([-1, 2])},
        {"ids": np.array([3, 3])},
        {"radius": np.array([1.0, np.nan])},
        {"radius": np.array([1.0])},
        {"header": ("a\n1 1 0 0 0 1 -1",)},
    ):
        with pytest.raises(BadInputError):
            write_swc(Swc(**(fields | change)), path)
    assert not path.exists()
    with pytest.raises(OutputError):
        write_swc(good, tmp_path / "none" / "b.swc")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReadFailedError, match="there is no file"):
        read_swc(tmp_path / "none.swc")
