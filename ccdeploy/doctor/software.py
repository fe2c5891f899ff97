"""PyTorch, ONNX, onnxruntime and OpenCV: which is installed, and whether it is the build for this machine."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from pathlib import Path

from ccdeploy.doctor.finding import Finding, guarded
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.errors import first_line
from ccdeploy.runners.providers import CUDA, PROVIDERS, TENSORRT, Provider, why_not_provided

GROUP = "PyTorch and ONNX"
VIDEO_GROUP = "video"
ON_GPU = "onnxruntime on the GPU"
_CUDA_OF_TORCH = re.compile(r"^cuda\b[^=\n]*= *(None|'[^'\n]*'|\"[^\"\n]*\")", re.MULTILINE)
_ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


def findings(report: GpuReport) -> list[Finding]:
    """All of the group. Never raises."""
    return [
        *guarded("torch", GROUP, lambda: [_torch(report)]),
        *guarded("onnx", GROUP, lambda: [_package("onnx", "pip install onnx")]),
        *guarded("onnxruntime", GROUP, lambda: _onnxruntime(report)),
    ]


def video() -> list[Finding]:
    """OpenCV. Never raises."""
    return guarded("opencv", VIDEO_GROUP, lambda: [_opencv()])


def version_of(package: str) -> str:
    """The version of an installed distribution; empty where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def is_installed(module: str) -> bool:
    """Whether Python would find a module."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: something without a spec stands in its place
        return False


def _package(name: str, remedy: str) -> Finding:
    if not is_installed(name):
        return Finding(name, False, "not installed", remedy)
    return Finding(name, True, version_of(name) or "of unknown version")


def _torch(report: GpuReport) -> Finding:
    """PyTorch, by its files alone: importing it takes seconds."""
    found = _package("torch", "pip install torch")
    if not found.ok:
        return found
    spec = importlib.util.find_spec("torch")
    text = ""
    if spec is not None and spec.origin:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8", errors="replace")
    match = _CUDA_OF_TORCH.search(text)
    if match is None:
        return Finding("torch", True, f"{found.seen}, of which build is not known")
    cuda = "" if match[1] == "None" else match[1].strip("'\"")
    if not cuda:
        hint = "To run networks and the kernel on the GPU from PyTorch, install a CUDA build." if report.gpus else ""
        return Finding("torch", True, f"{found.seen}, a CPU build", hint)
    if report.gpus and newer_than_driver(cuda, report):
        seen = f"{found.seen}, a build for CUDA {cuda}; the driver serves CUDA up to {report.cuda}: it sees no GPU"
        return Finding("torch", True, seen, "Update the NVIDIA driver, or install a build for an older CUDA.")
    return Finding("torch", True, f"{found.seen}, a build for CUDA {cuda}")


def newer_than_driver(cuda: str, report: GpuReport) -> bool:
    """Whether libraries of a CUDA version need a newer driver; within a major version they do not."""
    return bool(report.cuda) and int(cuda.split(".")[0]) > int(report.cuda.split(".")[0])


def _onnxruntime(report: GpuReport) -> list[Finding]:
    if not is_installed("onnxruntime"):
        return [Finding("onnxruntime", False, "not installed", "pip install onnxruntime")]
    try:
        import onnxruntime
    except Exception as error:  # a damaged install fails in many ways
        return [Finding("onnxruntime", False, f"does not load: {first_line(error)}", "pip install onnxruntime")]
    keys = onnxruntime.get_available_providers()
    packages = [package for package in _ORT_PACKAGES if version_of(package)]
    named = ", ".join(key.removesuffix("ExecutionProvider") for key in keys)
    origin = f" (package {' and '.join(packages)})" if packages else ""
    seen = f"{onnxruntime.__version__}{origin}, providers: {named}"
    if len(packages) > 1:
        remedy = f"pip uninstall {' '.join(packages)}, then install one: they hold the same module."
        return [Finding("onnxruntime", False, f"{seen}; two packages overwrite one another", remedy)]
    found = [Finding("onnxruntime", True, seen)]
    listed = [PROVIDERS[name] for name in (CUDA, TENSORRT) if PROVIDERS[name].key in keys]
    if report.gpus and not listed:
        listed = [PROVIDERS[CUDA]]  # to say what is missing
    return found + [_on_gpu(provider) for provider in listed]


def _on_gpu(provider: Provider) -> Finding:
    """Whether a provider runs here: onnxruntime also lists one whose libraries do not load."""
    reason, remedy = why_not_provided(provider)
    return Finding(ON_GPU, not reason, reason or provider.title, remedy)


def _opencv() -> Finding:
    remedy = 'Needed for video files and cameras: pip install "ccdeploy[video]"'
    if not is_installed("cv2"):
        return Finding("opencv", False, "not installed", remedy)
    try:
        cv2 = importlib.import_module("cv2")
        built = str(cv2.getBuildInformation())
    except Exception as error:  # often a graphics library that a server lacks
        return Finding("opencv", False, f"does not load: {first_line(error)}", remedy)
    backends = [name for name in ("FFMPEG", "GStreamer", "v4l/v4l2") if re.search(rf"{name}: +YES", built)]
    if not backends:
        return Finding("opencv", False, f"{cv2.__version__}, built without video", remedy)
    return Finding("opencv", True, f"{cv2.__version__}, video by {', '.join(backends)}")
