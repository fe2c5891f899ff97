"""How a picture passes, by its size and by what an artefact takes: nothing is squeezed unless it was asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.engine.manifest import Engine, Profile
from ccdeploy.errors import UsageError
from ccdeploy.segment.passing import AUTO, Plans, check_colours
from ccdeploy.segmenters import Passing
from ccdeploy.windows import Plan

AUTOMATIC = Passing(AUTO)
WHOLE = Plan("whole", size=(65, 97))
WINDOWS = Plan("slide", (65, 97), (44, 65))


def plans(path: Path, passing: Passing = AUTOMATIC, profile: Profile | None = None, **evaluation: Any) -> Plans:
    manifest = manifest_of(path)
    if profile is not None:
        record = Engine("tensorrt-rtx", "1.7.1.116", ("8.9",), (profile,))
        manifest = dataclasses.replace(manifest, engine=record)
    card = card_from_dict("tiny", {**manifest.card, "evaluation": evaluation or {"mode": "whole"}})
    return Plans(path, manifest, card, passing)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((65, 97), WHOLE),
        ((64, 20), WHOLE),
        ((1, 1), WHOLE),
        ((66, 97), WINDOWS),
        ((65, 98), WINDOWS),
        ((20, 400), WINDOWS),
        ((600, 900), WINDOWS),
    ],
)
def test_what_is_larger_than_a_file_of_fixed_size_passes_in_windows(exports, size: tuple[int, int], expected: Plan):
    assert plans(exports.file()).of(*size) == expected


def test_files_of_open_size_follow_the_card(exports):
    path = exports.file(dynamic="all")
    assert plans(path).of(600, 900) == Plan("whole")
    slide = {"mode": "slide", "crop": [65, 97], "stride": [30, 50]}
    assert plans(path, **slide).of(600, 900) == plans(path, **slide).of(2, 2) == Plan("slide", (65, 97), (30, 50))


def test_windows_have_the_size_of_the_file_whatever_the_card_s_are(exports):
    same = {"mode": "slide", "crop": [65, 97], "stride": [30, 50]}
    assert plans(exports.file(), **same).of(70, 97) == Plan("slide", (65, 97), (30, 50))
    assert plans(exports.file(), **same).of(60, 97) == WHOLE
    other = {"mode": "slide", "crop": [64, 64], "stride": [30, 50]}
    assert plans(exports.file(), **other).of(70, 97) == WINDOWS


def test_the_size_that_counts_is_the_one_the_card_scales_to(exports):
    chosen = plans(exports.file(), mode="whole", resize=[60, 97])
    assert chosen.of(600, 900) == WHOLE, "60x90 then"
    assert chosen.of(10, 16) == WHOLE
    larger = plans(exports.file(), mode="whole", resize=[80, 200])
    assert larger.of(10, 16) == dataclasses.replace(WINDOWS, resize=(80, 200))


def test_several_scales_pass_in_windows(exports):
    expected = dataclasses.replace(WINDOWS, scales=(0.5, 1.5), flip=True)
    assert plans(exports.file(), Passing(AUTO, (0.5, 1.5), True)).of(65, 97) == expected
    assert plans(exports.file(), Passing(AUTO, None, True)).of(65, 97) == dataclasses.replace(WHOLE, flip=True)


def test_files_that_give_labels_take_whole_pictures(exports):
    path = exports.file(io="image")
    assert plans(path).of(600, 900) == WHOLE
    with pytest.raises(UsageError, match="gives labels, which cannot be averaged"):
        plans(path, Passing("slide"))


def test_other_modes_are_for_all_pictures_alike(exports):
    assert plans(exports.file(), Passing("whole")).of(600, 900) == WHOLE
    assert plans(exports.file(), Passing("card")).of(600, 900) == WHOLE
    assert plans(exports.file(), Passing("slide")).of(6, 9) == WINDOWS


def test_an_engine_of_open_size_takes_what_its_profile_takes(exports):
    path = exports.file(dynamic="all")
    profile = Profile("input", (1, 3, 33, 40), (1, 3, 65, 97), (4, 3, 100, 120))
    chosen = plans(path, profile=profile)
    assert chosen.of(100, 120) == chosen.of(33, 40) == Plan("whole")
    assert chosen.of(101, 120) == chosen.of(60, 39) == WINDOWS


def test_networks_that_take_no_colour_pictures_are_refused(exports):
    with pytest.raises(UsageError, match="does not say how pictures are normalised: it cannot segment"):
        check_colours(exports.model("bare").card)
    card = exports.model().card
    grey = dataclasses.replace(card, input=dataclasses.replace(card.input, channels=1, mean=(1.0,), std=(1.0,)))
    with pytest.raises(UsageError, match="takes 1 channels, pictures have 3"):
        check_colours(grey)
    check_colours(card)
