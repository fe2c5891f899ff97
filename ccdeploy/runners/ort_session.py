"""Sessions of onnxruntime: the provider that was asked for runs every node, or there is no session.

Left to itself, onnxruntime drops a provider whose libraries do not load, and gives nodes that a provider does not know
to the CPU; both without an error. Here the first is looked for before and after a session is made, and the second is
refused by onnxruntime itself (`session.disable_cpu_ep_fallback`). That refusal is too strict for files with open
dimensions: the CUDA provider leaves the arithmetic of shapes to the CPU on purpose, because shapes are needed there.
So where it refuses, the nodes that are left to the CPU are looked at: only arithmetic of shapes may be among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.errors import ArtefactError, MissingError, first_line
from ccdeploy.runners.providers import CPU, CUDA, Provider, provider_named, why_not_provided

FAULTY = ["ReluQuantRewrite"]
"""Optimisers that are left out: this one takes an fp8 zero point for that of uint8 and drops the ReLU before it."""
SHAPE_OPERATORS = {
    *("Shape", "Size", "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Range", "Equal"),
    *("Where", "Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Floor", "Ceil", "ReduceProd", "Identity"),
    *("Constant", "ConstantOfShape", "Expand", "Split"),
}
"""What computes shapes. The CUDA provider has all of them for floats: it leaves one to the CPU for integers only."""
_REFUSED = "assigned to the default CPU EP"
"""Part of onnxruntime's message where nodes are left to the CPU and that is forbidden."""
_SHOWN = 3


class _LeftToCpu(Exception):
    """onnxruntime makes no session, because nodes would be left to the CPU."""


@dataclass(frozen=True)
class Session:
    """A session, what runs it in words, and the device's name."""

    ort: onnxruntime.InferenceSession
    how: str
    device: str


def open_session(
    path: Path,
    known_as: Path | None = None,
    *,
    provider: Provider | None = None,
    threads: int | None = None,
    device: int = 0,
    fuse_quantised: bool = True,
) -> Session:
    """Opens an ONNX file.

    Args:
        path: the file.
        known_as: its name in errors, where that is another.
        provider: what runs it; the CPU unless given.
        threads: on the CPU, how many work on one node; None: onnxruntime's choice.
        device: the GPU's number.
        fuse_quantised: whether quantised layers are computed in integers where onnxruntime can.

    Raises:
        ArtefactError: onnxruntime refuses the file.
        MissingError: the provider is not there, or leaves nodes to the CPU.
    """
    provider = provider or provider_named(CPU)
    how = f"onnxruntime {onnxruntime.__version__}, {provider.title}"
    settings = {} if fuse_quantised else {"session.disable_quant_qdq": "1"}
    if provider.name == CPU:
        # Without VNNI its fast int8 products saturate at 16 bits: sums would be wrong, not only rounded.
        settings["session.x64quantprecision"] = "1"
        # Its threads would wait busily after a run, and take the cores from whatever comes next: another session that
        # is measured in turns with this one, or the reading of the next picture.
        settings["session.force_spinning_stop"] = "1"
        return Session(_session(path, known_as, provider, {}, settings, threads), how, "CPU")
    reason, remedy = why_not_provided(provider, device)
    if reason:
        raise MissingError(f"{known_as or path} cannot run on {provider.key}: {reason}.", remedy)
    choice = {"device_id": str(device)}
    if provider.name == CUDA:
        choice["use_tf32"] = "0"  # its default would multiply float32 with float16's mantissa
    else:
        how += ", TF32 where it is float32"  # TensorRT's default, which this provider has no option for
    try:
        session = _session(path, known_as, provider, choice, {**settings, "session.disable_cpu_ep_fallback": "1"})
    except _LeftToCpu:
        session = _session(
            path, known_as, provider, choice, {**settings, "session.record_ep_graph_assignment_info": "1"}
        )
        how += f", {_shape_nodes_on_cpu(session, known_as or path, provider)} nodes of shape arithmetic on the CPU"
    if provider.key not in session.get_providers():
        raise _dropped(provider)
    name = _device_name(device)
    return Session(session, f"{how}, {name}", name)


def _shape_nodes_on_cpu(session: onnxruntime.InferenceSession, known_as: Path, provider: Provider) -> int:
    """How many nodes are left to the CPU; an error if they are not all of shape arithmetic."""
    if provider.key not in session.get_providers():
        raise _dropped(provider)
    remedy = "Export it with --dynamic none, or build an engine; --provider cpu runs all of it on the CPU."
    if not hasattr(session, "get_provider_graph_assignment_info"):
        what = f"{known_as}: {provider.key} leaves nodes to the CPU, this onnxruntime does not tell which."
        raise MissingError(what, f"Upgrade onnxruntime. {remedy}")
    nodes: list[Any] = []
    elsewhere = 0
    for part in session.get_provider_graph_assignment_info():
        if part.ep_name == provider.key:
            elsewhere += len(part.get_nodes())
        else:
            nodes += part.get_nodes()
    work = [node for node in nodes if node.domain not in ("", "ai.onnx") or node.op_type not in SHAPE_OPERATORS]
    if work or not elsewhere:
        shown = ", ".join(f"{node.op_type} {node.name}".strip() for node in (work or nodes)[:_SHOWN])
        count = len(work or nodes)
        raise MissingError(
            f"{known_as}: {provider.key} does not run every node, it leaves {count} to the CPU ({shown}"
            f"{', ...' if count > _SHOWN else ''}).",
            remedy,
        )
    return len(nodes)


def _session(
    path: Path,
    known_as: Path | None,
    provider: Provider,
    choice: dict[str, str],
    settings: dict[str, str],
    threads: int | None = None,
) -> onnxruntime.InferenceSession:
    """A session with one provider beside the CPU's, which onnxruntime always adds; its options are in `choice`."""
    options = onnxruntime.SessionOptions()
    # A refusal to leave nodes to the CPU is looked into: it is no line on the screen.
    options.log_severity_level = 4 if "session.disable_cpu_ep_fallback" in settings else 3
    if threads is not None:
        options.intra_op_num_threads = threads
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    try:
        # Without its fallback: that prints to the output and tries the same once more.
        return onnxruntime.InferenceSession(
            path, options, providers=[(provider.key, choice)], enable_fallback=0, disabled_optimizers=FAULTY
        )
    except Exception as error:  # onnxruntime raises types of its own
        if _REFUSED in str(error):
            raise _LeftToCpu from error
        what = f"{known_as or path} does not load in onnxruntime ({first_line(error)})."
        raise ArtefactError(what, "Export it again with ccdeploy.") from error


def _dropped(provider: Provider) -> MissingError:
    """The error where onnxruntime went on without the provider; only its log knows why."""
    return MissingError(
        f"onnxruntime dropped {provider.key} without an error; its log, on the standard error output, says why.",
        "`ccdeploy doctor` shows the driver and the GPU.",
    )


def _device_name(index: int) -> str:
    gpus = probe_gpus().gpus
    return gpus[index].name if index < len(gpus) else f"GPU {index}"
