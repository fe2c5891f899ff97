"""What is optional or heavy is imported when it is used: each module here works without it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnx_ir",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
    "pycuda",
)
LIGHT = (
    "ccdeploy",
    "ccdeploy.errors",
    "ccdeploy.files",
    "ccdeploy.ccnet.cards",
    "ccdeploy.ccnet.preprocessing",
    "ccdeploy.commands",
    "ccdeploy.commands.doctor",
    "ccdeploy.commands.models",
    "ccdeploy.commands.options",
    "ccdeploy.doctor",
    "ccdeploy.engine.flavour",
    "ccdeploy.engine.gpu",
    "ccdeploy.engine.manifest",
    "ccdeploy.pictures",
    "ccdeploy.precision",
)
ANSWERS = ("models", "doctor", "--help", "--version")
WITHOUT = f"import sys\nfor name in {HEAVY!r}: sys.modules[name] = None\n"
"""Makes `import torch` and its like fail, as where they are not installed."""


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_where_nothing_is_installed(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"{WITHOUT}import {module}"], check=True, capture_output=True)


def test_these_commands_answer_where_nothing_is_installed() -> None:
    for command in ANSWERS:
        code = f"{WITHOUT}sys.argv = ['ccdeploy', {command!r}]\nfrom ccdeploy.commands import main\nmain()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
