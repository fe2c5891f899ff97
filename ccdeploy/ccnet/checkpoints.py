"""Published checkpoints into ccdeploy's network: told apart by their keys, every key used or dropped on purpose."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.network import build_network
from ccdeploy.errors import CheckpointError

INPLACE_ABN_EPS = 1e-5
"""InPlaceABN scales by |weight| + eps where BatchNorm scales by weight."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that weights are published in."""

COUNTER = (r"(?:.*\.)?num_batches_tracked", "training counters")


@dataclass(frozen=True)
class Layout:
    """How one publisher names the keys of a CCNet.

    `renames` are tried in order, the first that matches gives ccdeploy's own key; `drops` are keys that no
    deployed network needs, each with the reason that a user is told.
    """

    name: str
    mark: str
    """A key that this layout has and no other."""
    renames: tuple[tuple[str, str], ...]
    drops: tuple[tuple[str, str], ...] = (COUNTER,)
    variant: str | None = None
    head_activation: str | None = None
    inplace_abn: bool = False

    def own_key(self, key: str) -> str | None:
        """ccdeploy's key for a key of this layout, or None."""
        for pattern, replacement in self.renames:
            if re.fullmatch(pattern, key):
                return re.sub(pattern, replacement, key)
        return None

    def reason_to_drop(self, key: str) -> str | None:
        """Why a key is left out, or None if it is not to be."""
        return next((reason for pattern, reason in self.drops if re.fullmatch(pattern, key)), None)


_STAGES = r"(layer[1-4]\.\d+\.(?:conv|bn|downsample).+)"
_CCA = r"cca\.((?:query|key|value)_conv\.(?:weight|bias))"


def _speedinghzl(classifier: int) -> tuple[tuple[str, str], ...]:
    """Keys of the official network; the classifier's place in its Sequential tells the branches apart."""
    stem = [(rf"conv{i}\.weight", rf"backbone.stem.{3 * i - 3}.weight") for i in (1, 2, 3)]
    stem += [(rf"bn{i}\.(.+)", rf"backbone.stem.{3 * i - 2}.\1") for i in (1, 2, 3)]
    return (
        *stem,
        (_STAGES, r"backbone.\1"),
        (rf"head\.{_CCA}", r"head.cca.\1"),
        (r"head\.cca\.gamma", r"head.cca.gamma"),
        (r"head\.(conva|convb|bottleneck)\.0\.(weight)", r"head.\1.conv.\2"),
        (r"head\.(conva|convb|bottleneck)\.1\.(.+)", r"head.\1.norm.\2"),
        (rf"head\.bottleneck\.{classifier}\.(.+)", r"head.classifier.\1"),
    )


_DSN = (r"dsn\..+", "the deep supervision head, used in training only")

LAYOUTS = (
    Layout("ccdeploy", "head.classifier.weight", ((r"((?:backbone|head)\..+)", r"\1"),)),
    Layout(
        "mmsegmentation",
        "decode_head.conv_seg.weight",
        (
            (r"(backbone\.stem\..+)", r"\1"),
            (rf"backbone\.{_STAGES}", r"backbone.\1"),
            (r"decode_head\.convs\.0\.conv\.(.+)", r"head.conva.conv.\1"),
            (r"decode_head\.convs\.0\.bn\.(.+)", r"head.conva.norm.\1"),
            (r"decode_head\.convs\.1\.conv\.(.+)", r"head.convb.conv.\1"),
            (r"decode_head\.convs\.1\.bn\.(.+)", r"head.convb.norm.\1"),
            (r"decode_head\.conv_cat\.conv\.(.+)", r"head.bottleneck.conv.\1"),
            (r"decode_head\.conv_cat\.bn\.(.+)", r"head.bottleneck.norm.\1"),
            (rf"decode_head\.{_CCA}", r"head.cca.\1"),
            (r"decode_head\.cca\.gamma\.scale", r"head.cca.gamma"),
            (r"decode_head\.conv_seg\.(.+)", r"head.classifier.\1"),
        ),
        (COUNTER, (r"auxiliary_head\..+", "the auxiliary head, used in training only")),
        variant="mmsegmentation",
        head_activation="relu",
    ),
    Layout(
        "official",
        "head.bottleneck.3.weight",
        _speedinghzl(classifier=3),
        (COUNTER, _DSN),
        variant="official",
        head_activation="leaky_relu",
        inplace_abn=True,
    ),
    Layout(
        "pure-pytorch",
        "head.bottleneck.4.weight",
        _speedinghzl(classifier=4),
        (COUNTER, _DSN),
        variant="official",
        head_activation="relu",
    ),
    Layout(
        "criss-cross",
        "query_conv.weight",
        ((r"((?:query|key|value)_conv\.(?:weight|bias)|gamma)", r"cca.\1"), (r"gamma\.scale", "cca.gamma")),
    ),
)


