"""What published rows get wrong, and what reading does about it.

Facts from `reference/connectomebench2.md`, sections 1.5 to 2 (named *reference* below). A defect is
recognised by what a row declares and by values that sound rows cannot hold, never by guessing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Remedy = Literal["exact", "approximate", "impossible", "convention"]


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong with rows of some origin.

    Attributes:
        name: Its name in reports.
        what: What is wrong.
        recognised: By what it is recognised.
        remedy: ``exact``: reading gives what a sound row would hold; ``approximate``: nearly, with
            the bound given; ``impossible``: the information is not in the row, which stays as it
            is; ``convention``: sound but unexpected, kept.
        repair: What reading does.
        source: Section of the reference.
    """

    name: str
    what: str
    recognised: str
    remedy: Remedy
    repair: str
    source: str


_REMEDIES: dict[Remedy, str] = {
    "exact": "repaired on reading",
    "approximate": "repaired on reading, not to the digit",
    "impossible": "cannot be repaired",
    "convention": "not a fault",
}

_PUBLISHED = "the metadata have no `encoding`"

DEFECTS = {
    defect.name: defect
    for defect in (
        Defect(
            "normals_srgb",
            "Normals were written through an 8-bit sRGB buffer and read back without its curve.",
            "`encoding` is absent or `published`; every component is one of the 256 codes, and "
            "without the curve the vectors have length 1",
            "approximate",
            "the curve is undone; components are within 0.009, half a code",
            "1.6",
        ),
        Defect(
            "normals_unknown",
            "Normals are not what `normals_srgb` says of such rows.",
            "as above, but codes or lengths do not fit",
            "impossible",
            "they stay as stored",
            "1.6",
        ),
        Defect(
            "background_drawn",
            "Depth or normals are not 0 where nothing is drawn.",
            "`encoding` is absent; the silhouette is 0 there",
            "exact",
            "set to 0",
            "1.6",
        ),
        Defect(
            "depth_stretched",
            "Depth is stretched to 0..1 over the foreground of each view: no unit, no common "
            "scale of views or rows.",
            "`encoding` is absent or `published`",
            "impossible",
            "it stays relative",
            "1.6",
        ),
        Defect(
            "depth_front_zero",
            "The nearest pixels have the depth of the background, 0, or next to it.",
            "`encoding` is absent or `published`; depth is below 2**-11 inside the silhouette",
            "exact",
            "raised to 2**-11, the smallest depth of a drawn pixel",
            "1.6",
        ),
        Defect(
            "depth_per_segment",
            "A and B were each stretched to 0..1 before they were put together, so their depths "
            "cannot be compared.",
            f"{_PUBLISHED}; two segments are drawn",
            "impossible",
            "it stays as stored",
            "1.6",
        ),
        Defect(
            "occlusion_guessed",
            "Where A and B overlap, depth and normals may be those of the farther one (22 % of "
            "such pixels on synthetic pairs).",
            f"{_PUBLISHED}; masks A and B overlap",
            "impossible",
            "it stays as stored; the number of pixels is reported",
            "1.6",
        ),
        Defect(
            "sampled_off_centre",
            "Views were drawn at 448 pixels and every second one was kept: a shift of a quarter "
            "of a pixel.",
            _PUBLISHED,
            "impossible",
            "it stays as stored",
            "1.6",
        ),
        Defect(
            "split_mask_occlusion",
            "Split masks give overlaps to a segment by the same wrong comparison.",
            f"{_PUBLISHED}; split masks are present",
            "impossible",
            "they stay as stored",
            "1.7",
        ),
        Defect(
            "view_extent_midpoint",
            "`view_extent_nm` is the middle of the range the true half-width was drawn from.",
            f"{_PUBLISHED}; they have `view_extent_nm`",
            "impossible",
            "the key becomes `view_extent_midpoint_nm`, so that nobody takes it for the true one",
            "1.6",
        ),
        Defect(
            "em_masks_grey",
            "Masks of EM slices were resized with a Lanczos filter: grey rims, ringing.",
            f"{_PUBLISHED}; a mask holds values other than 0 and 255",
            "approximate",
            "cut at half: at most one voxel off along borders, some 0.2 % of the pixels",
            "1.8",
        ),
        Defect(
            "em_mask_empty",
            "A segment was not found in the slice and nothing says so.",
            f"{_PUBLISHED}; two segments are drawn and a mask is empty, or one and both are",
            "exact",
            "named in the report",
            "1.8",
        ),
        Defect(
            "em_pixel_size_unknown",
            "The field of view of EM slices varies from row to row and is not stored.",
            f"{_PUBLISHED}; EM is present",
            "impossible",
            "none",
            "1.8",
        ),
        Defect(
            "em_center_isotropic",
            "EM slices of two segments are centred by a distance in voxels that ignores their "
            "shape, at a point that is not stored.",
            f"{_PUBLISHED}; EM is present and two segments are drawn",
            "impossible",
            "none",
            "1.8",
        ),
        Defect(
            "slices_transposed",
            "Rows of `em_xy` and `em_xz` are x, of `em_yz` y: transposed against usual display.",
            "EM is present, in rows of any origin",
            "convention",
            "kept, ours are alike; `upright` turns one for display",
            "1.8",
        ),
        Defect(
            "label_nan",
            "A missing label is NaN instead of null.",
            "the value is NaN",
            "exact",
            "null",
            "1.9",
        ),
        Defect(
            "label_of_other_task",
            "Labels are boolean, or also given for tasks the sample type does not serve (v1).",
            "the value is a boolean, or the sample type serves another task",
            "exact",
            "0 and 1 for the task of the sample type, null for the other",
            "1.9; card of v1",
        ),
    )
}
"""Every known defect by name."""


def defect_lines(rows: Mapping[str, int]) -> Iterator[str]:
    """A report for people.

    Args:
        rows: Rows by defect, as `segmend.shards.verify.Verification.defects`.

    Yields:
        One line per defect, those that cannot be repaired first.
    """
    met = sorted(rows, key=lambda name: DEFECTS[name].remedy != "impossible")
    for name in met:
        defect = DEFECTS[name]
        yield f"{name} ({rows[name]} rows; {_REMEDIES[defect.remedy]}): {defect.what}"
