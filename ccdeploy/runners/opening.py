"""From an artefact's file to its runner; what cannot be opened is told before a runtime sees the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import MissingError, UsageError
from ccdeploy.runners import Runner
from ccdeploy.runners.providers import CPU, provider_named, why_not_as_it_stands, why_not_provided


@dataclass(frozen=True)
class Options:
    """See `ccdeploy.runners.open_runner`."""

    provider: str | None = None
    contexts: int = 1
    cuda_graph: bool = False
    threads: int | None = None
    device: int = 0


def opened(path: Path, options: Options) -> Runner:
    """The runner of an artefact; see `ccdeploy.runners.open_runner`."""
    _check(path, options)
    if _is_onnx(path):
        return _opened_onnx(path, options)
    from ccdeploy.artefacts import manifest_of
    from ccdeploy.runners.engine import EngineRunner

    return EngineRunner(path, manifest_of(path), options.contexts, options.cuda_graph, options.device)


def why_not(path: Path, options: Options) -> str:
    """Why an artefact cannot be opened here; see `ccdeploy.runners.why_not_openable`."""
    _check(path, options)
    if _is_onnx(path):
        reason, _ = _why_not_onnx(options, _types(path)[0])
        return reason
    from ccdeploy.artefacts import manifest_of
    from ccdeploy.runners.engine import why_not_runnable

    return why_not_runnable(manifest_of(path), path, options.device)


def _opened_onnx(path: Path, options: Options) -> Runner:
    from ccdeploy.runners.ort import OnnxRuntimeRunner

    types, manifest = _types(path)
    reason, remedy = _why_not_onnx(options, types)
    if reason:
        raise MissingError(f"{path} ({types}) cannot run here as it stands: {reason}.", remedy)
    return OnnxRuntimeRunner(path, options.provider or CPU, options.contexts, options.threads, options.device, manifest)


def _why_not_onnx(options: Options, types: str) -> tuple[str, str]:
    """The reason and what to do; both empty where nothing is in the way."""
    provider = provider_named(options.provider)
    reason, remedy = why_not_provided(provider, options.device)
    if reason:
        return reason, remedy
    remedy = "Use a GPU (`ccdeploy build-engine`); `ccdeploy verify` runs it here, rounded node by node."
    return (reason, remedy) if (reason := why_not_as_it_stands(types, provider.name)) else ("", "")


def _types(path: Path) -> tuple[str, Manifest | None]:
    """What an ONNX file computes in, and its manifest; of a foreign file by its graph."""
    from ccdeploy.engine.onnx_files import load_graph, onnx_manifest
    from ccdeploy.runners.rounding import types_of

    model = load_graph(path)
    manifest = onnx_manifest(path, model)
    return (manifest.types, manifest) if manifest else (types_of(model), None)


def _is_onnx(path: Path) -> bool:
    return path.suffix == ".onnx"


def _check(path: Path, options: Options) -> None:
    """Whether the options go together and with the artefact."""
    if options.contexts < 1:
        raise UsageError(f"{options.contexts} contexts were asked for, 1 or more were expected.", "Give contexts=1.")
    if options.device < 0:
        raise UsageError(f"GPU {options.device} was asked for, 0 or more was expected.", "Give device=0.")
    if _is_onnx(path):
        provider = provider_named(options.provider)
        if options.cuda_graph:
            raise UsageError(
                f"{path}: CUDA graphs are captured of engines, not of ONNX files.", "Build an engine, or leave it out."
            )
        if options.device and provider.name == CPU:
            raise UsageError(f"device={options.device} was given with the provider cpu.", "Devices are GPUs.")
        if options.threads is not None and provider.name != CPU:
            raise UsageError(f"threads={options.threads} was given with {provider.name}.", "Threads are the CPU's.")
        if options.threads is not None and options.threads < 1:
            raise UsageError(f"{options.threads} threads were asked for, 1 or more were expected.", "Give threads=1.")
        return
    if options.provider is not None:
        raise UsageError(
            f"{path}: the provider {options.provider} was asked for, an engine runs in TensorRT itself.",
            "Leave the provider out: providers are onnxruntime's.",
        )
    if options.threads is not None:
        raise UsageError(f"{path}: threads={options.threads} was given, an engine has none.", "Leave it out.")
