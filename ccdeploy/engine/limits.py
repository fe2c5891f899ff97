"""What a TensorRT flavour cannot do: one check a limit, each with the value seen and the value expected."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ccdeploy.engine.flavour import Flavour, capability_key
from ccdeploy.engine.gpu import Gpu, GpuReport
from ccdeploy.errors import MissingError, UsageError

_DEVICES_BEYOND_RTX = {"8.7": "Jetson Orin", "9.0": "Hopper", "10.0": "Blackwell data-centre", "11.0": "Jetson Thor"}
_OLDEST_FOR_PRECISION = {"bf16": "8.0", "fp8": "8.9"}
_OPTIMIZATION_LEVELS = range(6)


def choose_compute_capabilities(
    flavour: Flavour, requested: Sequence[str], report: GpuReport
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The compute capabilities to build for, and what to tell the user about the choice.

    Full TensorRT builds for the GPU present. TensorRT-RTX builds for what was asked; if nothing was, for the GPU
    present; and without a GPU for all that it calls portable.

    Raises:
        UsageError: a compute capability that this flavour cannot build for.
        MissingError: full TensorRT without a GPU.
    """
    if not flavour.builds_without_gpu:
        gpu = check_gpu_present(flavour, report)
        for capability in requested:
            check_is_gpu_capability(flavour, capability, gpu)
        return (gpu.compute_capability,), ()
    if requested:
        for capability in requested:
            check_compute_capability(flavour, capability)
        chosen = tuple(sorted(set(requested), key=capability_key))
        older = [c for c in chosen if c not in flavour.portable_compute_capabilities]
        if older and len(chosen) > 1:
            return chosen, (
                f"one engine for {', '.join(chosen)}: including {', '.join(older)} can make it slower on the others; "
                "an engine of its own for each is faster",
            )
        return chosen, ()
    if report.gpus:
        gpu = report.gpus[0]
        check_compute_capability(flavour, gpu.compute_capability)
        return (gpu.compute_capability,), (
            f"built for the GPU present: {gpu.name}, compute capability {gpu.compute_capability}",
        )
    chosen = flavour.portable_compute_capabilities
    return chosen, (f"no GPU here ({report.reason}): built for compute capabilities {', '.join(chosen)}",)


def check_compute_capability(flavour: Flavour, capability: str) -> None:
    """Whether TensorRT-RTX can build for a compute capability such as "8.6"; raises UsageError if not."""
    capability_key(capability)
    if capability in flavour.compute_capabilities:
        return
    device = _DEVICES_BEYOND_RTX.get(capability)
    which = f"{capability} ({device})" if device else capability
    raise UsageError(
        f"{flavour.title} builds for compute capability {', '.join(flavour.compute_capabilities)}; got {which}.",
        f"Build with full TensorRT on the {device or 'target'} machine itself: --flavour tensorrt.",
    )


def check_gpu_present(flavour: Flavour, report: GpuReport) -> Gpu:
    """The GPU that full TensorRT builds for, CUDA's first; raises MissingError without one."""
    if report.gpus:
        return report.gpus[0]
    raise MissingError(
        f"{flavour.title} builds only for the GPU it runs on, and there is none here: {report.reason}.",
        "Build on the machine that will run the engine, or for RTX cards use --flavour tensorrt-rtx.",
    )


def check_is_gpu_capability(flavour: Flavour, capability: str, gpu: Gpu) -> None:
    """Whether a requested compute capability is the present GPU's; raises UsageError if not."""
    capability_key(capability)
    if capability != gpu.compute_capability:
        raise UsageError(
            f"{flavour.title} builds only for the GPU present, {gpu.name} of compute capability "
            f"{gpu.compute_capability}; got {capability}.",
            "Leave --compute-capability out, build on the target machine, or use --flavour tensorrt-rtx.",
        )


def check_precision(precision: str, capabilities: Sequence[str]) -> None:
    """Whether every targeted GPU computes in the model's precision; raises UsageError if not."""
    oldest = _OLDEST_FOR_PRECISION.get(precision)
    if oldest is None:
        return
    lacking = [c for c in capabilities if capability_key(c) < capability_key(oldest)]
    if lacking:
        raise UsageError(
            f"The model is {precision}, which needs compute capability {oldest} or newer; got {', '.join(lacking)}.",
            "Leave the older compute capability out, or "
            + ("quantise the model to int8." if precision == "fp8" else "export the model with --precision fp16."),
        )


def check_timing_cache(flavour: Flavour, timing_cache: Path | None) -> None:
    """Whether a timing cache, if one was named, can be used and written afterwards; raises UsageError if not."""
    if timing_cache is None:
        return
    if not flavour.has_timing_cache:
        raise UsageError(
            f"{flavour.title} has no timing cache; got {timing_cache}.",
            "Leave --timing-cache out: this flavour chooses its kernels when the engine first runs.",
        )
    folder = timing_cache.resolve().parent
    if timing_cache.is_dir() or not os.access(folder, os.W_OK):  # found out now rather than after the build
        raise UsageError(
            f"The timing cache {timing_cache} cannot be written.", "Name a file in a folder that exists and is yours."
        )


def check_workspace(workspace_bytes: int | None) -> None:
    """Whether a workspace limit, in bytes, is a size; raises UsageError if not."""
    if workspace_bytes is not None and workspace_bytes < 0:
        raise UsageError(f"A workspace limit of {workspace_bytes} bytes: 0 or more was expected.", "Give a size.")


def check_optimization_level(level: int | None) -> None:
    """Whether the builder's optimization level is one that TensorRT has; raises UsageError if not."""
    if level is not None and level not in _OPTIMIZATION_LEVELS:
        raise UsageError(
            f"Optimization level {level}: {_OPTIMIZATION_LEVELS[0]} to {_OPTIMIZATION_LEVELS[-1]} was expected.",
            "3 is TensorRT's own default; higher levels search longer.",
        )
