"""onnxruntime's execution providers: which there are here, and what runs on them as it stands."""

from __future__ import annotations

import contextlib
import ctypes
import io
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.errors import UsageError

CPU, CUDA, TENSORRT = "cpu", "cuda", "tensorrt"


@dataclass(frozen=True)
class Provider:
    """One of onnxruntime's execution providers."""

    name: str
    title: str
    key: str
    """What onnxruntime calls it."""
    library: str = ""
    """The file beside onnxruntime's own that it lives in; empty of one that is built in and needs no GPU."""
    remedy: str = ""
    """What to do where that file does not load."""


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(CPU, "CPU", "CPUExecutionProvider"),
        Provider(
            CUDA,
            "CUDA",
            "CUDAExecutionProvider",
            "libonnxruntime_providers_cuda.so",
            'Install the CUDA that this onnxruntime is built for: pip install "onnxruntime-gpu[cuda,cudnn]".',
        ),
        Provider(
            TENSORRT,
            "TensorRT",
            "TensorrtExecutionProvider",
            "libonnxruntime_providers_tensorrt.so",
            "Install the CUDA and the full TensorRT that this onnxruntime is built for; its requirements page says "
            "which. An engine needs no onnxruntime: ccdeploy build-engine.",
        ),
    )
}


def provider_named(name: str | None) -> Provider:
    """The provider of a name; the CPU's for None.

    Raises:
        UsageError: there is none of that name.
    """
    if (provider := PROVIDERS.get(name or CPU)) is None:
        raise UsageError(f"{name!r} is no provider of onnxruntime.", f"Choose one of: {', '.join(PROVIDERS)}.")
    return provider


def why_not_provided(provider: Provider, device: int = 0) -> tuple[str, str]:
    """Why a provider cannot run anything here, and what to do; both empty if it can.

    onnxruntime drops a provider whose libraries do not load, without an error, and runs on the CPU: so they are loaded
    here, as it would.

    Args:
        provider: which one.
        device: the GPU's number, where the provider uses one.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if provider.key not in available:
        reason = (
            f"onnxruntime {onnxruntime.__version__} is built without {provider.key} (it has {', '.join(available)})"
        )
        return reason, (
            'pip uninstall onnxruntime, then pip install "ccdeploy[onnxruntime-gpu]": both packages hold one module.'
        )
    if not provider.library:
        return "", ""
    if hasattr(onnxruntime, "preload_dlls"):  # finds the CUDA libraries that pip has installed; prints what it misses
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / provider.library))
    except OSError as error:
        return f"onnxruntime's {provider.key} does not load ({error})", provider.remedy
    gpus = probe_gpus()
    if not gpus.gpus:
        return f"no GPU: {gpus.reason}", "`ccdeploy doctor` shows what this machine lacks."
    if device >= len(gpus.gpus):
        return f"GPU {device} was asked for, this machine has {len(gpus.gpus)}, counted from 0", "Choose another."
    return "", ""


def why_not_as_it_stands(types: str, provider: str = CPU) -> str:
    """Why onnxruntime cannot run a file of such types unchanged; empty if it can.

    Args:
        types: `Manifest.types`, such as "int8+fp16".
        provider: a key of PROVIDERS.
    """
    if provider != CPU:
        return ""
    if "bf16" in types.split("+"):
        return "onnxruntime has no bfloat16 convolution for the CPU"
    if types == "fp8+fp16":
        return "onnxruntime computes fp8 beside fp16 wrongly on the CPU"
    return ""