@dataclass(frozen=True)
class Loaded:
    """A network with a checkpoint's weights, in evaluation mode, and what was done with the file's keys."""

    network: nn.Module
    card: Card
    """The card with what only the file knows: query channels and head activation."""
    layout: str
    used: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> number of keys."""
    notes: tuple[str, ...] = ()


def recognise(keys: Iterable[str]) -> Layout:
    """The layout that a state dict's keys belong to.

    Raises:
        CheckpointError: no CCNet that is known; says what the keys look like.
    """
    names = set(keys)
    for layout in LAYOUTS:
        if layout.mark in names:
            return layout
    shown = ", ".join(sorted(names)[:4])
    raise CheckpointError(
        f"The checkpoint is of no CCNet that is known: its {len(names)} keys are like {shown}.",
        f"Known layouts: {', '.join(layout.name for layout in LAYOUTS)}. A network of your own: export module:Class.",
    )


def load_checkpoint(state: Mapping[str, torch.Tensor], card: Card) -> Loaded:
    """Builds the card's network and fills it from a state dict of any known layout, strictly.

    Raises:
        CheckpointError: another network, unknown or missing keys, wrong shapes or types, values that are not finite.
    """
    layout = recognise(state)
    _check_architecture(layout, card)
    own, dropped = _rename(state, layout)
    card, notes = _adapt(card, layout, own)
    network = build_network(card)
    fill(
        network,
        own,
        f"the {layout.name} checkpoint",
        convert=_inplace_abn_to_batch_norm if layout.inplace_abn else None,
    )
    return Loaded(network.eval(), card, layout.name, len(own), dropped, notes)


def fill(
    network: nn.Module,
    state: Mapping[str, torch.Tensor],
    origin: str,
    convert: Callable[[nn.Module], None] | None = None,
) -> None:
    """Copies a state dict into a network: every key must be there, be expected, fit and be finite.

    Args:
        network: whose parameters and buffers are overwritten.
        state: with the network's own keys; `num_batches_tracked` may be missing.
        origin: what the state is called in errors.
        convert: a change of the filled network that the origin's norms need.
    """
    expected = network.state_dict()
    required = {key for key in expected if not key.endswith("num_batches_tracked")}
    missing, unknown = sorted(required - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        parts = [
            f"{len(keys)} {word} ({_some(keys)})" for keys, word in ((missing, "missing"), (unknown, "unknown")) if keys
        ]
        raise CheckpointError(
            f"Keys of {origin} do not fit the network: {' and '.join(parts)}.",
            "Choose the model whose depth and layout the checkpoint has; `ccdeploy models` lists them.",
        )
    for key, tensor in state.items():
        _check_tensor(key, tensor, expected[key], origin)
    with torch.no_grad():
        for key, tensor in state.items():
            expected[key].copy_(tensor.reshape(expected[key].shape))
    if convert is not None:
        convert(network)


def _check_tensor(key: str, tensor: torch.Tensor, expected: torch.Tensor, origin: str) -> None:
    remedy = "Choose the model that the checkpoint was trained as; `ccdeploy models` lists them."
    one_number = expected.numel() == 1 and tensor.numel() == 1  # gamma is [1] or a scalar, by publisher
    if tensor.shape != expected.shape and not one_number:
        of_classes = key.endswith((".classifier.weight", ".classifier.bias")) and tensor.dim() == expected.dim()
        if of_classes and tensor.shape[1:] == expected.shape[1:]:
            remedy = f"Copy the card and give it the {tensor.shape[0]} classes of the checkpoint."
        raise CheckpointError(
            f"{key} of {origin} is {list(tensor.shape)}, {list(expected.shape)} was expected.", remedy
        )
    fits = tensor.dtype in FLOATS if expected.is_floating_point() else not tensor.dtype.is_floating_point
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or not fits:
        raise CheckpointError(
            f"{key} of {origin} is a {str(tensor.layout).removeprefix('torch.')} tensor of {tensor.dtype}, "
            f"a dense one of {expected.dtype} was expected.",
            "Save the checkpoint's weights as plain float tensors.",
        )
    if expected.is_floating_point() and not torch.isfinite(tensor.to(expected.dtype)).all():
        raise CheckpointError(
            f"{key} of {origin} holds values that are not finite numbers of {expected.dtype}.",
            "Use a checkpoint from before the divergence.",
        )
    if key.endswith("running_var") and (tensor < 0).any():
        raise CheckpointError(
            f"{key} of {origin} holds negative variances.", "Copy the checkpoint again: it is damaged."
        )


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


def _check_architecture(layout: Layout, card: Card) -> None:
    bare = layout.name == "criss-cross"
    if bare != (card.network.architecture == "criss-cross"):
        what = "a bare criss-cross module" if bare else f"a whole CCNet ({layout.name})"
        raise CheckpointError(
            f"The checkpoint holds {what}, the card {card.name} is of architecture {card.network.architecture}.",
            "Use the card criss_cross_c512 (or one like it) for a bare module, a CCNet's card for a whole network.",
        )
    if not bare and layout.variant not in (None, card.network.variant):
        raise CheckpointError(
            f"The checkpoint is of the layout {layout.name}, whose network is the {layout.variant} variant; "
            f"the card {card.name} is of the variant {card.network.variant}.",
            f"Choose a card of the variant {layout.variant}; `ccdeploy models` lists them.",
        )


def _rename(state: Mapping[str, torch.Tensor], layout: Layout) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    own: dict[str, torch.Tensor] = {}
    dropped: dict[str, int] = {}
    unknown = []
    for key, tensor in state.items():
        if reason := layout.reason_to_drop(key):
            dropped[reason] = dropped.get(reason, 0) + 1
        elif (name := layout.own_key(key)) is not None and name not in own:
            own[name] = tensor
        else:
            unknown.append(key)
    if unknown:
        raise CheckpointError(
            f"The {layout.name} checkpoint has {len(unknown)} keys that no CCNet of that layout has "
            f"({_some(sorted(unknown))}).",
            "It is a changed network: export it as module:Class with its own code.",
        )
    return own, dropped


def _adapt(card: Card, layout: Layout, own: Mapping[str, torch.Tensor]) -> tuple[Card, tuple[str, ...]]:
    """Takes from the file what it alone knows; each change is told."""
    network, notes = card.network, []
    prefix = "cca" if layout.name == "criss-cross" else "head.cca"
    query = own.get(f"{prefix}.query_conv.weight")
    if (
        query is not None
        and query.dim() == 4
        and network.query_channels != query.shape[0]
        and 0 < query.shape[0] <= query.shape[1]
    ):
        notes.append(f"query channels: {query.shape[0]}, from the checkpoint (the card says {network.query_channels})")
        network = dataclasses.replace(network, query_channels=int(query.shape[0]))
    value = own.get(f"{prefix}.value_conv.weight")
    if (
        layout.name == "criss-cross"
        and value is not None
        and value.dim() == 4
        and 0 < value.shape[0] == value.shape[1] != network.channels  # square: else it claims more than it fills
    ):
        notes.append(f"channels: {value.shape[0]}, from the checkpoint (the card says {network.channels})")
        network = dataclasses.replace(network, channels=int(value.shape[0]))
        card = dataclasses.replace(card, input=dataclasses.replace(card.input, channels=int(value.shape[0])))
    activation = layout.head_activation
    if activation is not None and activation != network.head_activation:
        notes.append(
            f"head activation: {activation}, as {layout.name} checkpoints are trained "
            f"(the card says {network.head_activation})"
        )
        network = dataclasses.replace(network, head_activation=activation)
    return dataclasses.replace(card, network=network), tuple(notes)


@torch.no_grad()
def _inplace_abn_to_batch_norm(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.abs_().add_(INPLACE_ABN_EPS)
