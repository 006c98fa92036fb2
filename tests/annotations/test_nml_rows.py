"""Nodes and edges taken together are what they are one by one: the same values, the same errors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.annotations.annotation import Annotation
from segmend.annotations.elements import Element, parse_elements
from segmend.annotations.nml_elements import MANY, annotation_of
from segmend.core.errors import BadInputError

NODES = [
    '<node id="{}" x="1" y="-2" z="3.5" radius="4"/>\n',
    '<node id="{}" x="1" y="2" z="3" radius="4" inVp="1" time=""/>\n',
    '<node id="{}" x="1" y="2" z="3"></node>',
    '<node id="0{}" x="1e2" y="+2" z=".5" radius="-0"/>\n',
    '<node id="{}" x="1" y="2" z="3"><metadata><node id="1"/></metadata></node>\n',
    '<node id="{}" x="1" y="2" z="3"><node id="7"/></node>\n',
    '<!-- a node --><node z="3" y="2" x="1" id="{}"/>',
]
EDGES = [
    '<edge source="1" target="2"/>\n',
    '<edge source="2" target="3"/>',
    '<edge target="03" source="1" weight="2"/>\n',
]
ODD = [
    '<node id="{} 1" x="1" y="" z="3"/>',
    '<node id="{}" x="1&#10;2 3 4" y="2" z="3"/>',
    '<node id="{}" x="1" y="2" z="3" radius=""/>',
    '<node id="1" x="1" y="2" z="3"/>\n',
    '<node id="{}" x="\u0661" y="2" z="3"/>',
    '<node id="{}"/>',
    "<node/>",
    "text",
    "</nodes><nodes>",
    "</nodes></thing><node/><thing><nodes>",
    "</nodes><node/>",
    "<nodes><node/></nodes>",
    f'<node id="{{}}" x="{"1" * (2**20 + 1)}" y="2" z="3"/>',
    "<node " + " ".join(f'a{i}=""' for i in range(65)) + "/>",
    "<node>" * 70 + "</node>" * 70,
    '<edge source="2" target="1"/>',
    '<edge source="2" target="2"/>',
    '<edge source="2" target="99"/>',
    "<![CDATA[ ]]>",
    "&lt;",
    "<",
]
NODE, EDGE = (st.sampled_from(kinds) for kinds in (NODES, EDGES))
SECTION = st.lists(NODE | NODE | st.sampled_from(ODD), max_size=5)
TREE = st.tuples(SECTION, st.lists(EDGE | st.sampled_from(ODD), max_size=3))


def document(trees: list[tuple[list[str], list[str]]]) -> bytes:
    text, number = "<things>\n", 0
    for tree, (nodes, edges) in enumerate(trees):
        text += f'<thing id="{tree}"><nodes>'
        for one in nodes:
            number += 1
            text += one.replace("{}", str(number))
        text += "</nodes>\n<edges>" + "".join(edges) + "</edges></thing>\n"
    return (text + '<comments><comment node="1" content="x"/></comments></things>').encode()


def read(data: bytes, **options) -> Annotation | str:
    try:
        return annotation_of(parse_elements(data, "a.nml", **options), "a.nml")
    except BadInputError as error:
        return str(error)


@settings(max_examples=150, deadline=None)
@given(trees=st.lists(TREE, min_size=1, max_size=3))
def test_together_is_as_one_by_one(trees) -> None:
    data = document(trees)
    assert read(data, many=MANY) == read(data)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("at", [0, 1])
def test_what_is_odd_among_plain_nodes_or_edges_is_told_alike(odd: str, at: int) -> None:
    plain = (NODES[:1] * 3, EDGES[:2])
    whole = document([plain])
    assert isinstance(read(whole, many=MANY), Annotation)
    plain[at].insert(1, odd)
    data = document([plain, (NODES[:1], [])])
    assert read(data, many=MANY) == read(data)


def test_rows_are_kept_where_they_are_asked_for_only() -> None:
    data = document([(NODES[:2], EDGES[:1]), (NODES[4:5], [])])
    first, second = (
        thing.children[0] for thing in parse_elements(data, "a", many=MANY).children[:2]
    )
    whole = [thing.children[0] for thing in parse_elements(data, "a").children[:2]]
    assert first.rows is not None
    assert first.rows.elements() == whole[0].children
    assert first.rows.lines == [one.line for one in whole[0].children] == [2, 3]
    assert first.children == ()
    assert second == whole[1]  # a node holds something
    assert isinstance(second.children[0], Element)
    assert second.children[0].line == whole[1].children[0].line
