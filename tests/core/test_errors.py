"""Errors teach, are built-ins too, and cross process borders."""

import inspect
import pickle

import pytest

from segmend.core import errors
from segmend.core.errors import RenderError, SegmendError, UnknownNameError, require
from segmend.core.random import keyed_generator, keyed_unit
from segmend.core.registry import Registry
from segmend.core.settings import settings

TREE = [e for _, e in inspect.getmembers(errors, inspect.isclass) if issubclass(e, SegmendError)]


def test_a_message_says_what_was_asked_what_is_true_and_what_to_do():
    error = SegmendError("no file a.h5", found="the folder is empty", fix="Check the path")
    assert str(error) == "no file a.h5: the folder is empty. Check the path"


@pytest.mark.parametrize("kind", TREE, ids=lambda e: e.__name__)
def test_every_error_survives_pickling_and_prints_plainly(kind):
    args = ("segment_not_in_view",) if kind is RenderError else ()
    error = kind(*args, "asked", found="found", fix="fix")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "asked: found. fix"
    assert vars(again) == vars(error)
    assert kind.exit_status != 0


@pytest.mark.parametrize("kind", TREE, ids=lambda e: e.__name__)
def test_every_error_stands_in_the_drawn_tree(kind):
    assert kind.__name__ in errors.__doc__


def test_a_missing_extra_says_how_to_install_it():
    require("numpy", extra="build")
    with pytest.raises(errors.MissingDependencyError, match=r"pip install 'segmend\[build\]'"):
        require("no_such_package", extra="build")


def test_registry_lists_what_exists():
    registry = Registry("model")
    registry.add("chance", 1)
    assert registry["chance"] == 1
    assert list(registry) == ["chance"]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'chance'.*Known: chance"):
        registry["chanse"]
    with pytest.raises(errors.BadInputError, match="already"):
        registry.add("chance", 2)


def test_keyed_randomness_depends_on_the_key_alone():
    a = keyed_generator(1, "x").random(3).tolist()
    assert a == keyed_generator(1, "x").random(3).tolist()
    assert a != keyed_generator(1, "y").random(3).tolist()
    # The parts are separated: ("ab", "c") is another key than ("a", "bc").
    assert keyed_unit("ab", "c") != keyed_unit("a", "bc")
    values = [keyed_unit("k", i) for i in range(2000)]
    assert 0 <= min(values) < max(values) < 1
    assert abs(sum(values) / 2000 - 0.5) < 0.03


def test_settings_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGMEND_CACHE", str(tmp_path))
    monkeypatch.setenv("SEGMEND_WORKERS", "3")
    assert settings().cache_dir == tmp_path
    assert settings().workers == 3
    monkeypatch.setenv("SEGMEND_WORKERS", "many")
    with pytest.raises(errors.BadInputError, match="SEGMEND_WORKERS"):
        settings()
