"""A CAVE on loopback, filled with a known history: a real server for the real clients.

    history = record_history(automatic, neurons, grid, edits)
    with fake_cave(history, defects=Defects(one_new_root=0.5)) as cave:
        client = caveclient.CAVEclient("fake", server_address=cave.url, auth_token=cave.token)
        volume = cloudvolume.CloudVolume(f"graphene://{cave.url}/segmentation/table/fake")

docs/fake-cave.md says what it answers and which defects of the real service it can show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from segmend.testing.fake_cave_defects import Defects
from segmend.testing.fake_cave_graph import GraphAnswers, Refused
from segmend.testing.fake_cave_history import DAY_S, History
from segmend.testing.fake_cave_tables import TableAnswer, TableAnswers
from segmend.testing.fake_cave_volume import VolumeAnswers
from segmend.testing.faults import Choose, Reply, no_fault
from segmend.testing.servers import Asked, Server, serving

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105  a made-up one
VERSIONS = {"segmentation": "3.0.20", "materialize": "5.15.0", "info": "4.5.0"}
"""Versions that the services claim; caveclient looks at them before it calls some end points."""


@dataclass(frozen=True, slots=True)
class FakeCave:
    """A running fake.

    Attributes:
        server: The HTTP server: its log, and how many requests it answered at once.
        name: Datastack and table.
        token: What it wants to see; empty: nothing.
    """

    server: Server
    name: str
    token: str

    @property
    def url(self) -> str:
        """Root of all services."""
        return self.server.url

    def record(
        self, *, delta: bool = False, most: int = 0, rules: str = "", controls: str = ""
    ) -> str:
        """A record for ``segmend edits harvest``, as TOML.

        Args:
            delta: Ask for the roots that changed, instead of a table.
            most: Most roots; 0: all.
            rules: Lines of its table ``rules``.
            controls: Lines of its table ``controls``.
        """
        table = 'table = "proofreading_status_and_strategy"'
        return f"""
