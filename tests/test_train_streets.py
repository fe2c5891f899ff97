"""The script that trains the shipped network: two runs are one run, and it learns."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from ccdeploy.ccnet.cards import Card, find_card
from ccdeploy.ccnet.loading import load_card_model

SCRIPT = Path(__file__).parent.parent / "tools" / "train_streets.py"


@pytest.fixture
def script() -> Iterator[ModuleType]:
    threads = torch.get_num_threads()
    spec = importlib.util.spec_from_file_location("train_streets", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def small() -> Card:
    """The trained network's card, narrower and for smaller pictures."""
    card = find_card("ccnet_r18-d8_streets")
    network = dataclasses.replace(card.network, width=4, channels=16, query_channels=4)
    return dataclasses.replace(card, network=network, input=dataclasses.replace(card.input, size=(48, 96)))


def losses(script: ModuleType, card: Card, seed: int, steps: int) -> list[float]:
    return list(script.train(script.new_network(card, seed), card, steps, schedule=40))


def test_two_runs_give_the_same_losses_to_the_last_bit(script: ModuleType, small: Card) -> None:
    first = losses(script, small, seed=1, steps=3)
    assert losses(script, small, seed=1, steps=3) == first
    assert losses(script, small, seed=2, steps=3) != first


def test_it_learns_and_gamma_and_attention_take_part(script: ModuleType, small: Card) -> None:
    network = script.new_network(small, seed=1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    seen = list(script.train(network, small, 25, schedule=25))
    assert sum(seen[-5:]) < 0.85 * sum(seen[:5])
    after = network.state_dict()
    for key in ("head.cca.gamma", "head.cca.query_conv.weight", "backbone.stem.0.weight", "head.classifier.bias"):
        assert not torch.equal(before[key], after[key]), key


def test_what_it_writes_is_a_checkpoint_of_the_card(
    script: ModuleType, small: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "find_card", lambda name: small)
    target, record = tmp_path / "w.safetensors", tmp_path / "losses.json"
    arguments = ["--steps", "2", "--recurrence", "1", "-o", str(target), "--losses", str(record)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    script.main()
    assert len(json.loads(record.read_text())) == 2
    assert {value.dtype for value in load_file(target).values()} == {torch.float16}
    model = load_card_model(small, target, None, recurrence=1)
    assert float(model.network.get_parameter("head.cca.gamma").detach()) != 0
