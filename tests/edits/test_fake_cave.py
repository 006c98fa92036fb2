"""The fake CAVE against the real clients, and the known history as the oracle."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime

import caveclient
import cloudvolume
import numpy as np
import pytest
import requests

from segmend.testing.fake_cave import TOKEN, fake_cave
from segmend.testing.fake_cave_defects import Defects, every_defect
from segmend.volumes.drivers.graphene import open_graphene

LATE = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def cave(history):
    with fake_cave(history) as running:
        yield running


@pytest.fixture(scope="module")
def client(cave):
    return caveclient.CAVEclient(
        "fake", server_address=cave.url, auth_token=TOKEN, write_server_cache=False
    )


@pytest.fixture(scope="module")
def edited(history):
    return [r for r in history.latest(1e18) if history.change_log(r, filtered=True)]


def roots_of(history, time_ms):
    table = [0, *(history.root_at(p, time_ms) for p in range(len(history.timeline)))]
    return np.array(table, np.uint64)[history.pieces]


def test_the_log_turns_the_segments_into_the_neurons(history, tissue):
    """The oracle itself: before the first edit roots are segments, after the last neurons."""
    for time, layer in ((0, "automatic"), (1e18, "neurons")):
        labels, roots = tissue.segments(layer), roots_of(history, time)
        inside = tissue.segments("automatic") != 0
        pairs = set(zip(labels[inside].tolist(), roots[inside].tolist(), strict=True))
        assert len({a for a, _ in pairs}) == len(pairs) == len({b for _, b in pairs})


def test_caveclient_finds_the_datastack_and_its_versions(client):
    assert client.info.get_datastacks() == ["fake"]
    assert client.chunkedgraph.base_resolution == [10, 10, 20]
    assert client.materialize.get_versions() == [117]
    assert client.l2cache.has_cache()


def test_caveclient_reads_the_table_of_proofread_neurons_at_any_time(client, history):
    table = client.materialize.live_query("proofreading_status_and_strategy", timestamp=LATE)
    assert set(table.pt_root_id) == set(history.latest(1e18))
    early = client.materialize.query_table("proofreading_status_and_strategy")
    assert set(early.pt_root_id) <= set(history.latest(0))
    assert len(early) == len(table)


def test_caveclient_reads_synapses(client, history, tissue):
    table = client.materialize.query_table("synapses")
    assert len(table) == len(tissue.synapses)


def test_logs_and_details_tell_the_known_history(client, history, edited):
    logs = client.chunkedgraph.get_tabular_change_log(edited)
    seen = {int(n) for log in logs.values() for n in log.operation_id}
    assert seen == set(history.operations)
    details = client.chunkedgraph.get_operation_details(sorted(seen))
    for number, operation in history.operations.items():
        assert tuple(details[str(number)]["roots"]) == operation.after


def test_a_log_names_one_new_root_of_a_split(client, history, edited):
    logs = client.chunkedgraph.get_tabular_change_log(edited)
    splits = [row for log in logs.values() for row in log.to_dict("records") if not row["is_merge"]]
    assert splits
    assert all(len(row["after_root_ids"]) == 1 for row in splits)


def test_lineage_leads_from_first_to_latest_roots(client, history, edited):
    graph = client.chunkedgraph
    for root in edited[:3]:
        originals = graph.get_original_roots(root)
        assert all(history.created[int(r)] == history.oldest_ms for r in originals)
    first = history.operations[min(history.operations)].before[0]
    latest = {int(r) for r in graph.get_latest_roots(first)}
    assert latest <= set(history.latest(1e18))


def test_delta_roots_and_times(client, history, edited):
    past = datetime.fromtimestamp(history.oldest_ms / 1000 + 1, UTC)
    old, new = client.chunkedgraph.get_delta_roots(past, LATE)
    before, after = set(history.latest(0)), set(history.latest(1e18))
    assert (set(old.tolist()), set(new.tolist())) == (before - after, after - before)
    times = client.chunkedgraph.get_root_timestamps(edited)
    assert [round(t.timestamp() * 1000) for t in times] == [history.created[r] for r in edited]
    assert client.chunkedgraph.is_latest_roots([*edited, *before - after]).sum() == len(edited)


def test_pieces_within_chunks(client, history, edited):
    graph = client.chunkedgraph
    many = graph.get_leaves_many(edited, stop_layer=2)
    assert {int(k): v.tolist() for k, v in many.items()} == {
        r: history.leaves(r, 2) for r in edited
    }
    assert set(graph.get_roots(many[edited[0]])) == {edited[0]}
    supervoxels = graph.get_leaves(edited[0])
    assert {int(graph.get_root_id(s, level2=True)) for s in supervoxels} == set(
        many[edited[0]].tolist()
    )


def test_cloud_volume_reads_roots_of_a_time_and_meshes(cave, history, edited):
    volume = cloudvolume.CloudVolume(
        f"graphene://{cave.url}/segmentation/table/fake",
        agglomerate=True,
        timestamp=4e9,
        progress=False,
        secrets=TOKEN,
    )
    found = np.asarray(volume[:, :, :])[..., 0].T
    np.testing.assert_array_equal(found, roots_of(history, 1e18))
    mesh = volume.mesh.get(edited[0])[edited[0]]
    where = np.argwhere(found == edited[0])[:, ::-1]
    voxel = np.array([10, 10, 20])
    np.testing.assert_allclose(mesh.vertices.min(axis=0), where.min(axis=0) * voxel, atol=20)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (where.max(axis=0) + 1) * voxel, atol=20)


def test_our_own_driver_reads_it(cave, history, monkeypatch):
    monkeypatch.setattr(
        "cloudvolume.datasource.graphene.metadata.cave_credentials", lambda _: {"token": TOKEN}
    )
    operation = next(iter(history.operations.values()))
    before = open_graphene(
        f"{cave.url}/segmentation/table/fake", timestamp=operation.time_ms // 1000 - 1
    )
    np.testing.assert_array_equal(
        before.read(before.box).data, roots_of(history, operation.time_ms - 1000)
    )


def test_without_a_token_it_sends_to_the_login_and_with_a_wrong_one_refuses(cave):
    url = f"{cave.url}/segmentation/table/fake/info"
    assert requests.get(url, allow_redirects=False, timeout=5).status_code == 302
    wrong = {"Authorization": "Bearer 00"}
    assert requests.get(url, headers=wrong, timeout=5).status_code == 401


def test_every_defect_shows(history, edited):
    """Each switch changes an answer that a client can see."""
    split = next(o for o in history.operations.values() if o.kind == "split")
    first = history.operations[min(history.operations)]

    def get(session, path, **kwargs):
        return session.get(
            f"{session.base}/segmentation/api/v1/table/fake/{path}", timeout=5, **kwargs
        )

    def log(s):
        return get(s, "tabular_change_log_many", json={"root_ids": edited[:1]})

    def details(s):
        return get(s, f"operation_details?operation_ids=[{split.operation_id}]")

    probes = {
        "slow_lineage": log,
        "forbidden": log,
        "seconds": log,
        "swapped": log,
        "string_ids": log,
        "no_time": log,
        "lost_details": details,
        "one_new_root": details,
        "no_edges": details,
        "contrary": details,
        "outside": details,
        "wrong_latest": lambda s: s.post(
            f"{s.base}/segmentation/api/v1/table/fake/lineage_graph_multiple",
            json={"root_ids": edited[:1]},
            timeout=5,
        ),
        "empty_log_times_out": lambda s: get(
            s,
            "tabular_change_log_many",
            json={"root_ids": [next(r for r in history.latest(1e18) if r not in edited)]},
        ),
        "early_fails": lambda s: get(s, f"node/{first.edges[0][0]}/root?timestamp=1000"),
        "late_originals": lambda s: get(
            s, f"node/{first.edges[0][0]}/root?timestamp={history.oldest_ms / 1000 + 60}"
        ),
        "empty_delta_fails": lambda s: get(s, "delta_roots?timestamp_past=4e9"),
        "expired": lambda s: s.get(
            f"{s.base}/materialize/api/v3/datastack/fake/versions", timeout=5
        ),
        "echoes_token": lambda s: get(s, "nothing"),
    }
    assert set(probes) == set(Defects.__slots__) - {"seed"}
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        for name, probe in probes.items():
            answers = []
            for defects in (Defects(), Defects(**{name: True})):
                with fake_cave(history, defects=defects) as running:
                    session.base = running.url
                    answer = probe(session)
                    answers.append((answer.status_code, answer.text.replace(running.url, "")))
            assert answers[0] != answers[1], name
    assert every_defect().string_ids


def test_clients_warn_of_nothing(cave):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        caveclient.CAVEclient(
            "fake", server_address=cave.url, auth_token=TOKEN, write_server_cache=False
        )
