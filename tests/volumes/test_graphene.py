"""graphene:// through cloud-volume, from a real server on loopback."""

import http.server
import json
import threading

import cloudvolume
import numpy as np
import pytest
from cloudvolume.datasource.graphene import metadata

from segmend.core.errors import BadInputError, MissingDependencyError, ReadFailedError
from segmend.testing.drivers import DriverContract
from segmend.volumes.drivers.graphene import open_graphene

IDS = np.random.default_rng(11).integers(2**53, 2**63, (20, 30, 40), dtype=np.uint64)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """What a PyChunkedGraph server says of a table whose watershed lies in a folder."""
    info = cloudvolume.CloudVolume.create_new_info(
        num_channels=1,
        layer_type="segmentation",
        data_type="uint64",
        encoding="raw",
        resolution=(8, 8, 40),
        voxel_offset=(16, 24, 32),
        volume_size=IDS.shape[::-1],
        chunk_size=(16, 16, 16),
    )
    watershed = f"file://{tmp_path}/watershed"
    volume = cloudvolume.CloudVolume(watershed, info=info, progress=False)
    volume.commit_info()
    volume[:, :, :] = IDS.T[..., None]
    info |= {
        "data_dir": watershed,
        "app": {"supported_api_versions": [0, 1]},
        "graph": {"chunk_size": [16, 16, 16], "n_layers": 3, "spatial_bit_masks": {"1": 4}},
    }

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(info).encode()
            self.send_response(200 if "/table/t" in self.path else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    monkeypatch.setattr(metadata, "cave_credentials", lambda _: {"token": "abc"})
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}/segmentation/table"
    served.shutdown()
    thread.join()
    served.server_close()


class TestSupervoxels(DriverContract):
    @pytest.fixture
    def expected(self):
        return IDS

    @pytest.fixture
    def volume(self, server):
        return open_graphene(f"graphene://{server}/t", agglomerate=False)


def test_its_place_is_the_servers(server):
    volume = open_graphene(f"{server}/t", agglomerate=False)
    assert volume.grid.voxel_size == (40, 8, 8)
    assert volume.grid.offset == (32 * 40, 24 * 8, 16 * 8)


def test_a_chunk_that_is_not_stored_is_a_failure_not_zeros(server, tmp_path):
    volume = open_graphene(f"{server}/t", agglomerate=False)
    for chunk in (tmp_path / "watershed" / "8_8_40").iterdir():
        chunk.unlink()
    with pytest.raises(ReadFailedError, match="EmptyVolume"):
        volume.read(volume.box)


def test_a_server_that_refuses_is_a_typed_error(server):
    with pytest.raises(ReadFailedError, match="cannot open graphene://"):
        open_graphene(f"{server}/unknown")


@pytest.mark.parametrize("url", ["graphene://gs://b/t", "graphene://https://h.org/x", "https://"])
def test_other_urls_are_refused(url):
    with pytest.raises(BadInputError, match="not the URL of a chunked graph"):
        open_graphene(url)


def test_a_fraction_of_a_second_is_refused_because_cloud_volume_rounds_it_up(server):
    with pytest.raises(BadInputError, match="whole second"):
        open_graphene(f"{server}/t", timestamp=1.5)


def test_passwords_in_urls_are_refused_and_not_repeated():
    with pytest.raises(BadInputError, match="holds a password") as refused:
        open_graphene("https://me:secret@h.org/segmentation/table/t")
    assert "secret@" not in str(refused.value)


def test_without_cloud_volume_the_command_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'segmend\[graphene\]'"):
        open_graphene("https://h.org/segmentation/table/t")
