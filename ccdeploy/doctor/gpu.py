"""The GPU, its driver, and what runs engines on it: TensorRT in its flavours, and pycuda."""

from __future__ import annotations

import importlib

from ccdeploy.doctor.finding import Finding, guarded
from ccdeploy.doctor.software import is_installed, newer_than_driver, version_of
from ccdeploy.engine.flavour import TENSORRT_RTX, FlavourStatus, load_flavour, probe_flavours
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.errors import first_line

GROUP = "GPU and TensorRT"
_CUDA_MAJORS = range(11, 20)
_PARTS = ("", "-libs", "-bindings")


def _gpus(report: GpuReport) -> list[Finding]:
    """A finding for each GPU, or why there is none."""
    driver = f"driver {report.driver or 'of unknown version'}, CUDA up to {report.cuda}"
    if not report.gpus:
        seen = f"{report.reason} ({driver})" if report.cuda else report.reason
        remedy = "Engines for RTX cards are built without a GPU (TensorRT-RTX); running one needs a GPU and its driver."
        return [Finding("GPU", False, seen, remedy)]
    return [
        Finding(
            "GPU",
            True,
            f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_bytes / 1e9:.0f} GB, {driver}",
        )
        for gpu in report.gpus
    ]


def findings(report: GpuReport) -> list[Finding]:
    """All of the group. Never raises."""
    gpus = guarded("GPU", GROUP, lambda: _gpus(report))
    tensorrt = guarded("tensorrt", GROUP, lambda: [_flavour(status, report) for status in probe_flavours()])
    return [*gpus, *tensorrt, *guarded("pycuda", GROUP, lambda: [_pycuda(report)])]


def why_not_for(name: str, report: GpuReport) -> str:
    """Why a flavour that is installed does not run on the first GPU here; empty if it does, or there is no GPU."""
    if not report.gpus:
        return ""
    cuda = _cuda_of(name)
    if cuda and newer_than_driver(cuda, report):
        return f"it is of CUDA {cuda}, the driver serves CUDA up to {report.cuda}"
    capability = report.gpus[0].compute_capability
    targets = load_flavour(name).compute_capabilities
    if targets and capability not in targets:
        return f"it is not for the GPU here (compute capability {capability})"
    return ""


def _flavour(status: FlavourStatus, report: GpuReport) -> Finding:
    if not status.available:
        return Finding(status.name, False, status.reason, status.remedy)
    seen = status.version
    if status.name == TENSORRT_RTX and load_flavour(status.name).unversioned_library() is not None:
        seen += "; its parser opens libtensorrt_rtx.so, which wheels lack: ccdeploy sees to it"
    if reason := why_not_for(status.name, report):
        remedy = "Update the NVIDIA driver." if "driver" in reason else "Use full TensorRT for this GPU."
        return Finding(status.name, True, f"{seen}; {reason}", remedy)
    return Finding(status.name, True, seen)


def _cuda_of(flavour: str) -> str:
    """The major version of CUDA that pip's packages of a flavour are of; empty where they do not tell."""
    for major in _CUDA_MAJORS:
        if any(version_of(f"{flavour}-cu{major}{part}") for part in _PARTS):
            return str(major)
    return ""


def _pycuda(report: GpuReport) -> Finding:
    if not is_installed("pycuda"):
        return Finding(
            "pycuda", False, "not installed", 'Needed to run engines from Python: pip install "ccdeploy[pycuda]"'
        )
    version = version_of("pycuda") or "of unknown version"
    try:
        importlib.import_module("pycuda.driver")
    except Exception as error:  # without the driver it does not load
        remedy = (
            "Install it again, for the CUDA version of this machine." if report.cuda else "It needs NVIDIA's driver."
        )
        return Finding("pycuda", False, f"{version} does not load: {first_line(error)}", remedy)
    return Finding("pycuda", True, version)
