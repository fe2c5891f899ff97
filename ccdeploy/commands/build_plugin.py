"""`ccdeploy build-plugin`: compile the CUDA kernel and the TensorRT plugin for some GPUs, once."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import click

from ccdeploy.commands.console import print_facts, print_json, progress, size_text
from ccdeploy.commands.options import FILE, json_option
from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.files import written_whole
from ccdeploy.native.architectures import NATIVE, check_choice, choose, in_words
from ccdeploy.native.build import build_library
from ccdeploy.native.toolchain import find_toolchain


@click.command("build-plugin")
@click.option(
    "--arch",
    default=NATIVE,
    show_default=True,
    metavar="native|LIST|all",
    help="GPUs to compile for: the one in this machine, compute capabilities such as 87 or 8.0,9.0, or all.",
)
@click.option("-o", "--output", type=FILE, help="Also copy the library to this file.")
@click.option("--cuda", type=FILE, metavar="DIR", help="The CUDA toolkit to use, and no other.")
@json_option
def command(arch: str, output: Path | None, cuda: Path | None, as_json: bool) -> None:
    """Compile libccdeploy_plugins.so: the criss-cross kernel with its C interface, and the TensorRT plugin.

    Needs nvcc, CMake and a C++ compiler; no TensorRT and no GPU. nvcc is looked for in CUDA_HOME, CUDA_PATH, on the
    PATH, in /usr/local/cuda and among pip's packages (the extra `nvcc`). What was built is kept in the user's cache,
    where `build-engine` and PyTorch find it.

    \b
    ccdeploy build-plugin
    ccdeploy build-plugin --arch 87 -o libccdeploy_plugins.so
    """
    check_choice(arch)
    with progress() as say:
        say("looking for nvcc, CMake and a C++ compiler")
        toolchain = find_toolchain(cuda)
        for place in toolchain.nvcc.passed_over:
            say(f"passed over: {place}")
        say(f"using {toolchain.nvcc}")
        report = probe_gpus()
        present = [gpu.compute_capability for gpu in report.gpus]
        architectures = choose(arch, toolchain.nvcc.known, present, report.reason)
        built = build_library(toolchain, architectures, say)
        library, record = built.cached.library, built.cached.record
        if output is not None:
            with written_whole(output) as temporary:
                shutil.copyfile(library.path, temporary)
    if as_json:
        print_json(
            {
                "file": str(output or library.path),
                "cached": str(library.path),
                "compiled_now": built.fresh,
                "passed_over": list(toolchain.nvcc.passed_over),
                **dataclasses.asdict(record),
            }
        )
        return
    rows = [
        ("plugin", f"{output or library.path} ({size_text(record.size)})"),
        ("sha256", record.sha256),
        ("runs on", f"compute capability {in_words(record.architectures)}"),
        ("compiler", record.compiler),
        ("built", f"in {record.seconds:.1f} s" + ("" if built.fresh else f" on {record.built}; nothing was to do now")),
    ]
    rows += [("note", f"passed over: {place}") for place in toolchain.nvcc.passed_over]
    print_facts(rows)
