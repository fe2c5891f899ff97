"""Where it all comes from: the machine, versions, digests, steps, and the commands that make it again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ccdeploy.ccnet.cards import weights_beside
from ccdeploy.engine.manifest import Manifest
from ccdeploy.machine import Machine
from ccdeploy.report import words
from ccdeploy.report.folder import Step
from ccdeploy.report.gathering import Deployed


@dataclass(frozen=True)
class Provenance:
    """What the section shows."""

    machine: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    steps: tuple[tuple[Step, str], ...]
    """With their times in words."""
    digests: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    """What was told while artefacts were made, and of which."""
    command: str
    commands: tuple[str, ...]


def provenance(deployed: Deployed) -> Provenance:
    """Where a deployment comes from."""
    index = deployed.index
    machine = index.machine or (deployed.benchmark.value.machine if deployed.benchmark.value else None)
    notes: dict[str, list[str]] = {}
    for artefact in deployed.artefacts:
        for note in artefact.manifest.notes if artefact.manifest else ():
            notes.setdefault(note, []).append(artefact.series.name)
    return Provenance(
        machine=tuple(_machine(machine)) if machine else (),
        versions=tuple(sorted(index.versions.items())),
        steps=tuple((step, words.seconds(step.seconds)) for step in index.steps),
        digests=tuple((one.entry.file, one.entry.sha256) for one in deployed.artefacts),
        notes=tuple((note, ", ".join(names)) for note, names in notes.items()),
        command=index.command,
        commands=tuple(_commands(deployed)),
    )


def _machine(machine: Machine) -> list[tuple[str, str]]:
    facts = [
        ("Processor", f"{machine.cpu}, {words.counted(machine.cores, 'CPU')}"),
        ("Memory", words.size(machine.memory_bytes or None)),
        ("GPU", machine.gpu or "none that CUDA sees"),
        ("Compute capability", machine.compute_capability),
        ("GPU memory", words.size(machine.gpu_memory_bytes) if machine.gpu_memory_bytes else ""),
        ("Driver", machine.driver),
        ("CUDA", machine.cuda),
        ("Jetson", machine.jetson),
        ("JetPack", machine.jetpack),
        ("Power mode", machine.power_mode),
        ("CPU governor", machine.governor),
        ("System", machine.system),
        ("Python", machine.python),
    ]
    return [(name, value) for name, value in facts if value]


def _commands(deployed: Deployed) -> list[str]:
    """A command for each step, from the manifests: what a reader types to get one artefact again."""
    commands = []
    for artefact in deployed.artefacts:
        manifest = artefact.manifest
        if manifest is None:
            continue
        if manifest.engine is not None:
            commands.append(_build(manifest))
        elif manifest.quantization is None:
            commands.append(_export(manifest, _weights_ship(deployed, manifest)))
        else:
            commands.append(_quantize(manifest, deployed))
    files = [artefact.entry.file for artefact in deployed.artefacts]
    if files:
        commands.append(shlex.join(["ccdeploy", "verify", *files]))
        commands.append(shlex.join(["ccdeploy", "benchmark", *files]))
        commands.append("ccdeploy report .")
    return commands


def _export(manifest: Manifest, ships: bool) -> str:
    """`ships`: whether the weights lie among the cards, so that nobody names them."""
    weights, tensor = manifest.weights, manifest.inputs[0]
    command = ["ccdeploy", "export", manifest.model]
    if weights.source == "random":
        command += ["--random-weights", str(weights.seed)]
    elif not ships:
        command += ["--weights", weights.path or weights.file]
    dims = dict(zip(tensor.layout, tensor.shape, strict=True))
    if isinstance(dims.get("H"), int) and isinstance(dims.get("W"), int):
        command += ["--size", f"{dims['H']}x{dims['W']}"]
    command += ["--precision", manifest.precision, "--io", manifest.io, "-o", manifest.file]
    return shlex.join(command)


def _weights_ship(deployed: Deployed, manifest: Manifest) -> bool:
    if deployed.card is None:
        return False
    found = weights_beside(deployed.card)
    return found is not None and found.name == manifest.weights.file


def _quantize(manifest: Manifest, deployed: Deployed) -> str:
    record = manifest.quantization
    assert record is not None
    source = next(
        (
            one.entry.file
            for one in deployed.artefacts
            if one.manifest
            and one.manifest.kind == "onnx"
            and one.manifest.quantization is None
            and one.manifest.precision == manifest.precision
        ),
        "EXPORTED.onnx",
    )
    pictures = ["--dataset", "streets"] if "street scenes" in record.source else ["--images", "PICTURES"]
    options = ["--type", record.type, "--calibration", record.calibration, "--max-images", str(record.pictures)]
    return shlex.join(["ccdeploy", "quantize", source, *pictures, *options, "-o", manifest.file])


def _build(manifest: Manifest) -> str:
    engine = manifest.engine
    assert engine is not None
    source = manifest.file.removesuffix(".engine") + ".onnx"
    command = ["ccdeploy", "build-engine", source, "--flavour", engine.flavour]
    for capability in engine.compute_capabilities if engine.flavour == "tensorrt-rtx" else ():
        command += ["--compute-capability", capability]
    command += [] if engine.plugin else ["--plugin", "none"]
    return shlex.join([*command, "-o", manifest.file])
