"""onnxruntime's providers: the one that is asked for runs the network, or it is an error.

This machine's onnxruntime has two: the CPU's, and Azure's, which takes no node of an ordinary network. In the place of
CUDA's, the latter shows what onnxruntime itself refuses. What no CPU can show is acted.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from ccdeploy.engine.gpu import Gpu, GpuReport
from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.runners import ort_session, providers
from ccdeploy.runners.ort import OnnxRuntimeRunner
from ccdeploy.runners.providers import PROVIDERS, provider_named, why_not_as_it_stands, why_not_provided

CARD = Gpu("NVIDIA A10", "8.6", 24 << 30)


@pytest.fixture
def azure(monkeypatch) -> str:
    """Takes the place of CUDA."""
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("not run: this onnxruntime has no second provider")
    stand_in = dataclasses.replace(PROVIDERS["cuda"], key="AzureExecutionProvider", library="")
    monkeypatch.setitem(PROVIDERS, "cuda", stand_in)
    return stand_in.key


@pytest.mark.parametrize("dynamic", ["none", "all"])
def test_nodes_that_a_provider_leaves_to_the_cpu_are_an_error(exports, azure: str, dynamic: str, capfd):
    path = exports.file("own", dynamic=dynamic)
    with pytest.raises(MissingError) as raised:
        OnnxRuntimeRunner(path, provider="cuda")
    assert f"{path}: {azure} does not run every node, it leaves " in raised.value.what
    assert "to the CPU (Conv " in raised.value.what
    assert "--dynamic none" in raised.value.remedy
    assert capfd.readouterr().out == ""


def test_provider_that_runs_nothing_is_an_error_even_if_only_shapes_are_left(azure: str, tmp_path: Path):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]> g (float[N] x) => (int64[1] y) { y = Shape (x) }'
    )
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(MissingError, match=r"leaves 1 to the CPU \(Shape"):
        OnnxRuntimeRunner(tmp_path / "m.onnx", provider="cuda")


def test_damaged_network_is_no_matter_of_providers(exports, azure: str, tmp_path: Path):
    model = onnx.load(exports.file("own"))
    model.graph.node[0].op_type = "Confolution"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ArtefactError, match=r"m\.onnx does not load in onnxruntime \(.*Confolution"):
        OnnxRuntimeRunner(tmp_path / "m.onnx", provider="cuda")


class ActedSession:
    """A session of onnxruntime with CUDA, as far as opening it goes."""

    opened: list[tuple[Any, dict[str, str]]]
    """Providers and settings of each session that was asked for."""
    left: list[tuple[str, str]]
    """Domain and operator of the nodes that CUDA leaves to the CPU."""
    drops = False

    def __init__(self, path: Path, options: Any, providers: Any, **how: Any) -> None:
        ActedSession.opened.append((providers, how))
        self.tells = _is_set(options, "session.record_ep_graph_assignment_info")
        strict = _is_set(options, "session.disable_cpu_ep_fallback")
        assert strict or self.left, "the CPU is forbidden, unless that was tried before"
        if strict and self.left:
            raise RuntimeError("graph nodes that are assigned to the default CPU EP, but fallback is disabled")

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"] if self.drops else ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        assert self.tells

        def part(provider: str, *nodes: tuple[str, str]) -> Any:
            found = [SimpleNamespace(domain=domain, op_type=kind, name=f"{kind}_1") for domain, kind in nodes]
            return SimpleNamespace(ep_name=provider, get_nodes=lambda: found)

        return [
            part("CUDAExecutionProvider", ("", "Conv")),
            *(part("CPUExecutionProvider", node) for node in self.left),
        ]

    def get_inputs(self) -> list[Any]:
        return []

    get_outputs = get_inputs


def _is_set(options: Any, key: str) -> bool:
    try:
        return options.get_session_config_entry(key) == "1"
    except RuntimeError:  # it was never given
        return False


@pytest.fixture
def cuda(monkeypatch) -> type[ActedSession]:
    """An onnxruntime with CUDA, and a GPU."""
    keys = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: keys)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("what pip has not installed"), raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", ActedSession)
    monkeypatch.setattr(providers.ctypes, "CDLL", lambda path: None)
    for module in (providers, ort_session):
        monkeypatch.setattr(module, "probe_gpus", lambda: GpuReport((CARD, CARD), "13.0"))
    ActedSession.opened, ActedSession.left = [], []
    return ActedSession


def test_cuda_runs_every_node(exports, cuda, capsys):
    with OnnxRuntimeRunner(exports.file("own"), provider="cuda", device=1) as runner:
        said = runner.describe()
    assert runner.how == f"onnxruntime {onnxruntime.__version__}, CUDA, {CARD.name}"
    assert (said.runtime, said.device) == (runner.how, CARD.name)
    ((given, how),) = cuda.opened
    assert given == [("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"})], "no other provider beside it"
    assert how["enable_fallback"] == 0
    assert capsys.readouterr().out == ""


def test_shape_arithmetic_stays_on_the_cpu_and_it_is_said(exports, cuda):
    cuda.left = [("", "Shape"), ("", "Gather"), ("", "Concat"), ("", "Shape")]
    with OnnxRuntimeRunner(exports.file("own", dynamic="all"), provider="cuda") as runner:
        assert ", CUDA, 4 nodes of shape arithmetic on the CPU, " in runner.how


@pytest.mark.parametrize("node", [("", "Conv"), ("", "Softmax"), ("com.microsoft", "Gather")])
def test_real_work_on_the_cpu_is_an_error(exports, cuda, node: tuple[str, str]):
    cuda.left = [("", "Shape"), node]
    path = exports.file("own", dynamic="all")
    with pytest.raises(
        MissingError, match=rf"CUDAExec\w+ does not run every node, it leaves 1 to the CPU \({node[1]} "
    ):
        OnnxRuntimeRunner(path, provider="cuda")


def test_many_nodes_on_the_cpu_are_counted_and_some_named(exports, cuda):
    cuda.left = [("", "Conv")] * 5
    with pytest.raises(MissingError, match=r"leaves 5 to the CPU \((Conv Conv_1, ){3}\.\.\.\)\."):
        OnnxRuntimeRunner(exports.file("own"), provider="cuda")


def test_onnxruntime_that_does_not_tell_is_an_error(exports, cuda, monkeypatch):
    cuda.left = [("", "Shape")]
    monkeypatch.delattr(ActedSession, "get_provider_graph_assignment_info")
    with pytest.raises(MissingError, match=r"leaves nodes to the CPU, this onnxruntime does not tell which\.\nUpgrade"):
        OnnxRuntimeRunner(exports.file("own"), provider="cuda")


@pytest.mark.parametrize("left", [[], [("", "Shape")]])
def test_provider_that_is_dropped_is_an_error(exports, cuda, monkeypatch, left):
    monkeypatch.setattr(ActedSession, "drops", True)
    cuda.left = left
    with pytest.raises(MissingError, match="onnxruntime dropped CUDAExecutionProvider without an error"):
        OnnxRuntimeRunner(exports.file("own"), provider="cuda")


def test_library_that_does_not_load_is_told_before_onnxruntime_drops_it(exports, cuda, monkeypatch):
    asked = []

    def missing(path: str) -> None:
        asked.append(Path(path))
        raise OSError("libcublasLt.so.13: cannot open shared object file")

    monkeypatch.setattr(providers.ctypes, "CDLL", missing)
    with pytest.raises(MissingError) as raised:
        OnnxRuntimeRunner(exports.file("own"), provider="cuda")
    assert "CUDAExecutionProvider does not load (libcublasLt.so.13: cannot open" in raised.value.what
    assert "onnxruntime-gpu[cuda,cudnn]" in raised.value.remedy
    assert cuda.opened == []
    assert asked == [Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"]


@pytest.mark.parametrize(
    ("report", "device", "reason"),
    [
        (GpuReport(reason="the driver sees no GPU"), 0, "no GPU: the driver sees no GPU"),
        (GpuReport((CARD,)), 1, "GPU 1 was asked for, this machine has 1, counted from 0"),
        (GpuReport((CARD, CARD)), 1, ""),
    ],
)
def test_gpu_must_be_there(cuda, monkeypatch, report: GpuReport, device: int, reason: str):
    monkeypatch.setattr(providers, "probe_gpus", lambda: report)
    assert why_not_provided(provider_named("cuda"), device)[0] == reason


def test_onnxruntime_without_the_provider_is_told():
    key = "TensorrtExecutionProvider"
    if key in onnxruntime.get_available_providers():
        pytest.skip("not run: this onnxruntime has TensorRT")
    reason, remedy = why_not_provided(provider_named("tensorrt"))
    assert reason.startswith(f"onnxruntime {onnxruntime.__version__} is built without {key} (it has ")
    assert "ccdeploy[onnxruntime-gpu]" in remedy
    assert why_not_provided(provider_named(None)) == ("", "")


def test_provider_that_does_not_exist_is_told():
    with pytest.raises(UsageError, match=r"'gpu' is no provider of onnxruntime\.\nChoose one of: cpu, cuda, tensorrt"):
        provider_named("gpu")


@pytest.mark.parametrize("provider", ["cpu", "cuda", "tensorrt"])
@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ("fp32", ""),
        ("fp16", ""),
        ("int8+fp16", ""),
        ("fp8+fp32", ""),
        ("bf16", "no bfloat16 convolution"),
        ("int8+bf16", "no bfloat16 convolution"),
        ("fp8+fp16", "fp8 beside fp16 wrongly"),
    ],
)
def test_what_a_cpu_cannot_run_as_it_stands(types: str, reason: str, provider: str):
    said = why_not_as_it_stands(types, provider)
    if provider == "cpu" and reason:
        assert reason in said
    else:
        assert said == ""


def test_threads_are_those_that_were_asked_for(exports, monkeypatch):
    seen = []
    real = onnxruntime.InferenceSession

    def watched(path: Path, options: Any, **how: Any) -> Any:
        seen.append(options.intra_op_num_threads)
        return real(path, options, **how)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    batch = np.zeros((1, 3, 33, 49), np.float32)
    for threads in (None, 1):
        with OnnxRuntimeRunner(exports.file("own"), threads=threads) as runner:
            assert runner.infer({"input": batch})
    assert seen == [0, 1]
