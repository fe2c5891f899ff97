"""Each limit of a flavour: the value seen, the value expected, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import ADA, HOPPER, NO_GPU, ORIN

from ccdeploy.engine import limits
from ccdeploy.engine.flavour import Flavour, load_flavour
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.errors import MissingError, UsageError


@pytest.fixture
def rtx() -> Flavour:
    pytest.importorskip("tensorrt_rtx_bindings")
    return load_flavour("tensorrt-rtx")


@pytest.fixture
def full() -> Flavour:
    return Flavour("tensorrt", "10.3.0", None, "for a test")


def test_rtx_builds_for_what_was_asked(rtx: Flavour):
    report = GpuReport((ADA,))
    assert limits.choose_compute_capabilities(rtx, ["12.0", "8.6", "8.6"], report) == (("8.6", "12.0"), ())


def test_rtx_builds_for_the_gpu_present(rtx: Flavour):
    chosen, (note,) = limits.choose_compute_capabilities(rtx, [], GpuReport((ADA,)))
    assert chosen == ("8.9",)
    assert "NVIDIA RTX 4090" in note


def test_rtx_without_gpu_builds_for_all_portable_targets_and_says_so(rtx: Flavour):
    chosen, (note,) = limits.choose_compute_capabilities(rtx, [], NO_GPU)
    assert chosen == rtx.portable_compute_capabilities
    assert "8.0, 8.6, 8.9, 12.0, 12.1" in note
    assert NO_GPU.reason in note


def test_rtx_warns_of_mixing_turing_with_newer_cards(rtx: Flavour):
    chosen, (note,) = limits.choose_compute_capabilities(rtx, ["8.6", "7.5"], NO_GPU)
    assert chosen == ("7.5", "8.6")
    assert "7.5 can make it slower" in note
    assert limits.choose_compute_capabilities(rtx, ["7.5"], NO_GPU) == (("7.5",), ())


@pytest.mark.parametrize(("capability", "device"), [("8.7", "Jetson Orin"), ("11.0", "Jetson Thor"), ("9.0", "Hopper")])
def test_rtx_sends_other_devices_to_full_tensorrt(rtx: Flavour, capability: str, device: str):
    with pytest.raises(UsageError) as error:
        limits.choose_compute_capabilities(rtx, [capability], NO_GPU)
    assert "7.5, 8.0, 8.6, 8.9, 12.0, 12.1" in error.value.what
    assert f"{capability} ({device})" in error.value.what
    assert "--flavour tensorrt" in error.value.remedy


def test_rtx_on_a_gpu_that_it_does_not_serve_is_refused(rtx: Flavour):
    with pytest.raises(UsageError, match="Hopper"):
        limits.choose_compute_capabilities(rtx, [], GpuReport((HOPPER,)))


@pytest.mark.parametrize("text", ["86", "sm_86", "8.6.1", "", "8,6"])
def test_ill_written_compute_capability_is_refused(rtx: Flavour, text: str):
    with pytest.raises(UsageError, match="not a compute capability"):
        limits.choose_compute_capabilities(rtx, [text], NO_GPU)


def test_full_tensorrt_builds_for_its_gpu(full: Flavour):
    assert limits.choose_compute_capabilities(full, [], GpuReport((ORIN,))) == (("8.7",), ())
    assert limits.choose_compute_capabilities(full, ["8.7"], GpuReport((ORIN, ADA))) == (("8.7",), ())


def test_full_tensorrt_without_gpu_ends_with_3(full: Flavour):
    with pytest.raises(MissingError, match=NO_GPU.reason) as error:
        limits.choose_compute_capabilities(full, ["8.7"], NO_GPU)
    assert error.value.exit_code == 3


def test_full_tensorrt_does_not_build_for_another_card(full: Flavour):
    with pytest.raises(UsageError, match=r"present, Orin of compute capability 8\.7; got 8\.6"):
        limits.choose_compute_capabilities(full, ["8.6"], GpuReport((ORIN,)))


@pytest.mark.parametrize(
    ("precision", "capabilities", "lacking"),
    [("bf16", ["7.5", "8.6"], "7.5"), ("fp8", ["8.0", "8.6", "8.9"], "8.0, 8.6")],
)
def test_precision_beyond_a_card_is_refused(precision: str, capabilities: list[str], lacking: str):
    with pytest.raises(UsageError, match=f"got {lacking}"):
        limits.check_precision(precision, capabilities)


def test_precision_within_all_cards_passes():
    limits.check_precision("fp16", ["7.5"])
    limits.check_precision("bf16", ["8.0", "12.0"])
    limits.check_precision("unknown", ["7.5"])


def test_rtx_has_no_timing_cache(rtx: Flavour, tmp_path: Path):
    with pytest.raises(UsageError, match="has no timing cache"):
        limits.check_timing_cache(rtx, tmp_path / "cache")
    limits.check_timing_cache(rtx, None)


def test_unwritable_timing_cache_is_found_before_the_build(full: Flavour, tmp_path: Path):
    limits.check_timing_cache(full, tmp_path / "cache")
    for path in (tmp_path, tmp_path / "absent" / "cache"):
        with pytest.raises(UsageError, match="cannot be written"):
            limits.check_timing_cache(full, path)


@pytest.mark.parametrize(("check", "wrong"), [(limits.check_workspace, -1), (limits.check_optimization_level, 6)])
def test_number_out_of_range_is_refused(check: Callable[[int | None], None], wrong: int):
    with pytest.raises(UsageError, match="was expected"):
        check(wrong)
    check(0)
    check(None)
