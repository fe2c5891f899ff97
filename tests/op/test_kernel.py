"""The kernel behind PyTorch's tensors: right pointers, layouts and workspace, and never a silent choice.

There is no GPU here: the library computes on the CPU, and only what asks CUDA about the device is acted.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from stand_ins import Sandbox

from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.native.build import build_library
from ccdeploy.native.library import Library
from ccdeploy.op import kernel
from ccdeploy.op.cases import KERNEL, MAX_ERROR, Case
from ccdeploy.op.definition import criss_cross_attention as definition
from ccdeploy.op.kernel import Kernel, KernelWarning, memory_format_of
from ccdeploy.op.operands import random_operands
from ccdeploy.op.torch_op import criss_cross_attention

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LAYOUTS = {"nchw": torch.contiguous_format, "channels last": torch.channels_last}
MOST_PRODUCTS = 300_000
"""Of a case, times 2: the stand-in library writes its sums out."""
CASES = [case for case in KERNEL if case.batch * case.height * case.width * case.channels < MOST_PRODUCTS]
CASE = Case(2, 64, 16, 5, 9)
STREAM = 4711


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The stand-in, for 8.6 and newer."""
    with pytest.MonkeyPatch.context() as patch:
        sandbox = Sandbox(tmp_path_factory.mktemp("stand-in"), patch)
        return build_library(sandbox.toolchain(), [86]).cached.library


def drawn(case: Case, dtype: torch.dtype, layout: torch.memory_format) -> tuple[torch.Tensor, torch.Tensor]:
    qkv, residual = (torch.from_numpy(array).to(dtype) for array in random_operands(case, seed=case.height))
    return qkv.contiguous(memory_format=layout), residual.contiguous(memory_format=layout)


def worst(y: torch.Tensor, qkv: torch.Tensor, residual: torch.Tensor, query_channels: int) -> float:
    exact = definition(qkv.double(), residual.double(), query_channels)
    return float((y.double() - exact).abs().max())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision", TYPES)
def test_every_case_is_computed_in_every_type_and_layout(library: Library, precision: str, layout: str):
    assert len(CASES) > 30
    for case in CASES:
        qkv, residual = drawn(case, TYPES[precision], LAYOUTS[layout])
        y = Kernel(library.path).run(qkv, residual, case.query_channels, STREAM)
        assert (y.dtype, y.shape, y.stride()) == (residual.dtype, residual.shape, residual.stride()), case
        assert worst(y, qkv, residual, case.query_channels) <= MAX_ERROR[precision], case


def sliced(tensor: torch.Tensor) -> torch.Tensor:
    """The same values as a part of something larger."""
    b, c, h, w = tensor.shape
    larger = torch.full((b, c + 2, h, w + 3), 9.0, dtype=tensor.dtype)
    larger[:, 1 : c + 1, :, 2 : w + 2] = tensor
    return larger[:, 1 : c + 1, :, 2 : w + 2]


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.mT.contiguous().mT


def shifted(tensor: torch.Tensor) -> torch.Tensor:
    """Dense, but 2 or 4 bytes beside an address that the kernel could read from."""
    memory = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)[1:]
    moved = memory.as_strided(tensor.shape, tensor.stride(), memory.storage_offset())
    moved.copy_(tensor)
    assert moved.data_ptr() % 16
    return moved


STRIDES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sliced": sliced,
    "transposed": transposed,
    "shifted": shifted,
    "channels last": lambda tensor: tensor.contiguous(memory_format=torch.channels_last),
    "shifted channels last": lambda tensor: shifted(tensor.contiguous(memory_format=torch.channels_last)),
    "nchw": lambda tensor: tensor,
}


@pytest.mark.parametrize("of_qkv", STRIDES)
@pytest.mark.parametrize("of_residual", STRIDES)
def test_operands_of_any_strides_are_computed(library: Library, of_qkv: str, of_residual: str):
    for precision, dtype in TYPES.items():
        qkv, residual = drawn(CASE, dtype, torch.contiguous_format)
        qkv, residual = STRIDES[of_qkv](qkv), STRIDES[of_residual](residual)
        y = Kernel(library.path).run(qkv, residual, CASE.query_channels, STREAM)
        assert worst(y, qkv, residual, CASE.query_channels) <= MAX_ERROR[precision]
        assert y.is_contiguous(memory_format=memory_format_of(residual))
        assert y.is_contiguous(memory_format=torch.channels_last) == ("channels last" in of_residual)


def test_launch_gets_the_stream_and_dense_memory_of_its_own(library: Library):
    seen = []
    loaded = Kernel(library.path)
    launch = loaded._launch
    loaded._launch = lambda *arguments: seen.append(arguments) or launch(*arguments)
    qkv, residual = drawn(CASE, torch.float16, torch.channels_last)
    y = loaded.run(qkv, residual, CASE.query_channels, STREAM)
    ((problem, *pointers, workspace, size, stream),) = seen
    assert stream == STREAM
    assert pointers == [qkv.data_ptr(), residual.data_ptr(), y.data_ptr()], "nothing was copied"
    assert workspace not in pointers
    assert size == 8 * CASE.batch * CASE.height * CASE.width
    assert (problem.type, problem.layout, problem.tile) == (1, 0, 0)


def test_refusal_of_the_library_is_told_in_its_words(library: Library):
    qkv, residual = drawn(Case(1, 8, 8, 2, 2), torch.float32, torch.contiguous_format)
    with pytest.raises(MissingError, match=r"channels is no multiple of 32 \(status 2\)"):
        Kernel(library.path).run(qkv, residual, 8, STREAM)


