"""What a pod of a repository needs, estimated from what is in it: a start, to be replaced by what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ccdeploy.serving.contract import PYTHON, Served

SERVER_MIB = 512
"""Of the server itself: 40 MiB measured without a GPU; CUDA takes several hundred."""
PYTHON_MIB = 384
"""Of each process of a model in Python: 230 to 300 MiB measured on x86-64, and room for its own copies of a picture."""
COPIES_OF_WEIGHTS = 3
"""Of an artefact's file in memory, at most: as it is read, as it is kept, as it is laid out for the processor."""
REGION_MIB = 64
"""Of shared memory for each process of a model in Python, before a tensor is in it."""
IN_FLIGHT = 2
"""Of what a process works on: itself, and the same that waits."""
USUAL_SIZE = (1024, 2048)
"""Assumed of pictures whose size nothing says, as Cityscapes has them."""
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "uint8": 1, "int32": 4, "int64": 8}
_MIB = 1 << 20


@dataclass(frozen=True)
class Needs:
    """Of a pod.

    Attributes:
        memory: with its shared memory, such as "3Gi"; what it is given and what it may take.
        shared_memory: of /dev/shm, a part of `memory`.
        cpus: it is given at least.
        reasons: of each, for people.
    """

    memory: str
    shared_memory: str
    cpus: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Load:
    """A deployment as it burdens a pod.

    Attributes:
        served: what is served.
        file_bytes: of the artefact with its external data.
        python_processes: of its models in Python.
        network_instances: of the network.
        on_gpu: whether the network is on a GPU.
    """

    served: Served
    file_bytes: int
    python_processes: int
    network_instances: int
    on_gpu: bool


def needs(loads: Sequence[Load], memory: str | None, cpus: str | None) -> Needs:
    """Estimates what is not given.

    Args:
        loads: all that a pod serves.
        memory, cpus: instead of the estimate.
    """
    processes = sum(load.python_processes for load in loads)
    tensors = sum(map(_in_flight_mib, loads))  # held by a process as well as in shared memory
    weights = sum(COPIES_OF_WEIGHTS * load.file_bytes * load.network_instances for load in loads) / _MIB
    shared = 256 * max(1, math.ceil((processes * REGION_MIB + tensors) / 256))
    total = math.ceil((SERVER_MIB + processes * PYTHON_MIB + weights + tensors + shared) / 1024)
    in_server = sum(load.network_instances for load in loads if not load.on_gpu and load.served.backend != PYTHON)
    if memory is not None:
        shared = min(shared, _mib_of(memory) // 2)
    sizes = ", ".join(sorted({"x".join(map(str, _size_of(load.served))) for load in loads}))
    estimate = (
        f"Memory is an estimate, to be replaced by what you measure: {SERVER_MIB} MiB for the server, {PYTHON_MIB} for "
        f"each of {processes} processes of Python, the weights {COPIES_OF_WEIGHTS} times ({math.ceil(weights)} MiB), "
        f"tensors of pictures of {sizes} in flight ({math.ceil(tensors)} MiB), and {shared} MiB of /dev/shm."
    )
    cores = (
        "CPU: a core for the server's threads and one for each process or network that computes on it. There is no "
        "limit, which would only stop a server that has work."
    )
    return Needs(
        memory or f"{total}Gi",
        f"{shared}Mi",
        cpus or str(1 + processes + in_server),
        ("Memory is as it was asked for." if memory else estimate, "CPU is as it was asked for." if cpus else cores),
    )


def _mib_of(quantity: str) -> int:
    """Of a quantity in Mi or Gi."""
    return int(quantity[:-2]) * (1024 if quantity.endswith("Gi") else 1)


def _size_of(served: Served) -> tuple[int, int]:
    """Height and width of pictures: as they are brought to, as the card has them, or what is usual."""
    card = served.manifest.get("card") or {}
    size = served.size or served.resize or (card.get("input") or {}).get("size") or USUAL_SIZE
    return size[0], size[1]


def _in_flight_mib(load: Load) -> float:
    """Tensors of a batch for each network, of a picture for each other process."""
    picture, batch = (_tensors_mib(load.served, pictures) for pictures in (1, load.served.batch))
    return IN_FLIGHT * (batch * load.network_instances + picture * load.python_processes)


def _tensors_mib(served: Served, pictures: int) -> float:
    """The network's inputs and outputs."""
    manifest = served.manifest_of()
    height, width = _size_of(served)
    open_axes = {"N": pictures, "H": height, "W": width}
    total = 0
    for tensor in (*manifest.inputs, *manifest.outputs):
        sides = zip(tensor.layout, tensor.shape, strict=False)
        count = math.prod(open_axes.get(axis, 1) if isinstance(side, str) else side for axis, side in sides)
        total += count * _ITEM_BYTES.get(tensor.dtype, 4)
    return total / _MIB
