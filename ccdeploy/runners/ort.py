"""Runs ONNX files in onnxruntime on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime

from ccdeploy.engine.onnx_files import LARGEST_PROTOBUF, load_graph
from ccdeploy.errors import ArtefactError, first_line
from ccdeploy.runners import Array, Runner
from ccdeploy.runners.rounding import rounds, widened

PROVIDER = "CPUExecutionProvider"
FAULTY = ["ReluQuantRewrite"]
"""Optimisers that are left out: this one takes an fp8 zero point for that of uint8 and drops the ReLU before it."""


class OnnxRuntimeRunner(Runner):
    """An ONNX file as it stands."""

    def __init__(self, path: Path) -> None:
        load_graph(path)
        self.how = f"onnxruntime {onnxruntime.__version__}, CPU"
        self._session = _open(path)

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            ArtefactError: onnxruntime refuses the inputs or fails.
        """
        return _run(self._session, inputs)

    def close(self) -> None:
        """Frees the session."""
        del self._session


class StagedRunner(OnnxRuntimeRunner):
    """A copy of an ONNX file that also gives inner values, and rounds each node's result to the file's float type."""

    def __init__(self, path: Path, values: Sequence[str]) -> None:
        load_graph(path)
        self.how = f"onnxruntime {onnxruntime.__version__}, CPU"
        try:
            stored = onnx.load(path)
            model = widened(stored, values)
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ArtefactError(
                f"{path}: its weights cannot be read ({error}).", "Copy its .data file beside it."
            ) from error
        if rounds(stored):
            self.how += ", each node rounded to the file's type"
        del stored
        self._session = _open_model(model, path)


class ModelRunner(OnnxRuntimeRunner):
    """A model in memory, computed in float types only: what is quantised is rounded as the graph says, node by node."""

    def __init__(self, model: onnx.ModelProto, known_as: Path) -> None:
        self.how = f"onnxruntime {onnxruntime.__version__}, CPU"
        self._session = _open_model(model, known_as)


def _open_model(model: onnx.ModelProto, known_as: Path) -> onnxruntime.InferenceSession:
    with tempfile.TemporaryDirectory(prefix="ccdeploy-") as folder:
        copy = Path(folder) / "model.onnx"
        large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST_PROTOBUF
        onnx.save(model, copy, save_as_external_data=large, location="model.data")
        return _open(copy, known_as, fuse_quantised=False)


def _open(path: Path, known_as: Path | None = None, fuse_quantised: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without VNNI its fast int8 products saturate at 16 bits: sums would be wrong, not only rounded.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not fuse_quantised:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        # Without its fallback: that prints to the output and tries the same once more.
        return onnxruntime.InferenceSession(
            path, options, providers=[PROVIDER], enable_fallback=0, disabled_optimizers=FAULTY
        )
    except Exception as error:  # onnxruntime raises types of its own
        what = f"{known_as or path} does not load in onnxruntime ({first_line(error)})."
        raise ArtefactError(what, "Export it again with ccdeploy.") from error


def _run(session: onnxruntime.InferenceSession, inputs: Mapping[str, Array]) -> dict[str, Array]:
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))
    except Exception as error:  # onnxruntime raises types of its own
        what = f"onnxruntime failed ({first_line(error)})."
        raise ArtefactError(what, "Give inputs of the shapes that `ccdeploy inspect` shows.") from error
