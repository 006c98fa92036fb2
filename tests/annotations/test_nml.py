"""NML: what a file says is what comes back; what no file may say is refused with line and tree."""

import itertools
import math
import stat
import xml.etree.ElementTree as ET
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmend.annotations.annotation import (
    Annotation,
    BranchPoint,
    Comment,
    Edge,
    Group,
    NamedBox,
    Node,
    Parameters,
    Tree,
    annotation_grid,
    box_nm,
    positions_nm,
)
from segmend.annotations.elements import Element
from segmend.annotations.nml import nml_members, read_nml, write_nml
from segmend.core.box import Box
from segmend.core.errors import BadInputError, OutputError, ReadFailedError

PUBLISHED = """<?xml version="1.0" encoding="utf-8"?>
<!-- as webKnossos writes it -->
<things xmlns:x="urn:x">
  <meta name="writer" content="NmlWriter.scala" />
  <parameters>
    <experiment name="2012-09-28_ex145_07x2_ROI2017" organization="MPI" />
    <scale x="11.24" y="11.24" z="28.0" unit="nanometer" />
    <offset x="0" y="0" z="0" />
    <time ms="1550000000000" />
    <activeNode id="7" />
    <userBoundingBox id="1" name="cube &lt;1&gt;" color.r="0.5" topLeftX="-4" topLeftY="3"
      topLeftZ="2" width="10" height="20" depth="30" isVisible="true" />
  </parameters>
  <thing id="1" groupId="2" color.r="1.0" color.a="1.0" name="axon &quot;1&quot;" type="DEFAULT">
    <nodes>
      <node id="7" radius="120.5" x="100" y="200" z="300" rotX="0.0" inVp="1" time="15500">
        <metadata><metadataEntry key="certain" boolValue="true" /></metadata>
      </node>
      <node id="18446744073709551615" x="101.25" y="2e2" z="-3" />
    </nodes>
    <edges><edge source="7" target="18446744073709551615" weight="2" /></edges>
  </thing>
  <thing id="0" name=""><nodes /><edges /></thing>
  <thing id="9" />
  <branchpoints><branchpoint id="7" time="15501" /></branchpoints>
  <comments><comment node="7" content="first line&#10;second &amp; last" /></comments>
  <groups>
    <group id="1" name="all"><group id="2" name="axons" isExpanded="true" /></group>
  </groups>
  <volume id="0" location="data.zip" />
</things>
"""


@pytest.fixture
def read(tmp_path):
    def run(text):
        path = tmp_path / "a.nml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_nml(path)

    return run


def things(inside, parameters=""):
    return f"<things><parameters>{parameters}</parameters>\n{inside}</things>"


def tree(nodes="", edges="", **attributes):
    stated = " ".join(f'{k}="{v}"' for k, v in ({"id": 3} | attributes).items())
    return f"<thing {stated}>\n<nodes>{nodes}</nodes>\n<edges>{edges}</edges></thing>"


def node(**changes):
    stated = {"id": 1, "x": 1, "y": 2, "z": 3} | changes
    return "<node " + " ".join(f'{k}="{v}"' for k, v in stated.items() if v is not None) + "/>"


def content(element):
    """What a document says, by another parser: numbers by value, empty sections left out."""

    def value(text):
        try:
            # A whole number beyond 2**53 must stay exactly what it is.
            return int(text) if text.isdigit() else float(text)
        except ValueError:
            return text

    attributes = {k: value(v) for k, v in element.attrib.items()}
    children = [content(child) for child in element]
    sections = ("nodes", "edges", "branchpoints", "comments", "groups")
    kept = [c for c in children if c[0] not in sections or c[1] or c[2]]
    return (element.tag, attributes, sorted(kept, key=repr))


