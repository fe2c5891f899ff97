"""The whole way at once: ONNX files, engines, their verification and a picture of it, in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ccdeploy import __version__
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.engine import limits
from ccdeploy.engine.build import build_engine
from ccdeploy.engine.flavour import load_flavour
from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.engine.manifest import Manifest
from ccdeploy.engine.plugin import given_library
from ccdeploy.errors import UsageError
from ccdeploy.export import ExportOptions, Say, check_options, export
from ccdeploy.files import written_whole
from ccdeploy.pictures import Labels, painted, side_by_side
from ccdeploy.verify import Inputs, Report, verify

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model

NO_ENGINE = "none"
SUMMARY = "deploy.json"
VERIFICATION = "verification.json"
PICTURE = "comparison.png"


@dataclass(frozen=True)
class EngineOptions:
    """How engines are built; `flavour` "none" builds none."""

    flavour: str = "auto"
    compute_capabilities: tuple[str, ...] = ()
    plugin: str = "auto"


@dataclass(frozen=True)
class Deployment:
    """What lies in the folder."""

    folder: Path
    artefacts: tuple[tuple[Path, Manifest], ...]
    report: Report
    picture: Path | None

    def to_dict(self) -> dict[str, Any]:
        """An index of the folder, as JSON can hold it."""
        files = [
            {"file": path.name, "kind": manifest.kind, "precision": manifest.precision, "sha256": manifest.sha256}
            for path, manifest in self.artefacts
        ]
        return {
            "ccdeploy": __version__,
            "model": self.artefacts[0][1].model,
            "artefacts": files,
            "outcome": self.report.outcome,
            "verification": VERIFICATION,
            "picture": self.picture.name if self.picture else None,
        }


def deploy(
    load: Callable[[], Model],
    folder: Path,
    options: Sequence[ExportOptions],
    engines: EngineOptions,
    inputs: Inputs,
    say: Say = lambda line: None,
) -> Deployment:
    """Exports a model once for each of the options, builds an engine of each file, and verifies all of it.

    Args:
        load: gives the model; called once what can be checked without it is checked.
        folder: where everything is written; made if it is not there.
        options: of the exports, differing in precision.
        engines: how engines are built.
        inputs: what the verification runs on.
        say: told each step, one line at a time.

    Raises:
        CcdeployError: a step that cannot be done; what was finished before stays in the folder.
    """
    for option in options:
        check_options(option, folder / "model.onnx")
        if option.dynamic != "none":
            raise UsageError("deploy makes artefacts of fixed shape.", "Use export and build-engine for dynamic ones.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, a folder was expected.", "Name another with --output.")
    if engines.flavour != NO_ENGINE:  # what the builds would refuse is told before the long work
        targets, _ = limits.choose_compute_capabilities(
            load_flavour(engines.flavour), engines.compute_capabilities, probe_gpus()
        )
        for option in options:
            limits.check_precision(option.precision, targets)
        given_library(engines.plugin)
    model = load()
    for note in model.notes:
        say(note)
    stem = model.name.replace(":", ".")
    artefacts: list[tuple[Path, Manifest]] = []
    for option in options:
        onnx_file = folder / f"{stem}.{option.precision}.onnx"
        artefacts.append((onnx_file, export(model, onnx_file, option, say)))
        if engines.flavour != NO_ENGINE:
            engine_file = onnx_file.with_suffix(".engine")
            say(f"building {engine_file}")
            manifest = build_engine(
                onnx_file,
                engine_file,
                flavour=engines.flavour,
                compute_capabilities=engines.compute_capabilities,
                plugin=engines.plugin,
                say=say,
            )
            artefacts.append((engine_file, manifest))
    painter = _Painter(model)
    report = verify([path for path, _ in artefacts], inputs, model=model, say=say, watch=painter.watch)
    picture = painter.write(folder / PICTURE)
    deployment = Deployment(folder, tuple(artefacts), report, picture)
    _write_json(report.to_dict(), folder / VERIFICATION)
    _write_json(deployment.to_dict(), folder / SUMMARY)
    return deployment


class _Painter:
    """Keeps the first picture of the verification: what went in, PyTorch's labels, each artefact's, differences."""

    def __init__(self, model: Model) -> None:
        self.card = model.card
        self.panels: list[Pictures] = []

    def watch(self, picture: Pictures, expected: Labels, got: Labels) -> None:
        """Sees the first picture [H, W, channels] of a batch and its labels [H, W]; called once an artefact."""
        if not self.panels:
            if picture.shape[2] != 3:  # a network of other pictures than RGB: its first channel, in grey
                picture = np.repeat(picture[..., :1], 3, axis=2)
            self.panels = [picture, painted(expected, self.card)]
        difference = np.repeat(np.where(got == expected, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        self.panels += [painted(got, self.card), difference]

    def write(self, target: Path) -> Path | None:
        """Writes what was seen; None if no picture was."""
        if not self.panels:
            return None
        side_by_side(self.panels, target)
        return target


def _write_json(document: dict[str, Any], target: Path) -> None:
    with written_whole(target) as temporary:
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
