"""NML elements to values: strict about what NML defines, keeping everything else.

Source: the documentation of webKnossos, "Skeleton annotations: NML files", and KNOSSOS' files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

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
)
from segmend.annotations.attributes import MAX_VOXEL, Attributes, element_error
from segmend.annotations.elements import Element, Many
from segmend.annotations.nml_rows import XYZ, plain_edges, plain_nodes

BOX_START = ("topLeftX", "topLeftY", "topLeftZ")
BOX_SIZE = ("width", "height", "depth")
BOXES = ("userBoundingBox", "taskBoundingBox")
SECTIONS = ("parameters", "branchpoints", "comments", "groups")

MANY: Many = {("things", "thing", "nodes"): "node", ("things", "thing", "edges"): "edge"}
"""What a file holds many of (`segmend.annotations.elements.Many`)."""

T = TypeVar("T")


def annotation_of(root: Element, name: str) -> Annotation:
    """The annotation that a parsed document holds.

    Args:
        root: Its root element.
        name: What errors call the file.

    Raises:
        BadInputError: naming line and tree, for anything that is not NML, ids that are no uint64
            or occur twice, edges, comments, branch points or groups that lead nowhere.
    """
    if root.tag != "things":
        raise element_error(root, name, "an NML file starts with <things>")
    sections = _sections(root, SECTIONS, name)
    groups = _listed(sections["groups"], "group", name, _group)
    things = [child for child in root.children if child.tag == "thing"]
    trees = tuple(_tree(thing, name) for thing in things)
    known = _known_nodes(trees, things, name)
    group_ids = _known_groups(sections["groups"], groups, name)
    for tree, thing in zip(trees, things, strict=True):
        if tree.group is not None and tree.group not in group_ids:
            raise element_error(thing, name, f"there is no group {tree.group}")
    taken = ("thing", *SECTIONS)
    return Annotation(
        parameters=_parameters(sections["parameters"], name),
        trees=trees,
        branch_points=_marks(sections["branchpoints"], "branchpoint", name, _branch_point, known),
        comments=_marks(sections["comments"], "comment", name, _comment, known),
        groups=groups,
        attributes=dict(root.attributes),
        others=tuple(child for child in root.children if child.tag not in taken),
    )


def _sections(parent: Element, tags: Sequence[str], where: str) -> dict[str, Element | None]:
    """Children that may occur once each."""
    found: dict[str, Element | None] = dict.fromkeys(tags)
    for child in parent.children:
        if child.tag in found:
            if found[child.tag] is not None:
                raise element_error(child, where, f"it occurs twice in <{parent.tag}>")
            found[child.tag] = child
    return found


def _listed(
    section: Element | None, tag: str, where: str, make: Callable[[Element, str], T]
) -> tuple[T, ...]:
    """The items of a section that can hold nothing else."""
    if section is None:
        return ()
    Attributes(section, where).nothing_left()
    for child in section.children:
        if child.tag != tag:
            raise element_error(child, where, f"<{section.tag}> can only hold <{tag}>")
    return tuple(make(child, where) for child in section.children)


def _leaf(element: Element, where: str) -> Attributes:
    """Attributes of an element that holds no other."""
    if element.children:
        raise element_error(element.children[0], where, f"<{element.tag}> holds no elements")
    return Attributes(element, where)


def _parameters(section: Element | None, where: str) -> Parameters:
    if section is None:
        return Parameters()
    Attributes(section, where).nothing_left()
    found = _sections(section, ("experiment", "scale", "offset"), where)
    experiment, scale, offset = found["experiment"], found["scale"], found["offset"]
    size = unit = corner = None
    if scale is not None:
        stated = _leaf(scale, where)
        size, unit = stated.voxel(XYZ), stated.text("unit")
        if min(size) <= 0:
            raise stated.error(f"a voxel cannot be {size} wide (x, y, z)")
        stated.nothing_left()
    if offset is not None:
        stated = _leaf(offset, where)
        corner = stated.voxel(XYZ)
        stated.nothing_left()
    return Parameters(
        experiment=None if experiment is None else dict(_leaf(experiment, where).rest),
        scale_xyz=size,
        unit=unit,
        offset_xyz=corner,
        boxes=tuple(_box(c, where) for c in section.children if c.tag in BOXES),
        others=tuple(c for c in section.children if c.tag not in (*found, *BOXES)),
    )


def _box(element: Element, where: str) -> NamedBox:
    stated = _leaf(element, where)
    x, y, z = (stated.whole(name, -MAX_VOXEL, MAX_VOXEL) for name in BOX_START)
    size = stated.counts(BOX_SIZE, 0)
    return NamedBox(element.tag, (x, y, z), size, stated.rest)


def _tree(element: Element, name: str) -> Tree:
    stated = Attributes(element, name)
    number = stated.id("id")
    group = stated.id("groupId") if "groupId" in stated.rest else None
    where = f"{name} (tree {number})"
    found = _sections(element, ("nodes", "edges"), where)
    nodes = _nodes(found["nodes"], where)
    edges = _edges(found["edges"], where)
    _check_edges(found["edges"], edges, {node.id for node in nodes}, where)
    return Tree(
        id=number,
        name=stated.text("name"),
        group=group,
        nodes=nodes,
        edges=edges,
        attributes=stated.rest,
        children=tuple(child for child in element.children if child.tag not in found),
    )


def _nodes(section: Element | None, where: str) -> tuple[Node, ...]:
    if section is None or section.rows is None:
        return _listed(section, "node", where, _node)
    Attributes(section, where).nothing_left()
    plain = plain_nodes(section.rows.attributes)
    return plain or tuple(_node(one, where) for one in section.rows.elements())


def _node(element: Element, where: str) -> Node:
    plain = plain_nodes([element.attributes], element.children)
    if plain is not None:
        return plain[0]
    stated = Attributes(element, where)
    return Node(
        id=stated.id("id"),
        xyz=stated.voxel(XYZ),
        radius=stated.number("radius") if "radius" in stated.rest else None,
        attributes=stated.rest,
        children=element.children,
    )


def _edges(section: Element | None, where: str) -> tuple[Edge, ...]:
    if section is None or section.rows is None:
        return _listed(section, "edge", where, _edge)
    Attributes(section, where).nothing_left()
    plain = plain_edges(section.rows.attributes)
    return plain or tuple(_edge(one, where) for one in section.rows.elements())


def _edge(element: Element, where: str) -> Edge:
    stated = _leaf(element, where)
    return Edge(stated.id("source"), stated.id("target"), stated.rest)


def _elements(section: Element | None) -> tuple[Element, ...]:
    """What a section holds, one by one."""
    if section is None:
        return ()
    return section.children if section.rows is None else section.rows.elements()


def _check_edges(
    section: Element | None, edges: tuple[Edge, ...], known: set[int], where: str
) -> None:
    """Check that edges link two nodes of their tree, and no two of them the same."""
    pairs = {
        (edge.source, edge.target) if edge.source < edge.target else (edge.target, edge.source)
        for edge in edges
    }
    ends = {end for pair in pairs for end in pair}
    if len(pairs) == len(edges) and ends <= known and all(a != b for a, b in pairs):
        return
    seen: set[tuple[int, int]] = set()
    for edge, element in zip(edges, _elements(section), strict=True):
        for end in (edge.source, edge.target):
            if end not in known:
                raise element_error(element, where, f"its tree has no node {end}")
        pair = (min(edge.source, edge.target), max(edge.source, edge.target))
        if pair[0] == pair[1]:
            raise element_error(element, where, f"it links node {pair[0]} with itself")
        if pair in seen:
            raise element_error(element, where, f"nodes {pair[0]} and {pair[1]} are linked twice")
        seen.add(pair)


def _known_nodes(trees: tuple[Tree, ...], things: list[Element], name: str) -> set[int]:
    """Ids of all nodes, each of which must occur once, like those of trees."""
    nodes: set[int] = set()
    numbers: set[int] = set()
    for tree, thing in zip(trees, things, strict=True):
        if tree.id in numbers:
            raise element_error(thing, name, f"there are two trees {tree.id}")
        numbers.add(tree.id)
        ids = [node.id for node in tree.nodes]
        if len(set(ids)) < len(ids) or not nodes.isdisjoint(ids):
            _refuse_repeated(tree, nodes, thing, name)
        nodes.update(ids)
    return nodes


def _refuse_repeated(tree: Tree, before: set[int], thing: Element, name: str) -> None:
    (section,) = _sections(thing, ("nodes",), name).values()
    seen = set(before)
    for node, element in zip(tree.nodes, _elements(section), strict=True):
        if node.id in seen:
            where = f"{name} (tree {tree.id})"
            raise element_error(element, where, f"there are two nodes {node.id}")
        seen.add(node.id)


def _marks(
    section: Element | None,
    tag: str,
    where: str,
    make: Callable[[Element, str], tuple[int, T]],
    known: set[int],
) -> tuple[T, ...]:
    """Branch points or comments, whose nodes must exist."""
    made = _listed(section, tag, where, make)
    for (node, _), element in zip(made, section.children if section else (), strict=True):
        if node not in known:
            raise element_error(element, where, f"there is no node {node}")
    return tuple(mark for _, mark in made)


def _branch_point(element: Element, where: str) -> tuple[int, BranchPoint]:
    stated = _leaf(element, where)
    node = stated.id("id")
    return node, BranchPoint(node, stated.rest)


def _comment(element: Element, where: str) -> tuple[int, Comment]:
    stated = _leaf(element, where)
    node = stated.id("node")
    return node, Comment(node, stated.needed("content"), stated.rest)


def _group(element: Element, where: str) -> Group:
    stated = Attributes(element, where)
    for child in element.children:
        if child.tag != "group":
            raise element_error(child, where, "<group> can only hold <group>")
    inner = tuple(_group(child, where) for child in element.children)
    return Group(stated.id("id"), stated.text("name"), inner, stated.rest)


def _known_groups(section: Element | None, groups: tuple[Group, ...], where: str) -> set[int]:
    known: set[int] = set()
    for group in _every(groups):
        if group.id in known:
            assert section is not None
            raise element_error(section, where, f"there are two groups {group.id}")
        known.add(group.id)
    return known


def _every(groups: tuple[Group, ...]) -> Iterator[Group]:
    for group in groups:
        yield group
        yield from _every(group.groups)
