"""One training on several processes, started by ``torchrun``: each learns from a part of a batch.

The mean of their gradients is that of the whole batch, so what is learnt does not depend on how
many there are, up to rounding (and to batch norms, which see their own part on a CPU).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from segmend.core.errors import BadInputError
from segmend.models.model import rank_here
from segmend.models.net import SiteNetwork


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: Its number.
        world: How many there are.
        device: What it computes on.
    """

    rank: int
    world: int
    device: torch.device

    def together(self, net: SiteNetwork) -> nn.Module:
        """The network as all learn it: what it returns has gradients that are averaged."""
        if self.world == 1:
            return net
        ids = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(net, device_ids=ids)

    def mean(self, losses: Tensor, rows: int) -> Tensor:
        """The mean loss of a whole batch, from those of this part of it.

        Args:
            losses: One per row of this part.
            rows: Rows of the whole batch.
        """
        # Gradients are averaged over processes, whose parts may differ by a row.
        return losses.sum() * (self.world / rows)

    def total(self, value: Tensor) -> float:
        """The mean of a number over all processes."""
        if self.world > 1:
            distributed.all_reduce(value)
        return float(value) / self.world


@contextmanager
def ranks() -> Iterator[Ranks]:
    """Join the others, if there are others.

    Yields:
        Who is who; on GPUs each process has the one of its number on its machine.

    Raises:
        BadInputError: if a machine has fewer GPUs than processes.
    """
    gpus, world = torch.cuda.device_count(), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if gpus and local >= gpus:
        raise BadInputError(
            "more processes than GPUs",
            found=f"process {local} of this machine, {gpus} GPUs",
            fix=f"Start it with torchrun --nproc-per-node {gpus}",
        )
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if world == 1:
        yield Ranks(0, 1, device)
        return
    if gpus:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if gpus else "gloo")
    try:
        yield Ranks(rank_here(), world, device)
    finally:
        distributed.destroy_process_group()
