"""Ids stay exact where floats would not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segmend.core.errors import BadInputError
from segmend.core.ids import MAX_ID, as_ids, id_strings, relabel_dense

any_id = st.one_of(st.integers(0, MAX_ID), st.integers(2**53, 2**53 + 100))


@given(st.lists(any_id))
def test_ids_survive_json_as_strings(ids):
    text = json.dumps(id_strings(ids))
    assert as_ids(json.loads(text)).tolist() == ids


@given(hnp.arrays(np.uint64, hnp.array_shapes(max_dims=3), elements=any_id))
def test_dense_labels_and_table_give_the_ids_back(labels):
    dense, table = relabel_dense(labels)
    assert dense.dtype == np.int64
    assert table.dtype == np.uint64
    np.testing.assert_array_equal(table[dense], labels)
    assert (dense == 0).sum() == (labels == 0).sum()
    assert table[0] == 0
    assert len(set(table.tolist())) == table.size


@pytest.mark.parametrize(
    "bad", [[1.0], [True], [-1], [2**64], ["-1"], ["1e5"], [None], np.array([1.5]), np.array([-1])]
)
def test_what_is_not_an_id_is_refused(bad):
    with pytest.raises(BadInputError):
        as_ids(bad)
