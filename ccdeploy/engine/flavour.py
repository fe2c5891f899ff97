"""TensorRT in its two flavours: the only file that imports it, and where every difference between them lives.

"tensorrt" is the full product (10 or 11): it builds for the GPU it runs on, Jetson and data-centre cards included.
"tensorrt-rtx" is TensorRT for RTX: it builds without a GPU, for a list of compute capabilities.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ccdeploy.errors import MissingError, UsageError

TENSORRT = "tensorrt"
TENSORRT_RTX = "tensorrt-rtx"
AUTO = "auto"
FLAVOURS = (TENSORRT, TENSORRT_RTX)
"""In the order in which "auto" tries them."""

_TITLES = {TENSORRT: "TensorRT", TENSORRT_RTX: "TensorRT-RTX"}
# The front package first; a wheel of bindings alone is as good.
_MODULES = {TENSORRT: ("tensorrt", "tensorrt_bindings"), TENSORRT_RTX: ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_REMEDIES = {
    TENSORRT: 'On a machine with an NVIDIA GPU: pip install "ccdeploy[tensorrt]". On a Jetson use the TensorRT that '
    "JetPack installs, from a virtual environment made with --system-site-packages.",
    TENSORRT_RTX: 'pip install "ccdeploy[tensorrt-rtx]"; it builds without a GPU.',
}
_MINIMUM_MAJOR = {TENSORRT: 10, TENSORRT_RTX: 1}  # strong typing and IPluginV3 came with TensorRT 10

# What TensorRT-RTX itself calls portable: 8.0 and newer. It leaves 7.5 out unless it is asked for, since code that
# must also run on 7.5 is slower on the newer cards.
_PORTABLE_FROM = (8, 0)


@dataclass(frozen=True)
class FlavourStatus:
    """Whether one flavour can be used here; if not, `reason` says why and `remedy` what to do."""

    name: str
    available: bool
    version: str = ""
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Flavour:
    """A TensorRT that is loaded, and what it can do."""

    name: str
    version: str
    module: Any
    reason: str
    """Why this one: it was asked for, or what "auto" found."""

    @property
    def title(self) -> str:
        """Name and version for people: "TensorRT-RTX 1.7.1.116"."""
        return f"{_TITLES[self.name]} {self.version}"

    @property
    def builds_without_gpu(self) -> bool:
        """Whether engines can be built for cards that are not in this machine."""
        return self.name == TENSORRT_RTX

    @property
    def compute_capabilities(self) -> tuple[str, ...]:
        """What it can target, oldest first; empty for full TensorRT, which targets the GPU present."""
        if not self.builds_without_gpu:
            return ()
        members = self.module.ComputeCapability.__members__
        numbers = (int(name[2:]) for name in members if re.fullmatch(r"SM\d+", name))
        return tuple(f"{number // 10}.{number % 10}" for number in sorted(numbers))

    @property
    def portable_compute_capabilities(self) -> tuple[str, ...]:
        """What an engine is built for if nobody says: TensorRT-RTX's own choice, spelled out."""
        return tuple(c for c in self.compute_capabilities if capability_key(c) >= _PORTABLE_FROM)

    @property
    def has_timing_cache(self) -> bool:
        """TensorRT-RTX times nothing at build time: its timing cache calls are left-overs that do nothing."""
        return self.name == TENSORRT

    @property
    def has_plugin_override(self) -> bool:
        """Whether the ONNX parser can be told to prefer a plugin to a model-local function of the same name."""
        return hasattr(self.module.OnnxParserFlag, "ENABLE_PLUGIN_OVERRIDE")

    @property
    def network_flags(self) -> int:
        """For Builder.create_network: strong typing. TensorRT 10 needs the flag; 11 and RTX always type strongly."""
        return 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def set_compute_capabilities(self, config: Any, capabilities: Iterable[str]) -> None:
        """Targets the given compute capabilities; full TensorRT has no such setting and needs none."""
        if not self.builds_without_gpu:
            return
        targets = [getattr(self.module.ComputeCapability, "SM" + c.replace(".", "")) for c in capabilities]
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            config.set_compute_capability(target, index)

    def unversioned_library(self) -> tuple[str, Path] | None:
        """The name by which TensorRT-RTX's ONNX parser opens the core library, and the file it must lead to.

        At a plugin node the parser calls dlopen("libtensorrt_rtx.so"), but wheels hold only libtensorrt_rtx.so.1 and
        the process aborts. None where there is nothing to cure.
        """
        if self.name != TENSORRT_RTX:
            return None
        name = "libtensorrt_rtx.so"
        loaded = _loaded_library(name)
        return (name, loaded) if loaded is not None else None


