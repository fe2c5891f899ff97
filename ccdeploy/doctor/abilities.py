"""What works here, in the words of the tasks that people have, and what each of them lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ccdeploy.doctor import gpu, hardware
from ccdeploy.doctor.finding import Finding, guarded
from ccdeploy.doctor.serving import CLIENT
from ccdeploy.doctor.software import ON_GPU
from ccdeploy.engine.flavour import FLAVOURS, TENSORRT, TENSORRT_RTX
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.serving.server.finding import PROGRAM

GROUP = "what works here"
_FOR_GPU = "a TensorRT for this GPU"
_POWER = tuple(hardware.POWER.format(device) for device in ("CPU", "GPU"))


@dataclass(frozen=True)
class _Ability:
    """A task, the commands for it, and the subjects that it needs: of each tuple, one."""

    task: str
    commands: str
    needs: tuple[tuple[str, ...], ...]


_ABILITIES = (
    _Ability("export", "export", (("models",), ("torch",), ("onnx",))),
    _Ability(
        "run and verify ONNX files", "verify, segment, benchmark, bisect", (("torch",), ("onnx",), ("onnxruntime",))
    ),
    _Ability("quantise", "quantize", (("torch",), ("onnx",), ("onnxruntime",))),
    _Ability("build engines for RTX cards", "build-engine --flavour tensorrt-rtx", (("onnx",), (TENSORRT_RTX,))),
    _Ability("build engines of full TensorRT", "build-engine --flavour tensorrt", (("onnx",), (TENSORRT,), ("GPU",))),
    _Ability("compile the plugin", "build-plugin", (("nvcc",), ("cmake",))),
    _Ability("run engines", "verify, segment, benchmark", (("GPU",), (_FOR_GPU,), ("pycuda",))),
    _Ability("run ONNX files on the GPU", "segment, benchmark", (("GPU",), (ON_GPU,))),
    _Ability("video and cameras", "segment", (("opencv",),)),
    _Ability("make a model repository", "package", (("torch",), ("onnx",), (CLIENT,))),
    _Ability("serve it", "serve", (("onnx",), (CLIENT,), (PROGRAM,))),
    _Ability("measure energy", "benchmark", (_POWER,)),
)


def findings(found: Iterable[Finding], report: GpuReport) -> list[Finding]:
    """A finding for each task, from the findings of the things that it needs. Never raises."""
    things: dict[str, Finding] = {}
    for finding in found:
        if finding.ok or finding.subject not in things:  # of several plugins, one that serves
            things[finding.subject] = finding

    def look() -> list[Finding]:
        things[_FOR_GPU] = _tensorrt_for_gpu(things, report)
        return [_ability(ability, things) for ability in _ABILITIES]

    return guarded("abilities", GROUP, look)


def _tensorrt_for_gpu(things: Mapping[str, Finding], report: GpuReport) -> Finding:
    """Whether one of the flavours that are installed serves the GPU here."""
    installed = [name for name in FLAVOURS if name in things and things[name].ok]
    reasons = {name: gpu.why_not_for(name, report) for name in installed}
    fitting = [name for name, reason in reasons.items() if not reason]
    if fitting:
        return Finding(_FOR_GPU, True, ", ".join(fitting))
    lacking = [things[name].remedy for name in FLAVOURS if name in things and things[name].remedy]
    return Finding(_FOR_GPU, False, "; ".join(reasons.values()), " ".join(lacking))


def _ability(ability: _Ability, things: Mapping[str, Finding]) -> Finding:
    lacking: list[str] = []
    for alternatives in ability.needs:
        if not any(name in things and things[name].ok for name in alternatives):
            lacking += [name for name in alternatives if name in things] or [alternatives[0]]
    if not lacking:
        return Finding(ability.task, True, ability.commands)
    told = [name for name in lacking if name in things] or lacking  # without a GPU nothing is said of what is for one
    remedies = dict.fromkeys(things[name].remedy for name in told if name in things)
    return Finding(ability.task, False, f"lacks {', '.join(told)}: see above", " ".join(remedies))
