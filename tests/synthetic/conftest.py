from __future__ import annotations

import pytest

from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.tissue import Tissue, generate


@pytest.fixture(scope="session")
def spec() -> TissueSpec:
    return TissueSpec(seed=11, shape=(80, 144, 144))


@pytest.fixture(scope="session")
def tissue(spec: TissueSpec) -> Tissue:
    return generate(spec)
