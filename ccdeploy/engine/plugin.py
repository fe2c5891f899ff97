"""The plugin library that computes criss-cross attention in one layer: which one, if any, a build or a run uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.engine.manifest import Plugin
from ccdeploy.errors import BuildError, MissingError, UsageError
from ccdeploy.native.architectures import entries_of, for_targets, in_words, uncovered
from ccdeploy.native.build import build_library
from ccdeploy.native.library import (
    ENVIRONMENT,
    FILE,
    Library,
    cached_libraries,
    find_cached,
    named_library,
    open_library,
    source_digest,
)
from ccdeploy.native.toolchain import find_toolchain
from ccdeploy.op.kernel_limits import OLDEST, why_unsupported

AUTO = "auto"
NONE = "none"

CREATOR = "CrissCrossAttention"
"""The plugin's name in TensorRT's registry; the ONNX operator's, by which a parser finds it."""
STANDARD_LAYERS = "criss-cross attention is built from TensorRT's standard layers, without the plugin"
"""How a note begins where "auto" found none; the reason follows."""


@dataclass(frozen=True)
class CrissCrossNode:
    """One criss-cross node of a model, as far as its file tells."""

    name: str
    query_channels: int
    channels: int | None
    """None where the file does not tell."""


@dataclass(frozen=True)
class PluginChoice:
    """The library to build with (None: standard layers), and what to tell the user about it."""

    library: Library | None
    notes: tuple[str, ...] = ()


def given_library(choice: str) -> Library | None:
    """The library that a --plugin value names by its file; None for "auto" and "none".

    Raises:
        UsageError: the file is missing, or not an ELF shared library.
    """
    return None if choice in (AUTO, NONE) else open_library(choice)


def resolve_plugin(
    choice: str,
    nodes: Sequence[CrissCrossNode],
    precision: str,
    targets: Sequence[str],
    say: Callable[[str], None] = lambda line: None,
) -> PluginChoice:
    """The library that a --plugin value means for one model and the GPUs that its engine is for.

    "auto" takes the library that CCDEPLOY_PLUGIN names; or else one in the cache, of the present sources and for all
    the targets; or else compiles one, where nvcc is installed; or else none, and a note says why. It also takes none,
    with a note, where the model is outside of the kernel's limits. A file that was named is used or is an error.

    Args:
        choice: "auto", "none" or a file.
        nodes: the model's criss-cross nodes.
        precision: the model's float type.
        targets: compute capabilities such as "8.6".
        say: told each step of a compilation.

    Raises:
        UsageError: a named file that is no library, holds no code for a target, or cannot compute this model.
        BuildError: the compilation that "auto" began has failed.
    """
    given = given_library(choice)
    if given is not None:
        if not nodes:
            raise UsageError(
                f"--plugin {choice} was given, but the model has no criss-cross node that could use it.",
                "Use --plugin none, or export the model with ccdeploy.",
            )
        if limit := _outside_limits(nodes, precision):
            raise UsageError(
                f"--plugin {choice} was given, but the kernel does not compute this model: {limit}.",
                "Use --plugin none: TensorRT's standard layers compute every shape.",
            )
        _check_targets(given, targets, f"--plugin {choice}")
        return PluginChoice(given, _foreign(given))
    if choice == NONE or not nodes:
        return PluginChoice(None)
    if limit := _outside_limits(nodes, precision):
        return PluginChoice(None, (f"{STANDARD_LAYERS}: the kernel does not compute this model: {limit}",))
    if (named := named_library()) is not None:
        _check_targets(named, targets, f"{ENVIRONMENT}={named.path}")
        return PluginChoice(named, (f"the plugin is {named.path}, which {ENVIRONMENT} names", *_foreign(named)))
    if (cached := find_cached(targets)) is not None:
        return PluginChoice(cached)
    return _compiled(targets, say)


