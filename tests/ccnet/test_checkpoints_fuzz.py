"""Whatever is in a weights file, loading it ends in a network or in a CcdeployError."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import WellKnown, stirred
from published import LAYOUTS, Size, state_dict
from safetensors.torch import save
from small import bare_card, small_card

from ccdeploy.ccnet.checkpoints import load_checkpoint
from ccdeploy.ccnet.loading import load_card_model
from ccdeploy.errors import CcdeployError

CARD = bare_card(8, 2)
STATE = stirred(WellKnown(8, ratio=4)).state_dict()
FORMATS = {"zip": ".pth", "legacy": ".pth", "safetensors": ".safetensors"}

fuzz = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@cache
def valid(form: str, folder: Path) -> bytes:
    if form == "safetensors":
        return save(STATE)
    torch.save(STATE, folder / form, _use_new_zipfile_serialization=form == "zip")
    return (folder / form).read_bytes()


def load_or_refuse(path: Path) -> None:
    """Any exception but a CcdeployError fails the test."""
    with contextlib.suppress(CcdeployError):
        model = load_card_model(CARD, path, None, None)
        assert all(tensor.isfinite().all() for tensor in model.network.state_dict().values())


@st.composite
def damage(draw: st.DrawFn, size: int) -> list[tuple[int, int]]:
    """Places and new bytes; headers and directories lie at the ends of a file."""
    near = st.integers(0, min(size, 800) - 1)
    place = st.integers(0, size - 1) | near | near.map(lambda distance: size - 1 - distance)
    return draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=4))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", FORMATS)
@fuzz
@given(data=st.data())
def test_damaged_bytes(form: str, data: st.DataObject, tmp_path: Path) -> None:
    raw = bytearray(valid(form, tmp_path))
    for place, byte in data.draw(damage(len(raw))):
        raw[place] = byte
    path = tmp_path / f"damaged{FORMATS[form]}"
    path.write_bytes(raw)
    load_or_refuse(path)


@pytest.mark.parametrize("form", FORMATS)
@fuzz
@given(data=st.data())
def test_truncated_files(form: str, data: st.DataObject, tmp_path: Path) -> None:
    raw = valid(form, tmp_path)
    path = tmp_path / f"cut{FORMATS[form]}"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(CcdeployError):
        load_card_model(CARD, path, None, None)


TENSORS = st.builds(
    lambda shape, dtype: torch.ones(shape).to(dtype),
    st.lists(st.integers(0, 9), max_size=5),
    st.sampled_from([torch.float32, torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64]),
)
KEYS = st.sampled_from([*STATE, "gamma.scale", "state_dict", "model", "head.classifier.weight", "module."])
VALUES = st.recursive(
    TENSORS | st.sampled_from(list(STATE.values())) | st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=4),
    max_leaves=6,
)


@fuzz
@given(content=VALUES | st.dictionaries(KEYS | st.text(max_size=6) | st.integers() | st.none(), VALUES, max_size=8))
def test_random_contents(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    load_or_refuse(tmp_path / "w.pth")


@fuzz
@given(changes=st.dictionaries(KEYS, TENSORS | st.none(), max_size=3), prefix=st.sampled_from(["", "module.", "net."]))
def test_random_changes_of_a_state_dict(changes: dict[str, Any], prefix: str, tmp_path: Path) -> None:
    state = STATE | changes
    content = {f"{prefix}{key}": tensor for key, tensor in state.items() if tensor is not None}
    torch.save(content, tmp_path / "w.pth")
    load_or_refuse(tmp_path / "w.pth")


@settings(max_examples=40, deadline=None)
@given(layout=st.sampled_from(sorted(LAYOUTS)), data=st.data())
def test_random_changes_of_a_whole_network(layout: str, data: st.DataObject) -> None:
    """Loaded is what was not changed; any change of a key that counts is refused."""
    state = state_dict(LAYOUTS[layout], Size())
    key = data.draw(st.sampled_from(sorted(state)))
    counts = not key.endswith("num_batches_tracked") and key not in LAYOUTS[layout].training_only
    state[key] = data.draw(TENSORS.filter(lambda tensor: tensor.numel() != 1 and tensor.shape != state[key].shape))
    card = small_card("mmsegmentation" if layout == "mmsegmentation" else "official")
    if counts:
        with pytest.raises(CcdeployError):
            load_checkpoint(state, card)
    else:
        load_checkpoint(state, card)
