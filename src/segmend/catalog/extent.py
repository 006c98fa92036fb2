"""Whether a box lies inside the layers it is asked of, said in terms of the data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segmend.core.box import Box
from segmend.core.errors import OutOfBoundsError

if TYPE_CHECKING:
    from segmend.catalog.dataset import Dataset


def check_box(dataset: Dataset, box: Box, layers: Sequence[str]) -> None:
    """Check that layers cover a box; their metadata are read, no voxel is.

    That a segmentation covers a box does not mean that it labels every voxel of it: what is not
    stored is told by the coverage of the read.

    Args:
        dataset: The data set.
        box: What is wanted.
        layers: Names of the image and label layers it is wanted of.

    Raises:
        OutOfBoundsError: naming the layer, what it covers, and which part of the box that is.
    """
    image = dataset.image.box
    for name in layers:
        covered = image if name == "image" else dataset.labels[name].box
        if covered.contains(box):
            continue
        common = covered.intersect(box)
        raise OutOfBoundsError(
            f"{box} reaches outside layer '{name}' of '{dataset.name}'",
            found=f"it covers {covered}{_share(covered, image)}",
            fix=f"The part of your box inside it is {common}"
            if common
            else "No part of your box lies inside it",
        )


def _share(covered: Box, image: Box) -> str:
    common = covered.intersect(image)
    share = math.prod(common.size) / math.prod(image.size) if common else 0.0
    return "" if share >= 0.995 else f", which is {share:.0%} of the image"