name = "{self.name}"
title = "Synthetic tissue"
species = "synthetic"
datastack = "{self.name}"
server = "{self.url}"
licence = "CC0-1.0"
[roots]
source = "{"delta" if delta else "table"}"
{"" if delta else table}
most = {most}
[batches]
logs = 7
details = 5
leaves = 9
[rules]
# Tissue of a few micrometres, where edits follow each other within a second.
margin_s = 0.05
chain_nm = 30
{rules}
[controls]
{controls}
"""


def write_token(home: Path, token: str = TOKEN) -> None:
    """Write a token where caveclient and cloud-volume look for it below a home folder."""
    folder = home / ".cloudvolume" / "secrets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cave-secret.json").write_text(json.dumps({"token": token}))


@contextmanager
def fake_cave(
    history: History,
    *,
    name: str = "fake",
    defects: Defects | None = None,
    token: str = TOKEN,
    proofread_table: str = "proofreading_status_and_strategy",
    most_rows: int = 0,
    latency_s: float = 0.0,
    faults: Choose = no_fault,
) -> Iterator[FakeCave]:
    """Serve a history.

    Args:
        history: What happened.
        name: Name of datastack and table.
        defects: What is wrong with the service; by default nothing.
        token: The token that requests must carry; empty: none.
        proofread_table: Name of the table of proofread neurons; empty: there is none, as for human
            and zebrafish.
        most_rows: Rows at which a table is cut, as the real service cuts it; 0: none is.
        latency_s: Wait before each answer.
        faults: Chooses a network fault, or None, for each request.

    Yields:
        The running fake; it ends with the block.
    """
    last = max((o.time_ms for o in history.operations.values()), default=history.oldest_ms)
    graph = GraphAnswers(history, defects or Defects(), last + DAY_S * 1000)
    service = _Service(name, token, graph, TableAnswers(graph, proofread_table, most_rows))
    with serving(service.respond, latency_s=latency_s, faults=faults) as server:
        yield FakeCave(server, name, token)


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    token: str
    graph: GraphAnswers
    tables: TableAnswers

    def respond(self, asked: Asked) -> Reply:
        parts = urlsplit(asked.path)
        query = dict(parse_qsl(parts.query))
        try:
            value = self._answer(asked, parts.path.strip("/"), query)
        except Refused as refused:
            return self._refusal(refused, asked)
        if isinstance(value, TableAnswer):
            return Reply(200, value.headers, value.body)
        if isinstance(value, bytes):
            return Reply(200, {"Content-Type": "application/octet-stream"}, value)
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _refusal(self, refused: Refused, asked: Asked) -> Reply:
        if refused.status == 302:
            return Reply(302, {"Location": refused.message}, b"")
        message: dict[str, Any] = {"message": refused.message, "code": refused.status}
        if self.graph.defects.echoes_token:
            message["request"] = dict(asked.headers)
        return Reply(
            refused.status, {"Content-Type": "application/json"}, json.dumps(message).encode()
        )

    def _answer(self, asked: Asked, path: str, query: dict[str, str]) -> Any:
        head, _, rest = path.partition("/")
        if head == "watershed":
            return self._bucket(rest)
        if path.startswith("auth/api/v1/authorize"):
            return b"<html>Log in</html>"
        self._check_token(asked)
        if path == f"segmentation/table/{self.name}/info":
            url = f"http://{asked.headers['host']}"
            return VolumeAnswers(self.graph.history).graph_info(url, self.name)
        answers = {
            "info": self._info,
            "segmentation": self._segmentation,
            "meshing": self._meshing,
            "materialize": self._materialize,
            "l2cache": self._l2cache,
            "auth": self._auth,
        }
        if head not in answers:
            raise Refused(404, f"no end point {path}")
        return answers[head](rest, query, asked)

    def _check_token(self, asked: Asked) -> None:
        if not self.token:
            return
        shown = asked.headers.get("authorization", "")
        if not shown:
            # As CAVE's login does for whoever shows no token.
            host = asked.headers["host"]
            raise Refused(302, f"http://{host}/auth/api/v1/authorize?redirect={asked.path}")
        if shown != f"Bearer {self.token}":
            raise Refused(401, "invalid token")

    def _bucket(self, path: str) -> Any:
        volume = VolumeAnswers(self.graph.history)
        folder, _, name = path.partition("/")
        if path == "info":
            return volume.info()
        if path == "mesh/info":
            return {"@type": "neuroglancer_legacy_mesh", "mip": 0}
        if folder == "mesh":
            return volume.fragment(name.rpartition("/")[2])
        if folder == "mip0":
            return volume.chunk(name)
        raise Refused(404, f"no object {path}")

    def _info(self, path: str, _query: dict[str, str], asked: Asked) -> Any:
        if path == "version":
            return VERSIONS["info"]
        if path == "api/v2/datastacks":
            return [self.name]
        if path != f"api/v2/datastack/full/{self.name}":
            raise Refused(404, f"no datastack at {path}")
        url = f"http://{asked.headers['host']}"
        z, y, x = self.graph.history.grid.voxel_size
        return {
            "aligned_volume": {
                "id": 1,
                "name": self.name,
                "description": "synthetic tissue",
                "display_name": self.name,
                "image_source": f"precomputed://{url}/em",
            },
            "segmentation_source": f"graphene://{url}/segmentation/table/{self.name}",
            "local_server": url,
            "synapse_table": "synapses",
            "proofreading_status_table": self.tables.proofread_table or None,
            "viewer_resolution_x": x,
            "viewer_resolution_y": y,
            "viewer_resolution_z": z,
        }

    def _segmentation(self, path: str, query: dict[str, str], asked: Asked) -> Any:
        if path == "api/versions":
            return [0, 1]
        if path == "api/version":
            return VERSIONS["segmentation"]
        table = f"api/v1/table/{self.name}/"
        if not path.startswith(table):
            raise Refused(404, f"no table at {path}")
        return self.graph.answer(path.removeprefix(table), query, asked.body)

    def _meshing(self, path: str, _query: dict[str, str], _asked: Asked) -> Any:
        manifest = f"api/v1/table/{self.name}/manifest/"
        if not path.startswith(manifest):
            raise Refused(404, f"no end point {path}")
        root = path.removeprefix(manifest).partition(":")[0]
        return VolumeAnswers(self.graph.history).manifest(int(root))

    def _materialize(self, path: str, query: dict[str, str], asked: Asked) -> Any:
        tables = self.tables
        if path == "version":
            return VERSIONS["materialize"]
        if path == "api/versions":
            return [2, 3]
        _, _, below = path.partition(f"/datastack/{self.name}/")
        match below.split("/"):
            case ["versions"]:
                return tables.versions(expired=query.get("expired") == "True")
            case ["metadata"]:
                return (
                    [tables.version()] if tables.versions(expired="True" in query.values()) else []
                )
            case ["query"]:
                return tables.query(asked.body)
            case ["version", _]:
                return tables.version()
            case ["version", _, "tables"]:
                return tables.names
            case ["version", _, "table", name, "metadata"]:
                return tables.metadata(name)
            case ["version", _, "table", name, "query"]:
                return tables.query(asked.body, name)
        raise Refused(404, f"no end point {path}")

    def _l2cache(self, path: str, _query: dict[str, str], asked: Asked) -> Any:
        if path == "api/v1/table_mapping":
            return {self.name: self.name}
        if path == "api/v1/attribute_metadata":
            return {"rep_coord_nm": "nm", "size_nm3": "nm3"}
        if path == f"api/v1/table/{self.name}/attributes":
            return self.tables.l2_attributes(asked.body)
        raise Refused(404, f"no end point {path}")

    def _auth(self, path: str, _query: dict[str, str], _asked: Asked) -> Any:
        if path == "api/v1/user/token":
            return [{"id": 1, "token": self.token, "user_id": 1}]
        raise Refused(404, f"no end point {path}")
