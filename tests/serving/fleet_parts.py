"""Repositories as `ccdeploy fleet` sees them, without artefacts, and readers of what it writes."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ccdeploy.ccnet.provenance import Weights
from ccdeploy.engine.manifest import Engine, Manifest, Tensor
from ccdeploy.serving.contract import PYTHON, TENSORRT, Served
from ccdeploy.serving.fleet.facts import Facts
from ccdeploy.serving.fleet.sizes import Load

FLEET_MANIFEST = Manifest(
    kind="onnx",
    file="net.onnx",
    sha256="",
    onnx_sha256="",
    ccdeploy="0.1.0",
    model="net",
    card={"input": {"size": [65, 97]}},
    weights=Weights(source="random", seed=3),
    recurrence=2,
    precision="fp32",
    io="tensor",
    dynamic="all",
    inputs=(Tensor("input", "float32", "NCHW", ("batch", 3, "height", "width")),),
    outputs=(Tensor("logits", "float32", "NCHW", ("batch", 19, "height", "width")),),
    criss_cross_nodes=2,
)


def fleet_served(name: str = "tiny", backend: str = PYTHON, version: int = 1, tensorrt: str = "10.7.0.23") -> Served:
    """A deployment; of TensorRT's backend with an engine."""
    manifest = FLEET_MANIFEST
    if backend == TENSORRT:
        manifest = replace(manifest, kind="engine", engine=Engine("tensorrt", tensorrt, ("8.7",)))
    return Served(name, version, backend, None, None, 1 << 26, 4, manifest.to_dict())


def fleet_facts(
    *served: Served, gpus: int = 0, plugins: tuple[str, ...] = (), tensorrt: str | None = None, processes: int = 5
) -> Facts:
    """Facts of deployments, one network instance each."""
    loads = tuple(Load(one, 100 << 20, processes, 1, gpus > 0) for one in served)
    return Facts(loads, plugins, gpus, tensorrt, (), ())


def fleet_documents(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    yaml = pytest.importorskip("yaml", reason="PyYAML, which kubernetes-validate brings, is not installed")
    return list(yaml.safe_load_all(text))


def fleet_setting(unit: str, key: str) -> str:
    """The one value of a key in a systemd unit, as it stands."""
    (value,) = re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)
    return str(value)


def fleet_words(line: str) -> list[str]:
    """A command line of a unit as systemd splits it, by the rules of systemd.service(5) and systemd.syntax(7)."""
    words, word, quote, position = [], "", "", 0
    begun = False
    while position < len(line):
        letter = line[position]
        position += 1
        if letter == "\\":
            assert line[position] in "\\\"'", f"an escape that this reader does not know: {line}"
            word, begun, position = word + line[position], True, position + 1
        elif letter == "%":
            assert line[position] == "%", f"a specifier in {line}"
            word, begun, position = word + "%", True, position + 1
        elif quote:
            word, quote = (word, "") if letter == quote else (word + letter, quote)
        elif letter in "\"'" and not begun:
            quote, begun = letter, True
        elif letter in " \t":
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + letter, True
    assert not quote, f"a quote without an end in {line}"
    return [*words, word] if begun else words


def fleet_program(name: str) -> str:
    """A validator's path; skips the test where it is not installed."""
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
