"""ONNX files and engines in a benchmark."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ccdeploy.benchmark.record import NOT_RUN, Contestant
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.subject import UNSTATED_SIZE, Subject
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.ccnet.preprocessing import noise_batch, noise_pictures
from ccdeploy.engine.manifest import UNKNOWN, Manifest, Tensor
from ccdeploy.errors import UsageError
from ccdeploy.files import sha256_of
from ccdeploy.runners import Array, Runner, open_runner, why_not_openable


class Artefact(Subject):
    """An ONNX file or an engine."""

    def __init__(self, path: Path, settings: Settings, name: str = "") -> None:
        """Reads its manifest.

        Raises:
            ArtefactError: the file or its manifest is damaged.
            UsageError: a size that it does not take.
        """
        self.path, self.settings = path, settings
        self.name = name or str(path)
        self.is_onnx = path.suffix == ".onnx"
        self.on_gpu = not self.is_onnx or settings.provider in ("cuda", "tensorrt")
        self.manifest = _manifest(path)
        self.card = (
            card_from_dict(manifest.model, manifest.card) if (manifest := self.manifest) and manifest.card else None
        )

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Its inputs; a foreign file is opened to see them."""
        if self.manifest is not None:
            return self.manifest.inputs
        with self.open() as runner:
            return runner.describe().inputs

    def facts(self) -> Contestant:
        """See the interface."""
        first, manifest = self.tensors[0], self.manifest
        return Contestant(
            name=self.name,
            artefact=str(self.path),
            sha256=sha256_of(self.path),
            kind="onnx" if self.is_onnx else "engine",
            precision=manifest.types if manifest else UNKNOWN,
            runtime="",
            device="",
            model=manifest.model if manifest else "",
            weights=_weights_of(manifest) if manifest else "",
            recurrence=manifest.recurrence if manifest else 0,
            io=manifest.io if manifest and manifest.card else UNKNOWN,
            input=self.shape_of(first, self.settings.batch),
            input_type=f"{first.dtype} {first.layout}",
            threads=self._threads(),
            outcome=NOT_RUN,
            notes=manifest.notes if manifest else ("a foreign file: it carries no manifest of ccdeploy",),
        )

    def why_not(self) -> str:
        """See the interface."""
        return why_not_openable(self.path, provider=self.settings.provider if self.is_onnx else None)

    def open(self, contexts: int = 1) -> Runner:
        """See the interface."""
        if not self.is_onnx:
            return open_runner(self.path, contexts=contexts, cuda_graph=self.settings.cuda_graph)
        return open_runner(self.path, provider=self.settings.provider, contexts=contexts, threads=self._threads())

    def inputs(self, batch: int | None = None) -> dict[str, Array]:
        """See the interface."""
        count, seed = batch or self.settings.batch, self.settings.seed
        if self.card is None:
            return {tensor.name: _noise(tensor, self.shape_of(tensor, count), seed) for tensor in self.tensors}
        (tensor,) = self.tensors
        sizes = dict(zip(tensor.layout, self.shape_of(tensor, count), strict=True))
        make = noise_pictures if self.manifest and self.manifest.io == "image" else noise_batch
        return {tensor.name: make(self.card, sizes["N"], sizes["H"], sizes["W"], seed)}

    def fixed_batch(self) -> int | None:
        """See the interface."""
        shape = self.tensors[0].shape
        first = shape[0] if shape else 1  # every layout of a network's input begins with N
        return first if isinstance(first, int) else None

    def spec(self) -> dict[str, Any]:
        """See the interface."""
        settings = dataclasses.replace(self.settings, compare=None)
        return {"artefact": str(self.path), "name": self.name, "settings": dataclasses.asdict(settings)}

    def import_runtime(self) -> None:
        """See the interface."""
        if self.is_onnx:
            import onnxruntime  # noqa: F401

            import ccdeploy.runners.ort  # noqa: F401
        elif self.manifest is not None and self.manifest.engine is not None:
            from ccdeploy.engine.flavour import load_flavour

            load_flavour(self.manifest.engine.flavour)

    def _threads(self) -> int | None:
        """Of the CPU: GPUs and engines take none."""
        return self.settings.threads if not self.on_gpu else None

    def shape_of(self, tensor: Tensor, batch: int) -> tuple[int, ...]:
        """The shape to run at: fixed dimensions as they are, open ones as the settings and the card say."""
        height, width = self.settings.size or (self.card.input.size if self.card else (0, 0))
        wanted = {"N": batch, "H": height or UNSTATED_SIZE, "W": width or UNSTATED_SIZE}
        if self.card is not None:
            wanted["C"] = self.card.input.channels
        axes = tensor.layout if len(tensor.layout) == len(tensor.shape) else "NCHW"[: len(tensor.shape)]
        shape = []
        for position, dimension in enumerate(tensor.shape):
            axis = axes[position] if position < len(axes) else "?"
            if isinstance(dimension, str) and axis not in wanted:
                raise UsageError(
                    f"{self.path}: the dimension {dimension} of its input {tensor.name} is open, nothing states it.",
                    "Export the network with `ccdeploy export`, or fix that dimension.",
                )
            shape.append(wanted[axis] if isinstance(dimension, str) else dimension)
        given = self.settings.size
        seen = tuple(size for axis, size in zip(axes, shape, strict=False) if axis in "HW")
        if given is not None and len(seen) == 2 and seen != tuple(given):
            raise UsageError(
                f"{self.path} takes {seen[0]}x{seen[1]} and nothing else, --size is {given[0]}x{given[1]}.",
                "Leave --size out, or export with --dynamic size.",
            )
        return tuple(shape)


def _manifest(path: Path) -> Manifest | None:
    """The manifest; None for an ONNX file of another tool."""
    from ccdeploy.artefacts import manifest_of

    if path.suffix == ".onnx":
        from ccdeploy.engine.onnx_files import onnx_manifest

        return onnx_manifest(path)
    return manifest_of(path)


def _weights_of(manifest: Manifest) -> str:
    return manifest.weights.sha256 or (f"seed {manifest.weights.seed}" if manifest.weights.seed is not None else "")


def _noise(tensor: Tensor, shape: tuple[int, ...], seed: int) -> Array:
    """Noise for an input of which only type and shape are known."""
    generator, kind = np.random.default_rng(seed), np.dtype(tensor.dtype)
    if kind == np.uint8:
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if kind.kind == "f":
        return generator.standard_normal(shape).astype(kind)
    return np.zeros(shape, kind)
