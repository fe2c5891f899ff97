"""From what a user names (a card, a card file, module:Class) and weights to a network that runs: the reference."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ccdeploy.ccnet.cards import Card, card_for_module, find_card, is_module, weights_beside
from ccdeploy.ccnet.checkpoints import fill, load_checkpoint
from ccdeploy.ccnet.network import build_network
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.ccnet.provenance import Weights
from ccdeploy.ccnet.random_weights import draw_weights
from ccdeploy.ccnet.weight_files import read_state_dict
from ccdeploy.errors import CheckpointError, ModelError, UsageError
from ccdeploy.files import sha256_of

OWN_ARCHITECTURES = ("ccnet", "criss-cross")
PROBE_SIZE = 64


@dataclass(frozen=True)
class Model:
    """A network with weights, in evaluation mode and float32: what every artefact is compared with."""

    card: Card
    network: nn.Module
    weights: Weights
    notes: tuple[str, ...] = ()
    """What was done to load it, for the user to read."""

    @property
    def name(self) -> str:
        """The card's name; module:Class for a network without a card."""
        return self.card.name


def load_model(name: str, weights: Path | None = None, seed: int | None = None, recurrence: int | None = None) -> Model:
    """Loads the network that `name` stands for, with the weights of a file or of a seed.

    Args:
        name: a card's name, a card file, or module:Class.
        weights: a checkpoint of any known layout (for module:Class: a state dict of that class). Where neither this
            nor `seed` is given, the file that the card names is taken if it lies among the cards.
        seed: draws random weights instead, with gamma != 0.
        recurrence: overrides the card's.

    Raises:
        UsageError: both `weights` and `seed`, or neither and no file of the card's; a recurrence for a network that
            decides it itself.
        CardError, CheckpointError, ModelError: what cannot be found, read or believed.
    """
    card = card_for_module(name) if is_module(name) else find_card(name)
    if weights is None and seed is None:
        weights = weights_beside(card, name)
    return load_card_model(card, weights, seed, recurrence)


def load_card_model(card: Card, weights: Path | None, seed: int | None, recurrence: int | None) -> Model:
    """`load_model` for a card that is at hand already, such as the one in a manifest."""
    name = card.name
    if (weights is None) == (seed is None):
        seen = "neither weights nor a seed were" if weights is None else "both weights and a seed were"
        raise UsageError(f"{name}: {seen} given, one was expected.", "Give --weights FILE or --random-weights SEED.")
    own = card.network.architecture in OWN_ARCHITECTURES
    if recurrence is not None:
        if not own:
            raise UsageError(
                f"{name}: --recurrence {recurrence} was given for a network whose own code decides it.",
                "Change the recurrence in that code.",
            )
        card = dataclasses.replace(card, network=dataclasses.replace(card.network, recurrence=recurrence))
    if weights is not None:
        return _from_file(card, weights, own)
    assert seed is not None
    network, card = (build_network(card), card) if own else _import_network(card, seed)
    probe = torch.from_numpy(noise_batch(card, 2, PROBE_SIZE, PROBE_SIZE, seed))
    try:
        with CudaStaysOnCpu():
            draw_weights(network, seed, probe)
    except Exception as error:  # a user's code may raise anything
        if own:
            raise
        raise does_not_run(name, error, tuple(probe.shape)) from error
    return Model(card, network, Weights("random", seed=seed))


def _from_file(card: Card, path: Path, own: bool) -> Model:
    state = read_state_dict(path)
    digest = sha256_of(path)
    _check_stamp(card, path, digest)
    if own:
        loaded = load_checkpoint(state, card)
        notes = [f"weights: {loaded.used} tensors of the layout {loaded.layout}"]
        notes += [f"dropped: {count} keys of {reason}" for reason, count in loaded.dropped.items()]
        network, card, layout = loaded.network, loaded.card, loaded.layout
        notes += loaded.notes
    else:
        network, card = _import_network(card, seed=0)
        fill(network, state, str(path))
        layout, notes = "module", [f"weights: {len(state)} tensors"]
    record = Weights("file", digest, path.name, layout, path=str(path.resolve()))
    return Model(card, network.eval(), record, tuple(notes))


def _check_stamp(card: Card, path: Path, digest: str) -> None:
    """A file that bears a published name must be the published file: its stamp ends in the digest's first digits."""
    published = card.weights
    if published is None or path.name != published.file or not published.sha256_prefix:
        return
    if not digest.startswith(published.sha256_prefix):
        raise CheckpointError(
            f"{path} has the sha256 {digest[:8]}..., "
            f"{published.sha256_prefix[:8]}... is what the card {card.name} states.",
            "Download it again; if it is meant to be another file, give it another name.",
        )


def _import_network(card: Card, seed: int) -> tuple[nn.Module, Card]:
    """Imports and constructs a user's network; module:Class may name a class or a function without arguments."""
    spec = card.network.architecture
    module_name, _, attribute = spec.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; an installed command does not
    try:
        with CudaStaysOnCpu():
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"{module_name} cannot be imported ({type(error).__name__}: {error}).", "Run from the folder that holds it."
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = sorted(
            n
            for n, v in vars(module).items()
            if inspect.isclass(v) and issubclass(v, nn.Module) and v.__module__ == module_name
        )
        raise ModelError(
            f"{module_name} has no class {attribute}; it has {', '.join(known) or 'no network'}.",
            "Check the name after the colon.",
        )
    torch.manual_seed(seed)
    try:
        with CudaStaysOnCpu():
            network = factory()
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"{spec}() failed ({type(error).__name__}: {error}).",
            "Name a class or function that needs no arguments; write a small function that gives them.",
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{spec}() is a {type(network).__name__}, a torch.nn.Module was expected.", "Name a network.")
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None and first.in_channels != card.input.channels and not card.input.mean:
        card = dataclasses.replace(card, input=dataclasses.replace(card.input, channels=first.in_channels))
    return network.float().cpu().eval(), card


def does_not_run(name: str, error: Exception, shape: tuple[int, ...]) -> ModelError:
    """The error of a user's network whose forward raised."""
    return ModelError(
        f"{name} does not run on a {list(shape)} tensor ({type(error).__name__}: {error}).",
        "Make its forward take one picture tensor [B, channels, H, W] on the CPU.",
    )
