"""Folders of `deploy` for tests, made in milliseconds: nothing is exported, figures are drawn from a seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_records import contestant, sample_record, times
from PIL import Image

from ccdeploy.accuracy import Accuracy, AccuracyReport, Measurement
from ccdeploy.benchmark.figures import boundary
from ccdeploy.benchmark.record import HOST, Record, write_record
from ccdeploy.ccnet.cards import ClassInfo, find_card
from ccdeploy.ccnet.provenance import Weights
from ccdeploy.comparison import Comparison, Tolerance
from ccdeploy.engine.manifest import Engine, Manifest, Tensor, write_manifest
from ccdeploy.files import sha256_of
from ccdeploy.machine import describe_machine
from ccdeploy.report.folder import DONE, REFERENCE, Entry, Index, Picture, Step, write_document
from ccdeploy.segmentation import Figures
from ccdeploy.verify import DIFFERENT, NOT_RUN, PASSED, Report, Verdict

MODEL = "ccnet_r18-d8_streets"
SIZE = (32, 64)
STAGES = ("operator", "backbone", "criss-cross 1", "criss-cross 2", "logits")
HOSTILE = '"><script>alert(1)<img src=x onerror=alert(2)>'


class Folder:
    """A whole folder of `deploy`; tests take parts away or change them, then `write` it.

    Args:
        path: the folder.
        files: names of the artefacts; a name that ends in .engine is an engine that was not run.
        model: the network's name.
        seed: of all figures.
    """

    def __init__(self, path: Path, files: tuple[str, ...], model: str = MODEL, seed: int = 0) -> None:
        self.path, self.files, self.model = path, files, model
        self.random = np.random.default_rng(seed)
        self.card = find_card(MODEL)
        self.pictures = 2
        self.seed = seed

    @property
    def run(self) -> list[str]:
        """Names of the artefacts that ran."""
        return [file for file in self.files if file.endswith(".onnx")]

    def rename_classes(self, names: list[str]) -> None:
        """Gives the card other classes."""
        classes = tuple(ClassInfo(name, (7 * index % 256, 40, 200)) for index, name in enumerate(names))
        output = dataclasses.replace(self.card.output, classes=classes, dataset="")
        self.card = dataclasses.replace(self.card, output=output)

    def write(self) -> Path:
        """Writes everything; what the artefacts hold is the only thing that is not real."""
        self.path.mkdir(parents=True, exist_ok=True)
        entries = tuple(self._artefact(file) for file in self.files)
        pictures = tuple(self._picture(number) for number in range(1, self.pictures + 1))
        write_document(self.verification().to_dict(), self.path / "verification.json")
        write_document(self.accuracy().to_dict(), self.path / "accuracy.json")
        write_record(self.record(entries), self.path / "benchmark.json")
        index = Index(
            ccdeploy="0.1.0",
            model=self.model,
            artefacts=entries,
            outcome=PASSED,
            verification="verification.json",
            picture=pictures[0].file if pictures else None,
            accuracy="accuracy.json",
            benchmark="benchmark.json",
            report="report.html",
            date="2026-03-04T05:06:07+00:00",
            command=f"ccdeploy deploy {self.model} -o deployed",
            steps=tuple(Step(name, DONE, "", 1.5) for name in ("export fp16", "verification", "accuracy", "benchmark")),
            pictures=pictures,
            inputs="2 pictures",
            versions={"torch": "2.13.0"},
            machine=describe_machine(),
        )
        self.rewrite_index(index)
        return self.path

    def rewrite_index(self, index: Index) -> None:
        """Writes the index."""
        write_document(index.to_dict(), self.path / "deploy.json")

    def verification(self) -> Report:
        """Verdicts: all that ran passed."""
        verdicts = []
        for number, file in enumerate(self.files):
            if file not in self.run:
                verdicts.append(Verdict(str(self.path / file), NOT_RUN, "fp16", reason="no GPU: none is here"))
                continue
            errors = 10 ** self.random.uniform(-7, -4, len(STAGES))
            rows = [
                Comparison(stage, True, 10 * float(error), float(error), 1 - float(error))
                for stage, error in zip(STAGES, errors, strict=True)
            ]
            rows.append(Comparison("labels", True, agreement=0.9990 + number / 1e5))
            how = "onnxruntime 1.32.0, CPU"
            path = str(self.path / file)
            verdicts.append(Verdict(path, PASSED, "fp16", how, (1, 3, *SIZE), comparisons=tuple(rows)))
        return Report("PyTorch 2.13.0, CPU, float32", "2 pictures", {"fp16": Tolerance(5e-3, 0.99)}, tuple(verdicts))

    def accuracy(self) -> AccuracyReport:
        """Figures of all that ran; each artefact loses one more hundredth of a point."""
        count = self.card.num_classes
        reference = Figures(0.8125, 0.95, tuple(float(value) for value in self.random.uniform(0.6, 0.99, count)))
        artefacts = []
        for number, file in enumerate(self.files, 1):
            path = str(self.path / file)
            if file not in self.run:
                artefacts.append(Accuracy(path, NOT_RUN, "fp16", "fp16", 0.1, reason="no GPU: none is here"))
                continue
            iou = tuple((value or 0) - number * 1e-4 for value in reference.iou)
            figures = Figures(0.8125 - number * 1e-4, 0.95, iou)
            drop = number * 1e-2
            artefacts.append(Accuracy(path, PASSED, "fp16", "fp16", 0.1, "onnxruntime", figures, drop, 0.9987, 1.0))
        names = tuple(info.name for info in self.card.classes)
        return AccuracyReport(
            (Measurement(self.model, names, "7 pictures", 7, "whole", "PyTorch", reference, 2.0, tuple(artefacts)),)
        )

    def record(self, entries: tuple[Entry, ...]) -> Record:
        """A benchmark of PyTorch and all that ran: PyTorch takes 40 ms, the artefacts 20 ms and less."""
        everyone = [self._contestant("PyTorch", "pytorch", 40.0, "5" * 64)]
        for number, entry in enumerate(entries):
            if entry.kind == "onnx":
                everyone.append(self._contestant(entry.file, "onnx", 20.0 / (1 + number), entry.sha256))
            else:
                everyone.append(contestant(entry.file, "engine", "fp16", (), reason="no GPU: none is here"))
        record = sample_record(self.seed)
        return dataclasses.replace(record, contestants=tuple(everyone), sweep=(), comparisons=(), operator=None)

    def _contestant(self, name: str, kind: str, typical: float, digest: str) -> Any:
        timed = boundary(HOST, times(self.random, typical))
        return contestant(name, kind, "fp16", (timed,), model=self.model, sha256=digest, pictures_per_s=1e3 / typical)

    def _artefact(self, file: str) -> Entry:
        path = self.path / file
        path.write_bytes(self.random.bytes(200))
        digest, kind = sha256_of(path), "onnx" if file in self.run else "engine"
        engine = Engine("tensorrt-rtx", "1.7.1", ("8.6",), plugin_layers=2, layers=290) if kind == "engine" else None
        manifest = Manifest(
            kind=kind,
            file=file,
            sha256=digest,
            onnx_sha256=digest,
            ccdeploy="0.1.0",
            model=self.model,
            card=self.card.to_dict(),
            weights=Weights("file", "5" * 64, "weights.safetensors"),
            recurrence=2,
            precision="fp16",
            io="tensor",
            dynamic="none",
            inputs=(Tensor("input", "float32", "NCHW", (1, 3, *SIZE)),),
            outputs=(Tensor("logits", "float32", "NCHW", (1, self.card.num_classes, *SIZE)),),
            criss_cross_nodes=2,
            notes=("criss-cross attention: 1 module proved and replaced",),
            engine=engine,
        )
        write_manifest(manifest, path)
        layers = {"Conv": 20, "Relu": 17, "ccdeploy::CrissCrossAttention": 2} if kind == "onnx" else {}
        return Entry(file, kind, "fp16", digest, "fp16", 200, layers, "" if layers else "no GPU that the engine is for")

    def _picture(self, number: int) -> Picture:
        (self.path / "pictures").mkdir(exist_ok=True)
        height, width = SIZE
        photo = self.random.integers(0, 256, (2 * height, 2 * width, 3), np.uint8)
        labels = self.random.integers(0, self.card.num_classes, SIZE, np.uint8)
        names = {"picture": f"pictures/{number:02d}.png", REFERENCE: f"pictures/{number:02d}.pytorch.png"}
        Image.fromarray(photo).save(self.path / names["picture"])
        Image.fromarray(labels).save(self.path / names[REFERENCE])
        kept = {REFERENCE: names[REFERENCE]}
        for place, file in enumerate(self.run, 1):
            changed = labels.copy()
            changed[:place] = (changed[:place] + 1) % self.card.num_classes  # as many rows as its number
            kept[file] = f"pictures/{number:02d}.{place}.png"
            Image.fromarray(changed).save(self.path / kept[file])
        return Picture(f"photo {number}", names["picture"], kept, names[REFERENCE] if number == 1 else None)


def whole(path: Path, count: int = 3, model: str = MODEL, seed: int = 0) -> Folder:
    """A folder of so many ONNX files, and one engine that was not run."""
    return Folder(path, (*(f"{model}.{number}.onnx" for number in range(count)), f"{model}.gpu.engine"), model, seed)


def different(report: Report, number: int) -> Report:
    """A report of which one verdict is that its artefact differs, with errors that are not finite."""
    verdicts = list(report.verdicts)
    rows = (Comparison("backbone", False), *verdicts[number].comparisons[1:])
    verdicts[number] = dataclasses.replace(verdicts[number], outcome=DIFFERENT, departs="backbone", comparisons=rows)
    return dataclasses.replace(report, verdicts=tuple(verdicts))
