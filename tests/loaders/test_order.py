from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.loaders.order import balanced_order, epoch_order, strata

SEEDS = st.integers(0, 2**63)
EPOCHS = st.integers(0, 1000)
LABELS = st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=200)


@given(n=st.integers(0, 500), seed=SEEDS, epoch=EPOCHS)
def test_an_epoch_shows_every_row_once(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))
    assert np.array_equal(order, epoch_order(n, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(epoch_order(50, s, e)) for s in range(5) for e in range(5)}
    assert len(orders) == 25


def test_another_process_finds_the_same_order() -> None:
    code = "from segmend.loaders.order import epoch_order; print(epoch_order(20, 3, 4).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "9"},
    )
    assert done.stdout.strip() == str(epoch_order(20, 3, 4).tolist())


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(BadInputError, match="-1"):
        epoch_order(-1, 0, 0)


@given(labels=LABELS, seed=SEEDS, epoch=EPOCHS)
def test_classes_come_equally_often_and_so_do_their_rows(labels, seed, epoch) -> None:
    order = balanced_order(labels, seed, epoch)
    assert len(order) == len(labels)
    assert np.array_equal(order, balanced_order(labels, seed, epoch))
    by_class = Counter(labels[i] for i in order)
    counts = [by_class[c] for c in set(labels)]
    assert max(counts) - min(counts) <= 1
    rows = Counter(order.tolist())
    for value in set(labels):
        times = [rows[i] for i, label in enumerate(labels) if label == value]
        assert max(times) - min(times) <= 1


def test_a_large_class_shows_all_of_itself_over_the_epochs() -> None:
    labels = [0.0] * 90 + [1.0] * 10
    seen = {int(i) for epoch in range(30) for i in balanced_order(labels, 0, epoch)}
    assert seen == set(range(100))


@pytest.mark.parametrize(
    ("labels", "error"),
    [([], NoSamplesError), ([0.0, float("nan")], BadInputError)],
)
def test_labels_that_cannot_be_balanced(labels: list[float], error: type[Exception]) -> None:
    with pytest.raises(error):
        balanced_order(labels, 0, 0)


@given(labels=LABELS, data=st.data())
def test_strata_number_what_differs(labels: list[float], data) -> None:
    species = data.draw(
        st.lists(st.sampled_from("abc"), min_size=len(labels), max_size=len(labels))
    )
    numbers = strata(labels, species).tolist()
    pairs = list(zip(labels, species, strict=True))
    assert len(set(numbers)) == len(set(pairs)) == len(set(zip(numbers, pairs, strict=True)))


def test_strata_want_labels_and_one_length() -> None:
    with pytest.raises(BadInputError, match="NaN"):
        strata([0.0, float("nan")])
    with pytest.raises(BadInputError, match="different lengths"):
        strata([0.0, 1.0], ["a"])