def test_library_of_another_interface_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXXFLAGS", "-DSTAND_IN_API_VERSION=2")
    sandbox = Sandbox(tmp_path, monkeypatch)
    with pytest.raises(ArtefactError, match="version 2 of the C interface, 1 was expected"):
        Kernel(build_library(sandbox.toolchain(), [86]).cached.library.path)


def test_file_without_the_interface_is_refused(tmp_path: Path):
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(ArtefactError, match="does not load"):
        Kernel(tmp_path / "text.so")


# --- Which implementation runs on a GPU


@pytest.fixture
def ada(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A GPU of compute capability 8.9, acted: its memory is the CPU's. Nothing is remembered from other tests."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=STREAM))
    kernel._kernel_for.cache_clear()
    monkeypatch.setattr(kernel, "_warned", set())
    yield monkeypatch
    kernel._kernel_for.cache_clear()


def silently(case: Case = CASE, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return kernel.on_gpu(*drawn(case, dtype, torch.channels_last), case.query_channels)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which implementations were called."""
    seen: list[str] = []
    run, defined = Kernel.run, kernel.definition
    monkeypatch.setattr(Kernel, "run", lambda *arguments: seen.append("kernel") or run(*arguments))
    monkeypatch.setattr(kernel, "definition", lambda *arguments: seen.append("definition") or defined(*arguments))
    return seen


@pytest.mark.parametrize("policy", ["", "auto", "require"])
def test_kernel_runs_where_there_is_one(ada, calls, library: Library, policy: str):
    ada.setenv("CCDEPLOY_PLUGIN", str(library.path))
    ada.setenv("CCDEPLOY_KERNEL", policy)
    y = silently()
    assert calls == ["kernel"]
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_kernel_of_the_cache_is_found_and_only_what_is_there(ada, calls, tmp_path: Path):
    sandbox = Sandbox(tmp_path, ada)
    with pytest.warns(KernelWarning, match=r"no library for compute capability 8\.9 has been built"):
        kernel.on_gpu(*drawn(CASE, torch.float16, torch.channels_last), CASE.query_channels)
    assert not sandbox.cache.exists(), "a forward pass compiles nothing"
    kernel._kernel_for.cache_clear()
    build_library(sandbox.toolchain(), [86])
    silently()
    assert calls == ["definition", "kernel"]


def test_definition_is_told_once_a_reason_and_gives_the_same_layout(ada, calls, tmp_path: Path):
    Sandbox(tmp_path, ada)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for channels in (64, 64, 48, 48, 40):
            case = Case(1, channels, 16, 3, 3)
            y = kernel.on_gpu(*drawn(case, torch.float16, torch.channels_last), case.query_channels)
            assert y.is_contiguous(memory_format=torch.channels_last)
    words = [str(warning.message) for warning in told if warning.category is KernelWarning]
    assert len(words) == 3, words
    assert "ccdeploy build-plugin --arch 89" in words[0]
    assert "channels is 48, a multiple of 32" in words[1]
    assert set(calls) == {"definition"}


def test_off_is_silent_because_it_was_asked(ada, calls, library: Library):
    ada.setenv("CCDEPLOY_PLUGIN", str(library.path))
    ada.setenv("CCDEPLOY_KERNEL", "off")
    silently()
    assert calls == ["definition"]


@pytest.mark.parametrize(
    ("case", "dtype", "capability", "what"),
    [
        (CASE, torch.float16, (8, 0), "holds code for 86, the GPU has compute capability 8.0"),
        (CASE, torch.bfloat16, (7, 5), "8.0 or newer was expected for bf16"),
        (CASE, torch.float64, (8, 9), "the type is float64"),
        (Case(1, 32, 4, 3, 3), torch.float16, (8, 9), "query_channels is 4, a multiple of 8"),
    ],
)
def test_required_kernel_that_cannot_run_is_an_error(
    ada, calls, library: Library, case: Case, dtype: torch.dtype, capability: tuple[int, int], what: str
):
    ada.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    ada.setenv("CCDEPLOY_PLUGIN", str(library.path))
    ada.setenv("CCDEPLOY_KERNEL", "require")
    with pytest.raises(MissingError) as error:
        silently(case, dtype)
    assert what in error.value.what
    assert calls == []


@pytest.mark.parametrize("variable", ["CCDEPLOY_KERNEL", "CCDEPLOY_PLUGIN"])
def test_settings_that_mean_nothing_are_refused(ada, variable: str):
    ada.setenv(variable, "perhaps")
    with pytest.raises(UsageError, match=variable):
        silently()


def test_cuda_has_an_implementation_of_its_own_and_the_cpu_has_not():
    """The reference of `verify` runs on the CPU: the kernel under test cannot be its own reference there."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert has("ccdeploy::criss_cross_attention", "CUDA")
    assert not has("ccdeploy::criss_cross_attention", "CPU")


@pytest.mark.parametrize("required", ["auto", "require"])
def test_cpu_tensors_run_the_definition_whatever_is_set(calls, monkeypatch: pytest.MonkeyPatch, required: str):
    monkeypatch.setenv("CCDEPLOY_KERNEL", required)
    qkv, residual = drawn(CASE, torch.float32, torch.contiguous_format)
    y = criss_cross_attention(qkv, residual, CASE.query_channels)
    assert torch.equal(y, definition(qkv, residual, CASE.query_channels))
    assert calls == []
