"""Tiny ONNX models and a pretended full TensorRT for the tests of ccdeploy.engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from tiny_models import NO_GPU, ORIN, STATIC, parse_model

from ccdeploy.engine import build
from ccdeploy.engine.gpu import Gpu, GpuReport

ModelWriter = Callable[..., Path]


@pytest.fixture
def write_model(tmp_path: Path) -> ModelWriter:
    """Writes a model, given as the text of its graph and functions, into an own folder."""

    def write(graph: str = STATIC, *, opset: int = 20, name: str = "model.onnx") -> Path:
        path = tmp_path / name
        onnx.save(parse_model(graph, opset=opset), path)
        return path

    return write


@pytest.fixture
def set_gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that this machine has the given GPUs."""

    def pretend(*gpus: Gpu) -> None:
        monkeypatch.setattr(build, "probe_gpus", lambda: GpuReport(gpus) if gpus else NO_GPU)

    return pretend


@dataclass
class FullTensorRT:
    """Handle on the pretended full TensorRT: what its worker did, and how it shall misbehave."""

    monkeypatch: pytest.MonkeyPatch
    folder: Path

    def calls(self) -> dict[str, object]:
        lines = (self.folder / "calls").read_text().splitlines()
        return dict(json.loads(line) for line in lines)

    def misbehave(self, how: str) -> None:
        self.monkeypatch.setenv("FACADE_MISBEHAVE", how)

    @property
    def building(self) -> Path:
        """Exists once the worker hangs in its build, if that was asked for."""
        return self.folder / "building"


@pytest.fixture(params=["10.3.0", "11.4.0"])
def full_tensorrt(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    set_gpus: Callable[..., None],
) -> Iterator[FullTensorRT]:
    """Full TensorRT on a Jetson Orin, acted by TensorRT-RTX behind facade/tensorrt.py."""
    pytest.importorskip("tensorrt_rtx_bindings")
    folder = tmp_path_factory.mktemp("facade")
    monkeypatch.setenv("FACADE_VERSION", request.param)
    monkeypatch.setenv("FACADE_FOLDER", str(folder))
    monkeypatch.syspath_prepend(Path(__file__).parent / "facade")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    set_gpus(ORIN)
    yield FullTensorRT(monkeypatch, folder)
    sys.modules.pop("tensorrt", None)
