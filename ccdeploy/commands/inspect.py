"""`ccdeploy inspect`: what is in an artefact."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.commands.console import print_facts, print_json, size_text
from ccdeploy.commands.options import FILE, json_option
from ccdeploy.engine.manifest import Manifest
from ccdeploy.op.onnx_op import DOMAIN, NAME

if TYPE_CHECKING:
    import onnx


@click.command("inspect")
@click.argument("artefact", type=FILE)
@json_option
def command(artefact: Path, as_json: bool) -> None:
    """Show what is in an ONNX file or an engine: network, weights, inputs and outputs, nodes by type, where it runs."""
    document: dict[str, Any] = {"file": str(artefact)}
    if artefact.suffix == ".onnx":
        from ccdeploy.engine.onnx_files import load_graph, onnx_manifest

        model = load_graph(artefact)
        manifest = onnx_manifest(artefact, model)
        document["graph"] = _graph(model)
    else:
        from ccdeploy.artefacts import manifest_of

        manifest = manifest_of(artefact)
    document["size"] = artefact.stat().st_size
    document["manifest"] = manifest.to_dict() if manifest else None
    if as_json:
        print_json(document)
        return
    rows = [("file", f"{artefact} ({size_text(document['size'])})")]
    if manifest:
        rows += _manifest_rows(manifest)
    else:
        rows.append(("network", "not known: ccdeploy did not write this file"))
    if "graph" in document:
        rows += _graph_rows(document["graph"])
    print_facts(rows)


def _graph(model: onnx.ModelProto) -> dict[str, Any]:
    """What the graph of an ONNX file is made of."""
    nodes = Counter((f"{node.domain}::" if node.domain else "") + node.op_type for node in model.graph.node)
    functions = [f"{function.domain}::{function.name}" for function in model.functions]
    return {
        "nodes": dict(nodes.most_common()),
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "functions": functions,
        "criss_cross_nodes": nodes[f"{DOMAIN}::{NAME}"],
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "external_data": any(tensor.external_data for tensor in model.graph.initializer),
    }


def _manifest_rows(manifest: Manifest) -> list[tuple[str, str]]:
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
    rows += [("note", note) for note in manifest.notes]
    return rows


def _graph_rows(graph: dict[str, Any]) -> list[tuple[str, str]]:
    nodes = ", ".join(f"{count} {name}" for name, count in graph["nodes"].items())
    opsets = ", ".join(f"{domain} {version}" for domain, version in graph["opsets"].items())
    return [("nodes", nodes), ("operator sets", opsets), ("functions", ", ".join(graph["functions"]) or "none")]
