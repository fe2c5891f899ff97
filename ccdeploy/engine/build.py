"""From an ONNX file to a TensorRT engine with its manifest: everything is checked before the build begins."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ccdeploy import __version__
from ccdeploy.engine import limits
from ccdeploy.engine.flavour import AUTO as AUTO_FLAVOUR
from ccdeploy.engine.flavour import load_flavour
from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.engine.job import Job, Progress
from ccdeploy.engine.manifest import Engine, Manifest, Profile, write_manifest
from ccdeploy.engine.plugin import AUTO as AUTO_PLUGIN
from ccdeploy.engine.plugin import given_library, plugin_record, resolve_plugin
from ccdeploy.engine.process import run_job
from ccdeploy.engine.profiles import check_profiles
from ccdeploy.engine.source import read_source
from ccdeploy.errors import UsageError
from ccdeploy.files import sha256_of, written_whole


def build_engine(
    onnx_path: Path,
    engine_path: Path,
    *,
    flavour: str = AUTO_FLAVOUR,
    profiles: Sequence[Profile] = (),
    compute_capabilities: Sequence[str] = (),
    timing_cache: Path | None = None,
    workspace_bytes: int | None = None,
    plugin: str = AUTO_PLUGIN,
    embed_plugin: bool = False,
    optimization_level: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Builds an engine from an ONNX file and writes it with its manifest beside it; returns the manifest.

    TensorRT runs in a child process. An error, a crash or Ctrl-C leaves what was at `engine_path` as it was.

    Args:
        onnx_path: any ONNX file; one that ccdeploy exported brings its manifest.
        engine_path: where to write.
        flavour: "tensorrt", "tensorrt-rtx", or "auto" for the first of these that is installed.
        profiles: the shapes to accept, one profile for each dynamic input (see profiles.parse_profiles).
        compute_capabilities: the GPUs to build for, such as "8.6"; see limits.choose_compute_capabilities.
        timing_cache: full TensorRT only: read if it exists, written afterwards.
        workspace_bytes: the most scratch memory that a layer may take on the GPU; None: no limit.
        plugin: a plugin library's file, "none", or "auto"; see plugin.resolve_plugin.
        embed_plugin: whether the engine carries the plugin library inside it.
        optimization_level: 0 (fast build) to 5 (fast engine); None: TensorRT's default.
        progress: called with every step of the build.
        say: told each step of what comes before, one line at a time: "auto" may compile the plugin.

    Raises:
        UsageError: options or shapes that do not fit the model, the flavour or each other.
        ArtefactError: the ONNX file is damaged, invalid or incomplete.
        MissingError: TensorRT, or the GPU that full TensorRT needs, is not there.
        BuildError: TensorRT refused the model or crashed, or the plugin does not compile.
    """
    limits.check_workspace(workspace_bytes)
    limits.check_optimization_level(optimization_level)
    given_library(plugin)  # a wrong name is told before the model is read
    if engine_path.resolve() == onnx_path.resolve():
        raise UsageError(f"The engine would overwrite its own model {onnx_path}.", "Choose another name with -o.")
    model = read_source(onnx_path)
    used_profiles = check_profiles(model.inputs, profiles)
    tensorrt = load_flavour(flavour)
    limits.check_timing_cache(tensorrt, timing_cache)
    targets, target_notes = limits.choose_compute_capabilities(tensorrt, compute_capabilities, probe_gpus())
    for precision in (model.manifest.precision, *model.quantised):
        limits.check_precision(precision, targets)
    choice = resolve_plugin(plugin, model.criss_cross, model.manifest.precision, targets, say)
    library = choice.library
    if embed_plugin and library is None:
        why = " ".join(choice.notes) or "the model has no criss-cross node, or --plugin none was given"
        raise UsageError(f"--embed-plugin was given, but there is no plugin to embed: {why}.", "Leave it out.")

    notes = [*model.notes, *target_notes]
    if flavour == AUTO_FLAVOUR:
        notes.append(f"{tensorrt.title} was chosen: {tensorrt.reason}")
    notes += choice.notes

    with written_whole(engine_path) as output, tempfile.TemporaryDirectory(prefix="ccdeploy-") as scratch:
        job = Job(
            flavour=tensorrt.name,
            onnx=str(onnx_path.resolve()),
            output=str(output.resolve()),
            scratch=scratch,
            operators=model.operators,
            criss_cross_nodes=len(model.criss_cross),
            profiles=used_profiles,
            compute_capabilities=targets,
            plugin=str(library.path) if library else None,
            embed_plugin=embed_plugin,
            timing_cache=str(timing_cache.resolve()) if timing_cache else None,
            workspace_bytes=workspace_bytes,
            optimization_level=optimization_level,
        )
        start = time.perf_counter()
        result = run_job(job, tensorrt, progress)
        seconds = time.perf_counter() - start
        digest = sha256_of(output)
    engine = Engine(
        flavour=tensorrt.name,
        version=tensorrt.version,
        compute_capabilities=targets,
        profiles=used_profiles,
        plugin=plugin_record(library, result.plugin_version, embed_plugin) if library else None,
        plugin_layers=result.plugin_layers,
        layers=result.layers,
        workspace_bytes=workspace_bytes,
        build_seconds=round(seconds, 3),
    )
    manifest = replace(
        model.manifest,
        kind="engine",
        file=engine_path.name,
        sha256=digest,
        ccdeploy=__version__,
        notes=(*model.manifest.notes, *notes),
        engine=engine,
    )
    write_manifest(manifest, engine_path)
    return manifest
