"""Whatever a card holds, reading it ends in a Card or in a CardError."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccdeploy.ccnet.cards import card_from_dict, find_card, load_card
from ccdeploy.errors import CardError
from ccdeploy.files import data_folder

NAME = "ccnet_r50-d8_769x769_40k_cityscapes"
CARD = find_card(NAME).to_dict()
FILE = (data_folder("models") / f"{NAME}.toml").read_bytes()
PATHS = [*CARD, *(f"{key}.{inner}" for key, table in CARD.items() if isinstance(table, dict) for inner in table)]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.datetimes()
VALID = [0, 1, 50, 2**200, "ccnet", "criss-cross", "a:B", "whole", "slide", "rgb", [769, 769], [1.0, 2.0, 3.0]]
VALUES = st.recursive(
    SCALARS | st.sampled_from(VALID),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=8,
)


def read_or_refuse(name: str, data: Any) -> None:
    """Any exception but a CardError, and a card that does not survive JSON, fail the test."""
    try:
        card = card_from_dict(name, data)
    except CardError as error:
        message = error.what
    else:
        assert card_from_dict(name, json.loads(json.dumps(card.to_dict()))) == card
        return
    assert message.isprintable()
    assert len(message) < 1000


@given(st.text(max_size=8), VALUES)
def test_any_data(name: str, data: Any) -> None:
    read_or_refuse(name, data)


@given(st.dictionaries(st.sampled_from(PATHS), VALUES | st.just(...), min_size=1, max_size=3))
def test_any_change_of_a_card(changes: dict[str, Any]) -> None:
    """Sets fields, or removes them where the value is ... ."""
    data = copy.deepcopy(CARD)
    for path, value in changes.items():
        table, _, key = path.partition(".")
        target = data.get(table) if key else data
        if isinstance(target, dict):
            target.pop(key or table, None)
            if value is not ...:
                target[key or table] = value
    read_or_refuse("mine", data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example overwrites the last one's file
@given(st.binary(max_size=60), st.integers(0, len(FILE)), st.integers(0, 40))
def test_any_damage_of_a_file(tmp_path: Path, noise: bytes, start: int, length: int) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(FILE[:start] + noise + FILE[start + length :])
    with contextlib.suppress(CardError):
        load_card(path)