def _compiled(targets: Sequence[str], say: Callable[[str], None]) -> PluginChoice:
    try:
        toolchain = find_toolchain()
        architectures = for_targets(targets, toolchain.nvcc.known)
    except MissingError as error:
        return PluginChoice(None, (f"{STANDARD_LAYERS}: it is not built yet. {error.what} {error.remedy}",))
    say(f"compiling the plugin for compute capability {', '.join(targets)}: this is done once")
    try:
        built = build_library(toolchain, architectures, say).cached
    except BuildError as error:
        raise BuildError(error.what, f"{error.remedy} --plugin none builds without the plugin.") from error
    seconds = f" in {built.record.seconds:.0f} s" if built.record.seconds else ""
    code = in_words(built.record.architectures)
    return PluginChoice(built.library, (f"the plugin was compiled for {code}{seconds} by {toolchain.nvcc}",))


def _outside_limits(nodes: Sequence[CrissCrossNode], precision: str) -> str:
    """The first limit of the kernel that a node is outside of; empty if there is none, as far as the file tells."""
    known = precision if precision in OLDEST else "fp32"  # of an unknown type the sizes alone can be judged
    for node in nodes:
        if node.channels is not None:
            limit = why_unsupported(known, channels=node.channels, query_channels=node.query_channels)
            if limit:
                return f"{limit} (node {node.name!r})"
    return ""


def _check_targets(library: Library, targets: Sequence[str], named: str) -> None:
    """Whether a library that tells what it holds code for runs on the engine's GPUs."""
    if library.info is None:
        return  # of somebody else's making: TensorRT finds out whether it serves
    if missing := uncovered(library.info.architectures, targets):
        raise UsageError(
            f"{named} holds code for compute capability {in_words(library.info.architectures)}; "
            f"the engine is for {', '.join(missing)} too.",
            f"Build it for them: ccdeploy build-plugin --arch {','.join(targets)}, or leave those GPUs out.",
        )


def _foreign(library: Library) -> tuple[str, ...]:
    """A note where a library that was named is not what this ccdeploy would compile."""
    if library.info is not None and library.info.source == source_digest():
        return ()
    version = f"ccdeploy {library.info.version}" if library.info else "unknown origin"
    return (f"the plugin {library.path.name} is of {version}, built from other sources than this ccdeploy's",)


def plugin_record(library: Library, version: str, embedded: bool) -> Plugin:
    """What an engine's manifest says of its plugin; `version` is the plugin's own, as its creator tells it."""
    info = library.info
    return Plugin(
        file=library.path.name,
        sha256=library.sha256,
        version=version,
        embedded=embedded,
        architectures=tuple(entries_of(info.architectures)) if info else (),
        source_sha256=info.source if info else "",
    )


def find_for_engine(record: Plugin, engine: Path, capability: str) -> Library | None:
    """The library to load before an engine that was built with a plugin: the very one, or one of the same sources.

    Looked for beside the engine, as CCDEPLOY_PLUGIN, and in the cache. One of the same sources must run on the GPU.
    """
    found = list(_candidates(record, engine))
    exact = [library for library in found if library.sha256 == record.sha256]
    alike = [
        library
        for library in found
        if library.info is not None
        and record.source_sha256 == library.info.source != ""
        and not uncovered(library.info.architectures, [capability])
    ]
    return next(iter(exact + alike), None)


def _candidates(record: Plugin, engine: Path) -> Iterator[Library]:
    for name in dict.fromkeys((record.file, FILE)):
        if Path(name).name == name and (path := engine.parent / name).is_file():
            try:
                yield open_library(path)
            except UsageError:
                continue
    if (named := named_library()) is not None:
        yield named
    for cached in cached_libraries():
        yield cached.library


def expected_plugin_layers(criss_cross_nodes: int, *, with_plugin: bool) -> int:
    """How many plugin layers the network must have: one a node with the plugin, none without."""
    return criss_cross_nodes if with_plugin else 0
