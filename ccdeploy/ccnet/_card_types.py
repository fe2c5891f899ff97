"""What a model card holds: frozen dataclasses that state beside each field what it takes.

`ccdeploy.ccnet.cards` finds, reads and checks cards; import from there.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Annotated, Any

from ccdeploy.ccnet._fields import choice, file_name, flag, integer, list_of, number, rule, table, text

LARGEST_SIDE = 16384
"""Pixels of a picture's side."""

_SIZE = list_of(integer(1, LARGEST_SIDE), 2, 2)


def is_module(architecture: object) -> bool:
    """Whether this is a network of the user's own, written `package.module:Class`."""
    if not isinstance(architecture, str) or len(architecture) > 200:
        return False
    module, colon, name = architecture.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), name])


_ARCHITECTURE = rule(
    "'ccnet', 'criss-cross' or 'package.module:Class'",
    lambda value: value in ("ccnet", "criss-cross") or is_module(value),
)
_STAMP = rule(
    "a stamp such as '20200616_145125-76d11884'",
    lambda value: isinstance(value, str) and re.fullmatch(r"[0-9]{8}_[0-9]{6}-[0-9a-f]{8}", value) is not None,
)

_SHA256 = rule(
    "the 64 hexadecimal digits of a SHA-256, in lower case",
    lambda value: isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None,
)


@dataclass(frozen=True)
class ClassInfo:
    """One class of the output: its name, and the RGB colour it is painted in."""

    name: Annotated[str, text(100)]
    color: Annotated[tuple[int, int, int], list_of(integer(0, 255), 3, 3)]


