"""Errors put into a proofread segmentation, each with the edit that repairs it.

A proofread segmentation is all one needs: neurons are cut at constrictions and where a section
would be missing, and neurons that touch are stuck together. `segmend edits compare` says how far
such errors are from real ones; they are a supplement, not a substitute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import cc3d
import edt
import fastremap
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.core.random import keyed_generator, keyed_unit
from segmend.edits.logged import LoggedEdit
from segmend.edits.operation import EditKind, Identity, operation_hash
from segmend.segments.boxes import segment_boxes
from segmend.segments.contacts import Contact, Contacts, check_labels, find_contacts

SOURCE = "injected errors"

NECK = 0.7
"""A cut is at a constriction if it is at most so wide, relative to the thinner of the two parts."""

NECK_LEVELS = 8
"""Widths that are tried for a neck, as shares of the widest place."""

MOST_CUT_VOXELS = 16_000_000
"""Largest box of a neuron that is looked through for constrictions."""

SECTION = "missing section"
THIN = "thin neck"
TOUCHING = "touching membranes"


@dataclass(frozen=True, slots=True)
class Injection:
    """How many errors of each kind, and how small the parts may be.

    Attributes:
        constrictions: Neurons to cut at their thinnest neck, at most.
        sections: Sections to lose.
        section_share: Share of the neurons crossing such a section that are cut there.
        merges: Pairs of neurons to stick together, at most.
        min_voxels: Smallest part of a cut, and of a pair.
        min_faces: Smallest contact of a cut or a pair, voxel faces.

    Raises:
        BadInputError: for a negative count, a share outside 0 to 1, or a size below 1.
    """

    constrictions: int = 20
    sections: int = 1
    section_share: float = 0.5
    merges: int = 20
    min_voxels: int = 1000
    min_faces: int = 20

    def __post_init__(self) -> None:
        least = {"constrictions": 0, "sections": 0, "merges": 0, "min_voxels": 1, "min_faces": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise BadInputError(f"'{name}' must be at least {value}, got {getattr(self, name)}")
        if not 0 <= self.section_share <= 1:
            raise BadInputError(f"'section_share' must be 0 to 1, got {self.section_share}")


@dataclass(frozen=True, eq=False)
class Injected:
    """A segmentation with errors.

    Attributes:
        automatic: uint64 ``(z, y, x)``.
        log: What repairs it: merges, then splits, each with its cause in ``facts``.
        short: Errors that were asked for and not found a place for, by cause.
    """

    automatic: Ids
    log: tuple[LoggedEdit, ...]
    short: Counter[str]


@dataclass(slots=True)
class _Pieces:
    """Neurons and what they were cut into.

    Attributes:
        labels: uint64 ``(z, y, x)``: the piece of each voxel.
        neuron: The neuron of each piece.
        cause: Of pieces that were cut off: why.
        cut: Neurons that were cut.
    """

    labels: Ids
    neuron: dict[int, int]
    cause: dict[int, str] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)

    def cut_off(self, where: NDArray[np.bool_], view: Ids, neuron: int, cause: str) -> None:
        """Give some voxels of a neuron a piece of their own; ``view`` is a part of `labels`."""
        new = max(self.neuron) + 1
        view[where] = new
        self.neuron[new], self.cause[new] = neuron, cause
        self.cut.add(neuron)


def inject(
    neurons: Ids, grid: VoxelGrid, *, rules: Injection, key: str, identity: Identity
) -> Injected:
    """Put errors into a proofread segmentation.

    Args:
        neurons: uint64 ``(z, y, x)``; 0 is none.
        grid: Its grid.
        rules: Which errors.
        key: Every random choice depends on it and on the neurons alone.
        identity: Data set, version and volume of the edits.

    Returns:
        The segmentation; a neuron gets at most one kind of error, so that the truth of each is
        plain.

    Raises:
        BadInputError: if the array is not 3-D uint64.
        GridMismatchError: if it does not fit the grid.
    """
    check_labels(neurons, grid, name="neurons")
    dense, ids = fastremap.renumber(neurons, preserve_zero=True)
    pieces = _Pieces(
        dense.astype(np.uint64), {int(new): int(old) for old, new in ids.items() if new}
    )
    if not pieces.neuron:
        raise BadInputError("there are no neurons to put errors into", found="all voxels are 0")
    short: Counter[str] = Counter()
    short[SECTION] = rules.sections - _lose_sections(pieces, rules, key)
    short[THIN] = rules.constrictions - _cut_necks(pieces, grid, rules, key)
    contacts = find_contacts(pieces.labels, grid)
    repairs = list(_spanning(contacts, pieces))
    stuck = _touching(contacts, pieces, rules, key)
    short[TOUCHING] = rules.merges - len(stuck)
    for contact in stuck:
        fastremap.remap(
            pieces.labels, {contact.b: contact.a}, preserve_missing_labels=True, in_place=True
        )
    log = [_repair("merge", one, pieces, identity, cause) for one, cause in repairs]
    log += [_repair("split", one, pieces, identity, TOUCHING) for one in stuck]
    return Injected(pieces.labels, tuple(log), +short)


def _lose_sections(pieces: _Pieces, rules: Injection, key: str) -> int:
    """Cut neurons where a section is missing; how many sections were lost."""
    labels = pieces.labels
    depth = labels.shape[0]
    planes = np.arange(max(1, depth // 10), depth - depth // 10)
    random = keyed_generator(key, "sections")
    lost = 0
    for plane in random.permutation(planes).tolist():
        if lost == rules.sections:
            break
        crossing = labels[plane - 1][labels[plane - 1] == labels[plane]]
        ids, faces = np.unique(crossing, return_counts=True)
        before = len(pieces.cut)
        for one, n in zip(ids.tolist(), faces.tolist(), strict=True):
            neuron = pieces.neuron.get(one, 0)
            if one == 0 or neuron in pieces.cut or n < rules.min_faces:
                continue
            if keyed_unit(key, "section", plane, neuron) >= rules.section_share:
                continue
            above = labels[plane:] == one
            sizes = (int(above.sum()), int((labels[:plane] == one).sum()))
            if min(sizes) >= rules.min_voxels:
                pieces.cut_off(above, labels[plane:], neuron, SECTION)
        lost += len(pieces.cut) > before
    return lost


def _cut_necks(pieces: _Pieces, grid: VoxelGrid, rules: Injection, key: str) -> int:
    """Cut neurons at their thinnest necks; how many were cut."""
    boxes = segment_boxes(pieces.labels)
    whole = sorted(piece for piece in boxes if pieces.neuron[piece] not in pieces.cut)
    order = sorted(whole, key=lambda piece: keyed_unit(key, "neck", pieces.neuron[piece]))
    done = 0
    for piece in order:
        if done == rules.constrictions:
            break
        box = boxes[piece]
        if box.size > MOST_CUT_VOXELS:
            continue
        view = pieces.labels[box.slices]
        off = thinnest_cut(view == piece, grid.voxel_size, rules)
        if off is not None:
            pieces.cut_off(off, view, pieces.neuron[piece], THIN)
            done += 1
    return done


def thinnest_cut(
    mask: NDArray[np.bool_], voxel_size: tuple[float, float, float], rules: Injection
) -> NDArray[np.bool_] | None:
    """The smaller part of a shape that is cut at its thinnest neck.

    The shape is eroded step by step until what is left falls apart; its parts grow back by a
    watershed of the distance from the surface, and meet at the neck.

    Args:
        mask: bool ``(z, y, x)``, the shape.
        voxel_size: nm, ``(z, y, x)``.
        rules: How small the parts and their contact may be.

    Returns:
        bool, the same shape, or None if it has no neck that is a constriction.
    """
    if np.count_nonzero(mask) < 2 * rules.min_voxels:
        return None
    # Where the shape meets the border of its box it ends or the volume does: no surface there.
    depth = edt.edt(mask, anisotropy=voxel_size, black_border=False)
    if not np.isfinite(depth).all():
        return None
    for level in np.linspace(0, depth.max(), NECK_LEVELS + 2)[1:-1].tolist():
        cores = cc3d.connected_components(depth > level, connectivity=26)
        sizes = np.bincount(cores.reshape(-1))
        if len(sizes) < 3:
            continue
        sizes[0] = 0
        first, second = np.argsort(-sizes, kind="stable")[:2].tolist()
        thinner = min(float(depth[cores == one].max()) for one in (first, second))
        if level > NECK * thinner:
            continue
        markers = np.select([cores == first, cores == second], [1, 2], 0)
        grown = watershed(-depth, markers, mask=mask)  # type: ignore[no-untyped-call]
        a, b = grown == 1, grown == 2
        small = min(a, b, key=np.count_nonzero)
        if np.count_nonzero(small) >= rules.min_voxels and _touch(a, b, rules):
            return np.asarray(small)
    return None


def _touch(a: NDArray[np.bool_], b: NDArray[np.bool_], rules: Injection) -> bool:
    """Whether two parts touch over enough faces."""
    faces = 0
    for axis in range(3):
        one, other = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
        faces += int(np.count_nonzero(one[1:] & other[:-1]))
        faces += int(np.count_nonzero(one[:-1] & other[1:]))
    return faces >= rules.min_faces


def _spanning(contacts: Contacts, pieces: _Pieces) -> Iterable[tuple[Contact, str]]:
    """Contacts that join the pieces of each neuron again, the largest first; and their causes."""
    same = [c for c in contacts if pieces.neuron[c.a] == pieces.neuron[c.b]]
    group = {piece: piece for c in same for piece in (c.a, c.b)}

    def root(piece: int) -> int:
        while group[piece] != piece:
            piece = group[piece]
        return piece

    for contact in sorted(same, key=lambda c: (-c.faces, c.a, c.b)):
        a, b = root(contact.a), root(contact.b)
        if a != b:
            group[b] = a
            yield contact, pieces.cause[max(contact.a, contact.b)]


def _touching(contacts: Contacts, pieces: _Pieces, rules: Injection, key: str) -> list[Contact]:
    """Pairs of whole neurons to stick together, larger contacts likelier, none used twice."""
    sizes = fastremap.unique(pieces.labels, return_counts=True)
    voxels = dict(zip(sizes[0].tolist(), sizes[1].tolist(), strict=True))
    drawn = []
    for contact in contacts:
        both = (contact.a, contact.b)
        if contact.faces < rules.min_faces or any(pieces.neuron[p] in pieces.cut for p in both):
            continue
        if min(voxels[piece] for piece in both) < rules.min_voxels:
            continue
        names = sorted(pieces.neuron[piece] for piece in both)
        # The larger u ** (1 / faces), the earlier: weighted sampling without replacement
        # (Efraimidis and Spirakis 2006).
        unit = max(keyed_unit(key, "merge", *names), 2.0**-60)
        drawn.append((-(np.log(unit) / contact.faces), contact.a, contact.b, contact))
    used: set[int] = set()
    found: list[Contact] = []
    for *_, contact in sorted(drawn, key=lambda one: one[:3]):
        if len(found) == rules.merges:
            break
        if not used & {contact.a, contact.b}:
            used |= {contact.a, contact.b}
            found.append(contact)
    return found


def _repair(
    kind: EditKind, contact: Contact, pieces: _Pieces, identity: Identity, cause: str
) -> LoggedEdit:
    segments = (contact.a, contact.b) if kind == "merge" else (contact.a,)
    neurons = {pieces.neuron[contact.a], pieces.neuron[contact.b]}
    return LoggedEdit(
        operation_hash(**asdict(identity), kind=kind, ids=segments),
        kind,
        segments,
        tuple(sorted(neurons)),
        contact.point_nm,
        None,
        SOURCE,
        facts={"cause": cause, "contact_faces": contact.faces},
    )
