"""What compiles the plugin, and the plugin libraries that are there: for which GPUs, and of which sources."""

from __future__ import annotations

from ccdeploy.doctor.finding import Finding, guarded
from ccdeploy.errors import CcdeployError, MissingError
from ccdeploy.native.architectures import in_words, uncovered
from ccdeploy.native.library import ENVIRONMENT, Library, cached_libraries, named_library, source_digest
from ccdeploy.native.toolchain import find_builder, find_cmake, find_cxx, find_nvcc

GROUP = "plugin"


def findings(present: list[str]) -> list[Finding]:
    """All of the group, for the compute capabilities of the GPUs that are present. Never raises."""
    return [
        *guarded("nvcc", GROUP, lambda: [_nvcc()]),
        *guarded("cmake", GROUP, lambda: [_build_tools()]),
        *guarded("plugin", GROUP, lambda: plugins(present)),
    ]


def _nvcc() -> Finding:
    try:
        nvcc = find_nvcc()
    except MissingError as error:
        return Finding("nvcc", False, error.what, f"Needed to compile the plugin. {error.remedy}")
    passed_over = "".join(f"; passed over: {place}" for place in nvcc.passed_over)
    return Finding("nvcc", True, f"{nvcc.version} ({nvcc.path}, {nvcc.where}){passed_over}")


def _build_tools() -> Finding:
    try:
        cmake, builder, cxx = find_cmake(), find_builder(), find_cxx()
    except MissingError as error:
        return Finding("cmake", False, error.what, f"Needed to compile the plugin. {error.remedy}")
    return Finding("cmake", True, f"{cmake.version} ({cmake.path}), {builder.name}, {cxx}")


def plugins(present: list[str]) -> list[Finding]:
    """The plugin libraries that commands would use here: the one that the environment names, and those in the cache."""
    try:
        named, cached, source = named_library(), list(cached_libraries()), source_digest()
    except (CcdeployError, FileNotFoundError) as error:
        remedy = getattr(error, "remedy", "Reinstall ccdeploy.")
        return [Finding("plugin", False, getattr(error, "what", str(error)), remedy)]
    found = [_plugin(named, f"{ENVIRONMENT} names it", source, present)] if named else []
    current = [entry.library for entry in cached if entry.record.source == source]
    found += [_plugin(library, "cached", source, present) for library in current]
    stale = len(cached) - len(current)
    if not found:
        others = f"; {stale} in the cache of other sources" if stale else ""
        remedy = "Run `ccdeploy build-plugin`, or let `ccdeploy build-engine` do it; it needs nvcc."
        found.append(Finding("plugin", False, f"not built yet{others}", remedy))
    return found


def _plugin(library: Library, origin: str, source: str, present: list[str]) -> Finding:
    if library.info is None:
        return Finding("plugin", True, f"{library.path} ({origin}; it does not tell what it was built from)")
    seen = f"for {in_words(library.info.architectures)}, {library.path} ({origin})"
    if library.info.source != source:
        return Finding(
            "plugin", False, f"{seen}, of other sources than this ccdeploy's", "Run `ccdeploy build-plugin`."
        )
    if missing := uncovered(library.info.architectures, present):
        remedy = "Run `ccdeploy build-plugin`, which compiles for the GPU in this machine."
        return Finding("plugin", False, f"{seen}, not for the GPU here ({', '.join(missing)})", remedy)
    return Finding("plugin", True, seen)
