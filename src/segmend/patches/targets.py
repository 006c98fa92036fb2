"""What a network learns, from labels: one frozen value per target, each gives its channels.

A target answers a `Truth` with values ``(c, z, y, x)`` and a mask of the same shape, uint8, that
is 1 where the value counts. uint8 values are cast on the device: a twelfth of the traffic of
float32 with masks. Floats are for distances and vectors only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.catalog.labels import IGNORED
from segmend.core.box import Triple
from segmend.core.errors import BadInputError, require
from segmend.patches import kernels
from segmend.patches.relabel import dense
from segmend.patches.turns import in_order, unturned

Answer = tuple[NDArray[Any], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is known of a patch.

    Attributes:
        labels: Dense ids, int32 ``(z, y, x)``, 0 background. Where all targets are of `COMPARING`,
            ids as they are stored, unsigned, any strides.
        known: 1 where the labels say something, uint8.
        classes: uint8, `IGNORED` where nothing is known; None where no class is wanted.
        voxel_size: nm ``(z, y, x)``.
    """

    labels: NDArray[Any]
    known: NDArray[np.uint8]
    classes: NDArray[np.uint8] | None
    voxel_size: tuple[float, float, float]


class Target(Protocol):
    """One thing to learn."""

    @property
    def name(self) -> str:
        """Its key in a batch; the mask has ``_valid`` behind it."""
        ...

    def of(self, truth: Truth) -> Answer:
        """Values and where they count."""
        ...


@dataclass(frozen=True, slots=True)
class Affinities:
    """Whether a voxel and the one at an offset lie in one segment: 1 = same, 0 = cut.

    Attributes:
        offsets: Voxels ``(z, y, x)``, one per channel.
        kept_at: ``source``: the edge from v to v + offset is kept at v (banis); ``destination``:
            at v + offset (DeepEM, and what torch_em calls offsets with the sign turned).
        zero_is: ``unknown``: edges that touch background do not count; ``boundary``: they are cut.
        inverted: 1 = cut, torch_em's disaffinities.
    """

    offsets: tuple[Triple, ...]
    kept_at: Literal["source", "destination"] = "source"
    zero_is: Literal["unknown", "boundary"] = "unknown"
    inverted: bool = False
    name: str = "affinities"

    def __post_init__(self) -> None:
        offsets = tuple((int(z), int(y), int(x)) for z, y, x in self.offsets)
        object.__setattr__(self, "offsets", offsets)
        if not offsets or (0, 0, 0) in offsets:
            raise BadInputError(
                "affinities need offsets other than (0, 0, 0)", found=f"offsets {self.offsets}"
            )
        _one_of("kept_at", self.kept_at, ("source", "destination"))
        _one_of("zero_is", self.zero_is, ("unknown", "boundary"))

    def of(self, truth: Truth) -> Answer:
        """uint8, one channel per offset."""
        # An edge is the same from both ends: kept at the destination is the turned offset's.
        sign = 1 if self.kept_at == "source" else -1
        offsets = np.array(self.offsets, np.int64) * sign
        depth, height, width = truth.labels.shape
        flat = (depth, height * width)
        labels = _narrow(truth.labels).reshape(flat)
        seen = truth.known.reshape(flat)
        if self.zero_is == "unknown":
            seen = seen & (labels != 0).view(np.uint8)
        values = np.empty((len(offsets), *truth.labels.shape), np.uint8)
        valid = np.empty(values.shape, np.uint8)
        kernels.affinities(
            labels,
            seen,
            bool(seen.all()),
            width,
            offsets,
            values.reshape(-1, *flat),
            valid.reshape(-1, *flat),
        )
        if self.inverted:
            np.subtract(1, values, out=values)
        return values, valid


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Voxels with a face to another id: ``thick`` on both sides, ``inner`` not in the background.

    As ``skimage.segmentation.find_boundaries`` of the same modes, connectivity 1.
    """

    mode: Literal["thick", "inner"] = "thick"
    name: str = "boundaries"

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, ("thick", "inner"))

    def of(self, truth: Truth) -> Answer:
        """uint8, one channel."""
        # Mirrors leave faces where they are: ids stay as they lie, one byte a voxel is turned.
        labels, turned = unturned(truth.labels)
        values = np.empty(labels.shape, np.uint8)
        kernels.boundaries(labels, self.mode == "inner", values)
        return in_order(np.flip(values, turned))[None], truth.known[None]


@dataclass(frozen=True, slots=True)
class Binary:
    """Segment or background."""

    name: str = "binary"

    def of(self, truth: Truth) -> Answer:
        """uint8, one channel."""
        return (truth.labels != 0).view(np.uint8)[None], truth.known[None]


@dataclass(frozen=True, slots=True)
class Semantic:
    """Common classes: positions in `segmend.catalog.labels.VOCABULARY`; 0 where not valid."""

    name: str = "semantic"

    def of(self, truth: Truth) -> Answer:
        """uint8, one channel.

        Raises:
            BadInputError: if the source has no classes.
        """
        if truth.classes is None:
            raise BadInputError("the target 'semantic' needs classes, and its source has none")
        valid = (truth.classes != IGNORED).view(np.uint8)
        return np.where(valid, truth.classes, np.uint8(0))[None], valid[None]


@dataclass(frozen=True, slots=True)
class SignedDistance:
    """Distance to the nearest voxel outside the own segment, nm; in the background negative.

    Attributes:
        scale: nm; the value is ``tanh(distance / scale)``. None: nm as they are.
    """

    scale: float | None = None
    name: str = "signed_distance"

    def __post_init__(self) -> None:
        if self.scale is not None and not self.scale > 0:
            raise BadInputError("scale must be above 0 nm", found=f"scale {self.scale}")

    def of(self, truth: Truth) -> Answer:
        """float32, one channel; segments cut by the patch's faces end nowhere there."""
        require("edt", extra="build")
        import edt

        inside = edt.edt(truth.labels, anisotropy=truth.voxel_size, black_border=False, parallel=1)
        empty = np.ascontiguousarray(truth.labels == 0)
        outside = edt.edt(empty, anisotropy=truth.voxel_size, black_border=False, parallel=1)
        values = np.where(empty, -outside, inside).astype(np.float32)
        # One segment alone has no other voxel: infinitely far, which no loss can take.
        valid = truth.known & np.isfinite(values).view(np.uint8)
        values[~np.isfinite(values)] = 0
        if self.scale is not None:
            values = np.tanh(values / np.float32(self.scale))
        return values[None], valid[None]


