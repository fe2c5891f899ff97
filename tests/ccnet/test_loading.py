"""What a user names becomes a network in evaluation mode, with a record of where its weights came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from networks import UserNet, run, stirred
from published import LAYOUTS, Size, state_dict
from small import SIZE, ZOO, bare_card, small_card

from ccdeploy.ccnet.cards import Card, find_card, load_card
from ccdeploy.ccnet.loading import load_card_model, load_model
from ccdeploy.ccnet.network import build_network
from ccdeploy.errors import CheckpointError, ModelError, UsageError
from ccdeploy.files import sha256_of

USER_NET = "networks:UserNet"
WITH_WEIGHTS = """
description = "A small CCNet whose card names its weights"
[network]
architecture = "ccnet"
variant = "mmsegmentation"
depth = 18
width = 4
channels = 8
[input]
size = [32, 40]
mean = [120, 120, 120]
std = [60, 60, 60]
[output]
align_corners = false
classes = [{ name = "one", color = [0, 0, 0] }, { name = "two", color = [9, 9, 9] }]
[evaluation]
mode = "whole"
[weights]
file = "small.pth"
layout = "ccdeploy"
"""


@pytest.fixture
def published_file(tmp_path: Path) -> tuple[Path, Card]:
    """A checkpoint under a published name, and the card (of a small network) that states the name."""
    card = small_card("mmsegmentation")
    card = dataclasses.replace(card, weights=find_card(ZOO["mmsegmentation"]).weights)
    assert card.weights is not None
    assert card.weights.sha256_prefix
    torch.save(state_dict(LAYOUTS["mmsegmentation"], SIZE), tmp_path / card.weights.file)
    return tmp_path / card.weights.file, card


def test_a_published_name_with_another_digest_is_refused(published_file: tuple[Path, Card]) -> None:
    path, card = published_file
    assert card.weights is not None
    with pytest.raises(CheckpointError) as caught:
        load_card_model(card, path, None, None)
    said = (
        f"has the sha256 {sha256_of(path)[:8]}..., {card.weights.sha256_prefix}... is what the card {card.name} states"
    )
    assert said in str(caught.value)
    assert "Download it again" in caught.value.remedy


def test_a_published_name_with_its_digest_is_taken(published_file: tuple[Path, Card]) -> None:
    path, card = published_file
    assert card.weights is not None
    stamp = f"20200616_142517-{sha256_of(path)[:8]}"
    card = dataclasses.replace(card, weights=dataclasses.replace(card.weights, stamp=stamp))
    assert load_card_model(card, path, None, None).weights.sha256 == sha256_of(path)


def test_another_name_may_hold_anything(published_file: tuple[Path, Card]) -> None:
    path, card = published_file
    model = load_card_model(card, path.rename(path.with_name("mine.pth")), None, None)
    assert (model.weights.source, model.weights.file, model.weights.layout) == ("file", "mine.pth", "mmsegmentation")
    assert any("training counters" in note for note in model.notes)


def card_with_weights(folder: Path) -> Path:
    """A card file, and beside it the weights that it names."""
    (folder / "small.toml").write_text(WITH_WEIGHTS)
    torch.save(build_network(load_card(folder / "small.toml")).state_dict(), folder / "small.pth")
    return folder / "small.toml"


def test_weights_that_lie_beside_a_card_are_taken_without_being_named(tmp_path: Path) -> None:
    card = card_with_weights(tmp_path)
    model = load_model(str(card))
    assert (model.weights.source, model.weights.file) == ("file", "small.pth")
    assert load_model(str(card), seed=1).weights.source == "random"
    (tmp_path / "small.pth").unlink()
    with pytest.raises(UsageError, match="neither weights nor a seed were given"):
        load_model(str(card))


def test_weights_of_a_folder_of_cards_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card_with_weights(tmp_path)
    monkeypatch.setenv("CCDEPLOY_MODELS", str(tmp_path))
    assert load_model("small").weights.path == str(tmp_path / "small.pth")


def test_a_whole_digest_in_the_card_is_held(tmp_path: Path) -> None:
    card_with_weights(tmp_path)
    digest = sha256_of(tmp_path / "small.pth")
    wrong = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    for stated, fits in ((digest, True), (wrong, False)):
        (tmp_path / "small.toml").write_text(WITH_WEIGHTS + f'sha256 = "{stated}"\n')
        if fits:
            assert load_model(str(tmp_path / "small.toml")).weights.sha256 == digest
        else:
            with pytest.raises(CheckpointError, match="is what the card small states"):
                load_model(str(tmp_path / "small.toml"))


@pytest.mark.parametrize(("weights", "seed"), [(None, None), (Path("w.pth"), 1)])
def test_weights_or_a_seed_and_not_both(weights: Path | None, seed: int | None) -> None:
    with pytest.raises(UsageError, match="one was expected"):
        load_card_model(small_card(), weights, seed, None)


def test_recurrence_overrides_the_cards() -> None:
    once, thrice = (load_card_model(small_card(), None, 0, recurrence) for recurrence in (1, 3))
    assert (once.card.network.recurrence, thrice.card.network.recurrence) == (1, 3)
    x = torch.randn(1, 3, 33, 33)
    assert not torch.allclose(run(once.network, x), run(thrice.network, x))


def test_a_seed_draws_the_same_network_twice() -> None:
    one, same, other = (load_card_model(bare_card(), None, seed, None) for seed in (5, 5, 6))
    assert (one.weights.source, one.weights.seed) == ("random", 5)
    pairs = [(one.network.state_dict()[key], same.network.state_dict()[key]) for key in one.network.state_dict()]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.network.cca.query_conv.weight, other.network.cca.query_conv.weight)


def test_a_network_of_the_users_own_loads_its_state_dict(tmp_path: Path) -> None:
    theirs = stirred(UserNet())
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "w.pth")
    model = load_model(USER_NET, tmp_path / "w.pth")
    x = torch.randn(1, 3, 40, 56)
    assert torch.equal(run(model.network, x), run(theirs, x))
    assert (model.name, model.weights.layout, model.network.training) == (USER_NET, "module", False)


def test_a_users_network_takes_no_other_checkpoint_and_no_recurrence(tmp_path: Path) -> None:
    torch.save(state_dict(LAYOUTS["official"], Size()), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth do not fit the network"):
        load_model(USER_NET, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="whose own code decides it"):
        load_model(USER_NET, seed=0, recurrence=2)


def test_a_users_network_with_cuda_calls_takes_random_weights() -> None:
    model = load_model(USER_NET, seed=0)
    assert model.network.context.gamma.item() == 0.75
    assert run(model.network, torch.randn(1, 3, 33, 33)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Net", "no_such_module cannot be imported"),
        ("networks:Net", "networks has no class Net; it has CountsItselfTwice"),
        ("networks:WellKnown", r"networks:WellKnown\(\) failed \(TypeError"),
        ("builtins:dict", r"builtins:dict\(\) is a dict, a torch.nn.Module was expected"),
        ("torch.nn:Identity", None),
    ],
)
def test_what_is_no_network_is_told(name: str, message: str | None) -> None:
    if message is None:
        assert isinstance(load_model(name, seed=0).network, torch.nn.Identity)
        return
    with pytest.raises(ModelError, match=message):
        load_model(name, seed=0)
