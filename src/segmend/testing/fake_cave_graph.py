"""What a PyChunkedGraph server answers, from a known history."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from segmend.testing.fake_cave_defects import Defects
from segmend.testing.fake_cave_history import History, Operation

Query = Mapping[str, str]
HOUR_MS = 3_600_000
OUTSIDE = (10**8, 10**8, 10**8)


class Refused(Exception):  # noqa: N818  not an error of ours: an answer
    """An answer that is not 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True, slots=True)
class GraphAnswers:
    """The end points below ``/segmentation/api/v1/table/TABLE``.

    Attributes:
        history: What happened.
        defects: What is wrong with the server.
        now_ms: The server's clock; later times are unknown to it.
    """

    history: History
    defects: Defects
    now_ms: int

    def answer(self, path: str, query: Query, body: bytes) -> Any:
        """The JSON value, or the bytes, for one request.

        Raises:
            Refused: for what the server refuses or does not know.
        """
        for pattern, respond in self._routes():
            match = re.fullmatch(pattern, path)
            if match:
                return respond(query, body, *(int(v) for v in match.groups()))
        raise Refused(404, f"no end point {path}")

    def _routes(self) -> tuple[tuple[str, Callable[..., Any]], ...]:
        return (
            (r"roots_binary", self._roots_binary),
            (r"roots", self._roots),
            (r"node/(\d+)/root", self._root),
            (r"node/(\d+)/leaves", self._leaves),
            (r"node/leaves_many", self._leaves_many),
            (r"tabular_change_log_many", self._tabular_logs),
            (r"root/(\d+)/change_log", self._change_log),
            (r"operation_details", self._details),
            (r"lineage_graph_multiple", self._lineage),
            (r"root_timestamps", self._timestamps),
            (r"is_latest_roots", self._is_latest),
            (r"past_id_mapping", self._past_ids),
            (r"delta_roots", self._delta),
            (r"valid_nodes", self._valid),
            (r"oldest_timestamp", self._oldest),
        )

    # Roots of supervoxels

    def _time(self, query: Query, name: str = "timestamp") -> float:
        time_ms = float(query[name]) * 1000 if name in query else float(self.now_ms)
        if time_ms < self.history.oldest_ms and self.defects.early_fails:
            raise Refused(500, "Internal Server Error")
        return min(time_ms, self.now_ms)

    def root_of(self, supervoxel: int, time_ms: float, stop_layer: int) -> int:
        """The node above a supervoxel (0 above what is none)."""
        history = self.history
        piece = history.piece_of(supervoxel)
        if piece < 0:
            if supervoxel in history.created:
                return supervoxel
            if history.coding.layer(supervoxel) == 2:
                return self._root_above_piece(supervoxel, time_ms)
            return 0
        root = history.root_at(piece, time_ms)
        late = self.defects.late_originals and root not in history.made_by
        if late and time_ms < history.oldest_ms + HOUR_MS:
            return 0
        if stop_layer == 1:
            return supervoxel
        if stop_layer == 2:
            place = history.coding.place(supervoxel)
            return history.coding.code(2, place, history.coding.number(root))
        return root

    def _root_above_piece(self, node: int, time_ms: float) -> int:
        coding = self.history.coding
        place, number = coding.place(node), coding.number(node)
        root = coding.code(coding.layers, (0, 0, 0), number)
        for piece in self.history.pieces_of(root):
            if place in self.history.chunks_of[piece]:
                return self.history.root_at(piece, time_ms)
        return 0

    def _above(self, ids: Iterable[int], query: Query) -> list[int]:
        time_ms = self._time(query)
        layer = int(query.get("stop_layer", self.history.coding.layers))
        return [self.root_of(one, time_ms, layer) if one else 0 for one in ids]

    def _roots_binary(self, query: Query, body: bytes) -> bytes:
        ids = np.frombuffer(body, np.uint64).tolist()
        return np.array(self._above(ids, query), np.uint64).tobytes()

    def _roots(self, query: Query, body: bytes) -> Any:
        return {"root_ids": self._ids(self._above(_asked(body, "node_ids"), query))}

    def _root(self, query: Query, _body: bytes, supervoxel: int) -> Any:
        return {"root_id": self._above([supervoxel], query)[0]}

    # Parts of roots

    def _leaves(self, query: Query, _body: bytes, root: int) -> Any:
        layer = int(query.get("stop_layer", 1))
        found = self.history.leaves(self._known(root), layer)
        return {"leaf_ids": self._within(found, query.get("bounds"))}

    def _leaves_many(self, query: Query, body: bytes) -> Any:
        layer = int(query.get("stop_layer", 1))
        roots = [self._known(root) for root in _asked(body, "node_ids")]
        return {str(root): self.history.leaves(root, layer) for root in roots}

    def _within(self, nodes: list[int], bounds: str | None) -> list[int]:
        if bounds is None:
            return nodes
        coding = self.history.coding
        spans = [[int(v) for v in span.split("-")] for span in bounds.split("_")][::-1]
        return [
            node
            for node in nodes
            if all(
                low < (at + 1) * size and at * size < high
                for at, size, (low, high) in zip(
                    coding.place(node), coding.chunk, spans, strict=True
                )
            )
        ]

    def _known(self, root: int) -> int:
        if root not in self.history.created:
            raise Refused(400, f"{root} is not a root")
        if self.defects.hit("forbidden", root):
            raise Refused(403, f"missing permission for {root}")
        return root

    # Logs and details

    def _log(self, root: int, query: Query) -> list[tuple[int, Operation]]:
        self._known(root)
        log = self.history.change_log(root, filtered=query.get("filtered", "True") != "False")
        self._check_speed(root, log)
        if not log and self.defects.empty_log_times_out:
            raise Refused(504, "upstream request timeout")
        return log

    def _check_speed(self, root: int, log: list[tuple[int, Operation]]) -> None:
        if log and self.defects.hit("slow_lineage", root):
            raise Refused(504, "upstream request timeout")

    def _tabular_logs(self, query: Query, body: bytes) -> Any:
        return {
            # PyChunkedGraph sends each table as pandas writes it, as a string within the JSON.
            str(root): json.dumps(self._table(self._log(root, query)))
            for root in _asked(body, "root_ids")
        }

    def _table(self, log: list[tuple[int, Operation]]) -> dict[str, dict[str, Any]]:
        rows = [self._row(kept, operation) for kept, operation in reversed(log)]
        names = rows[0] if rows else ()
        return {name: {str(i): row[name] for i, row in enumerate(rows)} for name in names}

    def _row(self, kept: int, operation: Operation) -> dict[str, Any]:
        number = operation.operation_id
        time = operation.time_ms // (1000 if self.defects.hit("seconds", number) else 1)
        before = list(operation.before)
        if self.defects.hit("swapped", number):
            before = sorted(self.history.created)[: len(before)]
        return {
            "operation_id": number,
            "timestamp": -1000 if self.defects.hit("no_time", number) else time,
            "user_id": number % 7,
            "before_root_ids": self._ids(before),
            "after_root_ids": self._ids([kept]),
            "is_merge": operation.kind == "merge",
            "user_name": f"Proofreader {number % 7}",
            "user_affiliation": "Institute of Tracing",
        }

    def _change_log(self, query: Query, _body: bytes, root: int) -> Any:
        operations = [operation for _, operation in self._log(root, query)]
        merges = sum(operation.kind == "merge" for operation in operations)
        return {
            "n_merges": merges,
            "n_splits": len(operations) - merges,
            "operations_ids": sorted(operation.operation_id for operation in operations),
            "past_ids": self._ids(sorted({r for o in operations for r in o.before})),
            "user_info": {},
        }

    def _details(self, query: Query, _body: bytes) -> Any:
        numbers = json.loads(query["operation_ids"])
        known = [self.history.operations[n] for n in numbers if n in self.history.operations]
        return {
            str(operation.operation_id): self._detail(operation)
            for operation in known
            if not self.defects.hit("lost_details", operation.operation_id)
        }

    def _detail(self, operation: Operation) -> dict[str, Any]:
        number, hit = operation.operation_id, self.defects.hit
        merged = (operation.kind == "merge") != hit("contrary", number)
        edges = [] if hit("no_edges", number) else [self._ids(edge) for edge in operation.edges]
        lacks = len(operation.after) > 1 and hit("one_new_root", number)
        time_ms = -1000 if hit("no_time", number) else operation.time_ms
        sources = (OUTSIDE,) if hit("outside", number) else operation.sources
        return {
            "added_edges" if merged else "removed_edges": edges,
            "roots": self._ids(operation.after[:1] if lacks else operation.after),
            "source_coords": [list(point) for point in sources],
            "sink_coords": [list(point) for point in operation.sinks],
            "timestamp": str(datetime.fromtimestamp(time_ms / 1000, UTC)),
            "user": str(number % 7),
        }

    # Lineage and times

    def _lineage(self, query: Query, body: bytes) -> Any:
        history = self.history
        past, future = self._time(query, "timestamp_past"), self._time(query, "timestamp_future")
        past = past if "timestamp_past" in query else float("-inf")
        nodes: set[int] = set()
        links: set[tuple[int, int]] = set()
        for root in _asked(body, "root_ids"):
            log = list(history.ancestry(self._known(root)))
            self._check_speed(root, log)
            forward = list(self._descent(root))
            nodes.add(root)
            for operation in [o for _, o in log] + forward:
                if past <= operation.time_ms <= future:
                    links.update((a, b) for a in operation.before for b in operation.after)
        nodes.update(root for link in links for root in link)
        return {
            "directed": True,
            "multigraph": False,
            "graph": {},
            "nodes": [self._node(root) for root in sorted(nodes)] + self._ghosts(nodes),
            "links": [{"source": a, "target": b} for a, b in sorted(links)],
        }

    def _descent(self, root: int) -> Iterable[Operation]:
        queue, seen = [root], set()
        while queue:
            number = self.history.ended_by.get(queue.pop())
            if number is not None and number not in seen:
                seen.add(number)
                yield self.history.operations[number]
                queue.extend(self.history.operations[number].after)

    def _node(self, root: int) -> dict[str, Any]:
        made_by = self.history.made_by.get(root)
        node = {"id": root, "timestamp": self._created_ms(root) / 1000}
        return node if made_by is None else node | {"operation_id": made_by}

    def _ghosts(self, nodes: set[int]) -> list[dict[str, Any]]:
        ended = [root for root in sorted(self.history.ended) if root not in nodes]
        return [self._node(root) for root in ended[:1]] if self.defects.wrong_latest else []

    def _created_ms(self, root: int) -> int:
        late = self.defects.late_originals and root not in self.history.made_by
        return self.history.created[root] + (HOUR_MS if late else 0)

    def _timestamps(self, query: Query, body: bytes) -> Any:
        roots = [self._known(root) for root in _asked(body, "node_ids")]
        if query.get("latest") == "True":
            until = self._time(query)
            ends = [min(self.history.ended.get(root, until), until) for root in roots]
            return {"timestamp": [end / 1000 for end in ends]}
        return {"timestamp": [self._created_ms(root) / 1000 for root in roots]}

    def _is_latest(self, query: Query, body: bytes) -> Any:
        latest = set(self.history.latest(self._time(query)))
        return {"is_latest": [root in latest for root in _asked(body, "node_ids")]}

    def _past_ids(self, query: Query, body: bytes) -> Any:
        past = self._time(query, "timestamp_past")
        mapped = {}
        for root in _asked(body, "root_ids"):
            pieces = self.history.pieces_of(self._known(root))
            mapped[str(root)] = sorted({self.history.root_at(p, past) for p in pieces})
        return {"past_id_map": mapped, "future_id_map": {}}

    def _delta(self, query: Query, _body: bytes) -> Any:
        past, future = self._time(query, "timestamp_past"), self._time(query, "timestamp_future")
        before, after = set(self.history.latest(past)), set(self.history.latest(future))
        if before == after and self.defects.empty_delta_fails:
            raise Refused(500, "Internal Server Error")
        return {"old_roots": sorted(before - after), "new_roots": sorted(after - before)}

    def _valid(self, _query: Query, body: bytes) -> Any:
        return {"valid_roots": [n for n in _asked(body, "node_ids") if n in self.history.created]}

    def _oldest(self, _query: Query, _body: bytes) -> Any:
        return {"iso": datetime.fromtimestamp(self.history.oldest_ms / 1000, UTC).isoformat()}

    def _ids(self, ids: Iterable[int]) -> list[int] | list[str]:
        return [str(i) for i in ids] if self.defects.string_ids else list(ids)


def _asked(body: bytes, name: str) -> list[int]:
    try:
        return [int(value) for value in json.loads(body)[name]]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(400, f"the body does not name {name}") from error
