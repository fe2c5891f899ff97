"""Damaged files end in an error of ccdeploy's that says so, whatever the damage; never in a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccdeploy.artefacts import manifest_of
from ccdeploy.commands import cli
from ccdeploy.engine.manifest import Manifest, manifest_path, parse_manifest
from ccdeploy.engine.source import read_source
from ccdeploy.errors import CcdeployError
from ccdeploy.verify import Inputs, verify

FEW = settings(
    derandomize=True,
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=200)
Damage = list[tuple[float, int]]
damages = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=8)


def damaged(content: bytes, damage: Damage, cut: float) -> bytes:
    """Flips bits of some bytes, given by where they lie (0 to 1), and cuts the end off."""
    changed = bytearray(content)
    for place, mask in damage:
        changed[min(len(changed) - 1, int(place * len(changed)))] ^= mask
    return bytes(changed[: max(1, int(len(changed) * cut))])


def survives(action: Callable[[], Any]) -> None:
    """Success, or one of ccdeploy's own errors with something to read in both lines."""
    told: CcdeployError | None = None
    try:
        action()
    except CcdeployError as error:
        told = error
    assert told is None or (told.what and told.remedy)


@MANY
@given(damage=damages, cut=st.sampled_from([1.0, 1.0, 0.999, 0.7, 0.01]))
def test_damaged_onnx_files_are_read_or_refused(exports: Any, tmp_path: Path, damage: Damage, cut: float) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damaged(exports.file("bare").read_bytes(), damage, cut))
    survives(lambda: manifest_of(path))
    survives(lambda: read_source(path))
    survives(lambda: cli.main(["inspect", str(path)], standalone_mode=False))
    survives(lambda: cli.main(["inspect", "--json", str(path)], standalone_mode=False))


@FEW
@given(damage=damages, cut=st.sampled_from([1.0, 1.0, 1.0, 0.9]))
def test_damaged_onnx_files_are_verified_or_refused(exports: Any, tmp_path: Path, damage: Damage, cut: float) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damaged(exports.file("bare").read_bytes(), damage, cut))
    survives(lambda: verify([path], Inputs(), model=exports.model("bare")))


@MANY
@given(damage=damages, cut=st.sampled_from([1.0, 1.0, 1.0, 0.5]))
def test_damaged_manifests_are_read_or_refused(exports: Any, damage: Damage, cut: float) -> None:
    content = manifest_path(exports.file("ccnet")).read_bytes()
    text = damaged(content, damage, cut).decode("utf-8", "replace")
    survives(lambda: parse_manifest(text, "m.json"))


@MANY
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    ),
    key=st.sampled_from(
        ["format", "card", "weights", "inputs", "stages", "engine", "recurrence", "notes", "precision"]
    ),
)
def test_manifests_of_wrong_types_are_refused_by_name(exports: Any, document: Any, key: str) -> None:
    good = json.loads(manifest_path(exports.file("ccnet")).read_text(encoding="utf-8"))
    survives(lambda: parse_manifest(json.dumps({**good, key: document}), "m.json"))
    survives(lambda: parse_manifest(json.dumps(document), "m.json"))


def test_a_manifest_round_trips(exports: Any) -> None:
    manifest = manifest_of(exports.file("ccnet"))
    assert isinstance(manifest, Manifest)
    assert parse_manifest(manifest.to_json(), "m.json") == manifest
    with pytest.raises(CcdeployError, match="format 99"):
        parse_manifest(manifest.to_json().replace('"format": 1', '"format": 99'), "m.json")
