"""Checkpoints of every layout, however they were saved, become networks that compute what their publishers' do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import WellKnown, WithScale, run, stirred
from published import LAYOUTS, Size, State, forward, state_dict
from safetensors.torch import save_file
from small import SIZE, bare_card, small_card
from torch import nn

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.checkpoints import load_checkpoint
from ccdeploy.ccnet.loading import Model, load_card_model
from ccdeploy.ccnet.network import build_network

VARIANT = {"official": "official", "pure-pytorch": "official", "mmsegmentation": "mmsegmentation"}
TOLERANCE = {"official": 2e-6, "pure-pytorch": 1e-12, "mmsegmentation": 1e-12}
"""Relative L2 in float64. InPlaceABN's |weight| + 1e-5 is rounded to float32 when loaded; without it: 1e-5 off."""

layouts = pytest.mark.parametrize("layout", LAYOUTS)


def card_of(layout: str, size: Size = SIZE, recurrence: int = 2) -> Card:
    card = small_card(VARIANT[layout], size, recurrence)
    return dataclasses.replace(
        card, output=dataclasses.replace(card.output, align_corners=LAYOUTS[layout].align_corners)
    )


def picture() -> torch.Tensor:
    return torch.randn(1, 3, 71, 49, generator=torch.Generator().manual_seed(3))


def off(network: nn.Module, expected: torch.Tensor) -> float:
    """Relative L2 of a network in float64."""
    y = run(network.double(), picture().double())
    assert y.shape == expected.shape
    return float((y - expected).norm() / expected.norm())


def load(path: Path, card: Card) -> Model:
    return load_card_model(card, path, None, None)


@layouts
@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("recurrence", [1, 2, 3])
def test_loaded_network_computes_what_the_publishers_does(layout: str, depth: int, recurrence: int) -> None:
    size = Size(depth=depth)
    state = state_dict(LAYOUTS[layout], size)
    loaded = load_checkpoint(state, card_of(layout, size, recurrence))
    expected = forward(LAYOUTS[layout], state, size, picture(), recurrence)
    assert loaded.layout == layout
    assert not loaded.network.training
    assert off(loaded.network, expected) <= TOLERANCE[layout]


@layouts
def test_every_key_is_used_or_dropped_for_a_reason(layout: str) -> None:
    state = state_dict(LAYOUTS[layout], SIZE)
    loaded = load_checkpoint(state, card_of(layout))
    counters = sum(key.endswith("num_batches_tracked") for key in state)
    assert loaded.dropped["training counters"] == counters
    assert sum(loaded.dropped.values()) == counters + len(LAYOUTS[layout].training_only)
    assert loaded.used + sum(loaded.dropped.values()) == len(state)


def test_official_scales_are_absolute_and_kept_from_zero() -> None:
    state = state_dict(LAYOUTS["official"], SIZE)
    state["head.conva.1.weight"] = torch.linspace(-1, 1, SIZE.channels)
    norm = load_checkpoint(state, card_of("official")).network.head.conva.norm
    torch.testing.assert_close(norm.weight.detach(), state["head.conva.1.weight"].abs() + 1e-5, rtol=0, atol=1e-7)


def test_a_networks_own_state_dict_loads_back() -> None:
    network = stirred(build_network(card_of("official")))
    expected = run(network.double(), picture().double())
    loaded = load_checkpoint(network.float().state_dict(), card_of("official"))
    assert loaded.layout == "ccdeploy"
    assert off(loaded.network, expected) <= 1e-12


@pytest.mark.parametrize("make", [WellKnown, WithScale])
def test_bare_modules_load(make: type[nn.Module]) -> None:
    theirs = stirred(make(32))
    loaded = load_checkpoint(theirs.state_dict(), bare_card(32, 4, recurrence=2))
    x = torch.randn(2, 32, 9, 7, dtype=torch.float64)
    expected = run(theirs.double(), run(theirs.double(), x))
    assert loaded.layout == "criss-cross"
    torch.testing.assert_close(run(loaded.network.double(), x), expected, rtol=0, atol=1e-12)


