"""What the materialisation and L2-cache services answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segmend.core.random import keyed_generator
from segmend.testing.fake_cave_graph import HOUR_MS, GraphAnswers, Refused

VERSION = 117
FORMAT = "%Y-%m-%dT%H:%M:%S.%f"


SCORES = ("cleft_score", "connection_score", "gaba", "ach", "glut", "oct", "ser", "da")
"""Columns of FlyWire's synapse table."""


def synapse_scores(number: int) -> dict[str, float]:
    """Scores of a synapse: those of clefts 0 to 200, the others 0 to 1."""
    draws = keyed_generator("fake-cave synapse", number).random(len(SCORES)).round(3).tolist()
    return dict(zip(SCORES, [round(200 * draws[0], 1), *draws[1:]], strict=True))


@dataclass(frozen=True, slots=True)
class TableAnswer:
    """Rows as they are sent.

    Attributes:
        body: An Arrow stream.
        headers: What is said with it.
    """

    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class TableAnswers:
    """Annotation tables: proofread roots and synapses, as Arrow streams.

    Attributes:
        graph: The graph that root ids are looked up in.
        proofread_table: Name of the table of proofread neurons; empty: there is none.
        most_rows: Rows at which an answer is cut; 0: none is.
    """

    graph: GraphAnswers
    proofread_table: str
    most_rows: int = 0

    @property
    def names(self) -> list[str]:
        """Names of the tables."""
        return [name for name in (self.proofread_table, "synapses") if name]

    @property
    def _made_ms(self) -> int:
        return self.graph.history.oldest_ms + 2 * HOUR_MS

    def version(self) -> dict[str, Any]:
        """The one materialised version."""
        made = datetime.fromtimestamp(self._made_ms / 1000, UTC)
        expired = self.graph.defects.expired
        return {
            "id": 1,
            "version": VERSION,
            "datastack": "fake",
            "valid": not expired,
            "status": "EXPIRED" if expired else "AVAILABLE",
            "time_stamp": made.strftime(FORMAT),
            "expires_on": (made + timedelta(days=-1 if expired else 36_500)).strftime(FORMAT),
        }

    def versions(self, *, expired: bool) -> list[int]:
        """Versions that can be asked, or all."""
        return [VERSION] if expired or not self.graph.defects.expired else []

    def table(self, name: str, time_ms: float, asked: dict[str, Any]) -> TableAnswer:
        """Rows of a table with the roots of a time."""
        if name not in self.names:
            raise Refused(404, f"no table {name}")
        table = self._synapses(time_ms) if name == "synapses" else self._proofread(time_ms)
        for column, values in asked.get("filter_in_dict", {}).get(name, {}).items():
            table = table.filter(pc.is_in(table[column], pa.array(values, table[column].type)))
        headers = {"Content-Type": "data.arrow"}
        resolution = asked.get("desired_resolution")
        if resolution:
            table = self._at(table, resolution)
            headers["dataframe_resolution"] = ", ".join(map(str, resolution))
        if 0 < self.most_rows < table.num_rows:
            # As the real service: the answer is cut, and a header is all that says so.
            table = table.slice(0, self.most_rows)
            headers["Warning"] = f'201 - "Limited query to {self.most_rows} rows"'
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return TableAnswer(sink.getvalue().to_pybytes(), headers)

    def _at(self, table: pa.Table, resolution: list[float]) -> pa.Table:
        """Positions in units of so many nm, as the service converts them."""
        sizes = dict(zip("xyz", self.graph.history.grid.voxel_size[::-1], strict=True))
        units = dict(zip("xyz", resolution, strict=True))
        for place, column in enumerate(table.column_names):
            if "_position_" in column:
                factor = sizes[column[-1]] / units[column[-1]]
                table = table.set_column(place, column, pc.multiply(table[column], factor))
        return table

    def query(self, body: bytes, name: str | None = None) -> TableAnswer:
        """Answer a query: at the version's time, or live at the time it names."""
        asked = json.loads(body or b"{}")
        if name is not None:
            if self.graph.defects.expired:
                raise Refused(404, f"version {VERSION} has expired")
            return self.table(name, self._made_ms, asked)
        time = datetime.fromisoformat(asked["timestamp"])
        return self.table(asked["table"], time.timestamp() * 1000, asked)

    def _proofread(self, time_ms: float) -> pa.Table:
        history = self.graph.history
        # One annotated point per neuron, as people place them; its root depends on the time.
        first = [history.leaves(root, 1)[0] for root in history.latest(float("inf"))]
        roots = [self.graph.root_of(one, time_ms, history.coding.layers) for one in first]
        place = [history.voxel_of[one] for one in first]
        columns: dict[str, Any] = {
            "id": np.arange(len(roots)),
            "valid": np.ones(len(roots), bool),
            "pt_position_x": [p[2] for p in place],
            "pt_position_y": [p[1] for p in place],
            "pt_position_z": [p[0] for p in place],
            "pt_supervoxel_id": np.array(first, np.int64),
            "pt_root_id": np.array(roots, np.int64),
            "status_dendrite": ["t"] * len(roots),
        }
        return pa.table(columns)

    def _synapses(self, time_ms: float) -> pa.Table:
        history = self.graph.history
        rows: list[dict[str, Any]] = []
        for synapse in history.synapses:
            row: dict[str, Any] = {"id": synapse.cleft_id, "size": 100}
            row |= synapse_scores(synapse.cleft_id)
            points = {
                "pre_pt": synapse.pre_point_nm,
                "post_pt": synapse.post_point_nm,
                "ctr_pt": synapse.center_nm,
            }
            for name, point in points.items():
                z, y, x = history.grid.voxel_at(point)
                row |= {f"{name}_position_{a}": v for a, v in zip("xyz", (x, y, z), strict=True)}
                if name != "ctr_pt":
                    voxel = int(history.supervoxels[z, y, x])
                    row[f"{name}_supervoxel_id"] = voxel
                    layer = history.coding.layers
                    row[f"{name}_root_id"] = self.graph.root_of(voxel, time_ms, layer)
            rows.append(row)
        return pa.Table.from_pylist(rows)

    def metadata(self, name: str) -> dict[str, Any]:
        """What is known of a table."""
        if name not in self.names:
            raise Refused(404, f"no table {name}")
        z, y, x = self.graph.history.grid.voxel_size
        return {
            "table_name": name,
            "reference_table": None,
            "schema": "synapse" if name == "synapses" else "proofreading_status",
            "description": "made by segmend.testing.fake_cave",
            "voxel_resolution_x": x,
            "voxel_resolution_y": y,
            "voxel_resolution_z": z,
        }

    def l2_attributes(self, body: bytes) -> dict[str, Any]:
        """The L2 cache: size and place of pieces within chunks."""
        history, found = self.graph.history, {}
        for node in json.loads(body)["l2_ids"]:
            place = history.coding.place(int(node))
            corner = [p * c for p, c in zip(place, history.coding.chunk, strict=True)]
            z, y, x = (c * s for c, s in zip(corner, history.grid.voxel_size, strict=True))
            found[str(node)] = {"rep_coord_nm": [x, y, z], "size_nm3": 1}
        return found
