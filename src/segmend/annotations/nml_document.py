"""Values to NML elements: known attributes first, then what else was kept."""

from __future__ import annotations

from segmend.annotations.annotation import Annotation, Group, Node, Parameters, Tree
from segmend.annotations.attributes import MAX_VOXEL
from segmend.annotations.elements import Element
from segmend.annotations.nml_elements import BOX_SIZE, BOX_START
from segmend.annotations.nml_rows import XYZ


def elements_of(annotation: Annotation) -> Element:
    """The document of an annotation: the inverse of `nml_elements.annotation_of`."""
    trees = tuple(_tree_element(tree) for tree in annotation.trees)
    branch_points = (
        _element("branchpoint", b.attributes, id=b.node) for b in annotation.branch_points
    )
    comments = (
        _element("comment", c.attributes, node=c.node, content=c.content)
        for c in annotation.comments
    )
    children = (
        _parameters_element(annotation.parameters),
        *trees,
        Element("branchpoints", children=tuple(branch_points)),
        Element("comments", children=tuple(comments)),
        Element("groups", children=tuple(map(_group_element, annotation.groups))),
    )
    return Element("things", annotation.attributes, children + annotation.others)


def _element(tag: str, rest: dict[str, str], **stated: float | str | None) -> Element:
    """An element of known attributes, then the rest."""
    known = {k: _text(v) for k, v in stated.items() if v is not None}
    return Element(tag, known | rest)


def _text(value: float | str) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_VOXEL:
        return str(int(value))
    return str(value)


def _parameters_element(parameters: Parameters) -> Element:
    children: list[Element] = []
    if parameters.experiment is not None:
        children.append(Element("experiment", parameters.experiment))
    if parameters.scale_xyz is not None:
        size = dict(zip(XYZ, parameters.scale_xyz, strict=True))
        children.append(_element("scale", {}, **size, unit=parameters.unit))
    if parameters.offset_xyz is not None:
        children.append(
            _element("offset", {}, **dict(zip(XYZ, parameters.offset_xyz, strict=True)))
        )
    for box in parameters.boxes:
        at = dict(zip(BOX_START + BOX_SIZE, box.start_xyz + box.size_xyz, strict=True))
        children.append(_element(box.kind, box.attributes, **at))
    return Element("parameters", children=(*children, *parameters.others))


def _tree_element(tree: Tree) -> Element:
    stated = _element("thing", tree.attributes, id=tree.id, name=tree.name, groupId=tree.group)
    nodes = tuple(map(_node_element, tree.nodes))
    edges = (_element("edge", e.attributes, source=e.source, target=e.target) for e in tree.edges)
    children = (Element("nodes", children=nodes), Element("edges", children=tuple(edges)))
    return Element("thing", stated.attributes, children + tree.children)


def _node_element(node: Node) -> Element:
    at = dict(zip(XYZ, node.xyz, strict=True))
    stated = _element("node", node.attributes, id=node.id, radius=node.radius, **at)
    return Element("node", stated.attributes, node.children)


def _group_element(group: Group) -> Element:
    stated = _element("group", group.attributes, id=group.id, name=group.name)
    return Element("group", stated.attributes, tuple(map(_group_element, group.groups)))
