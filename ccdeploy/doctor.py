"""What this machine can and cannot do, each finding with what mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from dataclasses import dataclass

from ccdeploy import __version__
from ccdeploy.ccnet.cards import card_names
from ccdeploy.engine.flavour import probe_flavours
from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.errors import CardError


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: whether a thing is there, what was seen, and what mends it if it is not."""

    subject: str
    ok: bool
    seen: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Looks at everything that ccdeploy uses; never raises."""
    return [
        Finding("ccdeploy", True, f"{__version__}, Python {platform.python_version()}, {platform.machine()}"),
        _cards(),
        _package("torch", "pip install torch"),
        _package("onnx", "pip install onnx"),
        _onnxruntime(),
        *_gpus(),
        *(
            Finding(status.name, status.available, status.version if status.available else status.reason, status.remedy)
            for status in probe_flavours()
        ),
        _package("pycuda", 'Needed to run engines from Python: pip install "ccdeploy[pycuda]"'),
        Finding("plugin", False, "this release ships no plugin", "Engines are built from TensorRT's standard layers."),
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


def _gpus() -> list[Finding]:
    report = probe_gpus()
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
