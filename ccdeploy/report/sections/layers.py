"""Layers by type: nodes of ONNX files, layers of engines as TensorRT's inspector counts them where a GPU is."""

from __future__ import annotations

from dataclasses import dataclass

from ccdeploy.report import words
from ccdeploy.report.charts.drawing import Chart, Series
from ccdeploy.report.charts.layers import layers_chart
from ccdeploy.report.gathering import Artefact, Deployed


@dataclass(frozen=True)
class Layers:
    """The layers of one artefact; `why` says why they are not known by type."""

    series: Series
    summary: str
    why: str
    chart: Chart | None
    rows: tuple[tuple[str, str], ...]


def layers_section(deployed: Deployed) -> tuple[Layers, ...]:
    """The layers of all artefacts."""
    return tuple(_layers(artefact, number) for number, artefact in enumerate(deployed.artefacts))


def _layers(artefact: Artefact, number: int) -> Layers:
    entry, manifest = artefact.entry, artefact.manifest
    ranked = sorted(entry.layers.items(), key=lambda item: (-item[1], item[0]))
    total, noun = sum(entry.layers.values()), "layer" if entry.kind == "engine" else "node"
    parts = [f"{words.counted(total, noun)} of {words.counted(len(ranked), 'type')}"] if ranked else []
    if manifest is not None:
        if manifest.engine is not None:
            engine = manifest.engine
            parts.append(f"built with {words.counted(engine.layers, 'layer')}, {engine.plugin_layers} of them plugins")
        parts.append(words.counted(manifest.criss_cross_nodes, "criss-cross pass", "es"))
        if manifest.quantization is not None:
            parts.append(f"{len(manifest.quantization.layers)} layers in {manifest.quantization.type}")
    why = "" if ranked else entry.no_layers or "not recorded when it was deployed"
    chart = layers_chart(f"layers-{number}", artefact.series, entry.layers) if ranked else None
    rows = tuple((kind, f"{count:,}") for kind, count in ranked)
    return Layers(artefact.series, "; ".join(parts), why, chart, rows)
