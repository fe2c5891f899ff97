"""Profiles are refused before a build begins, with the input, the shapes and the right option named."""

from __future__ import annotations

import pytest

from ccdeploy.engine.manifest import Profile, Tensor
from ccdeploy.engine.profiles import check_profiles, parse_profiles
from ccdeploy.errors import UsageError

INPUT = Tensor("input", "float32", "NCHW", ("N", 3, "H", "W"))
FIXED = Tensor("fixed", "float32", "NCHW", (1, 4))


def profile(minimum: tuple[int, ...], optimum: tuple[int, ...], maximum: tuple[int, ...], name: str = "input"):
    return Profile(name, minimum, optimum, maximum)


GOOD = profile((1, 3, 8, 8), (1, 3, 16, 16), (2, 3, 32, 32))


def test_options_become_profiles():
    assert parse_profiles(["input:1x3x8x8"], ["input:1x3x16x16"], ["input:2x3x32x32"]) == (GOOD,)
    assert parse_profiles([], [], []) == ()


def test_input_names_may_hold_colons():
    assert parse_profiles(["net/in:0:1x2"], ["net/in:0:1x2"], ["net/in:0:1x2"])[0].input == "net/in:0"


@pytest.mark.parametrize("text", ["", "input", "1x3", "input:", "input:1x", "input:1,3", "input:-1x3", "input:1x3.5"])
def test_ill_written_shape_shows_a_good_one(text: str):
    with pytest.raises(UsageError) as error:
        parse_profiles([text], [], [])
    assert "--min input:1x3x512x512" in error.value.remedy


def test_incomplete_option_names_what_is_missing():
    with pytest.raises(UsageError, match="has --opt but not --min and --max"):
        parse_profiles([], ["input:1x3x8x8"], [])


def test_option_given_twice_is_refused():
    with pytest.raises(UsageError, match="--min was given twice"):
        parse_profiles(["a:1", "a:2"], [], [])


def test_dynamic_input_needs_a_profile_and_sees_an_example():
    with pytest.raises(UsageError, match="'input' is dynamic \\(Nx3xHxW\\)") as error:
        check_profiles((INPUT,), ())
    assert "--min input:1x3x512x512 --opt input:1x3x512x512 --max input:1x3x512x512" in error.value.remedy


def test_profiles_of_dynamic_inputs_are_returned():
    fixed = profile((1, 4), (1, 4), (1, 4), "fixed")
    assert check_profiles((FIXED, INPUT), (GOOD, fixed)) == (GOOD,)
    assert check_profiles((FIXED,), ()) == ()


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (profile((1, 3, 8), (1, 3, 8), (1, 3, 8)), "has 3 dimensions, the model's Nx3xHxW has 4"),
        (profile((1, 4, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8)), "has 4 where the model Nx3xHxW is fixed"),
        (profile((0, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8)), "the dimension 0 is not positive"),
        (profile((1, 3, 9, 8), (1, 3, 8, 8), (1, 3, 9, 8)), "dimension 2: min 9, opt 8, max 9"),
        (profile((1, 3, 8, 8), (1, 3, 8, 9), (1, 3, 8, 8)), "dimension 3: min 8, opt 9, max 8"),
        (profile((1, 4), (1, 4), (1, 4), "other"), "no input 'other'"),
    ],
)
def test_unfit_profile_is_named(wrong: Profile, what: str):
    with pytest.raises(UsageError) as error:
        check_profiles((INPUT,), (wrong,))
    assert what in error.value.what


def test_two_profiles_for_one_input_are_refused():
    with pytest.raises(UsageError, match="Two profiles"):
        check_profiles((INPUT,), (GOOD, GOOD))


def test_profile_of_a_fixed_input_must_match():
    with pytest.raises(UsageError, match="has 2 where the model 1x4 is fixed"):
        check_profiles((FIXED,), (profile((2, 4), (2, 4), (2, 4), "fixed"),))
