"""What is optional or heavy is imported when it is used: each module works without what it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

import pytest

OPTIONAL = (
    *("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings", "pycuda"),
    *("tritonclient", "grpc", "pytriton", "triton_python_backend_utils"),
)
HEAVY = (*OPTIONAL, "torch", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "google.protobuf", "safetensors")
LIGHT = (
    "ccdeploy",
    "ccdeploy.benchmark",
    "ccdeploy.benchmark.alone",
    "ccdeploy.benchmark.artefact",
    "ccdeploy.benchmark.compare",
    "ccdeploy.benchmark.energy",
    "ccdeploy.benchmark.figures",
    "ccdeploy.benchmark.network",
    "ccdeploy.benchmark.record",
    "ccdeploy.benchmark.running",
    "ccdeploy.benchmark.settings",
    "ccdeploy.benchmark.subject",
    "ccdeploy.benchmark.subjects",
    "ccdeploy.benchmark.summary",
    "ccdeploy.benchmark.sweep",
    "ccdeploy.benchmark.timing",
    "ccdeploy.ccnet",
    "ccdeploy.ccnet._card_types",
    "ccdeploy.ccnet._fields",
    "ccdeploy.ccnet.cards",
    "ccdeploy.ccnet.preprocessing",
    "ccdeploy.ccnet.provenance",
    "ccdeploy.commands",
    "ccdeploy.commands.benchmark",
    "ccdeploy.commands.benchmark_view",
    "ccdeploy.commands.build_plugin",
    "ccdeploy.commands.console",
    "ccdeploy.commands.doctor",
    "ccdeploy.commands.export",
    "ccdeploy.commands.models",
    "ccdeploy.commands.options",
    "ccdeploy.comparison",
    "ccdeploy.datasets",
    "ccdeploy.datasets.folders",
    "ccdeploy.datasets.labels",
    "ccdeploy.datasets.opening",
    "ccdeploy.doctor",
    "ccdeploy.doctor.abilities",
    "ccdeploy.doctor.finding",
    "ccdeploy.doctor.gpu",
    "ccdeploy.doctor.hardware",
    "ccdeploy.doctor.native",
    "ccdeploy.doctor.software",
    "ccdeploy.documents",
    "ccdeploy.engine",
    "ccdeploy.engine.flavour",
    "ccdeploy.engine.gpu",
    "ccdeploy.engine.job",
    "ccdeploy.engine.limits",
    "ccdeploy.engine.manifest",
    "ccdeploy.engine.plugin",
    "ccdeploy.engine.process",
    "ccdeploy.engine.profiles",
    "ccdeploy.errors",
    "ccdeploy.files",
    "ccdeploy.inspection",
    "ccdeploy.machine",
    "ccdeploy.machine.cpu",
    "ccdeploy.machine.description",
    "ccdeploy.machine.jetson",
    "ccdeploy.machine.jetson_sensors",
    "ccdeploy.machine.monitor",
    "ccdeploy.machine.nvml",
    "ccdeploy.machine.opening",
    "ccdeploy.machine.tegrastats",
    "ccdeploy.native",
    "ccdeploy.native.architectures",
    "ccdeploy.native.build",
    "ccdeploy.native.elf",
    "ccdeploy.native.library",
    "ccdeploy.native.toolchain",
    "ccdeploy.op",
    "ccdeploy.op.cases",
    "ccdeploy.op.kernel_limits",
    "ccdeploy.op.operands",
    "ccdeploy.op.work",
    "ccdeploy.pictures",
    "ccdeploy.precision",
    "ccdeploy.runners",
    "ccdeploy.runners.buffers",
    "ccdeploy.runners.cuda",
    "ccdeploy.runners.engine",
    "ccdeploy.runners.graphs",
    "ccdeploy.runners.layers",
    "ccdeploy.runners.loaded",
    "ccdeploy.runners.opening",
    "ccdeploy.runners.prepared",
    "ccdeploy.runners.providers",
    "ccdeploy.runners.slots",
    "ccdeploy.segmentation",
)
"""Modules that need neither PyTorch nor ONNX: what lists models, looks at a machine and runs engines."""
GRPC = "ccdeploy.serving.client.grpc"
"""Speaks gRPC in the words of tritonclient's generated code: imported only where that is asked for."""
LIGHT_PARTS = ("ccdeploy.serving.client", "ccdeploy.serving.fleet", "ccdeploy.serving.server")
"""Packages whose modules are all light, but for GRPC."""
ANSWERS = ("models", "doctor", "--help", "--version")
PROBE = """
import importlib, json, pkgutil, sys
for name in {absent!r}: sys.modules[name] = None  # makes `import torch` fail, as where it is not installed
import ccdeploy
names = ["ccdeploy", *(module.name for module in pkgutil.walk_packages(ccdeploy.__path__, "ccdeploy."))]
failed = {{}}
for name in names:
    if not name.endswith("__main__"):
        try: importlib.import_module(name)
        except ImportError as error: failed[name] = str(error)
print(json.dumps([names, failed]))
"""


def probe(absent: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """All modules, and those that do not import where these packages are absent."""
    command = [sys.executable, "-c", PROBE.format(absent=tuple(absent))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    names, failed = json.loads(done.stdout)
    return names, failed


def test_every_module_imports_where_what_is_optional_is_absent() -> None:
    names, failed = probe(OPTIONAL)
    assert len(names) > 40
    assert set(failed) == {GRPC}


def test_light_modules_import_where_nothing_heavy_is_installed() -> None:
    names, failed = probe(HEAVY)
    assert set(LIGHT) <= set(names)
    light = {*LIGHT, *(name for name in names if name.startswith(LIGHT_PARTS))} - {GRPC}
    assert len(light) > len(LIGHT) + 20
    assert {name: failed[name] for name in light if name in failed} == {}
    assert "ccdeploy.ccnet.network" in failed, "the probe hides what it says it hides"


@pytest.mark.parametrize("module", ["ccdeploy", "ccdeploy.commands", "ccdeploy.engine.gpu"])
def test_importing_costs_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}; print(*{{'torch', 'onnx', 'onnxruntime', 'rich', 'numpy', 'PIL'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_these_commands_answer_where_nothing_is_installed() -> None:
    for command in ANSWERS:
        code = f"import sys\nfor name in {HEAVY!r}: sys.modules[name] = None\n"
        code += f"sys.argv = ['ccdeploy', {command!r}]\nfrom ccdeploy.commands import main\nmain()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