@dataclass(frozen=True, slots=True)
class Centres:
    """Vector from each voxel to the centre of its segment's voxels in the patch, nm (flow)."""

    name: str = "centres"

    def of(self, truth: Truth) -> Answer:
        """float32, channels z, y, x; background does not count."""
        values = np.empty((3, *truth.labels.shape), np.float32)
        most = int(truth.labels.max()) + 1
        sums, counts = np.zeros((most, 3), np.float64), np.zeros(most, np.int64)
        kernels.to_centres(truth.labels, sums, counts, np.array(truth.voxel_size), values)
        valid = truth.known & (truth.labels != 0).view(np.uint8)
        return values, np.broadcast_to(valid, values.shape)


COMPARING = (Affinities, Boundaries, Binary, Semantic)
"""Targets that ask of ids only which are the same and which are 0: none needs them dense."""


def _narrow(labels: NDArray[Any]) -> NDArray[Any]:
    """Numbers in C order that are the same, and 0, where ids are: of 16 bits, or int32.

    Every offset compares all of them, half as wide ones twice as fast.
    """
    if labels.dtype != np.int32 and labels.max(initial=0) >= 2**16:
        before, turned = unturned(labels)
        labels = np.flip(dense(before).labels, turned)
    return in_order(labels, np.uint16 if labels.max(initial=0) < 2**16 else np.int32)


def check_targets(targets: Sequence[Any]) -> None:
    """Refuse what is no target, and two of one name.

    Raises:
        BadInputError: naming the culprit.
    """
    names: list[str] = []
    for target in targets:
        if not (hasattr(target, "of") and isinstance(getattr(target, "name", None), str)):
            raise BadInputError(
                f"{target!r} is no target",
                fix="Use Affinities, Boundaries, Binary, Semantic, SignedDistance, Centres "
                "or LocalShape",
            )
        names.append(target.name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(f"two targets are named {twice}", fix="Give one another name=")


def _one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BadInputError(f"{field} must be one of {known}", found=f"got {value!r}")
