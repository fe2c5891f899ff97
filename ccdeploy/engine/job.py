"""What travels between a build and its child process: the job, its progress and its result."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from ccdeploy.engine.manifest import Profile

_STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Operator:
    """An operator that a runtime must know itself, since the file does not define it; `node` is one that uses it."""

    domain: str
    name: str
    node: str

    def __str__(self) -> str:
        domain = "" if self.domain in _STANDARD_DOMAINS else f"{self.domain}::"
        return f"{domain}{self.name} (node {self.node!r})"


@dataclass(frozen=True)
class Job:
    """One engine to build. Everything in it was checked; paths are absolute."""

    flavour: str
    onnx: str
    output: str
    scratch: str
    """A folder that exists for this job alone."""
    operators: tuple[Operator, ...]
    criss_cross_nodes: int
    profiles: tuple[Profile, ...]
    compute_capabilities: tuple[str, ...]
    plugin: str | None
    embed_plugin: bool
    timing_cache: str | None
    workspace_bytes: int | None
    optimization_level: int | None

    def to_json(self) -> str:
        """The job on one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that `to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        data["operators"] = tuple(Operator(**operator) for operator in data["operators"])
        data["profiles"] = tuple(
            Profile(p["input"], tuple(p["min"]), tuple(p["opt"]), tuple(p["max"])) for p in data["profiles"]
        )
        data["compute_capabilities"] = tuple(data["compute_capabilities"])
        return cls(**data)


@dataclass(frozen=True)
class JobResult:
    """What came of a job, apart from the engine in its `output`."""

    layers: int
    """Of the network as parsed, before TensorRT fuses them."""
    plugin_layers: int
    plugin_version: str
    """As the plugin's creator says; empty without a plugin."""


@dataclass(frozen=True)
class Progress:
    """How far one phase of the build is. Phases nest: the one at depth 0 is the whole build."""

    phase: str
    depth: int
    done: int
    total: int
