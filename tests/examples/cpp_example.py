"""Engines, manifests and pictures for the C++ example to run, and what it did with them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cpp_build import compiled
from PIL import Image

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.provenance import Weights
from ccdeploy.engine.manifest import Engine, Manifest, Plugin, Tensor, manifest_path, write_manifest
from ccdeploy.files import sha256_of


@dataclass(frozen=True)
class Network:
    """The network of one layer that a stand-in engine holds; see stand_in_sdk/tensorrt.cpp.

    Attributes:
        weights: [classes, 4], of red, green and blue as the network gets them, and a bias.
        step: every so many pixels have an output.
    """

    weights: npt.NDArray[np.float32]
    step: int = 1

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[N, 3, H, W] -> [N, classes, h, w]."""
        sampled = batch[:, :, :: self.step, :: self.step]
        products = np.einsum("kc,nchw->nkhw", self.weights[:, :3], sampled)
        return np.asarray(products + self.weights[:, 3, None, None], np.float32)

    def labels(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """[N, H, W, 3] -> [N, h, w]."""
        logits = self.logits(pictures.transpose(0, 3, 1, 2).astype(np.float32))
        return np.asarray(logits.argmax(axis=1), np.uint8)

    def engine(
        self,
        kind: str,
        shape: Sequence[int],
        plugin: str = "none",
        names: tuple[str, str] = ("input", "output"),
        types: tuple[int, int] | None = None,
    ) -> str:
        """An engine's file; `kind` is "logits" or "labels", `shape` its input's, `types` of TensorRT's DataType."""
        first, second = types or ((0, 0) if kind == "logits" else (5, 5))
        sizes = " ".join(map(str, (len(shape), *shape)))
        numbers = " ".join(f"{value:.9g}" for value in self.weights.ravel())
        head = f"stand-in-engine {plugin} {names[0]} {first} {sizes} {names[1]} {second}"
        return f"{head} {kind} {self.step} {len(self.weights)} {numbers}\n"


def random_network(classes: int, generator: np.random.Generator, step: int = 1) -> Network:
    """Random weights under which every class wins somewhere on noise."""
    weights = generator.standard_normal((classes, 4)).astype(np.float32)
    weights[:, 3] *= 0.1
    return Network(weights, step)


class Deployment:
    """An engine with its manifest and a picture, in a folder of its own.

    Args:
        folder: an empty one.
        card: of the network; says how pictures are normalised and what the classes are.
        io: "tensor" or "image".
        size: height and width of the input.
        batch: of the input.
        step: every so many pixels have an output.
        plugin: whether the engine needs the plugin, which then lies beside it.
    """

    def __init__(
        self,
        folder: Path,
        card: Card,
        io: str = "tensor",
        size: tuple[int, int] = (13, 21),
        batch: int = 1,
        step: int = 1,
        plugin: bool = False,
        seed: int = 0,
    ) -> None:
        self.folder, self.card, self.io, self.size, self.batch = folder, card, io, size, batch
        self.generator = np.random.default_rng(seed)
        self.network = random_network(card.num_classes, self.generator, step)
        self.engine = folder / "net.engine"
        self.plugin = folder / "libccdeploy_plugins.so"
        self.picture = folder / "photo.png"
        self.out, self.mask = folder / "out.png", folder / "mask.png"
        self.log_file, self.inputs_file = folder / "calls.txt", folder / "inputs.bin"
        self.shape = (batch, *size, 3) if io == "image" else (batch, 3, *size)
        self._plugin = plugin
        if plugin:
            shutil.copy(compiled().plugin, self.plugin)
        self.write()

    def write(self, content: str | None = None, **changes: Any) -> None:
        """Writes the engine, by default this network's, and its manifest with some fields changed."""
        image = self.io == "image"
        text = content or self.network.engine(
            "labels" if image else "logits", self.shape, plugin="1" if self._plugin else "none"
        )
        self.engine.write_text(text)
        height, width = self.size
        step = self.network.step
        small = (self.batch, -(-height // step), -(-width // step))
        if image:
            tensors = (Tensor("input", "uint8", "NHWC", self.shape),), (Tensor("output", "uint8", "NHW", small),)
        else:
            logits = (small[0], self.card.num_classes, *small[1:])
            tensors = (Tensor("input", "float32", "NCHW", self.shape),), (Tensor("output", "float32", "NCHW", logits),)
        plugin = Plugin(self.plugin.name, sha256_of(self.plugin), "1") if self._plugin else None
        manifest = Manifest(
            kind="engine",
            file=self.engine.name,
            sha256=sha256_of(self.engine),
            onnx_sha256="",
            ccdeploy="0.1.0",
            model="small-net",
            card=self.card.to_dict(),
            weights=Weights("random", seed=0),
            recurrence=2,
            precision="fp16",
            io=self.io,
            dynamic="none",
            inputs=tensors[0],
            outputs=tensors[1],
            criss_cross_nodes=2,
            engine=Engine("tensorrt", "10.16.1.11", ("8.7",), plugin=plugin),
        )
        write_manifest(dataclasses.replace(manifest, **changes), self.engine)

    def manifest(self) -> dict[str, Any]:
        """The manifest as it lies there."""
        data: dict[str, Any] = json.loads(manifest_path(self.engine).read_text())
        return data

    def write_manifest(self, data: Any) -> None:
        """Replaces the manifest."""
        manifest_path(self.engine).write_text(json.dumps(data))

    def draw(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Makes a picture of noise [height, width, 3], and its file."""
        pixels = self.generator.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(self.picture)
        return pixels

    def run(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the program on the engine and the picture; writes the overlay and the mask."""
        arguments = [str(self.engine), str(self.picture), "-o", str(self.out), "--mask", str(self.mask)]
        return self.call(*arguments, "--runs", "3", *options, **environment)

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the program."""
        for path in (self.log_file, self.inputs_file, self.out, self.mask):
            path.unlink(missing_ok=True)
        stand_in = {
            "STAND_IN_LOG": str(self.log_file),
            "STAND_IN_INPUTS": str(self.inputs_file),
            **{f"STAND_IN_{name}": value for name, value in environment.items()},
        }
        command = [str(compiled().program), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **stand_in}, cwd=self.folder, timeout=60
        )

    def refused(self, code: int, what: str, remedy: str, *options: str, **environment: str) -> None:
        """Runs the program, which must end with this error and write nothing; TensorRT's own lines may stand before."""
        done = self.run(*options, **environment)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("TensorRT: ")]
        assert lines == [f"error: {what}", f"       {remedy}"], done.stderr
        assert done.returncode == code
        assert done.stdout == ""
        assert not self.out.exists()
        assert not self.mask.exists()
        assert not list(self.folder.glob("*.part"))

    def calls(self) -> list[str]:
        """What the program asked of the stand-ins, in order."""
        return self.log_file.read_text().splitlines() if self.log_file.exists() else []

    def inputs(self) -> npt.NDArray[Any]:
        """What the engine was given at its first inference, in the shape of its input."""
        values = np.fromfile(self.inputs_file, np.uint8 if self.io == "image" else np.float32)
        return np.asarray(values.reshape(-1, *self.shape)[0])

    def classes(self) -> npt.NDArray[np.uint8]:
        """The mask."""
        return np.asarray(Image.open(self.mask))
