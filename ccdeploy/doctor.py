"""What this machine can and cannot do, each finding with what mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from dataclasses import dataclass

from ccdeploy import __version__
from ccdeploy.ccnet.cards import card_names
from ccdeploy.engine.flavour import probe_flavours
from ccdeploy.engine.gpu import GpuReport, probe_gpus
from ccdeploy.errors import CardError, CcdeployError, MissingError
from ccdeploy.native.architectures import in_words, uncovered
from ccdeploy.native.library import ENVIRONMENT, Library, cached_libraries, named_library, source_digest
from ccdeploy.native.toolchain import find_builder, find_cmake, find_cxx, find_nvcc


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: whether a thing is there, what was seen, and what mends it if it is not."""

    subject: str
    ok: bool
    seen: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Looks at everything that ccdeploy uses; never raises."""
    gpus = probe_gpus()
    return [
        Finding("ccdeploy", True, f"{__version__}, Python {platform.python_version()}, {platform.machine()}"),
        _cards(),
        _package("torch", "pip install torch"),
        _package("onnx", "pip install onnx"),
        _onnxruntime(),
        *_gpus(gpus),
        *(
            Finding(status.name, status.available, status.version if status.available else status.reason, status.remedy)
            for status in probe_flavours()
        ),
        _package("pycuda", 'Needed to run engines from Python: pip install "ccdeploy[pycuda]"'),
        _nvcc(),
        _build_tools(),
        *_plugins([gpu.compute_capability for gpu in gpus.gpus]),
    ]


def _cards() -> Finding:
    try:
        return Finding("models", True, f"{len(card_names())} cards")
    except (CardError, FileNotFoundError) as error:
        return Finding(
            "models", False, getattr(error, "what", str(error)), getattr(error, "remedy", "Reinstall ccdeploy.")
        )


def _package(name: str, remedy: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, False, "not installed", remedy)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return Finding(name, True, version)


def _onnxruntime() -> Finding:
    try:
        import onnxruntime
    except Exception as error:  # a damaged install fails in many ways
        return Finding("onnxruntime", False, f"does not load: {error}", "pip install onnxruntime")
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    return Finding("onnxruntime", True, f"{onnxruntime.__version__}, providers: {providers}")


def _gpus(report: GpuReport) -> list[Finding]:
    if not report.gpus:
        remedy = "Engines for RTX cards are built without a GPU (TensorRT-RTX); running one needs a GPU and its driver."
        return [Finding("GPU", False, report.reason, remedy)]
    driver = f"driver {report.driver or 'of unknown version'}, CUDA up to {report.cuda}"
    return [
        Finding(
            "GPU",
            True,
            f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_bytes / 1e9:.0f} GB, {driver}",
        )
        for gpu in report.gpus
    ]


def _nvcc() -> Finding:
    try:
        nvcc = find_nvcc()
    except MissingError as error:
        return Finding("nvcc", False, error.what, f"Needed to compile the plugin. {error.remedy}")
    passed_over = "".join(f"; passed over: {place}" for place in nvcc.passed_over)
    return Finding("nvcc", True, f"{nvcc.version} ({nvcc.path}, {nvcc.where}){passed_over}")


def _build_tools() -> Finding:
    try:
        cmake, builder, cxx = find_cmake(), find_builder(), find_cxx()
    except MissingError as error:
        return Finding("cmake", False, error.what, f"Needed to compile the plugin. {error.remedy}")
    return Finding("cmake", True, f"{cmake.version} ({cmake.path}), {builder.name}, {cxx}")


def _plugins(present: list[str]) -> list[Finding]:
    """The plugin libraries that commands would use here: the one that the environment names, and those in the cache."""
    try:
        named, cached, source = named_library(), list(cached_libraries()), source_digest()
    except (CcdeployError, FileNotFoundError) as error:
        remedy = getattr(error, "remedy", "Reinstall ccdeploy.")
        return [Finding("plugin", False, getattr(error, "what", str(error)), remedy)]
    found = [_plugin(named, f"{ENVIRONMENT} names it", source, present)] if named else []
    current = [entry.library for entry in cached if entry.record.source == source]
    found += [_plugin(library, "cached", source, present) for library in current]
    stale = len(cached) - len(current)
    if not found:
        others = f"; {stale} in the cache of other sources" if stale else ""
        remedy = "Run `ccdeploy build-plugin`, or let `ccdeploy build-engine` do it; it needs nvcc."
        found.append(Finding("plugin", False, f"not built yet{others}", remedy))
    return found


def _plugin(library: Library, origin: str, source: str, present: list[str]) -> Finding:
    if library.info is None:
        return Finding("plugin", True, f"{library.path} ({origin}; it does not tell what it was built from)")
    seen = f"for {in_words(library.info.architectures)}, {library.path} ({origin})"
    if library.info.source != source:
        return Finding(
            "plugin", False, f"{seen}, of other sources than this ccdeploy's", "Run `ccdeploy build-plugin`."
        )
    if missing := uncovered(library.info.architectures, present):
        remedy = "Run `ccdeploy build-plugin`, which compiles for the GPU in this machine."
        return Finding("plugin", False, f"{seen}, not for the GPU here ({', '.join(missing)})", remedy)
    return Finding("plugin", True, seen)
