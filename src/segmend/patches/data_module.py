"""PyTorch Lightning over patches: one module for every data set, by configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from segmend.core.errors import BadInputError
from segmend.patches.config import Prepared, prepare, read_config
from segmend.patches.patches import Patches, Sample, batches
from segmend.patches.sampling import GridSampler, RandomSampler


class Batches:
    """Batches of one rank, made ahead by threads; a new order in every epoch.

    Every rank gets as many batches: samples that would not fill one for each are left out when
    training, and every sample is in one batch of one rank when validating.

    Attributes:
        sampler: What Lightning tells the epoch.
    """

    def __init__(
        self,
        patches: Patches,
        sampler: RandomSampler | GridSampler,
        *,
        batch_size: int,
        threads: int,
        rank: tuple[int, int] = (0, 1),
    ) -> None:
        self.patches, self.sampler = patches, sampler
        self.batch_sampler = None  # what Lightning looks for beside a sampler
        self.batch_size, self.threads, self.rank = batch_size, threads, rank
        if isinstance(sampler, RandomSampler) and len(sampler) < batch_size * rank[1]:
            raise BadInputError(
                "an epoch must hold a batch for every rank",
                found=f"{len(sampler)} samples, {rank[1]} ranks, batches of {batch_size}",
                fix="Raise length",
            )

    def __len__(self) -> int:
        number, ranks = self.rank
        if isinstance(self.sampler, RandomSampler):
            return len(self.sampler) // (ranks * self.batch_size)
        mine = len(range(number, len(self.sampler), ranks))
        return -(-mine // self.batch_size)

    def __iter__(self) -> Iterator[Sample]:
        number, ranks = self.rank
        stop = len(self.sampler)
        if isinstance(self.sampler, RandomSampler):
            stop = len(self) * ranks * self.batch_size
        queries = (self.sampler[k] for k in range(number, stop, ranks))
        return batches(self.patches, queries, batch_size=self.batch_size, threads=self.threads)


class PatchesModule(LightningDataModule):
    """What a configuration says, as Lightning takes it.

    Sample k of an epoch depends on the seed, the epoch and k alone; ranks share an epoch out.

    Args:
        config: Name of a shipped configuration, path of a TOML file, or its tables.
        **changes: Keys of it to replace, for example ``batch_size=4``.

    Raises:
        BadInputError: at once, for a configuration that does not hold.

    Example:
        >>> module = PatchesModule("cremi", batch_size=2)  # doctest: +SKIP
        >>> Trainer(max_epochs=10).fit(network, datamodule=module)  # doctest: +SKIP
    """

    def __init__(self, config: str | Path | Mapping[str, Any], **changes: Any) -> None:
        super().__init__()
        self.config, self._folder = read_config(config, **changes)
        self.prepared: Prepared | None = None

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  Lightning names it
        """Open the volumes, and refuse what could not be learnt before the first batch."""
        if self.prepared is None:
            self.prepared = prepare(self.config, self._folder)
            made = self.prepared
            made.train.check_counts(made.train_sampler)
            if made.validation is not None and made.validation_sampler is not None:
                made.validation.check_counts(made.validation_sampler)

    def train_dataloader(self) -> Batches:
        """Random patches; the epoch is set by Lightning."""
        made = self._opened()
        return self._batches(made.train, made.train_sampler)

    def val_dataloader(self) -> Batches | list[Batches]:
        """Every voxel of what is validated on; an empty list if there is nothing."""
        made = self._opened()
        if made.validation is None or made.validation_sampler is None:
            return []
        return self._batches(made.validation, made.validation_sampler)

    def transfer_batch_to_device(
        self,
        batch: Sample,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002  Lightning names it
    ) -> Sample:
        """Tensors to the device; Lightning's own way refuses frozen values such as boxes."""
        return {
            key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }

    def _opened(self) -> Prepared:
        self.setup()
        assert self.prepared is not None
        return self.prepared

    def _batches(self, patches: Patches, sampler: RandomSampler | GridSampler) -> Batches:
        rank = (0, 1)
        if self.trainer is not None:
            rank = (self.trainer.global_rank, self.trainer.world_size)
        return Batches(
            patches,
            sampler,
            batch_size=self.config.batch_size,
            threads=self.config.threads,
            rank=rank,
        )
