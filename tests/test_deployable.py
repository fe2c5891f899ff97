"""The deployed form of a network is the same network: norms folded, input and output fixed, stages in order."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from networks import UserNet, run, stirred
from torch import nn

from ccdeploy.ccnet.adopt import adopt
from ccdeploy.ccnet.cards import Card, find_card
from ccdeploy.ccnet.loading import load_card_model
from ccdeploy.ccnet.preprocessing import noise_pictures, normalise
from ccdeploy.deployable import Deployable, Shape, enlarged, fold_norms, observe, tensor_of

OFFICIAL = "ccnet_r101-d8_official_cityscapes"
PICTURE = torch.randn(1, 3, 41, 57, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def card() -> Card:
    """A small network on BGR pictures."""
    card = find_card(OFFICIAL)
    network = dataclasses.replace(card.network, depth=18, width=8, channels=16, query_channels=2)
    return dataclasses.replace(card, network=network)


@pytest.fixture(scope="module")
def network(card: Card) -> nn.Module:
    return load_card_model(card, None, 0, None).network


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def relative(y: torch.Tensor, expected: torch.Tensor) -> float:
    return float((y - expected).norm() / expected.norm())


def test_every_norm_of_a_ccnet_is_folded_and_nothing_changes(network: nn.Module) -> None:
    folded, pairs = fold_norms(network, PICTURE)
    assert len(pairs) == norms(network) > 20
    assert norms(folded) == 0
    assert relative(run(folded, PICTURE), run(network, PICTURE)) < 1e-5
    double, _ = fold_norms(copy.deepcopy(network).double(), PICTURE.double())
    exact = run(copy.deepcopy(network).double(), PICTURE.double())
    assert relative(run(double, PICTURE.double()), exact) < 1e-12


def test_norms_of_a_user_network_are_folded_beside_its_cuda_calls() -> None:
    network = stirred(UserNet())
    before = copy.deepcopy(network.state_dict())
    folded, pairs = fold_norms(network, PICTURE)
    assert (list(pairs), norms(folded), norms(network)) == (["down.0", "down.3", "down.6"], 0, 3)
    assert torch.equal(pairs["down.3"].running_var, network.down[4].running_var)
    assert relative(run(folded, PICTURE), run(network, PICTURE)) < 1e-5
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


class ConvUsedTwice(nn.Module):
    """The convolution before the norm is used without it too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn1(self.conv1(x)) + self.conv1(x)


class ActivationBetween(nn.Module):
    """Named as a pair, and is none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.relu(self.conv(x)))


class NormFirst(ActivationBetween):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(x))


class TwoNorms(nn.Module):
    """Both names that a norm may have; the second is of another branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.norm1 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn1(self.conv1(x)) + self.norm1(x)


@pytest.mark.parametrize("make", [ConvUsedTwice, ActivationBetween, NormFirst, TwoNorms])
def test_a_wrong_pair_keeps_the_norms(make: type[nn.Module]) -> None:
    network = stirred(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), make()))
    folded, pairs = fold_norms(network, PICTURE)
    assert pairs == {}
    assert folded is network
    assert torch.equal(run(folded, PICTURE), run(network, PICTURE))


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.BatchNorm2d(3, affine=False),
        nn.InstanceNorm2d(3),
        nn.GroupNorm(1, 3),
    ],
    ids=lambda norm: repr(norm)[:40],
)
def test_other_norms_are_kept(norm: nn.Module) -> None:
    network = stirred(nn.Sequential(nn.Conv2d(3, 3, 1), norm))
    folded, pairs = fold_norms(network, PICTURE)
    assert pairs == {}
    assert torch.equal(run(folded, PICTURE), run(network, PICTURE))


def test_a_convolution_with_two_norms_in_two_places_is_folded_into_both() -> None:
    conv = nn.Conv2d(3, 3, 1)
    branches = [nn.Sequential(conv, nn.BatchNorm2d(3)) for _ in range(2)]
    network = stirred(nn.Sequential(*branches))
    folded, pairs = fold_norms(network, PICTURE)
    assert list(pairs) == ["0.0", "1.0"]
    assert relative(run(folded, PICTURE), run(network, PICTURE)) < 1e-5


