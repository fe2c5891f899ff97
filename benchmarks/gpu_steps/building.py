"""Compiles for the GPU in this machine: the library, the same with every tile, and the programs that try it.

With CMake, as users build it. A machine without CMake gets nvcc called directly, and the report says so: then it is not
the build that users have.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from registers import parse

from ccdeploy.errors import MissingError
from ccdeploy.native.architectures import cmake_list, for_targets, text_of
from ccdeploy.native.toolchain import Nvcc, find_builder, find_cmake, find_cxx, find_nvcc
from gpu_steps.context import Build, Context, write_build
from gpu_steps.record import DIFFERS, FAILED, NOT_RUN, OK, Row

ROOT = Path(__file__).resolve().parent.parent.parent
PLUGINS = ROOT / "plugins"
LIBRARY = "libccdeploy_plugins.so"
DRIVER = "libccdeploy_plugin_driver.so"
_LIBRARY_SOURCES = re.compile(r"add_library\(ccdeploy_plugins SHARED([^)]*)\)")
_LOG_SHOWN = 300
_one_log_at_a_time = threading.Lock()


class CompileError(Exception):
    """A compiler or CMake refused; holds the line that tells most."""


@dataclass(frozen=True)
class Job:
    """One tree to compile: all targets of gpu_check, or the library with every tile."""

    tree: Path
    all_tiles: bool
    """Only the library, with CCDEPLOY_ALL_TILES; else the library and the programs."""
    architectures: tuple[int, ...]
    nvcc: Nvcc

    @property
    def log(self) -> Path:
        """Everything that was printed."""
        return self.tree.with_suffix(".log")


def run(context: Context) -> Iterator[Row]:
    """The step. What it has built stands in build.json in the folder of the run."""
    nvcc = find_nvcc()
    major, minor = torch.cuda.get_device_capability()
    architectures = for_targets([f"{major}.{minor}"], nvcc.known)
    yield Row("nvcc", OK, f"{nvcc}, for {', '.join(map(text_of, architectures))}")
    try:
        cmake = str(find_cmake().path)
    except MissingError as error:
        cmake = ""
        yield Row("CMake", NOT_RUN, f"{error.what} nvcc was called directly instead: NOT the build that users have")
    start = time.perf_counter()
    folder = context.path("trees")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    jobs = [Job(folder / "normal", False, architectures, nvcc), Job(folder / "tuning", True, architectures, nvcc)]

    def compile_one(job: Job) -> str:
        try:
            return compile_with_cmake(job, cmake) if cmake else compile_with_nvcc(job)
        except (CompileError, MissingError) as error:
            return str(error)

    with ThreadPoolExecutor(len(jobs)) as pool:
        failures = list(pool.map(compile_one, jobs))
    for job, failure in zip(jobs, failures, strict=True):
        status = FAILED if failure else OK
        yield Row(job.tree.name, status, failure or f"compiled after {time.perf_counter() - start:.0f} s")
    write_build(found_in(folder), context.path("build.json"))
    yield from ptxas_report(jobs[1].log)


def found_in(folder: Path) -> Build:
    """What lies in the trees."""

    def path(pattern: str) -> str:
        return str(next(iter(sorted(folder.glob(pattern))), ""))

    return Build(
        "cuda",
        library=path(f"normal/**/{LIBRARY}"),
        tuning=path(f"tuning/**/{LIBRARY}"),
        golden=path("normal/golden"),
        small_case=path("normal/small_case"),
        driver=path(f"normal/**/{DRIVER}"),
        log=str(folder / "tuning.log"),
    )


def compile_with_cmake(job: Job, cmake: str) -> str:
    """Returns "" or raises CompileError."""
    builder = find_builder()
    ninja = builder.name.startswith("ninja")
    configure = [cmake, "-S", str(PLUGINS if job.all_tiles else PLUGINS / "gpu_check"), "-B", str(job.tree)]
    configure += ["-G", "Ninja" if ninja else "Unix Makefiles", f"-DCMAKE_MAKE_PROGRAM={builder}"]
    configure += [f"-DCMAKE_CUDA_COMPILER={job.nvcc.path}", f"-DCMAKE_CXX_COMPILER={find_cxx()}"]
    configure += [f"-DCMAKE_CUDA_ARCHITECTURES={cmake_list(job.architectures)}", "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-DCCDEPLOY_ALL_TILES={'ON' if job.all_tiles else 'OFF'}"]
    call(configure, job)
    # What ptxas says of one file must not be mixed with what it says of another: ninja sees to that by itself.
    call([cmake, "--build", str(job.tree), "--parallel", str(cores()), *([] if ninja else ["--", "-Otarget"])], job)
    return ""


def compile_with_nvcc(job: Job) -> str:
    """The same without CMake. Returns "" or raises CompileError."""
    job.tree.mkdir(parents=True)
    targets = [f"-gencode=arch=compute_{a},code=[sm_{a},compute_{a}]" for a in job.architectures]
    includes = [f"-I{PLUGINS / 'include'}", f"-I{PLUGINS / 'criss_cross'}"]
    defines = [f'-DCCDEPLOY_ARCHITECTURES="{cmake_list(job.architectures)}"', '-DCCDEPLOY_VERSION="0"']
    defines += [f'-DCCDEPLOY_COMPILER="{job.nvcc.version}"', '-DCCDEPLOY_SOURCE_SHA256=""']
    defines += ["-DCCDEPLOY_ALL_TILES"] if job.all_tiles else []
    common = [str(job.nvcc.path), "-std=c++17", "-O3", "-DNDEBUG", *targets, *includes, *defines]
    hidden = "-Xcompiler=-fPIC,-fvisibility=hidden,-fvisibility-inlines-hidden"
    sources = library_sources((PLUGINS / "CMakeLists.txt").read_text(encoding="utf-8"))

    def compile_one(source: str) -> str:
        target = job.tree / f"{source.replace('/', '-')}.o"
        own = ["-Xptxas=-v"] if source.endswith(".cu") else ["-Xcompiler=-fno-exceptions,-fno-rtti"]
        call([*common, hidden, *own, "-c", str(PLUGINS / source), "-o", str(target)], job)
        return str(target)

    with ThreadPoolExecutor(max(1, cores() // 2)) as pool:
        objects = list(pool.map(compile_one, sources))
    library = job.tree / LIBRARY
    exports = f"-Xlinker=--version-script={PLUGINS / 'exports.map'},--no-undefined"
    runtime = "-Xcompiler=-static-libstdc++,-static-libgcc"
    call([*common, "-shared", "-cudart=static", runtime, exports, *objects, "-ldl", "-o", str(library)], job)
    if not job.all_tiles:
        for program in ("golden", "small_case"):
            link = [str(library), f"-Xlinker=-rpath={job.tree}"] if program == "small_case" else []
            source = PLUGINS / "gpu_check" / f"{program}.cu"
            call([*common, "-lineinfo", "-cudart=static", str(source), *link, "-o", str(job.tree / program)], job)
        driver = PLUGINS / "tensorrt" / "checks" / "driver.cpp"
        options = ["-std=c++17", "-O2", "-fPIC", "-shared", str(driver), "-ldl", "-o", str(job.tree / DRIVER)]
        call([str(find_cxx()), *options], job)
    return ""


def library_sources(cmake_lists: str) -> list[str]:
    """The library's sources, from the one place that lists them."""
    match = _LIBRARY_SOURCES.search(cmake_lists)
    if match is None or not match[1].split():
        raise CompileError("plugins/CMakeLists.txt does not list the sources of ccdeploy_plugins as expected")
    return match[1].split()


