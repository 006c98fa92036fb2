"""The calls of a CAVE server that a harvest needs, through the real caveclient.

An extra: pip install 'segmend[cave]'. Tokens are where caveclient looks for them
(``~/.cloudvolume/secrets``); segmend neither writes, shows nor keeps them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from segmend.core.box import Point
from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, require
from segmend.core.grid import VoxelGrid
from segmend.core.ids import as_id, as_ids
from segmend.edits.cave_record import CaveRecord
from segmend.store.open import open_store
from segmend.store.options import StoreOptions
from segmend.store.retry import RetryPolicy, TimeLimits
from segmend.volumes.volume import Volume

GRAPH_API, TABLE_API, INFO_API = 1, 3, 2
"""Versions of CAVE's end points that are called; caveclient would ask the server, without bound."""

Log = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Manners:
    """How a server is asked.

    Attributes:
        workers: Requests in flight.
        per_second: Most requests started per second; None: no limit.
        policy: When a failed request is repeated.
        limits: Time-outs of one request.
    """

    workers: int = 8
    per_second: float | None = None
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=4))
    limits: TimeLimits = field(default_factory=lambda: TimeLimits(first_byte_s=120.0))


@dataclass(frozen=True, slots=True)
class CaveServer:
    """An open server.

    Attributes:
        grid: The voxels that coordinates count, as the server's ``info`` has them.
        versions: Versions of the services and of caveclient.
        table: Name of the graph's table: which segmentation root ids belong to.
        supervoxels: Opens the supervoxels at a mip; a chunk that is not stored is background.
    """

    grid: VoxelGrid
    versions: dict[str, str]
    table: str
    supervoxels: Callable[[int], Volume]
    _graph: Any
    _tables: Callable[[], Any]

    def rows_of_table(
        self,
        table: str,
        columns: Sequence[str],
        until: datetime,
        *,
        roots: tuple[str, Sequence[int]] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Columns of an annotation table, with the root ids of a time and positions in nm.

        Args:
            table: Its name.
            columns: Names of the columns.
            until: The time.
            roots: A column of root ids and those that are asked for; by default all rows.

        Raises:
            SchemaError: if the table lacks a column.
            ReadFailedError: if it cannot be read.
        """
        with understood(f"the table {table}"), _quiet():
            found = _live(self._tables(), table, until, roots)
            lacking = [column for column in columns if column not in found]
            if lacking:
                raise SchemaError(
                    f"the table {table} has no column '{lacking[0]}'",
                    found=f"{list(found.columns)}",
                )
            return {column: found[column].to_numpy() for column in columns}

    def roots_of_table(self, table: str, column: str, until: datetime) -> list[int]:
        """Root ids at a time of an annotation table, ascending."""
        with understood(f"the table {table}"):
            roots = as_ids(self.rows_of_table(table, [column], until)[column])
        return sorted({int(r) for r in roots if r})

    def new_roots(self, since: datetime, until: datetime) -> list[int]:
        """Root ids that came into being in a time and hold at its end, ascending."""
        with understood("the roots that changed"):
            _, new = self._graph.get_delta_roots(since, until)
            return sorted(as_id(root) for root in new.tolist())

    def change_logs(self, roots: Sequence[int]) -> dict[int, Log]:
        """The tabular change log of each root, rows as they come."""
        with understood(f"the change logs of {_some(roots)}"):
            logs = self._graph.get_tabular_change_log(list(roots), filtered=True)
            return {int(root): log.to_dict("records") for root, log in logs.items()}

    def details(self, operations: Sequence[int]) -> dict[int, dict[str, Any]]:
        """What is known of each operation; those that the server does not know are left out."""
        with understood(f"the details of {_some(operations)}"):
            found = self._graph.get_operation_details(list(operations))
            return {as_id(number): dict(value) for number, value in found.items()}

    def sizes(self, roots: Sequence[int]) -> dict[int, int]:
        """The number of L2 chunks of each root."""
        with understood(f"the sizes of {_some(roots)}"):
            found = self._graph.get_leaves_many(list(roots), stop_layer=2)
            return {int(root): len(leaves) for root, leaves in found.items()}

    def roots_at(self, supervoxels: Sequence[int], time_s: float) -> list[int]:
        """The root of each supervoxel at a time, 0 where there is none."""
        with understood(f"the roots of {_some(supervoxels)}"):
            found = self._graph.get_roots(as_ids(supervoxels), datetime.fromtimestamp(time_s, UTC))
        if len(found) != len(supervoxels):
            raise ReadFailedError(
                f"CAVE named {len(found)} roots of {len(supervoxels)} supervoxels",
                reason="corrupt",
            )
        return [int(root) for root in found]

    def lineage(self, root: int, until: datetime) -> dict[str, Any]:
        """The lineage graph of a root: ``nodes`` and ``links``."""
        with understood(f"the lineage of {root}"):
            graph = self._graph.get_lineage_graph(root, timestamp_future=until)
            return {"nodes": list(graph["nodes"]), "links": list(graph["links"])}

    def created_ms(self, roots: Sequence[int]) -> list[float]:
        """When each root came into being, ms since 1970."""
        with understood(f"the times of {_some(roots)}"):
            times = self._graph.get_root_timestamps(list(roots))
            return [time.timestamp() * 1000 for time in times]


def click_nm(grid: VoxelGrid, voxel: Sequence[float]) -> Point:
    """Centre of a clicked voxel, which CAVE counts ``(x, y, z)`` from 0 nm, ``(z, y, x)`` nm."""
    x, y, z = voxel
    size = grid.voxel_size
    return ((z + 0.5) * size[0], (y + 0.5) * size[1], (x + 0.5) * size[2])


def open_cave(
    record: CaveRecord, *, server: str = "", manners: Manners | None = None
) -> CaveServer:
    """Connect to a record's server.

    Args:
        record: What to open.
        server: Another global server than the record's.
        manners: How to ask.

    Raises:
        MissingDependencyError: without caveclient.
        ReadFailedError: if the server cannot be reached or refuses.
        SchemaError: if what it says of itself cannot be.
    """
    require("caveclient", extra="cave")
    from caveclient.auth import AuthClient
    from caveclient.chunkedgraph import ChunkedGraphClient
    from caveclient.infoservice import InfoServiceClient
    from caveclient.materializationengine import MaterializationClient

    from segmend.edits.cave_session import Bounded, Pace, bounded

    how = manners or Manners()
    address = (server or record.server).rstrip("/")
    auth = AuthClient(server_address=address)
    pace = Pace(how.per_second)

    def adapter() -> Bounded:
        return Bounded(
            auth.token,
            policy=how.policy,
            limits=how.limits,
            pace=pace,
            connections=how.workers,
        )

    with understood(f"{record.datastack} at {address}"):
        info = bounded(InfoServiceClient, adapter)(
            address, record.datastack, auth_client=auth, api_version=INFO_API
        )
        local = info.local_server()
        table = info.segmentation_source().rstrip("/").split("/")[-1]
        graph = bounded(ChunkedGraphClient, adapter)(
            local, table, auth_client=auth, api_version=GRAPH_API
        )
        grid = _grid(graph.segmentation_info)
        place = str(graph.segmentation_info.get("data_dir", ""))

    def tables() -> Any:
        return bounded(MaterializationClient, adapter)(
            local, record.datastack, auth_client=auth, cg_client=graph, api_version=TABLE_API
        )

    versions = {
        "caveclient": version("caveclient"),
        "chunkedgraph": str(graph.server_version),
        "info": str(info.server_version),
    }
    options = StoreOptions(concurrency=how.workers, retry=how.policy, limits=how.limits)
    volume = cache(partial(_supervoxels, place, options))
    return CaveServer(grid, versions, table, volume, graph, tables)


def _supervoxels(place: str, options: StoreOptions, mip: int) -> Volume:
    if not place:
        raise SchemaError(
            "CAVE's info of the segmentation does not say where its supervoxels are",
            found="it has no 'data_dir'",
            fix="Leave [controls] adjacent out of the record",
        )
    # Kernels and codecs take a second to import, which a harvest without controls need not pay.
    from segmend.volumes.drivers.precomputed import open_precomputed

    volume = open_precomputed(open_store(place, options), absent=0)
    if mip >= len(volume.scales):
        raise SchemaError(
            f"the supervoxels at {place} have no mip {mip}",
            found=f"they have {len(volume.scales)}",
            fix="Correct segmentation_mip in the record",
        )
    return replace(volume, driver=volume.scales[mip])


def _live(tables: Any, table: str, until: datetime, roots: tuple[str, Sequence[int]] | None) -> Any:
    rows = {roots[0]: list(roots[1])} if roots else None
    how = {"metadata": False, "split_positions": True, "desired_resolution": [1, 1, 1]}
    try:
        return tables.live_query(table, timestamp=until, filter_in_dict=rows, **how)
    except ValueError:
        # Versions expire (CAVEclient #322); without one before `until` the server itself looks up
        # the roots of that time. caveclient warns at every call that it may drop this one.
        logging.getLogger().addFilter(_no_beta)
        return tables.live_live_query(
            table,
            until,
            filter_in_dict={table: rows} if rows else None,
            log_warning=False,
            **how,
        )


def _no_beta(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Deprecation: this method is to facilitate beta")


def _grid(info: dict[str, Any]) -> VoxelGrid:
    try:
        scale = info["scales"][0]
        size = [float(v) for v in scale["resolution"]][::-1]
        corner = [int(v) for v in scale.get("voxel_offset", (0, 0, 0))][::-1]
        shape = [int(v) for v in scale["size"]][::-1]
        return VoxelGrid(size, [c * s for c, s in zip(corner, size, strict=True)], shape)
    except (LookupError, TypeError, ValueError) as error:
        raise SchemaError("CAVE's info of the segmentation cannot be", found=str(error)) from error


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn whatever caveclient raises on an answer it cannot parse into a failed read."""
    try:
        yield
    except (ReadFailedError, SchemaError):
        raise
    except (BadInputError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ReadFailedError(
            f"CAVE's answer to {what} cannot be understood",
            found=f"{type(error).__name__}: {error}"[:300],
            reason="corrupt",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Pandas warns of what caveclient does to its frames."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _some(ids: Sequence[int]) -> str:
    return str(ids[0]) if len(ids) == 1 else f"{len(ids)} ids from {ids[0]}"