@pytest.mark.parametrize(
    "output",
    [
        PICTURE,
        (PICTURE, "auxiliary"),
        [PICTURE],
        [(PICTURE, 1), 2],
        {"aux": 1, "out": PICTURE},
        {"logits": PICTURE},
        {"out": (PICTURE,)},
    ],
    ids=lambda output: type(output).__name__,
)
def test_the_tensor_that_an_output_stands_for(output: object) -> None:
    assert tensor_of(output) is PICTURE


@pytest.mark.parametrize("output", [None, "text", [], {}, {"out": None}])
def test_an_output_without_a_tensor_is_told(output: object) -> None:
    with pytest.raises(TypeError, match="a tensor was expected"):
        tensor_of(output)


def test_stages_are_seen_in_the_order_of_computation(network: nn.Module) -> None:
    packed, _ = adopt(network)
    passes = ("backbone", "criss-cross 1", "criss-cross 2")
    assert observe(packed, PICTURE) == Shape(passes, enlarge=False, several=False, classes=19)
    bare, _ = adopt(stirred(UserNet()).context)
    assert observe(bare, torch.randn(1, 16, 5, 7)) == Shape((), enlarge=False, several=False, classes=16)


class WithAuxiliary(UserNet):
    """Returns what its training needs too."""

    def forward(self, picture: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {"aux": picture, "out": super().forward(picture)}


def test_outputs_beside_the_first_are_seen() -> None:
    network, _ = adopt(stirred(WithAuxiliary()))
    passes = ("criss-cross 1", "criss-cross 2")
    assert observe(network, PICTURE) == Shape(passes, enlarge=False, several=True, classes=5)


class Small(UserNet):
    """Leaves its logits at an eighth of the picture."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.predict(self.context(self.down(picture)))


def test_small_logits_are_enlarged_as_the_card_says(card: Card) -> None:
    network, _ = adopt(stirred(Small()))
    seen = observe(network, PICTURE)
    assert seen == Shape(("criss-cross 1",), enlarge=True, several=False, classes=5)
    logits, first = run(Deployable(network, card, "tensor", torch.float32, seen).eval(), PICTURE)
    expected = enlarged(network.predict(first), 41, 57, align_corners=True)
    torch.testing.assert_close(logits, expected)
    assert card.output.align_corners
    assert not torch.allclose(logits, enlarged(network.predict(first), 41, 57, align_corners=False))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.2)], ids=str)
def test_tensor_io_takes_and_gives_float32(
    network: nn.Module, card: Card, dtype: torch.dtype, tolerance: float
) -> None:
    packed, _ = adopt(network)
    deployed = Deployable(packed, card, "tensor", dtype, observe(packed, PICTURE)).eval()
    logits, *stages = run(deployed, PICTURE)
    assert logits.dtype == torch.float32
    assert relative(logits, run(network, PICTURE)) < tolerance
    assert {stage.dtype for stage in stages} == {dtype}
    assert deployed.stages == ("backbone", "criss-cross 1", "criss-cross 2")


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_image_io_normalises_as_the_card_says(network: nn.Module, card: Card, order: str) -> None:
    card = dataclasses.replace(card, input=dataclasses.replace(card.input, channel_order=order, std=(2.0, 1.0, 0.5)))
    pictures = noise_pictures(card, 2, 41, 57, seed=1)
    packed, _ = adopt(network)
    deployed = Deployable(packed, card, "image", torch.float32, observe(packed, PICTURE)).eval()
    labels, *stages = run(deployed, torch.from_numpy(pictures))
    expected = run(network, torch.from_numpy(normalise(pictures, card)))
    assert labels.dtype == torch.uint8
    assert relative(stages[-1], expected) < 1e-5
    assert np.array_equal(labels.numpy(), stages[-1].argmax(1).numpy())
    assert len(labels.unique()) > 1


def test_many_classes_need_wider_labels(network: nn.Module, card: Card) -> None:
    for count, dtype in ((256, torch.uint8), (257, torch.int32)):
        shape = Shape((), enlarge=False, several=False, classes=count)
        assert Deployable(network, card, "image", torch.float32, shape).label_type == dtype
