"""`ccdeploy build-engine`: an ONNX file to a TensorRT engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from ccdeploy.commands.console import Say, print_facts, print_json, progress, size_text
from ccdeploy.commands.options import FILE, engine_options, json_option
from ccdeploy.engine.build import build_engine
from ccdeploy.engine.job import Progress
from ccdeploy.engine.manifest import Engine, Manifest, Plugin, manifest_path
from ccdeploy.engine.profiles import parse_profiles
from ccdeploy.native.architectures import in_words

MEBIBYTE = 1 << 20


@click.command("build-engine")
@click.argument("onnx_file", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The engine file to write.")
@click.option("--min", "minimum", multiple=True, metavar="INPUT:SHAPE", help="Smallest shape, as input:1x3x512x512.")
@click.option("--opt", "optimum", multiple=True, metavar="INPUT:SHAPE", help="Shape that the engine is tuned for.")
@click.option("--max", "maximum", multiple=True, metavar="INPUT:SHAPE", help="Largest shape.")
@engine_options
@click.option("--timing-cache", type=FILE, help="Timings kept between builds (full TensorRT).")
@click.option("--workspace", type=click.IntRange(1), metavar="MiB", help="Most scratch memory of a layer on the GPU.")
@click.option("--optimization-level", type=click.IntRange(0, 5), help="0 builds fast, 5 makes a fast engine.")
@click.option("--embed-plugin", is_flag=True, help="Carry the plugin library inside the engine.")
@json_option
def command(
    onnx_file: Path,
    output: Path,
    minimum: tuple[str, ...],
    optimum: tuple[str, ...],
    maximum: tuple[str, ...],
    compute_capabilities: tuple[str, ...],
    plugin: str,
    flavour: str,
    timing_cache: Path | None,
    workspace: int | None,
    optimization_level: int | None,
    embed_plugin: bool,
    as_json: bool,
) -> None:
    """Build a TensorRT engine from ONNX_FILE, its manifest beside it.

    TensorRT-RTX builds without a GPU, for RTX cards; full TensorRT builds for the GPU in this machine, Jetson included.
    Precision is the file's: choose it when you export.

    \b
    ccdeploy build-engine ccnet.onnx -o ccnet.engine --compute-capability 8.6
    ccdeploy build-engine any.onnx -o any.engine --min input:1x3x256x256 --opt input:1x3x512x512 \\
        --max input:4x3x1024x1024
    """
    with progress() as say:
        say(f"checking {onnx_file}")
        manifest = build_engine(
            onnx_file,
            output,
            flavour=flavour,
            profiles=parse_profiles(minimum, optimum, maximum),
            compute_capabilities=compute_capabilities,
            timing_cache=timing_cache,
            workspace_bytes=workspace * MEBIBYTE if workspace else None,
            plugin=plugin,
            embed_plugin=embed_plugin,
            optimization_level=optimization_level,
            progress=phases(say),
            say=say,
        )
    if as_json:
        print_json(manifest.to_dict())
    else:
        print_facts(facts(manifest, output))


def plugin_text(plugin: Plugin) -> str:
    """A plugin library in one line: its file, digest, what it runs on, and whether the engine carries it."""
    code = f", for {in_words(';'.join(plugin.architectures))}" if plugin.architectures else ""
    embedded = ", embedded" if plugin.embedded else ""
    return f"{plugin.file} (sha256 {plugin.sha256[:16]}...), version {plugin.version}{code}{embedded}"


def phases(say: Say) -> Callable[[Progress], None]:
    """Tells the outermost phases of a build as they begin."""
    told: set[str] = set()

    def tell(progress: Progress) -> None:
        if progress.depth <= 1 and progress.phase not in told:
            told.add(progress.phase)
            say(f"TensorRT: {progress.phase}")

    return tell


def facts(manifest: Manifest, path: Path) -> list[tuple[str, str]]:
    """What a user wants to know of a new engine."""
    engine = manifest.engine
    assert isinstance(engine, Engine)
    rows = [
        ("wrote", f"{path} ({size_text(path.stat().st_size)}), {manifest_path(path).name}"),
        ("built by", f"{engine.flavour} {engine.version} in {engine.build_seconds:.1f} s"),
        ("runs on", f"compute capability {', '.join(engine.compute_capabilities)}"),
        ("precision", manifest.types),
        ("layers", f"{engine.layers}; {engine.plugin_layers} plugins, {manifest.criss_cross_nodes} criss-cross passes"),
    ]
    if engine.plugin:
        rows.append(("plugin", plugin_text(engine.plugin)))
    for profile in engine.profiles:
        shapes = ", ".join(
            f"{name} {'x'.join(map(str, shape))}"
            for name, shape in (("min", profile.min), ("opt", profile.opt), ("max", profile.max))
        )
        rows.append(("profile", f"{profile.input}: {shapes}"))
    rows += [("note", note) for note in manifest.notes]
    return rows