def capability_key(capability: str) -> tuple[int, int]:
    """Sorts compute capabilities by number: "8.9" before "12.0".

    Raises:
        UsageError: it is not written like "8.6".
    """
    match = re.fullmatch(r"(\d{1,2})\.(\d)", capability)
    if match is None:
        raise UsageError(
            f"{capability!r} is not a compute capability: two numbers with a point were expected.",
            "Write it like 8.6; NVIDIA lists every card's at https://developer.nvidia.com/cuda-gpus.",
        )
    return int(match[1]), int(match[2])


def probe_flavours() -> list[FlavourStatus]:
    """What this machine has of TensorRT, one entry a flavour. Never raises; imports only what is installed."""
    statuses = []
    for name in FLAVOURS:
        try:
            _, version = _import(name)
            statuses.append(FlavourStatus(name, True, version))
        except MissingError as error:
            statuses.append(FlavourStatus(name, False, reason=error.what, remedy=error.remedy))
    return statuses


def load_flavour(name: str) -> Flavour:
    """Imports TensorRT: "tensorrt", "tensorrt-rtx", or "auto" for the first of these that is usable.

    Raises:
        UsageError: there is no such flavour.
        MissingError: it is not installed, too old, or does not load.
    """
    if name in FLAVOURS:
        module, version = _import(name)
        return Flavour(name, version, module, "it was asked for")
    if name != AUTO:
        raise UsageError(f"{name!r} is no TensorRT flavour.", f"Choose one of: {AUTO}, {', '.join(FLAVOURS)}.")
    reasons: list[str] = []
    for candidate in FLAVOURS:
        try:
            module, version = _import(candidate)
        except MissingError as error:
            reasons.append(error.what)
            continue
        return Flavour(candidate, version, module, " ".join(reasons) or "it is the first choice")
    raise MissingError(
        " ".join(reasons),
        f"Without a GPU or for RTX cards: {_REMEDIES[TENSORRT_RTX]} For Jetson and data-centre GPUs: "
        f"{_REMEDIES[TENSORRT]}",
    )


def needed_cuda(flavour: Flavour) -> int | None:
    """The major version of CUDA that an installed TensorRT is built for; None where its packages do not tell.

    pip's packages have it in their names: "tensorrt-rtx-cu13-bindings". JetPack's and NVIDIA's archives do not.
    """
    return _cuda_of_packages(flavour.name)


@cache
def _cuda_of_packages(name: str) -> int | None:
    packages = importlib.metadata.packages_distributions()  # reads every package's list of files: once a process
    for package in (package for module in _MODULES[name] for package in packages.get(module, ())):
        if (match := re.search(r"[-_]cu(\d{2})(?:[-_]|$)", package)) is not None:
            return int(match[1])
    return None


def _import(name: str) -> tuple[ModuleType, str]:
    """The module of a flavour and its version; MissingError if it cannot be used."""
    title, remedy = _TITLES[name], _REMEDIES[name]
    installed = [module for module in _MODULES[name] if _is_installed(module)]
    if not installed:
        raise MissingError(f"{title} is not installed: no module {' or '.join(_MODULES[name])}.", remedy)
    try:
        module = importlib.import_module(installed[0])
    except Exception as error:  # a damaged install fails in many ways: ImportError, OSError, RuntimeError ...
        raise MissingError(f"{title} is installed but does not load: {_one_line(error)}.", remedy) from error
    version = str(getattr(module, "__version__", ""))
    if not hasattr(module, "Builder") or not hasattr(module, "OnnxParser"):
        raise MissingError(
            f"{title}: the module {module.__name__} has no builder; a runtime alone cannot build engines.", remedy
        )
    major = re.match(r"\d+", version)
    if major is None or int(major[0]) < _MINIMUM_MAJOR[name]:
        raise MissingError(
            f"{title} {version or 'of unknown version'} is installed, {_MINIMUM_MAJOR[name]}.0 or newer is needed.",
            f"Upgrade it. {remedy}",
        )
    return module, version


def _is_installed(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # ValueError: a module without __spec__ is already in sys.modules
        return False
    # A namespace package (no origin) is only a folder that happens to have this name.
    return spec is not None and spec.origin is not None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text or type(error).__name__


def _loaded_library(prefix: str) -> Path | None:
    """The file of a library loaded into this process, by the start of its name; Linux tells in /proc."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and Path(fields[5]).name.startswith(prefix):
            return Path(fields[5])
    return None
