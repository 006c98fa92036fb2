"""Every network: shapes, orders of A and B, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segmend.core.errors import BadInputError
from segmend.models.cnn import Cnn
from segmend.models.features import UNMEASURED, feature_names
from segmend.models.fusion import Fusion, FusionNet
from segmend.models.layers import EMBEDDING
from segmend.models.measured import Measured
from segmend.models.model import TrainSettings
from segmend.models.net import NetShape
from segmend.models.network import NetworkModel, new_net
from segmend.models.run import Beginning, load_run, train_run
from segmend.models.run_files import CONFIG
from segmend.models.sites import Sites, swapped
from segmend.models.vit import SIZES, VitNet, VitTiny
from segmend.tasks.registry import TASKS
from segmend.testing.models import learnable_benchmark

PAIRS = NetShape(views=3, planes=4, masks=False, dual=True)
MASKS = NetShape(views=3, planes=3, masks=True, dual=False)
NETWORKS = (Cnn, VitTiny, Fusion)
TASK = TASKS["false_split_correction"]
QUICK = TrainSettings(epochs=1, epoch_rows=1)


class _Kept(torch.nn.Module):
    """Keeps what it is given."""

    def __init__(self, found: list[torch.Tensor]) -> None:
        super().__init__()
        self.found = found

    def forward(self, told: torch.Tensor) -> torch.Tensor:
        self.found.append(told)
        return told


def some(shape: NetShape, sites: int = 2) -> Sites:
    generator = torch.Generator().manual_seed(3)
    geometry = torch.rand(sites, shape.views, shape.channels, 112, 112, generator=generator)
    em = torch.rand(sites, shape.planes, 3, 112, 112, generator=generator)
    measures = torch.rand(sites, shape.measures, generator=generator) if shape.measures else None
    return Sites(geometry, em, measures)


@pytest.mark.parametrize("model", NETWORKS)
def test_one_score_per_site_and_one_mask_per_view(model: type[NetworkModel]) -> None:
    net = new_net(model(), {"pairs": PAIRS}, seed=0).eval()
    out = net.ask("pairs", some(PAIRS))
    assert net.log_odds(out).shape == (2,)
    assert net.loss("pairs", out, torch.ones(2)).shape == (2,)
    painter = new_net(model(), {"masks": MASKS}, seed=0).eval()
    assert painter.ask("masks", some(MASKS)).shape == (2, 3, 112, 112)


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize(("views", "planes"), [(3, 0), (0, 4)])
def test_geometry_or_em_alone(model: type[NetworkModel], views: int, planes: int) -> None:
    shape = NetShape(views, planes, masks=False, dual=True)
    net = new_net(model(), {"pairs": shape}, seed=0).eval()
    assert net.log_odds(net.ask("pairs", some(shape))).shape == (2,)


def test_fusion_cannot_tell_a_from_b_whatever_its_weights() -> None:
    net = new_net(Fusion(), {"pairs": PAIRS}, seed=5).eval()
    assert isinstance(net, FusionNet)
    shown = some(PAIRS)
    other = swapped(shown)
    torch.testing.assert_close(net.ask("pairs", shown), net.ask("pairs", other))
    (views, _), (others, _) = net._seen([shown, other])
    assert not torch.allclose(views[-1], others[-1])  # the encoder does see the sides


def test_fusion_lets_pictures_see_each_other_and_the_published_design_does_not() -> None:
    shown = some(PAIRS)
    em = shown.em.clone()
    em[:, 0] = 1 - em[:, 0]
    other = shown._replace(em=em)
    vit = new_net(VitTiny(), {"pairs": PAIRS}, seed=0).eval()
    before, after = vit.ask("pairs", shown), vit.ask("pairs", other)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)  # geometry views
    assert not torch.allclose(before[:, 3], after[:, 3])  # the plane itself
    fusion = new_net(Fusion(), {"pairs": PAIRS}, seed=0).eval()
    assert isinstance(fusion, FusionNet)
    vectors = torch.rand(1, 14, EMBEDDING)
    changed = vectors.clone()
    changed[:, 13] += 1
    assert torch.equal(fusion.blocks(vectors), vectors)  # it begins as the CNN does
    torch.nn.init.normal_(fusion.blocks[0].mix.weight)
    assert not torch.allclose(fusion.blocks(vectors)[:, :13], fusion.blocks(changed)[:, :13])


def test_fusion_begins_as_the_small_network_of_the_same_seed() -> None:
    shape = NetShape(views=3, planes=3, masks=False, dual=False, measures=2)
    cnn = new_net(Cnn(), {"singles": replace(shape, measures=0)}, seed=3).eval()
    fusion = new_net(Fusion(), {"singles": shape}, seed=3).eval()
    shown = some(shape)
    assert torch.equal(cnn.ask("singles", shown), fusion.ask("singles", shown))


def test_the_score_of_the_published_design_is_the_mean_probability() -> None:
    vit = new_net(VitTiny(), {"pairs": PAIRS}, seed=0)
    logits = torch.tensor([[0.0, 2.0, -1.0, 0.5, 0.0, 3.0, -2.0]])
    mean = torch.sigmoid(logits.double()).mean()
    assert torch.sigmoid(vit.log_odds(logits)).item() == pytest.approx(mean.item())


def test_base_is_vit_b_16() -> None:
    """86 million weights (Dosovitskiy et al., ICLR 2021, table 1), and a second patch embedding."""
    shape = NetShape(views=3, planes=3, masks=False, dual=False)
    with torch.device("meta"):
        net = VitNet({"singles": shape}, SIZES["base"])
    count = sum(weights.numel() for weights in net.parameters())
    assert count / 1e6 == pytest.approx(86.6, abs=1.0)
    painter_shape = NetShape(views=3, planes=0, masks=True, dual=False)
    with torch.device("meta"):
        painter = VitNet({"masks": painter_shape}, SIZES["base"])
        shown = Sites(torch.zeros(1, 3, 10, 224, 224), torch.zeros(1, 0, 3, 224, 224))
        masks = painter.ask("masks", shown)
    assert masks.shape == (1, 3, 224, 224)


def test_weights_for_other_channels_are_refused(tmp_path: Path) -> None:
    model = Fusion()
    model._net = new_net(model, {"pairs": PAIRS}, seed=0)
    config = model.config()
    restored = Fusion()
    restored.restore(model.arrays(), config)
    channels = {**config["channels"], "em": ["em"]}
    with pytest.raises(
        BadInputError, match=r"other channels: 2 differ.*em 1: none instead of mask_a"
    ):
        Fusion().restore(model.arrays(), config | {"channels": channels})
    with pytest.raises(BadInputError, match=r"other channels: 10 differ"):
        Fusion().restore(model.arrays(), config | {"channels": None})


def test_fine_tuning_starts_from_the_weights_of_a_run(tmp_path: Path) -> None:
    benchmark = learnable_benchmark()
    first = train_run(benchmark, (TASK,), "cnn", tmp_path / "first", settings=QUICK)
    frozen = TrainSettings(epochs=1, epoch_rows=1, learning_rate=1e-12)
    tuned = train_run(
        benchmark,
        (TASK,),
        "cnn",
        tmp_path / "tuned",
        settings=frozen,
        beginning=Beginning(start=tmp_path / "first"),
    )
    weights = first.model.arrays(), tuned.model.arrays()
    np.testing.assert_allclose(
        weights[0][f"fuse.{TASK.name}.ask.weight"],
        weights[1][f"fuse.{TASK.name}.ask.weight"],
        atol=1e-6,
    )
    assert tuned.config["start"] == str(tmp_path / "first")
    with pytest.raises(BadInputError, match="cannot start from"):
        train_run(
            benchmark,
            (TASK,),
            "fusion",
            tmp_path / "other",
            settings=QUICK,
            beginning=Beginning(start=tmp_path / "first"),
        )


def test_a_run_shown_geometry_alone_reads_no_em_and_stays_so(tmp_path: Path) -> None:
    settings = TrainSettings(epochs=1, epoch_rows=1, inputs="geometry")
    run = train_run(learnable_benchmark(), (TASK,), "fusion", tmp_path / "run", settings=settings)
    config = load_run(tmp_path / "run").config
    assert config["model_config"]["shapes"][TASK.name]["planes"] == 0
    assert "waiting_share" in config["model_config"]["speed"]
    again = load_run(tmp_path / "run").predict(learnable_benchmark(), "test")
    np.testing.assert_array_equal(run.predict(learnable_benchmark(), "test").scores, again.scores)
    assert (tmp_path / "run" / CONFIG).exists()


def test_masks_are_not_learnt_from_em_alone(tmp_path: Path) -> None:
    settings = TrainSettings(epochs=1, inputs="em")
    with pytest.raises(BadInputError, match="EM alone"):
        train_run(
            learnable_benchmark(),
            (TASKS["split_mask_generation"],),
            "cnn",
            tmp_path / "run",
            settings=settings,
        )
    assert not list(tmp_path.iterdir())


def test_fusion_is_told_measurements_and_begins_as_if_there_were_none() -> None:
    shape = replace(PAIRS, measures=3)
    net = new_net(Fusion(), {"pairs": shape}, seed=0).eval()
    rows = torch.tensor([[0.0, 5.0, UNMEASURED], [2.0, 5.0, UNMEASURED], [4.0, UNMEASURED, 7.0]])
    net.scale("pairs", rows)
    shown = some(shape)._replace(measures=rows[:2])
    others = shown._replace(measures=rows[1:])
    assert torch.equal(net.ask("pairs", shown), net.ask("pairs", others))
    measured = net.get_submodule("measured.pairs")
    assert isinstance(measured, Measured)
    torch.nn.init.eye_(measured.layers[3].weight)
    assert not torch.allclose(net.ask("pairs", shown), net.ask("pairs", others))
    torch.testing.assert_close(net.ask("pairs", shown), net.ask("pairs", swapped(shown)))


def test_a_measurement_is_told_as_its_distance_from_what_is_usual() -> None:
    measured = Measured(2, 4)
    rows = torch.tensor([[1.0, 9.0], [3.0, UNMEASURED], [UNMEASURED, 9.0]])
    measured.scale_to(rows)
    told: list[torch.Tensor] = []
    measured.layers = torch.nn.Sequential(_Kept(told))
    measured(torch.tensor([[1.0, 9.0], [300.0, UNMEASURED], [UNMEASURED, 9.5]]))
    # Deviations, held within four of them, and whether it was made; a constant keeps its unit.
    expected = [[-1.0, 0.0, 1.0, 1.0], [4.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.0, 1.0]]
    torch.testing.assert_close(told[0], torch.tensor(expected))


def test_what_fusion_measures_is_kept_with_its_weights_and_left_out_on_demand(
    tmp_path: Path,
) -> None:
    benchmark = learnable_benchmark()
    count = len(feature_names(dual=True))
    for inputs, measures in (("both", count), ("pictures", 0), ("em", 0), ("geometry", count)):
        settings = replace(QUICK, inputs=inputs, train_rows=8)
        run = train_run(benchmark, (TASK,), "fusion", tmp_path / inputs, settings=settings)
        config = run.config["model_config"]
        assert config["shapes"][TASK.name]["measures"] == measures
        usual = run.model.arrays().get(f"measured.{TASK.name}.usual")
        assert (usual is not None and usual.any()) == (measures > 0)
