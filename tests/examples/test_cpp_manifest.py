"""Whatever is wrong with a manifest, the C++ example names the field, what it saw and what it expected."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import samples
from cpp_build import compiled
from cpp_example import Deployment

from ccdeploy.ccnet.cards import load_card

BUILD = "Build the engine again with `ccdeploy build-engine`."
MISSING = object()


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    compiled()
    folder = tmp_path_factory.mktemp("manifest")
    made = Deployment(folder, load_card(samples.ccnet_card(folder)), plugin=True)
    made.draw(5, 5)
    return made


@pytest.fixture(scope="module")
def whole(subject: Deployment) -> dict[str, Any]:
    return subject.manifest()


def put(data: Any, path: str, value: Any) -> None:
    *names, last = [int(name) if name.isdigit() else name for name in path.split(".")]
    for name in names:
        data = data[name]
    if value is MISSING:
        del data[last]
    else:
        data[last] = value


FIELDS: list[tuple[str, Any, str]] = [
    ("kind", "onnx", '`manifest.kind` is "onnx", "engine" was expected.'),
    ("io", "video", '`manifest.io` is "video", "tensor" or "image" was expected.'),
    ("io", "image", "`manifest.inputs[0]` is float32 NCHW, uint8 NHWC was expected."),
    ("model", 3, "`manifest.model` is 3, a text was expected."),
    ("precision", None, "`manifest.precision` is null, a text was expected."),
    ("sha256", MISSING, "`manifest.sha256` is missing."),
    ("quantization", {"type": []}, "`manifest.quantization.type` is [], a text was expected."),
    ("quantization", [], "`manifest.quantization` is [], a table was expected."),
    ("inputs", [], "`manifest.inputs` is [], one tensor was expected."),
    ("inputs", {}, "`manifest.inputs` is {}, a list was expected."),
    ("inputs.0.name", MISSING, "`manifest.inputs[0].name` is missing."),
    ("inputs.0.dtype", "float16", "`manifest.inputs[0]` is float16 NCHW, float32 NCHW was expected."),
    ("inputs.0.shape", [1, 3, 13], "`manifest.inputs[0].shape` is [1,3,13], a size for each of NCHW was expected."),
    ("inputs.0.shape.2", 0, "`manifest.inputs[0].shape[2]` is 0, a whole number from 1 to 65536 was expected."),
    ("inputs.0.shape.2", 65537, "`manifest.inputs[0].shape[2]` is 65537, a whole number from 1 to 65536 was expected."),
    ("inputs.0.shape.2", 2**64 - 1, "`manifest.inputs[0].shape[2]` is 18446744073709551615, "
     "a whole number from 1 to 65536 was expected."),
    ("inputs.0.shape.2", 13.0, "`manifest.inputs[0].shape[2]` is 13.0, a whole number from 1 to 65536 was expected."),
    ("inputs.0.shape.2", True, "`manifest.inputs[0].shape[2]` is true, a whole number from 1 to 65536 was expected."),
    ("outputs.0.layout", "NHWC", "`manifest.outputs[0]` is float32 NHWC, float32 NCHW was expected."),
    ("outputs", ["x" * 99], "`manifest.outputs[0]` is \"" + "x" * 59 + "..., a table was expected."),
    ("engine", None, "`manifest.engine` is null, a table was expected."),
    ("engine.version", 10, "`manifest.engine.version` is 10, a text was expected."),
    ("engine.flavour", MISSING, "`manifest.engine.flavour` is missing."),
    ("engine.compute_capabilities", "8.7", '`manifest.engine.compute_capabilities` is "8.7", a list was expected.'),
    ("engine.compute_capabilities", [87], "`manifest.engine.compute_capabilities[0]` is 87, a text was expected."),
    ("engine.plugin", "x.so", '`manifest.engine.plugin` is "x.so", a table was expected.'),
    ("engine.plugin.sha256", MISSING, "`manifest.engine.plugin.sha256` is missing."),
    ("engine.plugin.embedded", "no", '`manifest.engine.plugin.embedded` is "no", true or false was expected.'),
    ("engine.profiles", MISSING, "`manifest.engine.profiles` is missing."),
    ("card.input.channel_order", "gbr", '`manifest.card.input.channel_order` is "gbr", "rgb" or "bgr" was expected.'),
    ("card.input.mean", [1, 2], "`manifest.card.input.mean` is [1,2], a number for each of 3 channels was expected."),
    ("card.input.mean.1", "2", '`manifest.card.input.mean[1]` is "2", a number was expected.'),
    ("card.input.mean.1", 1e300, "`manifest.card.input.mean[1]` is 1e+300, a number was expected."),
    ("card.input.std", [1, 0, 1], "`manifest.card.input.std` is [1,0,1], a list of numbers above 0 was expected."),
    ("card.output", MISSING, "`manifest.card.output` is missing."),
    ("card.output.align_corners", 0, "`manifest.card.output.align_corners` is 0, true or false was expected."),
    ("card.output.classes.3.color", [0, 0], "`manifest.card.output.classes[3].color` is [0,0], "
     "a list of red, green and blue was expected."),
    ("card.output.classes.3.color.0", 256, "`manifest.card.output.classes[3].color[0]` is 256, "
     "a whole number from 0 to 255 was expected."),
    ("card.output.classes.3.name", MISSING, "`manifest.card.output.classes[3].name` is missing."),
]  # fmt: skip


def shown(field: tuple[str, object, str]) -> str:
    """The same in every process, as pytest-xdist needs it."""
    return field[0] + (" missing" if field[1] is MISSING else f"={field[1]}")


@pytest.mark.parametrize(("path", "value", "what"), FIELDS, ids=map(shown, FIELDS))
def test_a_field_that_is_wrong_is_named(
    subject: Deployment, whole: dict[str, Any], path: str, value: Any, what: str
) -> None:
    data = copy.deepcopy(whole)
    put(data, path, value)
    subject.write_manifest(data)
    subject.refused(2, what, BUILD)
    assert subject.calls() == []


def test_networks_that_do_not_take_pictures(subject: Deployment, whole: dict[str, Any]) -> None:
    normalised = "The manifest does not say how pictures are normalised."
    remedy = "Export from a model card with [input] mean and std."
    changes: list[Callable[[dict[str, Any]], None]] = [
        lambda data: data.update(card={}),
        lambda data: data["card"]["input"].pop("mean"),
        lambda data: data["card"]["input"].update(mean=[]),
    ]
    for change in changes:
        data = copy.deepcopy(whole)
        change(data)
        subject.write_manifest(data)
        subject.refused(2, normalised, remedy)
    data = copy.deepcopy(whole)
    data["inputs"][0]["shape"][1] = 16
    subject.write_manifest(data)
    what = "The network takes 16 channels, 3 (red, green and blue) were expected."
    subject.refused(2, what, "Pictures do not go into this network.")


def test_what_is_no_manifest(subject: Deployment, whole: dict[str, Any]) -> None:
    path = Path(f"{subject.engine}.json")
    others: tuple[Any, ...] = ([], 3, {"version": 1})
    for other in others:
        subject.write_manifest(other)
        subject.refused(2, f"{path} is no manifest of ccdeploy: the field `format` is missing.", BUILD)
    subject.write_manifest({**whole, "format": 2})
    subject.refused(
        2,
        f"{path} is of format 2, this program reads format 1.",
        "Use this program of the ccdeploy that built the engine, or build the engine again.",
    )
    for text in ("", "{", '{"format": NaN}', '{"format": 1e999}', "[" * 100_000, '{"format": "\xff"}'):
        path.write_bytes(text.encode("latin-1"))
        subject.refused(2, f"{path} is not JSON.", BUILD)
