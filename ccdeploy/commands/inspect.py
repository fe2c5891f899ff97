"""`ccdeploy inspect`: what is in an artefact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.commands.console import print_facts, print_json, size_text
from ccdeploy.commands.options import FILE, json_option

if TYPE_CHECKING:
    from ccdeploy.engine.manifest import Manifest
    from ccdeploy.inspection import EngineFile, Folder, Inspection, OnnxFile, PluginFile
    from ccdeploy.inspection.recorded import Digest

Rows = list[tuple[str, str]]


@click.command("inspect")
@click.argument("artefact", type=FILE)
@json_option
def command(artefact: Path, as_json: bool) -> None:
    """Show what is in an ONNX file, an engine, a plugin library or a folder of `ccdeploy deploy`.

    Nothing of it is run: network, weights, inputs and outputs, nodes by type, where it runs, and whether the file is
    still the one that its manifest is of.
    """
    from ccdeploy.inspection import inspect

    seen = inspect(artefact)
    if as_json:
        print_json(seen.to_dict())
    else:
        print_facts(_rows(seen))


def _rows(seen: Inspection) -> Rows:
    from ccdeploy.inspection import EngineFile, OnnxFile, PluginFile

    if isinstance(seen, OnnxFile):
        return _onnx_rows(seen)
    if isinstance(seen, EngineFile):
        return _engine_rows(seen)
    return _plugin_rows(seen) if isinstance(seen, PluginFile) else _folder_rows(seen)


def _onnx_rows(seen: OnnxFile) -> Rows:
    graph = seen.graph
    beside = "".join(
        f", {file.file} ({'missing' if file.size is None else size_text(file.size)})" for file in graph.external_files
    )
    rows = [("file", f"{seen.file} ({size_text(seen.size)}){beside}"), *_digest_rows(seen.digest)]
    if seen.manifest:
        rows += _manifest_rows(seen.manifest)
    else:
        rows += [("network", "not known: ccdeploy did not write this file"), ("precision", graph.types)]
        rows += [("in", str(value)) for value in graph.inputs] + [("out", str(value)) for value in graph.outputs]
    rows += [
        ("nodes", _counts(graph.nodes)),
        ("weights are", _counts(graph.initializers, "no tensors")),
        ("operator sets", ", ".join(f"{domain} {version}" for domain, version in graph.opsets.items())),
        ("functions", ", ".join(graph.functions) or "none"),
    ]
    if graph.quantize_nodes or graph.dequantize_nodes:
        pairs = f"{graph.quantize_nodes} QuantizeLinear, {graph.dequantize_nodes} DequantizeLinear"
        rows.append(("quantisation", pairs))
    return rows


def _engine_rows(seen: EngineFile) -> Rows:
    rows = [("file", f"{seen.file} ({size_text(seen.size)})"), *_digest_rows(seen.digest)]
    rows += _manifest_rows(seen.manifest)
    rows.append(("layers", f"not read: {seen.layers_not_read}" if seen.layers is None else _counts(seen.layers)))
    return rows


def _plugin_rows(seen: PluginFile) -> Rows:
    from ccdeploy.native.architectures import in_words

    rows = [("file", f"{seen.file} ({size_text(seen.size)})"), ("sha256", seen.sha256), ("machine", seen.elf.machine)]
    if seen.build is None:
        rows.append(("built by", "not known: it does not tell what it was built from"))
    else:
        source = {True: "this ccdeploy's", False: "other than this ccdeploy's", None: "not known to be this one's"}
        rows += [
            ("built by", f"ccdeploy {seen.build.version}, nvcc {seen.build.compiler}"),
            ("runs on", f"compute capability {in_words(seen.build.architectures)}"),
            ("sources", f"{seen.build.source[:16]}..., {source[seen.current]}"),
        ]
    rows += [
        ("TensorRT", "finds plugins in it" if seen.is_tensorrt_plugin else "finds no plugin in it"),
        ("exports", f"{len(seen.elf.exported)} names"),
        ("C interface", ", ".join(seen.c_interface) or "none"),
        ("needs", ", ".join(seen.elf.needed) or "no other library"),
    ]
    return rows


def _folder_rows(seen: Folder) -> Rows:
    rows = [("folder", f"{seen.file} ({size_text(seen.size)} of artefacts)"), ("network", seen.model)]
    for artefact in seen.artefacts:
        size = "" if artefact.size is None else f", {size_text(artefact.size)}"
        types = f", {artefact.types}" if artefact.types else ""
        rows.append((artefact.kind, f"{artefact.file}{types}{size}: {artefact.state}"))
    rows.append(("outcome", seen.outcome))
    rows += [(document.kind, f"{document.file}: {document.state}") for document in seen.documents]
    if seen.pictures:
        rows.append(("pictures", str(seen.pictures)))
    rows += [(name, reason) for name, reason in seen.not_done.items()]
    rows.append(("written by", f"ccdeploy {seen.ccdeploy}" + (f", {seen.date}" if seen.date else "")))
    return [*rows, ("command", seen.command)] if seen.command else rows


def _digest_rows(digest: Digest) -> Rows:
    rows = [("sha256", digest.sha256)]
    if digest.changed:
        rows.append(("changed since", f"its manifest was written, which is of {digest.recorded[:16]}..."))
    return rows


def _manifest_rows(manifest: Manifest) -> Rows:
    weights = manifest.weights
    origin = (
        f"random, seed {weights.seed}"
        if weights.source == "random"
        else f"{weights.file} ({weights.layout}), sha256 {weights.sha256[:16]}..."
    )
    rows = [
        ("network", f"{manifest.model}, recurrence {manifest.recurrence}"),
        ("weights", origin),
        ("precision", manifest.types),
        ("criss-cross", f"{manifest.criss_cross_nodes} passes"),
    ]
    rows += [("in", str(tensor)) for tensor in manifest.inputs]
    rows += [("out", str(tensor)) for tensor in manifest.outputs]
    if manifest.io == "tensor" and manifest.card:
        source = card_from_dict(manifest.model, manifest.card).input
        if source.mean:
            mean, std = (", ".join(map(str, values)) for values in (source.mean, source.std))
            rows.append(("normalised", f"{source.channel_order}, mean {mean}, std {std}"))
    if manifest.quantization:
        from ccdeploy.commands.quantize import quantization_rows

        rows += quantization_rows(manifest)
    rows.append(("written by", f"ccdeploy {manifest.ccdeploy}"))
    if engine := manifest.engine:
        rows += [
            ("engine", f"{engine.flavour} {engine.version}, {engine.layers} layers, {engine.plugin_layers} plugins"),
            ("runs on", f"compute capability {', '.join(engine.compute_capabilities)}"),
        ]
        if engine.plugin:
            from ccdeploy.commands.build_engine import plugin_text

            rows.append(("plugin", plugin_text(engine.plugin)))
        rows += [("profile", f"{p.input}: {p.min} to {p.max}, tuned for {p.opt}") for p in engine.profiles]
    return rows + [("note", note) for note in manifest.notes]


def _counts(counts: dict[str, int], none: str = "none") -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or none
