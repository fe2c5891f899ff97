"""The comparison of our declarations with NvInfer.h finds every entry that differs; here against a stand-in header.

With the real headers of TensorRT it runs in every build on a machine that has them; see docs/plugin.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CHECKS = ROOT / "plugins" / "tensorrt" / "checks"
STAND_IN = Path(__file__).parent / "stand_in_tensorrt" / "NvInfer.h"

WRONG = {
    "a value": (
        "kCHW2,\n    kHWC8,",
        "kHWC8,\n    kCHW2,",
        ["TensorFormat::kCHW2: value", "TensorFormat::kHWC8: value"],
    ),
    "a value after a new one": ("{ kCORE, kBUILD,", "{ kCORE, kNEW, kBUILD,", ["PluginCapabilityType::kBUILD: value"]),
    "the size of an enumeration": (
        "TensorRTPhase : int32_t",
        "TensorRTPhase : int64_t",
        ["TensorRTPhase::kBUILD: size"],
    ),
    "a new member": (
        "    TensorFormat format;\n",
        "    TensorFormat format;\n    int64_t strides;\n",
        ["PluginTensorDesc: size", "PluginTensorDesc::scale: offset", "DynamicPluginTensorDesc::max: offset"],
    ),
    "members in another order": (
        "    PluginFieldType type;\n    int32_t length;\n",
        "    int32_t length;\n    PluginFieldType type;\n",
        ["PluginField::type: offset", "PluginField::length: offset"],
    ),
    "the size of a member": (
        "    int32_t nbFields;\n",
        "    int64_t nbFields;\n",
        ["PluginFieldCollection::nbFields: size"],
    ),
    "more dimensions": ("MAX_DIMS = 8", "MAX_DIMS = 9", ["Dims: number of sizes", "DimsExprs: size"]),
    "a new function": (
        "    virtual int32_t getNbTactics()",
        "    virtual void added() noexcept = 0;\n    virtual int32_t getNbTactics()",
        ["IPluginV3OneBuild::getNbTactics: place", "IPluginV3OneBuild::getMetadataString: place"],
    ),
    "functions in another order": (
        "    virtual char const* getPluginVersion() const noexcept = 0;\n"
        "    virtual char const* getPluginNamespace() const noexcept = 0;\n};\n\nclass IPluginV3OneBuild",
        "    virtual char const* getPluginNamespace() const noexcept = 0;\n"
        "    virtual char const* getPluginVersion() const noexcept = 0;\n};\n\nclass IPluginV3OneBuild",
        ["IPluginV3OneCore::getPluginVersion: place", "IPluginV3OneCore::getPluginNamespace: place"],
    ),
    "no destructor in the table": (
        "    virtual ~IVersionedInterface() noexcept = default;\n",
        "",
        ["IPluginV3::getCapabilityInterface: place", "IPluginCreatorV3One::createPlugin: place"],
    ),
    "a new parameter": (
        "void*, cudaStream_t) noexcept",
        "void*, cudaStream_t, int32_t) noexcept",
        ["IPluginV3OneRuntime::enqueue: number of parameters"],
    ),
    "the type of a parameter": (
        "setTactic(int32_t)",
        "setTactic(int64_t)",
        ["IPluginV3OneRuntime::setTactic: kind of parameter"],
    ),
    "the type of a result": (
        "virtual size_t getWorkspaceSize",
        "virtual int32_t getWorkspaceSize",
        ["IPluginV3OneBuild::getWorkspaceSize: kind of result"],
    ),
    "the registry's functions": (
        "    virtual void* loadLibrary",
        "    virtual void added() = 0;\n    virtual void* loadLibrary",
        ["IPluginRegistry::registerCreator: place", "IPluginRegistry::deregisterCreator: place"],
    ),
}


def check(header: str, folder: Path, generation: int) -> subprocess.CompletedProcess[str]:
    """Compiles check_abi against a header and runs it."""
    folder.joinpath("NvInfer.h").write_text(header)
    program = folder / "check_abi"
    compiler = [os.environ.get("CXX", "c++"), "-std=c++17", f"-DNV_TENSORRT_MAJOR={generation}", f"-I{folder}"]
    subprocess.run([*compiler, str(CHECKS / "check_abi.cpp"), "-o", str(program)], check=True)
    return subprocess.run([str(program)], capture_output=True, text=True)


@pytest.mark.parametrize("generation", [10, 11])
def test_header_that_agrees_is_accepted(tmp_path: Path, generation: int):
    done = check(STAND_IN.read_text(), tmp_path, generation)
    assert (done.returncode, done.stdout) == (0, f"0 differences from NvInfer.h of TensorRT {generation}.2.3\n")


@pytest.mark.parametrize("what", WRONG)
def test_difference_is_named(tmp_path: Path, what: str):
    right, wrong, entries = WRONG[what]
    header = STAND_IN.read_text()
    assert header.count(right) == 1
    done = check(header.replace(right, wrong), tmp_path, 11)
    assert done.returncode == 1
    for entry in entries:
        assert entry in done.stdout


@pytest.mark.parametrize("generation", [10, 11])
def test_logger_of_the_other_generation_is_a_difference(tmp_path: Path, generation: int):
    header = STAND_IN.read_text()
    condition = "#if NV_TENSORRT_MAJOR == 10\nstruct LoggerBase"
    assert header.count(condition) == 1
    done = check(header.replace(condition, condition.replace("==", "!=")), tmp_path, generation)
    assert done.returncode == 1
    assert "ILogger::log: place" in done.stdout
    assert "ILoggerFinder::findLogger: place" in done.stdout


def test_headers_without_the_interface_are_nothing_to_compare(tmp_path: Path):
    done = check("#define NV_TENSORRT_MINOR 6\n", tmp_path, 8)
    assert done.returncode == 0
    assert "no plugin interface V3" in done.stdout


@pytest.mark.parametrize("agrees", [True, False])
def test_build_fails_if_the_headers_disagree(tmp_path: Path, agrees: bool):
    header = STAND_IN.read_text()
    tmp_path.joinpath("NvInfer.h").write_text(header if agrees else header.replace("MAX_DIMS = 8", "MAX_DIMS = 4"))
    tree = tmp_path / "tree"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    folders = [f"-DCCDEPLOY_{which}_INCLUDE_DIR={tmp_path}" for which in ("TENSORRT", "CUDA")]
    subprocess.run(["cmake", "-S", str(CHECKS), "-B", str(tree), *generator, *folders], check=True, capture_output=True)
    build = ["cmake", "--build", str(tree), "--target", "check_abi"]
    done = subprocess.run(build, capture_output=True, text=True)
    assert (done.returncode == 0) is agrees
    assert ("0 differences" in done.stdout) is agrees