def call(command: Sequence[str], job: Job) -> None:
    """Runs one command; its output goes to the log, in one piece. Raises CompileError with the telling line."""
    environment = dict(os.environ)
    if job.nvcc.libraries is not None:
        paths = [str(job.nvcc.libraries), *filter(None, [environment.get("LIBRARY_PATH")])]
        environment["LIBRARY_PATH"] = os.pathsep.join(paths)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    with _one_log_at_a_time, job.log.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}")
    if done.returncode != 0:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        telling = [line for line in lines if re.search(r"\berror\b|CMake Error|undefined reference", line)]
        said = (telling or lines or ["no output"])[0][:_LOG_SHOWN]
        raise CompileError(f"{Path(command[0]).name} ended with exit code {done.returncode}: {said} (log: {job.log})")


def ptxas_report(log: Path) -> Iterator[Row]:
    """Registers and spills of each kernel, from the log of the build with every tile."""
    try:
        kernels = list(parse(log.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        yield Row("ptxas", FAILED, str(error))
        return
    if not kernels:
        yield Row("ptxas", NOT_RUN, f"no report of ptxas in {log}")
        return
    most = max(kernels, key=lambda kernel: kernel.registers)
    spilling = [kernel for kernel in kernels if kernel.spilled_bytes]
    said = f"{len(kernels)} kernels, at most {most.registers} registers ({most.name} {most.tile}), "
    said += f"{len(spilling)} spill" if spilling else "no spills"
    said += "".join(f"; {k.name} {k.tile} Cq {k.query_channels}: {k.spilled_bytes} bytes" for k in spilling)
    rows = [
        {"kernel": k.name, "tile": k.tile, "Cq": k.query_channels, "registers": k.registers, "spilled": k.spilled_bytes}
        for k in kernels
    ]
    yield Row("ptxas", DIFFERS if spilling else OK, said, {"kernels": rows})


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
