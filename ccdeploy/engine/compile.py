"""Parses an ONNX file into a TensorRT network and builds the engine, in this process.

The worker runs this in a child process; nothing else should, for TensorRT can take its process down with it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy.engine.flavour import Flavour
from ccdeploy.engine.job import Job, JobResult, Progress
from ccdeploy.engine.plugin import expected_plugin_layers
from ccdeploy.errors import BuildError, MissingError, UsageError
from ccdeploy.files import written_whole
from ccdeploy.op.onnx_op import DOMAIN, NAME

_PLUGIN_LAYERS = ("PLUGIN", "PLUGIN_V2", "PLUGIN_V3")
_NO_GPU = re.compile(r"cudaError (35|100):")  # no driver; a driver without a GPU
_SHOWN = 3  # how many operators, or lines of TensorRT's log, an error quotes


def compile_engine(job: Job, flavour: Flavour, on_progress: Callable[[Progress], None]) -> JobResult:
    """Builds the job's engine into `job.output`.

    Raises:
        BuildError: TensorRT refused the model, the plugin or the configuration.
        MissingError: TensorRT does not start, for want of a driver that is new enough.
        UsageError: a timing cache of another TensorRT or GPU.
    """
    log = _make_log(flavour)
    builder = _make_builder(flavour, log)
    plugin_version = _load_plugin(job, flavour, log)
    network = builder.create_network(flavour.network_flags)
    parser = flavour.module.OnnxParser(network, log)
    _check_operators(job, flavour, parser)
    _parse(job, flavour, parser, log)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    plugin_layers = sum(layer.type.name in _PLUGIN_LAYERS for layer in layers)
    _check_plugin_layers(job, flavour, plugin_layers)

    config = builder.create_builder_config()
    config.progress_monitor = _make_monitor(flavour, on_progress)
    flavour.set_compute_capabilities(config, job.compute_capabilities)
    _apply_settings(job, flavour, config)
    _add_profile(job, builder, config, log)
    timing_cache = _use_timing_cache(job, config)
    log.errors.clear()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _build_error(
            f"{flavour.title} could not build {Path(job.onnx).name}",
            log.errors,
            "Try a larger --workspace, smaller --max shapes or another precision.",
        )
    if timing_cache is not None:
        with written_whole(timing_cache) as temporary:
            temporary.write_bytes(config.get_timing_cache().serialize())
    Path(job.output).write_bytes(engine)
    return JobResult(len(layers), plugin_layers, plugin_version)


def _make_builder(flavour: Flavour, log: Any) -> Any:
    try:
        return flavour.module.Builder(log)
    except (TypeError, RuntimeError) as error:  # the bindings' TypeError: TensorRT returned no builder
        raise MissingError(
            _explained(f"{flavour.title} does not start", log.errors or [str(error)]),
            "Its CUDA version and the NVIDIA driver must go together: `ccdeploy doctor` shows both.",
        ) from error


def _load_plugin(job: Job, flavour: Flavour, log: Any) -> str:
    """Loads the job's plugin library and returns its creator's version; empty if the job has none."""
    if job.plugin is None:
        return ""
    registry = flavour.module.get_plugin_registry()
    log.errors.clear()
    registry.load_library(job.plugin)
    # load_library says nothing about a file without the entry point: only the registry shows whether it worked.
    versions = [str(creator.plugin_version) for creator in registry.all_creators if creator.name == NAME]
    if not versions:
        raise _build_error(
            f"{flavour.title} found no {NAME} plugin in {job.plugin}",
            log.errors,
            "Name a plugin library of ccdeploy that fits this TensorRT, or use --plugin none.",
        )
    return versions[0]


def _check_operators(job: Job, flavour: Flavour, parser: Any) -> None:
    """Whether the parser or a plugin knows every operator that the file does not define."""
    plugins = {creator.name for creator in flavour.module.get_plugin_registry().all_creators}
    unknown = [o for o in job.operators if not parser.supports_operator(o.name) and o.name not in plugins]
    if not unknown:
        return
    names = ", ".join(map(str, unknown[:_SHOWN]))
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    own = all(o.domain == DOMAIN for o in unknown)
    raise BuildError(
        f"{flavour.title} does not know the operator {names}{more} of {Path(job.onnx).name}.",
        f"The file has lost the definition of {NAME}: export it again."
        if own
        else "Export the network without it; TensorRT builds standard ONNX operators and what the file itself defines.",
    )


def _parse(job: Job, flavour: Flavour, parser: Any, log: Any) -> None:
    log.errors.clear()
    if job.plugin is None:
        parsed = parser.parse_from_file(job.onnx)
    elif flavour.has_plugin_override:
        parser.set_flag(flavour.module.OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE)
        parsed = parser.parse_from_file(job.onnx)
    else:
        parsed = parser.parse(_without_definition(job.onnx), job.onnx)
    if parsed:
        return
    reasons = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = error.node_name() or "without a name"
        reasons.append(f"node {node} ({error.node_operator()}): {error.desc()}")
    raise _build_error(
        f"{flavour.title} does not accept {Path(job.onnx).name}",
        reasons or log.errors,
        "Export the network again, or change what the message names.",
    )


def _without_definition(path: str) -> bytes:
    """The model without the function that defines criss-cross attention, so that an older parser takes the plugin."""
    import onnx

    model = onnx.load(path, format="protobuf", load_external_data=False)
    kept = [function for function in model.functions if (function.domain, function.name) != (DOMAIN, NAME)]
    del model.functions[:]
    model.functions.extend(kept)
    serialized: bytes = model.SerializeToString()
    return serialized


def _check_plugin_layers(job: Job, flavour: Flavour, found: int) -> None:
    """Whether criss-cross attention became what was asked for.

    A model without criss-cross nodes is left alone: TensorRT has plugins of its own for some standard operators.
    """
    if job.criss_cross_nodes == 0:
        return
    expected = expected_plugin_layers(job.criss_cross_nodes, with_plugin=job.plugin is not None)
    if found != expected:
        raise BuildError(
            f"{flavour.title} made {found} plugin layers of {job.criss_cross_nodes} criss-cross nodes; "
            f"{expected} were expected.",
            "This engine would not be what was asked for. Use the plugin of this ccdeploy, or --plugin none.",
        )


def _apply_settings(job: Job, flavour: Flavour, config: Any) -> None:
    """What the user said about the build; TensorRT's own defaults for the rest."""
    # So that an inspector tells the types of layers, not their names alone; the engine is as large as without.
    config.profiling_verbosity = flavour.module.ProfilingVerbosity.DETAILED
    # On by default: float32 would be multiplied with float16's mantissa. Who asks for fp32 gets it.
    config.clear_flag(flavour.module.BuilderFlag.TF32)
    if job.workspace_bytes is not None:
        config.set_memory_pool_limit(flavour.module.MemoryPoolType.WORKSPACE, job.workspace_bytes)
    if job.optimization_level is not None:
        config.builder_optimization_level = job.optimization_level
    if job.plugin is not None and job.embed_plugin:
        config.plugins_to_serialize = [job.plugin]


