"""A compact 3-D residual U-Net that says affinities and classes of every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmend.core.box import Triple

STEM: Triple = (1, 2, 2)
"""Voxels that enter and leave the network together: full resolution would cost most of the time."""

LEVELS = 3


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What a network is, apart from its weights.

    Attributes:
        offsets: One affinity per offset, voxels ``(z, y, x)``; may be empty.
        classes: Names of the classes it tells apart; may be empty.
        scaling: Voxels joined from each level to the next coarser one, ``(z, y, x)``.
        width: Channels of the finest level; every coarser one has 1.5 times as many.
    """

    offsets: tuple[Triple, ...]
    classes: tuple[str, ...]
    scaling: tuple[Triple, ...]
    width: int = 16

    @classmethod
    def for_voxels(
        cls,
        voxel_size: Sequence[float],
        *,
        offsets: Sequence[Triple],
        classes: Sequence[str],
        width: int = 16,
    ) -> NetworkShape:
        """A shape whose coarser levels have ever more nearly cubic voxels.

        Args:
            voxel_size: nm ``(z, y, x)``.
            offsets: As the attribute.
            classes: As the attribute.
            width: As the attribute.
        """
        z, y, x = (size * step for size, step in zip(voxel_size, STEM, strict=True))
        scaling = []
        for _ in range(LEVELS - 1):
            step = (1 if z > 1.5 * max(y, x) else 2, 2, 2)
            z, y, x = z * step[0], y * step[1], x * step[2]
            scaling.append(step)
        return cls(tuple(offsets), tuple(classes), tuple(scaling), width)

    @property
    def outputs(self) -> int:
        """Channels of the output: affinities first, then classes."""
        return len(self.offsets) + len(self.classes)

    @property
    def stride(self) -> Triple:
        """Input sizes and positions of tiles must be multiples of it, voxels ``(z, y, x)``."""
        z, y, x = (prod(step[a] for step in (STEM, *self.scaling)) for a in range(3))
        return z, y, x

    @property
    def reach(self) -> Triple:
        """From how far a voxel's answer can depend on the image, voxels ``(z, y, x)``, at most."""
        reach, scale = [0, 0, 0], list(STEM)
        levels: list[Triple] = [*self.scaling, (1, 1, 1)]
        for level, step in enumerate(levels):
            kernel = _kernel(level)
            # Two blocks of two convolutions on all but the coarsest level, one there; and the edges
            # of what was joined.
            convolutions = 4 if level < len(levels) - 1 else 2
            for axis in range(3):
                reach[axis] += scale[axis] * (convolutions * (kernel[axis] // 2) + 2)
                scale[axis] *= step[axis]
        return reach[0], reach[1], reach[2]


def _kernel(level: int) -> Triple:
    """Sections are looked at one by one where voxels are many: that takes a quarter of the time."""
    return (1, 3, 3) if level == 0 else (3, 3, 3)


class Block(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int, *, level: int) -> None:
        super().__init__()
        size = _kernel(level)
        pad = (size[0] // 2, size[1] // 2, size[2] // 2)
        self.first = nn.Conv3d(inputs, outputs, size, padding=pad, bias=False)
        # Batch statistics, frozen when predicting: a voxel's answer must not depend on its tile.
        self.first_norm = nn.BatchNorm3d(outputs)
        self.second = nn.Conv3d(outputs, outputs, size, padding=pad, bias=False)
        self.second_norm = nn.BatchNorm3d(outputs)
        self.shortcut = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, outputs, z, y, x) from (n, inputs, z, y, x)."""
        out = functional.relu(self.first_norm(self.first(x)), inplace=True)
        out = self.second_norm(self.second(out))
        return functional.relu(out + self.shortcut(x), inplace=True)


class UNet(nn.Module):
    """Image to logits of affinities and classes, at the image's resolution."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        widths = [round(shape.width * 1.5**level) for level in range(len(shape.scaling) + 1)]
        self.down = nn.ModuleList(
            Block(prod(STEM) if level == 0 else widths[level - 1], width, level=level)
            for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            Block(widths[level] + widths[level + 1], widths[level], level=level)
            for level in range(len(shape.scaling))
        )
        self.head = nn.Conv3d(widths[0], shape.outputs * prod(STEM), 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits.

        Args:
            image: float32 (n, 1, z, y, x), every size a multiple of `NetworkShape.stride`.

        Returns:
            (n, `NetworkShape.outputs`, z, y, x).
        """
        x = functional.pixel_unshuffle(image.transpose(1, 2).flatten(0, 1), STEM[1])
        x = x.reshape(len(image), -1, *x.shape[1:]).transpose(1, 2)
        kept = []
        for level, block in enumerate(self.down):
            x = block(x)
            if level < len(self.up):
                kept.append(x)
                x = functional.avg_pool3d(x, self.shape.scaling[level])
        for level in range(len(self.up) - 1, -1, -1):
            x = functional.interpolate(x, scale_factor=self.shape.scaling[level], mode="nearest")
            x = self.up[level](torch.cat([x, kept[level]], dim=1))
        x = self.head(x).transpose(1, 2)
        out = functional.pixel_shuffle(x.flatten(0, 1), STEM[1])
        return out.reshape(len(image), -1, *out.shape[1:]).transpose(1, 2)


def new_network(shape: NetworkShape, *, seed: int) -> UNet:
    """An untrained network whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(shape)
