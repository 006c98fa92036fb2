"""One network that learns several tasks: one encoder, a head for each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from segmend.apps.cli.predict import predict
from segmend.apps.cli.train import train
from segmend.core.errors import BadInputError
from segmend.evaluate.predictions import read_predictions
from segmend.models.card import CARD
from segmend.models.cnn import Cnn
from segmend.models.fusion import Fusion
from segmend.models.lessons import Lesson, epoch_rows
from segmend.models.model import MODELS, Predictions, TrainSettings
from segmend.models.net import NetShape
from segmend.models.network import NetworkModel, new_net
from segmend.models.packed import Packed
from segmend.models.run import Run, load_run, train_run
from segmend.models.run_files import CONFIG, LOG_JSON
from segmend.models.sites import Sites
from segmend.models.vit import VitTiny
from segmend.tasks.registry import TASKS, tasks_named
from segmend.testing.models import learnable_benchmark
from segmend.testing.rows import random_benchmark

SETTINGS = TrainSettings(epochs=1, batch_size=12, epoch_rows=1, ema=0.8, train_rows=12)
SHAPES = {
    "pairs": NetShape(views=3, planes=4, masks=False, dual=True),
    "singles": NetShape(views=3, planes=3, masks=False, dual=False),
    "masks": NetShape(views=3, planes=3, masks=True, dual=False),
}
EVERY = tuple(TASKS.values())
SINGLE = ("false_merge_identification", "split_mask_generation")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """One network for all tasks, and its folder."""
    folder = tmp_path_factory.mktemp("joint") / "run"
    return train_run(learnable_benchmark(), EVERY, "fusion", folder, settings=SETTINGS), folder


def shown() -> dict[str, Sites]:
    generator = torch.Generator().manual_seed(1)
    return {
        task: Sites(
            torch.rand(2, shape.views, shape.channels, 112, 112, generator=generator),
            torch.rand(2, shape.planes, 3, 112, 112, generator=generator),
        )
        for task, shape in SHAPES.items()
    }


def rows(count: int) -> Packed:
    """Rows that nobody looks at."""
    none = np.zeros((count, 0), np.float16)
    hashes = tuple(map(str, range(count)))
    return Packed(none, none.astype(np.uint8), None, hashes, (), np.array(["fly"] * count))


def answers(predictions: Predictions) -> np.ndarray:
    found = predictions.scores if predictions.scores is not None else predictions.packed_masks
    assert found is not None
    return found


@pytest.mark.parametrize("model", [Cnn, VitTiny, Fusion])
def test_tasks_share_all_but_the_heads_and_do_not_see_each_other(model: type[NetworkModel]) -> None:
    net = new_net(model(), SHAPES, seed=0).eval()
    for weight in net.parameters():  # some blocks say nothing at first, and pass nothing back
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    sites = shown()
    out = net(sites)
    assert out["masks"].shape == (2, 3, 112, 112)
    for task, value in sites.items():
        torch.testing.assert_close(out[task], net.ask(task, value))  # whoever else is asked
    one = new_net(model(), {"pairs": SHAPES["pairs"]}, seed=0)
    names = {name for name, _ in net.named_parameters()}
    assert {name for name, _ in one.named_parameters()} <= names
    heads = {name for name in names if set(name.split(".")) & SHAPES.keys()}
    out["pairs"].sum().backward()
    for name, weight in net.named_parameters():
        silent = weight.grad is None or not weight.grad.any()
        if name in heads and ".pairs." not in name:
            assert silent, name
        elif weight.ndim > 1:  # a bias may cancel out
            assert not silent, name


def test_a_run_answers_each_of_its_tasks_also_after_a_save(trained: tuple[Run, Path]) -> None:
    run, folder = trained
    again = load_run(folder)
    assert again.tasks == EVERY
    for task in EVERY:
        one = run.predict(learnable_benchmark(), "test", task=task.name)
        other = again.predict(learnable_benchmark(), "test", task=task.name)
        assert (one.task, one.task_version) == (task.name, task.version)
        assert one.hashes == other.hashes
        np.testing.assert_array_equal(answers(one), answers(other))
    temperatures = again.config["model_config"]["temperatures"]
    assert set(temperatures) == set(TASKS)
    assert len({temperatures[name] for name in TASKS}) == 3  # each its own; masks have none: 1


def test_which_side_is_called_a_is_hidden_from_single_segments(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    for task in TASKS:
        one, other = (
            answers(run.predict(learnable_benchmark(swap=swap), "test", task=task))
            for swap in (False, True)
        )
        if task in SINGLE:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_log_and_the_card_speak_of_every_task(trained: tuple[Run, Path]) -> None:
    _, folder = trained
    row = json.loads((folder / LOG_JSON).read_text())[-1]
    for kind in ("train_loss", "validation_loss"):
        of_tasks = [row[f"{kind}_{task}"] for task in TASKS]
        assert row[kind] == pytest.approx(np.mean(of_tasks))
    card = (folder / CARD).read_text()
    config = json.loads((folder / CONFIG).read_text())
    assert set(config["tasks"]) == set(config["rows"]) == set(TASKS)
    for task in TASKS:
        assert f"segmend predict RUN BENCHMARK --task {task}" in card


def test_a_run_of_several_tasks_must_be_told_which(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    with pytest.raises(BadInputError, match=r"does not know which.*--task"):
        run.predict(learnable_benchmark(), "test")
    two = replace(run, tasks=EVERY[:2])
    with pytest.raises(BadInputError, match=rf"cannot answer '{EVERY[2].name}'.*it learnt"):
        two.predict(learnable_benchmark(), "test", task=EVERY[2].name)


def test_models_of_one_task_say_which_can_learn_several(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"at once\. Models: cnn, fusion, vit"):
        train_run(learnable_benchmark(), EVERY[:2], "geometry", tmp_path / "run")


def test_weights_say_how_the_rows_of_an_epoch_are_shared() -> None:
    lessons = {"pairs": Lesson(rows(30), None, True), "singles": Lesson(rows(10), None, False)}
    plain = replace(SETTINGS, epoch_rows=1)
    assert epoch_rows(lessons, plain) == {"pairs": 30, "singles": 10}
    weighed = replace(plain, weights=(("singles", 3.0),))
    assert epoch_rows(lessons, weighed) == {"pairs": 10, "singles": 30}
    with pytest.raises(BadInputError, match="not learnt: masks"):
        epoch_rows(lessons, replace(plain, weights=(("masks", 1.0),)))
    with pytest.raises(BadInputError, match="positive"):
        replace(plain, weights=(("pairs", 0.0),))


def test_tasks_are_named_by_commas_or_all() -> None:
    assert tasks_named("all") == EVERY
    both = "split_mask_generation,false_split_correction"
    assert [task.name for task in tasks_named(both)] == sorted(both.split(","))
    with pytest.raises(BadInputError, match="named twice"):
        tasks_named("split_mask_generation,split_mask_generation")


def test_the_verbs_take_several_tasks_and_say_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(MODELS["cnn"], settings=TrainSettings(epoch_rows=1))
    monkeypatch.setitem(MODELS._items, "cnn", quick)
    kinds = {"merge_edit": 2, "adjacent_control": 2, "split_edit": 2}
    bench, run = random_benchmark(tmp_path / "b", {"train": kinds}), tmp_path / "run"
    names = "false_split_correction,split_mask_generation"
    asked = [names, str(bench), "--model", "cnn", "--epochs", "1", "--out", str(run)]
    told = CliRunner().invoke(train, [*asked, "--weight", "split_mask_generation=2"])
    assert told.exit_code == 0, told.output
    assert [task.name for task in load_run(run).tasks] == names.split(",")
    for name in names.split(","):
        out = tmp_path / f"{name}.parquet"
        assert f"predict {run} {bench} --task {name}" in told.output
        said = [str(run), str(bench), "--task", name, "--split", "train", "--out", str(out)]
        assert CliRunner().invoke(predict, said).exit_code == 0
        assert read_predictions(out).task == name
    refused = CliRunner().invoke(predict, [str(run), str(bench), "--out", str(tmp_path / "x")])
    assert isinstance(refused.exception, BadInputError)
    for weight in ("split_mask_generation", "split_mask_generation=much"):
        refused = CliRunner().invoke(train, [*asked, "--weight", weight])
        assert isinstance(refused.exception, BadInputError)