def _add_profile(job: Job, builder: Any, config: Any, log: Any) -> None:
    if not job.profiles:
        return
    log.errors.clear()
    profile = builder.create_optimization_profile()
    for shapes in job.profiles:
        profile.set_shape(shapes.input, shapes.min, shapes.opt, shapes.max)
    if config.add_optimization_profile(profile) < 0:
        raise _build_error("TensorRT refused the shapes of the profile", log.errors, "Change --min, --opt or --max.")


def _use_timing_cache(job: Job, config: Any) -> Path | None:
    """Starts from the job's timing cache, an empty one if the file is new; returns where to write it afterwards."""
    if job.timing_cache is None:
        return None
    path = Path(job.timing_cache)
    cache = config.create_timing_cache(path.read_bytes() if path.exists() else b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise UsageError(
            f"The timing cache {path} is damaged, or of another TensorRT or GPU.", "Delete it or name another file."
        )
    return path


def _build_error(what: str, reasons: Sequence[str], remedy: str) -> BuildError:
    return BuildError(_explained(what, reasons), remedy)


def _explained(what: str, reasons: Sequence[str]) -> str:
    """What happened, with the most telling of TensorRT's own words: the first ones, each once."""
    telling = dict.fromkeys(filter(None, map(_telling, reasons)))
    detail = "; ".join(list(telling)[:_SHOWN])
    return f"{what}: {detail}" if detail else f"{what}."


def _telling(reason: str) -> str:
    """A message on one line, without the lines that only say that this machine has no GPU.

    TensorRT-RTX needs none, yet appends such a complaint to every other error.
    """
    return " ".join(line.strip() for line in reason.splitlines() if not _NO_GPU.search(line))


def _make_log(flavour: Flavour) -> Any:
    """A logger that keeps TensorRT's errors, and writes everything from "info" up to stderr."""
    severity = flavour.module.ILogger.Severity

    class Log(flavour.module.ILogger):  # type: ignore[misc, name-defined]  # the base class is known at run time only
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.errors.append(message)
            if level != severity.VERBOSE:
                print(f"[{level.name}] {message}", file=sys.stderr, flush=True)

    return Log()


def _make_monitor(flavour: Flavour, on_progress: Callable[[Progress], None]) -> Any:
    """A progress monitor that reports each step; TensorRT nests phases, and may run several at once."""

    class Monitor(flavour.module.IProgressMonitor):  # type: ignore[misc, name-defined]  # as above
        def __init__(self) -> None:
            super().__init__()
            self.open: dict[str, _Phase] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            parent = self.open.get(parent_phase) if parent_phase is not None else None
            self.open[phase_name] = _Phase(parent.depth + 1 if parent else 0, num_steps)
            on_progress(Progress(phase_name, self.open[phase_name].depth, 0, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            phase = self.open[phase_name]
            on_progress(Progress(phase_name, phase.depth, step + 1, phase.steps))
            return True  # go on: a build is stopped by ending its process

        def phase_finish(self, phase_name: str) -> None:
            phase = self.open.pop(phase_name)
            on_progress(Progress(phase_name, phase.depth, phase.steps, phase.steps))

    return Monitor()


@dataclass(frozen=True)
class _Phase:
    depth: int
    steps: int
