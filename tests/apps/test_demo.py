"""The demo on a plan small enough for a test; the shipped plan is checked for what it promises."""

from __future__ import annotations

import html.parser
from importlib import resources

import pytest

from segmend.apps.demonstration import demonstrate
from segmend.apps.progress import Progress
from segmend.build.settings import load_settings
from segmend.core.errors import OutputError
from segmend.core.sample import CHANNELS, PLANES, SAMPLE_TYPES
from segmend.models.model import TrainSettings
from segmend.shards.verify import verify
from segmend.tasks.registry import TASKS


@pytest.fixture(scope="module")
def shown(plan_file, segmend_cache, tmp_path_factory):
    with Progress(quiet=True) as progress:
        return demonstrate(
            tmp_path_factory.mktemp("demo") / "out",
            plan=plan_file,
            workers=1,
            progress=progress,
            settings=TrainSettings(epochs=1, epoch_rows=32),
        )


class References(html.parser.HTMLParser):
    """Everything a browser would fetch, and all text."""

    def __init__(self):
        super().__init__()
        self.outside, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "link", "iframe", "object"):
            self.outside.append(tag)
        self.outside += [
            v for k, v in attrs if k in ("src", "href") and not v.startswith(("data:", "#"))
        ]

    def handle_data(self, data):
        self.text += data


@pytest.mark.slow
def test_every_task_is_answered_by_every_model_that_can(shown):
    asked = {(one.result.task, one.result.model) for one in shown.answered}
    binary = {(t, m) for t in list(TASKS)[:2] for m in ("chance", "geometry", "cnn")}
    assert asked == binary | {("split_mask_generation", m) for m in ("chance", "cnn")}
    assert verify(shown.benchmark).problems == ()
    for one in shown.answered:
        assert one.result.split == "test"
        assert one.result.accepted_leaks == ()


@pytest.mark.slow
def test_the_report_is_one_file_with_everything_in_it(shown):
    page = shown.report.read_text()
    parser = References()
    parser.feed(page)
    assert parser.outside == []
    assert "url(" not in page.replace("url(#", "")
    for word in (*SAMPLE_TYPES, *CHANNELS, *PLANES, *TASKS, "Calibration", "ROC"):
        assert word in parser.text, word
    for one in shown.answered:
        for score in one.result.scores:
            if score.value is not None:
                assert f"{score.value:.3f}" in parser.text
    assert page.count("<figure>") == 2 * len(SAMPLE_TYPES)
    assert page.count('<img class="sheet"') == page.count("<figure>")


def test_the_shipped_plan_is_split_by_volume_and_free_of_leaks():
    with resources.as_file(resources.files("segmend.apps") / "demo.toml") as path:
        plan = load_settings(path)
    assert plan.splits.rule == "volume"
    assert plan.splits.accepted_leaks == ()
    assert {source.split for source in plan.sources} == {"train", "validation", "test"}
    seeds = [source.parameters["seed"] for source in plan.sources]
    assert len(set(seeds)) == len(seeds)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "kept").touch()
    with pytest.raises(OutputError, match="exists already"), Progress(quiet=True) as progress:
        demonstrate(tmp_path, plan=tmp_path / "none.toml", workers=1, progress=progress)
    assert [f.name for f in tmp_path.iterdir()] == ["kept"]
