"""Runs ONNX files in onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime

from ccdeploy.engine.manifest import UNKNOWN, Manifest, Tensor
from ccdeploy.engine.onnx_files import LARGEST_PROTOBUF, load_graph
from ccdeploy.errors import ArtefactError, UsageError, first_line
from ccdeploy.runners import Array, Description, Prepared, Runner
from ccdeploy.runners.ort_session import Session, open_session
from ccdeploy.runners.prepared import HostPrepared, check_slot
from ccdeploy.runners.providers import CPU, provider_named
from ccdeploy.runners.rounding import rounds, widened

_NUMPY_NAMES = {"float": "float32", "double": "float64"}
"""Where onnxruntime's name of an element type is not NumPy's."""


class _SessionRunner(Runner):
    """What every runner of an onnxruntime session does; `artefact` and `how` are for reports."""

    def __init__(self, artefact: str, session: Session, contexts: int = 1, manifest: Manifest | None = None) -> None:
        self.how = session.how
        self._artefact, self._contexts, self._manifest = artefact, contexts, manifest
        self._device = session.device
        self._inputs, self._outputs = _tensors(session.ort.get_inputs()), _tensors(session.ort.get_outputs())
        self._session: onnxruntime.InferenceSession | None = session.ort

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            ArtefactError: onnxruntime refuses the inputs or fails.
        """
        session = self._open_session()
        names = [tensor.name for tensor in self._outputs]
        try:
            return dict(zip(names, session.run(names, dict(inputs)), strict=True))
        except Exception as error:  # onnxruntime raises types of its own
            what = f"onnxruntime failed ({first_line(error)})."
            raise ArtefactError(what, "Give inputs of the shapes that `ccdeploy inspect` shows.") from error

    def describe(self) -> Description:
        """See the interface; of a file without a manifest what its graph shows."""
        manifest = self._manifest
        return Description(
            artefact=self._artefact,
            kind="onnx",
            precision=manifest.types if manifest else UNKNOWN,
            runtime=self.how,
            device=self._device,
            inputs=manifest.inputs if manifest else self._inputs,
            outputs=manifest.outputs if manifest else self._outputs,
            contexts=self._contexts,
        )

    def prepare(self, inputs: Mapping[str, Array], slot: int = 0) -> Prepared:
        """See the interface: sessions may be run by several threads at once, a slot is a thread.

        Unknown names and missing inputs are told at once, other misfits by the first run.
        """
        self._open_session()
        check_slot(slot, self._contexts)
        expected = [tensor.name for tensor in self._inputs]
        if sorted(inputs) != sorted(expected):
            what = f"{self._artefact} takes {', '.join(expected)}; {', '.join(inputs) or 'nothing'} was given."
            raise ArtefactError(what, "Give inputs of the shapes that `ccdeploy inspect` shows.")
        return HostPrepared(self.infer, inputs)

    def close(self) -> None:
        """Frees the session."""
        self._session = None

    def _open_session(self) -> onnxruntime.InferenceSession:
        if self._session is None:
            raise UsageError(f"The runner of {self._artefact} is closed.", "Open it again.")
        return self._session


class OnnxRuntimeRunner(_SessionRunner):
    """An ONNX file as it stands.

    Args:
        path: the file.
        provider: what it runs on, see `ccdeploy.runners.providers`.
        contexts: how many inferences may be under way at once.
        threads: on the CPU, how many work on one node; None: onnxruntime's choice.
        device: the GPU's number.
        manifest: the file's, for `describe`.

    Raises:
        ArtefactError: the file is damaged, or onnxruntime refuses it.
        MissingError: the provider is not there, or cannot run every node.
    """

    def __init__(
        self,
        path: Path,
        provider: str = CPU,
        contexts: int = 1,
        threads: int | None = None,
        device: int = 0,
        manifest: Manifest | None = None,
    ) -> None:
        load_graph(path)
        session = open_session(path, provider=provider_named(provider), threads=threads, device=device)
        super().__init__(str(path), session, contexts, manifest)


class StagedRunner(_SessionRunner):
    """A copy of an ONNX file that also gives inner values, and rounds each node's result to the file's float type."""

    def __init__(self, path: Path, values: Sequence[str]) -> None:
        load_graph(path)
        try:
            stored = onnx.load(path)
            model = widened(stored, values)
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ArtefactError(
                f"{path}: its weights cannot be read ({error}).", "Copy its .data file beside it."
            ) from error
        narrow = rounds(stored)
        del stored
        super().__init__(str(path), _open_model(model, path))
        if narrow:
            self.how += ", each node rounded to the file's type"


class ModelRunner(_SessionRunner):
    """A model in memory, computed in float types only: what is quantised is rounded as the graph says, node by node."""

    def __init__(self, model: onnx.ModelProto, known_as: Path) -> None:
        super().__init__(str(known_as), _open_model(model, known_as))


def _open_model(model: onnx.ModelProto, known_as: Path) -> Session:
    with tempfile.TemporaryDirectory(prefix="ccdeploy-") as folder:
        copy = Path(folder) / "model.onnx"
        large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST_PROTOBUF
        onnx.save(model, copy, save_as_external_data=large, location="model.data")
        return open_session(copy, known_as, fuse_quantised=False)


def _tensors(arguments: Sequence[onnxruntime.NodeArg]) -> tuple[Tensor, ...]:
    """What onnxruntime says of inputs or outputs: "tensor(float16)" is float16; open dimensions have a name."""
    tensors = []
    for argument in arguments:
        kind = str(argument.type).removeprefix("tensor(").removesuffix(")")
        shape = tuple(
            size if isinstance(size, int) else size or f"{argument.name}_dim{axis}"
            for axis, size in enumerate(argument.shape)
        )
        tensors.append(Tensor(argument.name, _NUMPY_NAMES.get(kind, kind), UNKNOWN, shape))
    return tuple(tensors)
