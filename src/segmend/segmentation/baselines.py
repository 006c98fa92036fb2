"""What any segmentation must beat: no model at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

from segmend.catalog.labels import VOCABULARY
from segmend.core.ids import Ids
from segmend.segmentation.decode import fragments_of, numbered

_otsu: Any = filters.threshold_otsu


def one_segment(image: NDArray[Any]) -> Ids:
    """Everything in one segment."""
    return np.ones(image.shape, np.uint64)


def all_neuron(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Everything is what there is most of: neuron."""
    return np.full(image.shape, VOCABULARY.index("neuron"), np.uint8)


def dark_or_bright(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Otsu's threshold on the smoothed image: what is dark is background, the rest neuron."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), 1.0)
    return np.where(smooth > _otsu(smooth), all_neuron(image), np.uint8(0))


def intensity_watershed(image: NDArray[Any]) -> Ids:
    """Membranes are dark: Otsu's threshold on the smoothed image, then a watershed.

    Args:
        image: uint8 ``(z, y, x)``.
    """
    smooth = ndimage.gaussian_filter(image.astype(np.float32), 1.0)
    low, high = np.percentile(smooth, [1, 99])
    boundary = 1 - np.clip((smooth - low) / max(high - low, 1e-6), 0, 1)
    return numbered(fragments_of(boundary, threshold=float(_otsu(boundary))))


BASELINES = {"one segment": one_segment, "intensity + watershed": intensity_watershed}
"""By the name that scores are reported under."""

CLASS_BASELINES = {"all neuron": all_neuron, "dark or bright": dark_or_bright}
"""The same for classes: positions in the common vocabulary, uint8."""
