"""The published design on any backbone that timm has, with ImageNet weights where they can be had.

The pictures have other channels than photographs: one learnt mixture for geometry and one for EM
makes three of them, at first the normals and the EM channels as they are, and the backbone, shared
by all pictures, is taken as timm gives it. Heads and scores are those of `VitNet`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmend.core.errors import BadInputError, MissingDependencyError, ReadFailedError
from segmend.core.sample import EM_CHANNELS, channel
from segmend.models.net import Shapes, of_sites
from segmend.models.sites import Sites
from segmend.models.vit import PictureNetwork, mask_head, score_head

_RGB = 3
_NARROWEST = 16
"""Channels of the mask head before the two classes, at the least."""


def import_timm() -> Any:
    """The package timm.

    Raises:
        MissingDependencyError: if it is not installed, or its torchvision fits no torch that is
            installed; with the cause and what to do.
    """
    try:
        with warnings.catch_warnings():
            # torchvision warns that it cannot read image files, which nobody asks of it here.
            warnings.simplefilter("ignore", UserWarning)
            import timm  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, RuntimeError) as error:
        # torchvision ends with a RuntimeError where its operators were built for another torch.
        raise MissingDependencyError(
            "a backbone by name needs the package 'timm'",
            found=f"importing it failed: {type(error).__name__}: {error}",
            fix="Install timm with a torchvision that fits your torch; beside a CPU build of "
            "torch: pip install timm && pip install --no-deps torchvision==0.15.2",
        ) from error
    return timm


class TimmNet(PictureNetwork):
    """Pictures of a site to one logit per picture, or to a mask on every geometry view.

    Args:
        shapes: What each task asks.
        name: Name of a model in timm.
        image: Width and height of the pictures, pixels.
        imagenet: Whether to begin with timm's weights; they are downloaded.

    Raises:
        MissingDependencyError: as `import_timm`.
        BadInputError: if timm has no such model.
        ReadFailedError: if its weights cannot be had.
    """

    def __init__(self, shapes: Shapes, name: str, image: int, *, imagenet: bool) -> None:
        super().__init__(shapes)
        if self.views:
            self.geometry = _mixture(self.channels, [channel(f"normal_{axis}") for axis in "xyz"])
        if self.planes:
            self.em = _mixture(len(EM_CHANNELS), list(range(_RGB)))
        self.backbone: Any = _backbone(name, image, imagenet=imagenet)
        self.imagenet = imagenet
        width, widths = self.backbone.num_features, self._head_widths(image)
        self.heads = nn.ModuleDict(
            {
                task: mask_head((width, *widths)) if shape.masks else score_head(width)
                for task, shape in shapes.items()
            }
        )

    def _head_widths(self, image: int) -> tuple[int, ...]:
        """Channels of the mask head: as many doublings as bring its features back to a picture."""
        self.backbone.eval()  # a look must not move the statistics of batch norms
        with torch.inference_mode():
            side = self._maps(torch.zeros(1, _RGB, image, image)).shape[-1]
        self.backbone.train()
        doublings = math.ceil(math.log2(image / side))
        return tuple(max(_NARROWEST, 256 >> step) for step in range(doublings - 1))

    def slow(self) -> Iterable[nn.Parameter]:
        """The backbone, if it begins with ImageNet weights."""
        return self.backbone.parameters() if self.imagenet else ()

    def forward(self, shown: Mapping[str, Sites]) -> dict[str, Tensor]:
        """Logits by task: (sites, pictures), geometry views first; masks (sites, views, ...)."""
        return {task: self._answer(task, sites.geometry, sites.em) for task, sites in shown.items()}

    def _answer(self, task: str, geometry: Tensor, em: Tensor) -> Tensor:
        sites, masks, mixed = len(geometry), self.shapes[task].masks, []
        if self.views:
            mixed.append(of_sites(self.geometry(self.widened(geometry).flatten(0, 1)), sites))
        if self.planes and not masks:
            mixed.append(of_sites(self.em(em.flatten(0, 1)), sites))
        pictures = torch.cat(mixed, dim=1).flatten(0, 1)
        if not masks:
            logits: Tensor = self.heads[task](self.backbone(pictures)).reshape(sites, -1)
            return logits
        painted = self.heads[task](self._maps(pictures))
        size = pictures.shape[-2:]  # some backbones round up when they halve
        a, b = functional.interpolate(painted, size, mode="bilinear", align_corners=False).unbind(1)
        return self.corrected(task, of_sites(b - a, sites), geometry)

    def _maps(self, pictures: Tensor) -> Tensor:
        """The last features as a picture, (pictures, width, rows, columns)."""
        (maps,) = self.backbone.forward_intermediates(
            pictures, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        found: Tensor = maps
        return found


def _mixture(channels: int, first: list[int]) -> nn.Conv2d:
    """Three channels out of several; at first those named."""
    mixture = nn.Conv2d(channels, _RGB, 1)
    with torch.no_grad():
        mixture.weight.zero_()
        mixture.bias.zero_()  # type: ignore[union-attr]
        for out, into in enumerate(first):
            mixture.weight[out, into] = 1
    return mixture


def _backbone(name: str, image: int, *, imagenet: bool) -> Any:
    timm = import_timm()
    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:3]
        raise BadInputError(
            f"timm {timm.__version__} has no model '{name}'",
            fix=f"It has e.g. {', '.join(near)}" if near else "See timm.list_models()",
        )
    made_for = timm.get_pretrained_cfg(name)
    sized = made_for is not None and made_for.fixed_input_size
    size = {"img_size": image} if sized else {}
    try:
        return timm.create_model(name, pretrained=imagenet, num_classes=0, **size)
    except (OSError, RuntimeError, ValueError) as error:
        raise ReadFailedError(
            f"cannot make '{name}'" + " with ImageNet weights" * imagenet,
            found=str(error),
            fix="Train without --imagenet where the weights cannot be downloaded",
        ) from error
