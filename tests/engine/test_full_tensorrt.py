"""The one code path drives full TensorRT 10 and 11 as it drives TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import DYNAMIC, STATIC

from ccdeploy.engine.build import build_engine
from ccdeploy.engine.manifest import Profile
from ccdeploy.errors import MissingError, UsageError


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return tmp_path / "out" / "model.engine"


def test_network_is_strongly_typed_and_built_for_the_gpu(full_tensorrt, write_model, engine: Path):
    manifest = build_engine(write_model(STATIC), engine, flavour="auto")
    assert full_tensorrt.calls()["strongly_typed"] is True
    assert manifest.engine is not None
    assert manifest.engine.flavour == "tensorrt"
    assert manifest.engine.version in ("10.3.0", "11.4.0")
    assert manifest.engine.compute_capabilities == ("8.7",)


def test_settings_reach_the_builder(full_tensorrt, write_model, engine: Path):
    shapes = Profile("input", (1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8))
    build_engine(
        write_model(DYNAMIC),
        engine,
        flavour="tensorrt",
        profiles=[shapes],
        workspace_bytes=1 << 30,
        optimization_level=5,
    )
    calls = full_tensorrt.calls()
    assert calls["pool"] == ["WORKSPACE", 1 << 30]
    assert calls["builder_optimization_level"] == 5
    assert calls["profiling_verbosity"] == "DETAILED", "an inspector shall know the types of layers"
    assert calls["clear_flag"] == "TF32", "fp32 that was asked for is fp32"
    assert "timing_cache" not in calls


def test_timing_cache_is_written_and_used_again(full_tensorrt, write_model, engine: Path):
    cache = engine.parent.parent / "timing.cache"
    for expected in ("", "cache"):
        build_engine(write_model(STATIC), engine, flavour="tensorrt", timing_cache=cache)
        assert full_tensorrt.calls()["timing_cache"] == [expected, False]
    assert cache.read_bytes() == b"cachecache"


def test_timing_cache_of_another_machine_is_refused_and_kept(full_tensorrt, write_model, engine: Path):
    cache = engine.parent.parent / "timing.cache"
    cache.write_bytes(b"of another TensorRT")
    with pytest.raises(UsageError, match="damaged, or of another TensorRT"):
        build_engine(write_model(STATIC), engine, flavour="tensorrt", timing_cache=cache)
    assert cache.read_bytes() == b"of another TensorRT"


def test_without_a_gpu_it_ends_with_3(full_tensorrt, set_gpus, write_model, engine: Path):
    set_gpus()
    with pytest.raises(MissingError, match="only for the GPU it runs on") as error:
        build_engine(write_model(STATIC), engine, flavour="tensorrt")
    assert error.value.exit_code == 3
    assert "tensorrt-rtx" in error.value.remedy


def test_another_card_is_refused(full_tensorrt, write_model, engine: Path):
    with pytest.raises(UsageError, match=r"got 8\.6"):
        build_engine(write_model(STATIC), engine, flavour="tensorrt", compute_capabilities=["8.6"])


def test_tensorrt_that_does_not_start_ends_with_3(full_tensorrt, write_model, engine: Path):
    full_tensorrt.misbehave("no-builder")
    with pytest.raises(MissingError, match="does not start: CUDA initialization failure with error: 35"):
        build_engine(write_model(STATIC), engine, flavour="tensorrt")
