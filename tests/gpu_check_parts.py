"""What the tests of the GPU check share: an emulated build to rehearse on, and a recorded result of all steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
for _folder in (ROOT / "benchmarks", ROOT / "tools", ROOT / "tests" / "plugins"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

import emulation  # noqa: E402
import golden_program as golden  # noqa: E402
from gpu_steps.contestants import COMPILED, EAGER, KERNEL, NCHW  # noqa: E402
from gpu_steps.record import NOT_RUN, OK, Row, StepResult  # noqa: E402
from gpu_steps.report import Result  # noqa: E402
from gpu_steps.speed import table_row  # noqa: E402
from gpu_steps.timing import Times  # noqa: E402

from ccdeploy.op.cases import Case  # noqa: E402

SCRIPT = ROOT / "benchmarks" / "gpu_check.py"
PLANTED = r"""
// The emulated library with one fault: what is called here is done there, and then one element of y is spoilt.
#include <dlfcn.h>
#include "ccdeploy/criss_cross.h"
namespace {
template <class Function> Function real(char const* name)
{
    static void* const library = dlopen(REAL, RTLD_NOW | RTLD_LOCAL);
    return reinterpret_cast<Function>(dlsym(library, name));
}
}
#define REAL_OF(function) real<decltype(&function)>(#function)
extern "C" {
int32_t ccdeploy_api_version(void) { return REAL_OF(ccdeploy_api_version)(); }
char const* ccdeploy_build_info(void) { return REAL_OF(ccdeploy_build_info)(); }
char const* ccdeploy_last_error(void) { return REAL_OF(ccdeploy_last_error)(); }
ccdeploy_status ccdeploy_criss_cross_workspace(ccdeploy_criss_cross const* problem, size_t* bytes)
{
    return REAL_OF(ccdeploy_criss_cross_workspace)(problem, bytes);
}
ccdeploy_status ccdeploy_criss_cross_launch(ccdeploy_criss_cross const* problem, void const* qkv, void const* residual,
                                            void* y, void* workspace, size_t workspace_bytes, void* stream)
{
    ccdeploy_status const status = REAL_OF(ccdeploy_criss_cross_launch)(problem, qkv, residual, y, workspace,
                                                                        workspace_bytes, stream);
    static int calls = 0;
    ++calls;
    if (FAULT)
        SPOIL;
    return status;
}
}
"""


def rehearsal_build(folder: Path, library: Path | None = None) -> Path:
    """A build.json with the emulator in the place of the GPU."""
    built = emulation.build()
    real = library or built / "libccdeploy_plugins_emulated.so"
    programs = {}
    for name in ("golden", "small_case"):
        source = emulation.PLUGINS / "gpu_check" / f"{name}.cu"
        compiled = golden.compile_object(source, folder / f"{name}.o")
        programs[name] = str(golden.link([compiled], built / "libemulator_parts.a", folder / name))
    driver = folder / "libccdeploy_plugin_driver.so"
    source = emulation.PLUGINS / "tensorrt" / "checks" / "driver.cpp"
    command = [golden.compiler(), "-std=c++17", "-O1", "-fPIC", "-shared", str(source), "-ldl", "-o", str(driver)]
    subprocess.run(command, check=True)
    programs["driver"] = str(driver)
    path = folder / "build.json"
    path.write_text(json.dumps({"device": "cpu", "library": str(real), "tuning": str(real), **programs}))
    return path


def planted_library(folder: Path, fault: str, spoil: str) -> Path:
    """The emulated library with a fault; `fault` is a condition on `problem` and `calls`."""
    real = emulation.build() / "libccdeploy_plugins_emulated.so"
    source, target = folder / "planted.cpp", folder / "libplanted.so"
    source.write_text(PLANTED.replace("FAULT", fault).replace("SPOIL", spoil))
    include = f"-I{emulation.PLUGINS / 'include'}"
    command = [golden.compiler(), "-std=c++17", "-shared", "-fPIC", include, f'-DREAL="{real}"', str(source)]
    subprocess.run([*command, "-o", str(target), "-ldl"], check=True)
    return target


def recorded(kernel_us: float = 20.0, steps: tuple[StepResult, ...] = ()) -> Result:
    """A result as a GPU would give it, with round numbers."""
    times = {
        KERNEL: Times(kernel_us, kernel_us - 1, kernel_us + 1, 41),
        NCHW: Times(45.0, 44.0, 46.0, 41),
        EAGER: Times(800.0, 790.0, 820.0, 41),
        COMPILED: Times(300.0, 290.0, 310.0, 41),
        f"{KERNEL}, deep": Times(19.0, 18.5, 19.5, 41),
    }
    fp16 = table_row("fp16 1x512x97x97-cq64", Case(1, 512, 64, 97, 97), "fp16", times, {KERNEL: 15.0}, {}, 2.5e12, 2e-3)
    without_compiled = {name: each for name, each in times.items() if name in (KERNEL, NCHW, EAGER)}
    fp32 = table_row(
        "fp32 1x512x97x97-cq64", Case(1, 512, 64, 97, 97), "fp32", without_compiled, {},
        {COMPILED: "BackendCompilerFailed: no triton | here"}, 2.5e12, 1e-6,
    )  # fmt: skip
    bandwidth = Row("copy bandwidth", OK, "2500 GB/s, read and written together, copying 1024 MiB")
    usual = (
        StepResult("machine", 1.0, (Row("card", OK, "card A card, compute capability 9.0"),)),
        StepResult("golden", 2.0, (Row("pack (half)", OK, "65541 values"),)),
        StepResult("sanitizer", 0.1, (Row("compute-sanitizer", NOT_RUN, "compute-sanitizer was not found"),)),
        StepResult("speed", 60.0, (bandwidth, fp16, fp32)),
    )
    return Result("A card", "2025-06-30T12:00:00+00:00", "0123456789ab", 7, usual + steps)
