"""A checkpoint that does not fit ends in a CheckpointError that names the key, what was seen and what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks import WellKnown, stirred
from published import LAYOUTS, Size, State, state_dict
from safetensors.torch import save_file
from small import SIZE, bare_card, small_card

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.checkpoints import fill, load_checkpoint
from ccdeploy.ccnet.loading import load_card_model
from ccdeploy.errors import CheckpointError

KEY = "layer1.1.conv1.weight"
OURS = "backbone.layer1.1.conv1.weight of the official checkpoint"

Change = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture
def state() -> State:
    return state_dict(LAYOUTS["official"], SIZE)


def refusal(state: State, card: Card | None = None) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(state, card or small_card())
    assert caught.value.remedy
    return caught.value


def test_missing_keys_are_named(state: State) -> None:
    del state[KEY]
    assert "1 missing (backbone.layer1.1.conv1.weight)" in refusal(state).what


@pytest.mark.parametrize("extra", ["head.extra.weight", "layer5.0.conv1.weight", "head.conva.2.weight", "conv4.weight"])
def test_extra_keys_are_named(state: State, extra: str) -> None:
    assert extra in refusal(state | {extra: torch.ones(3)}).what


def test_extra_keys_that_look_right_are_named(state: State) -> None:
    """A convolution's bias that no CCNet has, and a deeper network's block."""
    for extra in ("layer1.0.conv1.bias", "layer1.7.conv1.weight"):
        assert f"1 unknown (backbone.{extra})" in refusal(state | {extra: torch.ones(3)}).what


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda tensor: tensor[1:], "is [7, 8, 3, 3], [8, 8, 3, 3] was expected"),
        (lambda tensor: tensor.flatten(), "is [576], [8, 8, 3, 3] was expected"),
        (lambda tensor: tensor.new_tensor(1.0), "is [], [8, 8, 3, 3] was expected"),
        (lambda tensor: tensor[:, :, :0], "is [8, 8, 0, 3], [8, 8, 3, 3] was expected"),
        (lambda tensor: tensor.int(), "is a strided tensor of torch.int32, a dense one of torch.float32 was expected"),
        (lambda tensor: tensor.bool(), "is a strided tensor of torch.bool"),
        (lambda tensor: tensor.cfloat(), "is a strided tensor of torch.complex64"),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "is a strided tensor of torch.float8_e4m3fn"),
        (lambda tensor: tensor.to_sparse(), "is a sparse_coo tensor of torch.float32"),
        (lambda tensor: tensor * float("nan"), "holds values that are not finite numbers of torch.float32"),
        (lambda tensor: tensor / 0, "holds values that are not finite numbers of torch.float32"),
        (lambda tensor: tensor.double() * 1e300, "holds values that are not finite numbers of torch.float32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(state: State, change: Change, seen: str) -> None:
    state[KEY] = change(state[KEY])
    assert refusal(state).what.startswith(f"{OURS} {seen}")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_tensors_are_refused(state: State) -> None:
    state[KEY] = torch.quantize_per_tensor(state[KEY], 0.1, 0, torch.qint8)
    assert "of torch.qint8" in refusal(state).what


def test_negative_variances_are_damage(state: State) -> None:
    state["bn1.running_var"] = -state["bn1.running_var"]
    assert "backbone.stem.1.running_var of the official checkpoint holds negative variances" in refusal(state).what


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("file", ["w.pth", "w.safetensors"])
def test_another_class_count_is_told_with_the_count_to_use(layout: str, file: str, tmp_path: Path) -> None:
    """safetensors gives the bias first: its message must be as good."""
    state = state_dict(LAYOUTS[layout], Size(classes=5))
    torch.save(state, tmp_path / file) if file == "w.pth" else save_file(state, tmp_path / file)
    card = small_card("mmsegmentation" if layout == "mmsegmentation" else "official")
    with pytest.raises(CheckpointError) as caught:
        load_card_model(card, tmp_path / file, None, None)
    assert "5 classes of the checkpoint" in caught.value.remedy


def test_another_depth_is_refused() -> None:
    state = state_dict(LAYOUTS["official"], Size(depth=50))
    assert "do not fit the network" in refusal(state).what
    assert "`ccdeploy models`" in refusal(state).remedy


def test_another_width_is_refused() -> None:
    assert "was expected" in refusal(state_dict(LAYOUTS["official"], Size(width=16))).what


@pytest.mark.parametrize(("layout", "card"), [("mmsegmentation", "official"), ("official", "mmsegmentation")])
def test_the_other_variants_card_is_refused(layout: str, card: str) -> None:
    """Same keys, other dilations: it would load and compute something else."""
    error = refusal(state_dict(LAYOUTS[layout], SIZE), small_card(card))
    assert f"the layout {layout}, whose network is the {layout} variant" in error.what
    assert f"is of the variant {card}" in error.what
    assert f"Choose a card of the variant {layout}" in error.remedy


def test_bare_and_whole_are_not_mixed_up(state: State) -> None:
    assert "holds a bare criss-cross module" in refusal(WellKnown(16).state_dict()).what
    error = refusal(state, bare_card())
    assert "holds a whole CCNet (official), the card small-bare is of architecture criss-cross" in error.what
    assert "criss_cross_c512" in error.remedy


def test_another_networks_checkpoint_is_told_by_its_keys() -> None:
    others = {"conv_first.weight": torch.ones(3), "fc.weight": torch.ones(3), "fc.bias": torch.ones(3)}
    error = refusal(others)
    assert "its 3 keys are like conv_first.weight, fc.bias, fc.weight" in error.what
    assert "official" in error.remedy
    assert "module:Class" in error.remedy


def test_gamma_given_twice_is_refused() -> None:
    """Which of the two would count?"""
    state = WellKnown(16, ratio=4).state_dict() | {"gamma.scale": torch.tensor(3.0)}
    assert "gamma.scale" in refusal(state, bare_card()).what


@pytest.mark.parametrize("claimed", [60000, 0])
def test_channels_that_a_bare_module_only_claims_take_no_memory(claimed: int) -> None:
    """60000 x 60000 float weights are 14 GB; the file has 60000 numbers."""
    state = stirred(WellKnown(16, ratio=4)).state_dict()
    state["value_conv.weight"] = torch.ones(claimed, 1, 1, 1)
    what = refusal(state, bare_card()).what
    assert what.startswith(
        f"cca.value_conv.weight of the criss-cross checkpoint is [{claimed}, 1, 1, 1], [16, 16, 1, 1]"
    )


@pytest.mark.parametrize("name", ["query_conv.bias", "key_conv.weight", "value_conv.bias", "gamma"])
def test_every_part_of_a_bare_module_is_needed_and_checked(name: str) -> None:
    state = stirred(WellKnown(16, ratio=4)).state_dict()
    state[name] = torch.ones(5, 7)
    assert f"cca.{name} of the criss-cross checkpoint is [5, 7]" in refusal(state, bare_card()).what
    del state[name]
    assert f"1 missing (cca.{name})" in refusal(state, bare_card()).what


def test_fill_leaves_the_network_as_it_was_when_it_refuses() -> None:
    network = WellKnown(16)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state = stirred(WellKnown(16)).state_dict() | {"gamma": torch.tensor([float("nan")])}
    with pytest.raises(CheckpointError, match=r"gamma of mine\.pth holds values that are not finite"):
        fill(network, state, "mine.pth")
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
