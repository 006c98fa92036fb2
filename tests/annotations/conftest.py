"""Tables of synthetic tissue, written once as MATLAB would and once the other way round."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.tissue import Tissue, generate
from segmend.testing.standins.l4dense_tables import TableTruth, write_tables

VOXEL_SIZE = (28.0, 11.24, 11.24)


@dataclass(frozen=True)
class Written:
    folder: Path
    truth: TableTruth
    tissue: Tissue


@pytest.fixture(scope="session")
def l4_tissue():
    return generate(TissueSpec(31, (64, 128, 128), VOXEL_SIZE, synapses=60))


def written(factory, tissue, columns_first):
    folder = factory.mktemp("l4dense")
    return Written(folder, write_tables(folder, tissue, columns_first=columns_first), tissue)


@pytest.fixture(scope="session")
def matlab(tmp_path_factory, l4_tissue):
    return written(tmp_path_factory, l4_tissue, True)


@pytest.fixture(scope="session")
def rows_first(tmp_path_factory, l4_tissue):
    return written(tmp_path_factory, l4_tissue, False)