WAYS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "under state_dict": lambda state: {"state_dict": state, "meta": {"epoch": 3, "classes": ("road", "sky")}},
    "under model": lambda state: {"model": state, "optimizer": {"lr": [0.1]}, "iteration": 60000},
    "from DataParallel": lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
    "from DataParallel, under state_dict": lambda state: {"state_dict": WAYS["from DataParallel"](state)},
    "wrapped twice": lambda state: WAYS["from DataParallel"](WAYS["from DataParallel"](state)),
    "as parameters": lambda state: {
        key: nn.Parameter(tensor) if tensor.is_floating_point() else tensor for key, tensor in state.items()
    },
    "as views of one storage": lambda state: {key: torch.stack([tensor, tensor])[1] for key, tensor in state.items()},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("suffix", [".pth", ".pt", "legacy"])
def test_pickled_checkpoints_load_however_they_were_saved(way: str, suffix: str, tmp_path: Path) -> None:
    state = state_dict(LAYOUTS["mmsegmentation"], SIZE)
    path = tmp_path / f"weights{'.pth' if suffix == 'legacy' else suffix}"
    torch.save(WAYS[way](state), path, _use_new_zipfile_serialization=suffix != "legacy")
    loaded = load(path, card_of("mmsegmentation"))
    assert (loaded.weights.layout, loaded.weights.file) == ("mmsegmentation", path.name)
    classifier = loaded.network.head.classifier.weight
    assert torch.equal(classifier, state["decode_head.conv_seg.weight"])


@layouts
@pytest.mark.parametrize("way", ["bare", "from DataParallel"])
def test_safetensors_load(layout: str, way: str, tmp_path: Path) -> None:
    state = state_dict(LAYOUTS[layout], SIZE)
    save_file(WAYS[way](state), tmp_path / "weights.safetensors")
    loaded = load(tmp_path / "weights.safetensors", card_of(layout))
    assert loaded.weights.layout == layout
    assert off(loaded.network, forward(LAYOUTS[layout], state, SIZE, picture(), 2)) <= TOLERANCE[layout]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_other_float_types_become_float32(dtype: torch.dtype) -> None:
    state = state_dict(LAYOUTS["mmsegmentation"], SIZE)
    narrow = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    network = load_checkpoint(narrow, card_of("mmsegmentation")).network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    expected = narrow["backbone.stem.0.weight"].float()
    assert torch.equal(network.backbone.stem[0].weight, expected)


@pytest.mark.parametrize("query_channels", [1, 2, 16])
def test_key_ratio_is_taken_from_the_weights_and_told(query_channels: int) -> None:
    size = Size(query_channels=query_channels)
    state = state_dict(LAYOUTS["official"], size)
    loaded = load_checkpoint(state, card_of("official", SIZE))
    assert loaded.card.network.query_channels == query_channels
    assert any(note.startswith(f"query channels: {query_channels}, from the checkpoint") for note in loaded.notes)
    assert off(loaded.network, forward(LAYOUTS["official"], state, size, picture(), 2)) <= TOLERANCE["official"]


def test_channels_of_a_bare_module_are_taken_from_the_weights_and_told() -> None:
    loaded = load_checkpoint(stirred(WellKnown(24)).state_dict(), bare_card(16, 4))
    network = loaded.card.network
    assert (network.channels, network.query_channels, loaded.card.input.channels) == (24, 3, 24)
    assert any(note.startswith("channels: 24, from the checkpoint") for note in loaded.notes)


def test_head_activation_follows_the_layout_and_is_told() -> None:
    loaded = load_checkpoint(state_dict(LAYOUTS["pure-pytorch"], SIZE), card_of("pure-pytorch"))
    assert loaded.card.network.head_activation == "relu"
    assert any(note.startswith("head activation: relu") for note in loaded.notes)
    assert load_checkpoint(state_dict(LAYOUTS["official"], SIZE), card_of("official")).notes == ()