def test_a_published_file_is_understood(read):
    annotation = read(PUBLISHED)
    first, empty, bare = annotation.trees
    assert first.name == 'axon "1"'
    assert first.group == 2
    assert first.attributes == {"color.r": "1.0", "color.a": "1.0", "type": "DEFAULT"}
    assert first.nodes[0].xyz == (100, 200, 300)
    assert first.nodes[0].radius == 120.5
    assert first.nodes[0].attributes == {"rotX": "0.0", "inVp": "1", "time": "15500"}
    assert first.nodes[1] == Node(2**64 - 1, (101.25, 200, -3))
    assert first.edges == (Edge(7, 2**64 - 1, {"weight": "2"}),)
    assert (empty.id, empty.name, empty.nodes) == (0, "", ())
    assert bare == Tree(9)
    assert annotation.branch_points == (BranchPoint(7, {"time": "15501"}),)
    assert annotation.comments == (Comment(7, "first line\nsecond & last"),)
    assert annotation.groups[0].groups == (Group(2, "axons", (), {"isExpanded": "true"}),)
    assert annotation.parameters.experiment["organization"] == "MPI"
    (box,) = annotation.parameters.boxes
    assert (box.start_xyz, box.size_xyz) == ((-4, 3, 2), (10, 20, 30))
    assert [e.tag for e in annotation.parameters.others] == ["time", "activeNode"]
    assert [e.tag for e in annotation.others] == ["meta", "volume"]


def test_positions_become_nm_once(read):
    annotation = read(PUBLISHED)
    grid = annotation_grid(annotation)
    nodes = annotation.trees[0].nodes
    expected = [
        [300.5 * 28, 200.5 * 11.24, 100.5 * 11.24],
        [-2.5 * 28, 200.5 * 11.24, 101.75 * 11.24],
    ]
    np.testing.assert_allclose(positions_nm(nodes, grid), expected)
    assert positions_nm((), grid).shape == (0, 3)
    (box,) = annotation.parameters.boxes
    start, stop = (2 * 28, 3 * 11.24, -4 * 11.24), (32 * 28, 23 * 11.24, 6 * 11.24)
    assert box_nm(box, grid) == Box(start, stop)


def test_nothing_of_a_file_is_lost_on_the_way_back(read, tmp_path):
    write_nml(read(PUBLISHED), tmp_path / "b.nml")
    before = ET.fromstring(PUBLISHED)
    after = ET.parse(tmp_path / "b.nml").getroot()
    assert content(after) == content(before)


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n\r"), max_size=8
)
names = st.from_regex(r"[a-wyz][a-z.]{8,10}", fullmatch=True)  # no field has such a name
attributes = st.dictionaries(names, texts, max_size=2)
numbers = st.integers(0, 2**64 - 1)
voxels = st.floats(-(2.0**53), 2.0**53) | st.integers(-(2**53), 2**53).map(float)
elements = st.recursive(
    st.builds(Element, names, attributes),
    lambda inner: st.builds(Element, names, attributes, st.lists(inner, max_size=2).map(tuple)),
    max_leaves=3,
)
others = st.lists(elements, max_size=2).map(tuple)
boxes = st.builds(
    NamedBox,
    st.sampled_from(["userBoundingBox", "taskBoundingBox"]),
    st.tuples(*[st.integers(-(2**53), 2**53)] * 3),
    st.tuples(*[st.integers(0, 2**53)] * 3),
    attributes,
)
sizes = st.tuples(*[st.floats(1e-9, 1e9)] * 3)
parameters = st.builds(
    Parameters,
    st.none() | attributes,
    st.none() | sizes,
    st.none(),
    st.none() | st.tuples(voxels, voxels, voxels),
    st.lists(boxes, max_size=2).map(tuple),
    others,
)


