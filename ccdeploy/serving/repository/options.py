"""How artefacts are packaged, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccdeploy.errors import UsageError
from ccdeploy.serving.contract import BACKENDS, Served

QUEUE_TIMEOUT_US = 30_000_000
"""The clients' deadline: where queues are bounded, what nobody waits for any more is not computed."""
MAX_BATCH = 8


@dataclass(frozen=True)
class Packaging:
    """How artefacts become models.

    Attributes:
        backend: of the network, one of `contract.BACKENDS`; None: tensorrt for an engine, python for an ONNX file.
        name: of the ensemble; None: the artefact's file name without its suffix.
        version: None: the next one.
        keep: how many versions of the steps are served, the latest ones; of the ensemble it is the latest alone,
            because Triton runs the latest steps for any version of it.
        replace: whether a deployment of the same name, with all its versions, gives way.
        max_batch: pictures that the network takes at once at most, where it leaves that open; None: MAX_BATCH, or
            what the engine takes.
        queue_delay_us: how long the network's requests wait for others to share a batch, in microseconds.
        queue_size: requests that wait for each model at most; more are refused, and so is what a client waits for no
            more. None: no bound. With any bound, Triton 2.51 may leave a request lying for half a second that comes
            while all instances are busy and none waits: its scheduler sleeps, and only a later request wakes it.
        queue_timeout_us: how long one waits at most where queues are bounded, in microseconds.
        instances: of the network, on each device.
        gpus: numbers of the GPUs that run it; (): every GPU; None: the CPU for ONNX files, every GPU for engines.
        cpu_instances: of each of the two other steps.
        plugin: the library that the engine's layers are in; None: it is looked for.
        warm_up: picture that is segmented before the server is ready; None: a street scene that ccdeploy draws.
        warmed: whether there is a warm-up.
        most_pixels: of a picture; None: as the contract says, less where pictures keep their size, see `subject`.
    """

    backend: str | None = None
    name: str | None = None
    version: int | None = None
    keep: int = 1
    replace: bool = False
    max_batch: int | None = None
    queue_delay_us: int = 0
    queue_size: int | None = None
    queue_timeout_us: int = QUEUE_TIMEOUT_US
    instances: int = 1
    gpus: tuple[int, ...] | None = None
    cpu_instances: int = 2
    plugin: Path | None = None
    warm_up: Path | None = None
    warmed: bool = True
    most_pixels: int | None = None


@dataclass(frozen=True)
class Packaged:
    """What became of an artefact.

    Attributes:
        artefact: the file.
        served: what is served of it.
        notes: what a user should know.
    """

    artefact: Path
    served: Served
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        served = self.served
        return {
            "artefact": str(self.artefact),
            "name": served.name,
            "version": served.version,
            "backend": served.backend,
            "models": [served.names.ensemble, served.names.read, served.names.network, served.names.labels],
            "size": served.size,
            "resize": served.resize,
            "most_pixels": served.most_pixels,
            "batch": served.batch,
            "notes": list(self.notes),
        }


_LEAST_AND_MOST = {
    "version": (1, 2**31 - 1),
    "keep": (1, 1000),
    "max_batch": (1, 1024),
    "queue_delay_us": (0, 10_000_000),
    "queue_size": (1, 1_000_000),
    "queue_timeout_us": (1, 86_400_000_000),
    "instances": (1, 256),
    "cpu_instances": (1, 256),
    "most_pixels": (1, 1 << 30),
}


def check_packaging(packaging: Packaging) -> None:
    """Whether the values are such that any server takes them.

    Raises:
        UsageError: one is not.
    """
    for name, (least, most) in _LEAST_AND_MOST.items():
        value = getattr(packaging, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"{name} is {value}, {least} to {most} was expected.", f"Give another {name}.")
    if packaging.backend is not None and packaging.backend not in BACKENDS:
        known = ", ".join(BACKENDS)
        raise UsageError(f"backend is {packaging.backend!r}, one of {known} was expected.", "Choose one of them.")
    gpus = packaging.gpus or ()
    if len(set(gpus)) != len(gpus) or any(gpu < 0 for gpu in gpus):
        seen = ", ".join(map(str, gpus))
        raise UsageError(f"gpus are {seen}, different numbers from 0 were expected.", "Name each GPU once.")
    if packaging.warm_up is not None and not packaging.warmed:
        raise UsageError("A picture to warm up with was given, and no warm-up was asked for.", "Leave one out.")