@dataclass(frozen=True)
class Network:
    """The architecture. Fields that do not apply to it (see `APPLIES`) are empty or 0."""

    architecture: Annotated[str, _ARCHITECTURE]
    variant: Annotated[str, choice("official", "mmsegmentation")] = ""
    """Whose backbone and head: they differ in stem, pooling, dilation and activation."""
    depth: Annotated[int, choice(18, 50, 101)] = 0
    width: Annotated[int, integer(1, 1024)] = 64
    """Channels of the backbone's first stage."""
    channels: Annotated[int, integer(1, 65536)] = 512
    """Of the feature maps that criss-cross attention reads and writes."""
    query_channels: Annotated[int, integer(1, 65536)] = 0
    """Of queries and keys; channels / 8 where a card does not say."""
    recurrence: Annotated[int, integer(0, 100)] = 2
    """How often the module is applied, with the same weights. 0 leaves attention out, for ablations."""
    head_activation: Annotated[str, choice("relu", "leaky_relu")] = ""
    """Leaky has slope 0.01. Where a card does not say, as the variant was trained: official leaky."""

    def __post_init__(self) -> None:
        filled: dict[str, Any] = {
            "query_channels": self.query_channels or max(1, self.channels // 8),
            "head_activation": self.head_activation or ("leaky_relu" if self.variant == "official" else "relu"),
        }
        for spec in dataclasses.fields(self):
            if not self.has(spec.name):
                filled[spec.name] = type(getattr(self, spec.name))()
        for name, value in filled.items():
            object.__setattr__(self, name, value)

    def has(self, name: str) -> bool:
        """Whether a field applies to this architecture; in a network of the user's own, its code says it all."""
        return name in APPLIES.get(self.architecture, {"architecture"})


APPLIES = {
    "ccnet": {spec.name for spec in dataclasses.fields(Network)},
    "criss-cross": {"architecture", "channels", "query_channels", "recurrence"},
}
"""The fields of [network] that an architecture of ccdeploy's own has."""


@dataclass(frozen=True)
class Input:
    """What the network eats. Pictures are read as RGB in 0..255, then brought into `channel_order` and normalised."""

    size: Annotated[tuple[int, int], _SIZE] = (0, 0)
    """Height and width. (0, 0) where not known, in the card of a network of the user's own."""
    channels: Annotated[int, integer(1, 65536)] = 3
    channel_order: Annotated[str, choice("rgb", "bgr")] = "rgb"
    mean: Annotated[tuple[float, ...], list_of(number(0, 255), 1, 65536)] = ()
    """Per channel, in the network's order, in units of 0..255. Empty: not known, or no pictures."""
    std: Annotated[tuple[float, ...], list_of(number(0, 1e6, above=True), 1, 65536)] = ()


_CLASSES = list_of(table(ClassInfo), 1, 65535, unique="name")


@dataclass(frozen=True)
class Output:
    """What comes out: one channel a class. Classes given here stand; else the data set's file has them."""

    align_corners: Annotated[bool, flag()]
    """How logits are brought to the input's size: bilinear, with the corners' centres aligned or not."""
    dataset: Annotated[str, file_name()] = ""
    classes: Annotated[tuple[ClassInfo, ...], _CLASSES] = ()
    reduce_zero_label: Annotated[bool, flag()] = False
    """Label files count classes from 1, and 0 stands for none of them."""


@dataclass(frozen=True)
class Dataset:
    """Names and palette of a data set's classes: a file of `models/datasets`."""

    description: Annotated[str, text()]
    source: Annotated[str, text()]
    classes: Annotated[tuple[ClassInfo, ...], _CLASSES]
    reduce_zero_label: Annotated[bool, flag()] = False


@dataclass(frozen=True)
class Evaluation:
    """How a picture passes: whole, or in overlapping crops whose logits are averaged ("slide")."""

    mode: Annotated[str, choice("whole", "slide")]
    crop: Annotated[tuple[int, int] | None, _SIZE] = None
    stride: Annotated[tuple[int, int] | None, _SIZE] = None
    resize: Annotated[tuple[int, int] | None, _SIZE] = None
    """Short and long side. Pictures are first scaled, ratio kept, to the largest size that neither side exceeds."""
    scales: Annotated[tuple[float, ...], list_of(number(0.1, 10), 1, 20)] = (1.0,)
    """Further factors, of which each is a pass; the passes' probabilities are averaged."""
    flip: Annotated[bool, flag()] = False
    """Whether each scale passes a second time, mirrored left to right."""


@dataclass(frozen=True)
class Published:
    """The mean IoU, in percent, that whoever trained the weights states, and where."""

    miou: Annotated[float, number(0, 100)]
    source: Annotated[str, text()]
    miou_flip: Annotated[float | None, number(0, 100)] = None
    """With several scales and mirrored pictures."""


@dataclass(frozen=True)
class WeightsFile:
    """A published checkpoint."""

    file: Annotated[str, file_name()]
    layout: Annotated[str, choice("official", "pure-pytorch", "mmsegmentation", "ccdeploy")]
    stamp: Annotated[str, _STAMP] = ""
    """When training began, and the first 8 hexadecimal digits of the file's SHA-256: mmsegmentation's
    tools/publish_model.py appends them to the name of each file it publishes."""
    source: Annotated[str, text()] = ""
    sha256: Annotated[str, _SHA256] = ""
    """Of the file, where the card's author states it whole."""

    @property
    def sha256_prefix(self) -> str:
        """What the file's SHA-256 starts with, or "" if nobody says."""
        return self.sha256 or self.stamp.rpartition("-")[2]


@dataclass(frozen=True)
class Training:
    """How weights came about, of a network that its author trained for this card."""

    data: Annotated[str, text(1000)]
    steps: Annotated[int, integer(1, 2**31 - 1)]
    batch: Annotated[int, integer(1, 65536)]
    seed: Annotated[int, integer(0, 2**63 - 1)]
    script: Annotated[str, text()] = ""
    """What trained it: a path in ccdeploy's repository, or an address."""


@dataclass(frozen=True)
class Card:
    """A deployable network; its name is the stem of its file."""

    name: Annotated[str, file_name()]
    description: Annotated[str, text(1000)]
    network: Annotated[Network, table(Network)]
    input: Annotated[Input, table(Input)] = Input()
    output: Annotated[Output, table(Output)] = Output(align_corners=False)
    evaluation: Annotated[Evaluation, table(Evaluation)] = Evaluation("whole")
    published: Annotated[Published | None, table(Published)] = None
    weights: Annotated[WeightsFile | None, table(WeightsFile)] = None
    training: Annotated[Training | None, table(Training)] = None

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes in the order of the output's channels; empty if not known."""
        return self.output.classes

    @property
    def num_classes(self) -> int:
        """How many classes; 0 if not known."""
        return len(self.output.classes)

    @property
    def output_stride(self) -> int:
        """Input pixels a pixel of the feature map that attention sees; 0 if not known."""
        return {"ccnet": 8, "criss-cross": 1}.get(self.network.architecture, 0)

    def to_dict(self) -> dict[str, Any]:
        """All of the card but its name, classes inlined, in what JSON can hold: `card_from_dict` reads it back."""
        data: dict[str, Any] = _plain(dataclasses.asdict(self))
        del data["name"]
        data["network"] = {key: value for key, value in data["network"].items() if self.network.has(key)}
        if self.input.size == (0, 0):
            del data["input"]["size"]
        return data


def _plain(value: Any) -> Any:
    """Tuples as lists, and no entries for what a card leaves out."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if entry not in (None, "", ())}
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value
