"""Which TensorRT is found, and what is said when there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ccdeploy.engine import flavour
from ccdeploy.engine.flavour import load_flavour, probe_flavours
from ccdeploy.errors import MissingError, UsageError


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name: (f"absent_{name}",) for name in flavour.FLAVOURS}
    monkeypatch.setattr(flavour, "_MODULES", names)


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs a module `pretended` as full TensorRT."""

    def write(source: str) -> None:
        (tmp_path / "pretended.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(flavour._MODULES, flavour.TENSORRT, ("pretended",))
        monkeypatch.delitem(sys.modules, "pretended", raising=False)

    yield write
    sys.modules.pop("pretended", None)


def test_rtx_offers_its_documented_targets():
    pytest.importorskip("tensorrt_rtx_bindings")
    rtx = load_flavour("tensorrt-rtx")
    assert rtx.compute_capabilities == ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
    assert rtx.portable_compute_capabilities == ("8.0", "8.6", "8.9", "12.0", "12.1")
    assert rtx.builds_without_gpu
    assert not rtx.has_timing_cache
    assert rtx.has_plugin_override


def test_auto_takes_rtx_and_says_that_full_tensorrt_is_missing(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorrt_rtx_bindings")
    monkeypatch.setitem(flavour._MODULES, flavour.TENSORRT, ("absent",))
    chosen = load_flavour("auto")
    assert chosen.name == "tensorrt-rtx"
    assert "TensorRT is not installed" in chosen.reason


def test_auto_prefers_full_tensorrt(full_tensorrt):
    chosen = load_flavour("auto")
    assert chosen.name == "tensorrt"
    assert not chosen.builds_without_gpu
    assert chosen.compute_capabilities == ()


@pytest.mark.usefixtures("no_tensorrt")
@pytest.mark.parametrize("name", ["auto", "tensorrt", "tensorrt-rtx"])
def test_missing_tensorrt_ends_with_3_and_says_how_to_get_it(name: str):
    with pytest.raises(MissingError, match="is not installed") as error:
        load_flavour(name)
    assert error.value.exit_code == 3
    assert "pip install" in error.value.remedy


@pytest.mark.usefixtures("no_tensorrt")
def test_probe_tells_what_is_missing_without_raising():
    assert [status.name for status in probe_flavours()] == ["tensorrt", "tensorrt-rtx"]
    assert not any(status.available for status in probe_flavours())
    assert all(status.reason and status.remedy for status in probe_flavours())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise OSError('libnvinfer.so.10: cannot open')", "does not load: libnvinfer.so.10: cannot open"),
        ("__version__ = '10.3.0'", "has no builder"),
        ("__version__ = '8.5.2'\nBuilder = OnnxParser = 1", "8.5.2 is installed, 10.0 or newer"),
    ],
)
def test_unusable_tensorrt_is_reported_with_its_reason(write_module, source: str, reason: str):
    write_module(source)
    status = probe_flavours()[0]
    assert not status.available
    assert reason in status.reason


def test_a_folder_of_that_name_is_not_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "just_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(flavour._MODULES, flavour.TENSORRT, ("just_a_folder",))
    assert "is not installed" in probe_flavours()[0].reason


def test_unknown_flavour_is_a_usage_error():
    with pytest.raises(UsageError, match="no TensorRT flavour"):
        load_flavour("tensorrt-lean")


@pytest.mark.parametrize(
    ("packages", "needed"),
    [
        ({"tensorrt_rtx_bindings": ["tensorrt_rtx_cu13_bindings"]}, 13),
        ({"tensorrt_rtx_bindings": ["tensorrt-rtx-cu12"]}, 12),
        ({"tensorrt_rtx": ["tensorrt-rtx"]}, None),
        ({"something": ["other-cu13"]}, None),
    ],
)
def test_cuda_that_tensorrt_is_built_for_stands_in_its_package_s_name(monkeypatch, packages, needed):
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: packages)
    flavour._cuda_of_packages.cache_clear()
    try:
        assert flavour.needed_cuda(flavour.Flavour(flavour.TENSORRT_RTX, "1.7.1", None, "")) == needed
    finally:
        flavour._cuda_of_packages.cache_clear()