@st.composite
def annotations(draw):
    ids = iter(draw(st.lists(numbers, unique=True, min_size=12, max_size=12)))
    outer = Group(1, draw(st.none() | texts), (Group(2, draw(texts)),), draw(attributes))
    trees, known = [], []
    for number in draw(st.lists(numbers, unique=True, max_size=3)):
        nodes = tuple(
            Node(
                next(ids),
                draw(st.tuples(voxels, voxels, voxels)),
                draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
                draw(attributes),
                draw(others),
            )
            for _ in range(draw(st.integers(0, 4)))
        )
        links = draw(st.permutations(nodes))
        edges = tuple(Edge(a.id, b.id, draw(attributes)) for a, b in itertools.pairwise(links))
        known += [n.id for n in nodes]
        group = draw(st.sampled_from([None, 1, 2]))
        name = draw(st.none() | texts)
        trees.append(Tree(number, name, group, nodes, edges, draw(attributes), draw(others)))
    marked = st.sampled_from(known) if known else st.nothing()
    marks = st.lists(st.builds(BranchPoint, marked, attributes), max_size=2).map(tuple)
    comments = st.lists(st.builds(Comment, marked, texts, attributes), max_size=2).map(tuple)
    return Annotation(
        draw(parameters),
        tuple(trees),
        draw(marks) if known else (),
        draw(comments) if known else (),
        (outer,),
        draw(attributes),
        draw(others),
    )


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=80,
)
@given(annotations(), st.sampled_from(["a.nml", "a.zip", "a.nmx"]))
def test_any_annotation_comes_back(tmp_path, annotation, name):
    write_nml(annotation, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    assert read_nml(tmp_path / name) == annotation
    write_nml(read_nml(tmp_path / name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


BOMB = '<!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><things>&b;</things>'

BAD = {
    "an entity bomb": (BOMB, "line 1 .*document type"),
    "an external entity": (
        '<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]><things>&a;</things>',
        "document type",
    ),
    "an unknown entity": ("<things>&nbsp;</things>", "line 1 .*undefined entity"),
    "another root": ("<svg/>", "starts with <things>"),
    "no XML": ("PK hello", "not well-formed"),
    "nothing": ("", "no element found"),
    "an end too soon": (things(tree())[:-12], "line 4 .*not well-formed XML"),
    "a wrong end": ("<things>\n\n</thing>", "line 3 .*mismatched tag"),
    "an attribute twice": ('<things a="1" a="2"/>', "duplicate attribute"),
    "text": ("<things>hello</things>", "text between tags: 'hello'"),
    "bytes that are no UTF-8": (b'<things a="\xff"/>', "not well-formed"),
    "an unknown encoding": (
        b'<?xml version="1.0" encoding="klingon"?><things/>', "unknown encoding"
    ),
    "elements without end": (
        "<things>" + "<a>" * 99 + "</a>" * 99 + "</things>", "more than 64 deep"
    ),
    "attributes without end": (
        "<things " + " ".join(f'a{i}=""' for i in range(99)) + "/>", "more than 64 attributes"
    ),
    "a value without end": (f'<things a="{"x" * 2**21}"/>', "longer than 1048576 characters"),
    "a node without id": (
        things(tree(node(id=None))), r"line 3 of a.nml \(tree 3\).*no attribute 'id'"
    ),
    "a node without place": (things(tree(node(y=None))), "no attribute 'y'"),
    "a position that is no number": (things(tree(node(x="NaN"))), "'x' is 'NaN', not a finite"),
    "an infinite position": (things(tree(node(z="-inf"))), "'-inf'"),
    "a position beyond floats": (things(tree(node(z="1e999"))), "'1e999'"),
    "a position beyond voxels": (things(tree(node(z="1e300"))), "is no voxel"),
    "a position in words": (things(tree(node(z="1_000"))), "'1_000'"),
    "a position with blanks": (things(tree(node(z=" 1"))), "' 1'"),
    "a radius that is none": (things(tree(node(radius="nan"))), "'radius' is 'nan'"),
    "an empty radius": (things(tree(node(radius=""))), "'radius' is ''"),
    "an id of 2**64": (things(tree(node(id=2**64))), "18446744073709551616"),
    "a negative id": (things(tree(node(id=-1))), "'-1', not a whole number"),
    "an id with a point": (things(tree(node(id="1.0"))), "'1.0', not a whole number"),
    "an id in other digits": (things(tree(node(id="\u0661"))), "not a whole number"),
    "a tree without id": (things("<thing name='a'/>"), "no attribute 'id'"),
    "two nodes of one id": (things(tree(node() + node())), r"tree 3.*two nodes 1"),
    "two nodes of one id in two trees": (
        things(tree(node()) + "\n" + tree(node(), id=4)), r"line 6 of a.nml \(tree 4\).*two nodes 1"
    ),
    "two trees of one id": (things(tree() + tree()), "two trees 3"),
    "an edge to nowhere": (
        things(tree(node(), '<edge source="1" target="5"/>')),
        r"line 4 of a.nml \(tree 3\).*<edge>: its tree has no node 5",
    ),
    "an edge into another tree": (
        things(tree(node()) + tree(node(id=2), '<edge source="2" target="1"/>', id=4)), "no node 1"
    ),
    "an edge to itself": (things(tree(node(), '<edge source="1" target="1"/>')), "with itself"),
    "an edge twice": (
        things(
            tree(
                node() + node(id=2), '<edge source="1" target="2"/><edge source="2" target="1"/>'
            )
        ),
        "linked twice",
    ),
    "a comment nowhere": (
        things('<comments><comment node="4" content=""/></comments>'), "no node 4"
    ),
    "a comment without content": (
        things(tree(node()) + '<comments><comment node="1"/></comments>'), "'content'"
    ),
    "a branch point nowhere": (
        things('<branchpoints><branchpoint id="4"/></branchpoints>'), "no node 4"
    ),
    "a tree of no group": (things(tree(groupId=8)), "no group 8"),
    "two groups of one id": (
        things('<groups><group id="1"><group id="1"/></group></groups>'), "two groups 1"
    ),
    "two sections of one kind": (things("<comments/><comments/>"), "occurs twice"),
    "a node among the edges": (things(tree(edges=node())), "can only hold <edge>"),
    "a section with attributes": (things('<comments a="1"/>'), "'a' has no known meaning"),
    "a scale of zero": (things("", '<scale x="1" y="0" z="1"/>'), "cannot be"),
    "a scale of two axes": (things("", '<scale x="1" y="1"/>'), "'z'"),
    "two scales": (things("", '<scale x="1" y="1" z="1"/>' * 2), "occurs twice"),
    "a box of negative size": (
        things(
            "",
            '<userBoundingBox topLeftX="0" topLeftY="0" topLeftZ="0" width="-1" height="1" '
            'depth="1"/>',
        ),
        "'width' is '-1'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_nml_is_refused(read, case):
    text, message = BAD[case]
    with pytest.raises(BadInputError, match=message) as refused:
        read(text)
    assert "a.nml" in str(refused.value)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.nml"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(BadInputError, match="too large"):
        read_nml(path)


def scaled(**changes):
    return Annotation(Parameters(**({"scale_xyz": (1.0, 2.0, 3.0)} | changes)))


def test_no_voxel_size_is_ever_assumed():
    with pytest.raises(BadInputError, match="states no scale"):
        annotation_grid(scaled(scale_xyz=None))


def test_units_are_converted_or_refused():
    assert annotation_grid(scaled(unit="micrometer")).voxel_size == (3000, 2000, 1000)
    assert annotation_grid(scaled()).voxel_size == (3, 2, 1)
    with pytest.raises(BadInputError, match="'parsec'"):
        annotation_grid(scaled(unit="parsec"))


def test_an_offset_needs_the_callers_word():
    shifted = scaled(offset_xyz=(1.0, 0.0, 0.0))
    with pytest.raises(BadInputError, match="offset"):
        annotation_grid(shifted)
    assert annotation_grid(shifted, offset_nm=(5, 6, 7)).offset == (5, 6, 7)


@pytest.mark.parametrize(
    "annotation",
    [
        Annotation(trees=(Tree(1, nodes=(Node(1, (math.nan, 0, 0)),)),)),
        Annotation(trees=(Tree(1, edges=(Edge(1, 2),)),)),
        Annotation(trees=(Tree(2**64),)),
        Annotation(trees=(Tree(1, name="\x00"),)),
        Annotation(trees=(Tree(1, name="\ud800"),)),
        Annotation(trees=(Tree(1, attributes={"name": "twice"}),)),
        Annotation(trees=(Tree(1, attributes={"a b": ""}),)),
        Annotation(others=(Element("thing", {"id": "4"}),)),
        Annotation(others=(Element("bad tag"),)),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, annotation):
    with pytest.raises(BadInputError):
        write_nml(annotation, tmp_path / "a.nml")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(BadInputError, match="End its name with"):
        write_nml(Annotation(), tmp_path / "a.txt")
    with pytest.raises(OutputError):
        write_nml(Annotation(), tmp_path / "none" / "a.nml")


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members:
            file.writestr(name, text)
    return path


def test_a_member_is_chosen_or_the_only_one(tmp_path):
    path = archive(tmp_path / "k.nmx", [("b/2.nml", things(tree())), ("1.NML", things(""))])
    assert nml_members(path) == ("1.NML", "b/2.nml")
    with pytest.raises(BadInputError, match=r"needs a member: .*1\.NML, b/2\.nml"):
        read_nml(path)
    assert len(read_nml(path, member="b/2.nml").trees) == 1
    with pytest.raises(BadInputError, match=r"no NML file 'x\.nml'"):
        read_nml(path, member="x.nml")
    other = archive(tmp_path / "a.zip", [("data.zip", "x"), ("only.nml", things(tree()))])
    assert len(read_nml(other).trees) == 1
    with pytest.raises(BadInputError, match=r"a\.zip:bad\.nml \(tree 3\)"):
        read_nml(archive(tmp_path / "a.zip", [("bad.nml", things(tree(node() * 2)))]))


@pytest.mark.parametrize("name", ["../a.nml", "/a.nml", "c:a.nml", "a\\b.nml", "a\n.nml"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    path = archive(tmp_path / "a.zip", [(name, things(""))])
    with pytest.raises(ReadFailedError, match="a member is named"):
        read_nml(path)


def test_bombs_links_and_twins_are_refused(tmp_path):
    bomb = archive(tmp_path / "a.zip", [("a.nml", " " * 2**27)])
    with pytest.raises(ReadFailedError, match="would unpack to"):
        read_nml(bomb)
    link = zipfile.ZipInfo("a.nml")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ReadFailedError, match="is a link"):
        read_nml(archive(tmp_path / "b.zip", [(link, "/etc/passwd")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        twins = archive(tmp_path / "c.zip", [("a.nml", things("")), ("a.nml", things(tree()))])
    with pytest.raises(ReadFailedError, match="occurs twice"):
        read_nml(twins)


def test_a_damaged_archive_is_an_error_wherever_it_ends(tmp_path):
    write_nml(scaled(), tmp_path / "a.zip")
    whole = (tmp_path / "a.zip").read_bytes()
    for end in range(0, len(whole), 7):
        (tmp_path / "a.zip").write_bytes(whole[:end])
        with pytest.raises(ReadFailedError, match="damaged"):
            read_nml(tmp_path / "a.zip")
    at = whole.index(b"a.nml") + 9  # inside the packed bytes: the checksum tells
    (tmp_path / "a.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ReadFailedError, match="damaged"):
        read_nml(tmp_path / "a.zip")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ReadFailedError, match="there is no file"):
        read_nml(tmp_path / "a.nml")
    with pytest.raises(ReadFailedError, match="not a regular file"):
        read_nml(tmp_path)
    (tmp_path / "a.nml").write_text(things(""))
    with pytest.raises(BadInputError, match="is no archive"):
        read_nml(tmp_path / "a.nml", member="a")
