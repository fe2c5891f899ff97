"""What a benchmark found: frozen dataclasses that travel as one JSON document, read back strictly.

Figures are None where nothing was measured; the reason stands beside them. Times of single runs are kept, so that
whoever reads a record can draw them or compute another figure.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccdeploy.benchmark.server.record import ServedCurve, check_curve
from ccdeploy.benchmark.settings import Settings
from ccdeploy.documents import Mismatch, from_json, plain, strict_json
from ccdeploy.errors import ArtefactError
from ccdeploy.files import written_whole
from ccdeploy.machine import Conditions, Machine

FORMAT = 1
RUN, NOT_RUN = "run", "not run"
HOST, DEVICE = "host to host", "device"
"""Boundaries. Host to host: inputs in host memory to outputs in host memory, copies included. Device: between two
events around the inference alone, inputs and outputs in device memory."""
REMEDY = "Measure again with `ccdeploy benchmark -o FILE`."


@dataclass(frozen=True)
class WarmUp:
    """Runs before the timed ones, and whether times had become stable (see ccdeploy.benchmark.timing)."""

    runs: int
    seconds: float
    stable: bool


@dataclass(frozen=True)
class Boundary:
    """Times between two boundaries, in milliseconds a run; percentiles are numpy's, linear between neighbours."""

    name: str
    samples_ms: tuple[float, ...]
    mean_ms: float
    std_ms: float
    iqr_ms: float
    min_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Memory:
    """Bytes that a contestant takes, alone in a process of its own.

    Attributes:
        host_bytes: the process's largest resident set, interpreter and libraries included.
        host_before_bytes: the same before the artefact was opened: interpreter and imported libraries.
        device_bytes: engine, context and buffers on the device; None on a CPU.
    """

    host_bytes: int | None
    host_before_bytes: int | None
    device_bytes: int | None


@dataclass(frozen=True)
class Energy:
    """Energy while a contestant ran alone, over and over; nothing is subtracted.

    Attributes:
        joules_per_picture: all energy of `scope` over its runs, divided by the pictures.
        watts: the mean power over its runs.
        scope: what the power is of, such as "GPU board".
        idle_watts: the mean power of the same before anything ran.
        seconds: how long it ran.
    """

    joules_per_picture: float
    watts: float
    scope: str
    idle_watts: float | None
    seconds: float


@dataclass(frozen=True)
class Contestant:
    """One artefact (or the network in PyTorch) and all that was measured of it.

    Attributes:
        name: unique in a record.
        artefact: its file; the model's name for PyTorch.
        sha256: of the file; of the weights for PyTorch.
        kind: "onnx", "engine" or "pytorch".
        precision: such as "fp16" or "int8+fp16".
        runtime: runtime, version, provider, device, plugin.
        device: "CPU", or the GPU's name.
        model: what was exported; "" of a foreign file.
        weights: sha256 of the checkpoint, or "seed N".
        recurrence: criss-cross passes.
        io: "tensor" or "image"; "unknown" of a foreign file.
        input: shape that it was run at.
        input_type: dtype and layout of the input.
        threads: of the CPU, as asked for; None leaves it to the runtime.
        outcome: RUN or NOT_RUN, then with `reason`.
        load_s: from the file to ready: opened, inputs in place.
        first_inference_s: the first run after loading.
        pictures_per_s: one inference after the other, host to host.
        energy_reason: why there is no energy.
        conditions: clocks, temperature and throttling while contestants were timed in turns.
    """

    name: str
    artefact: str
    sha256: str
    kind: str
    precision: str
    runtime: str
    device: str
    model: str
    weights: str
    recurrence: int
    io: str
    input: tuple[int, ...]
    input_type: str
    threads: int | None
    outcome: str
    reason: str = ""
    load_s: float | None = None
    first_inference_s: float | None = None
    warm_up: WarmUp | None = None
    boundaries: tuple[Boundary, ...] = ()
    pictures_per_s: float | None = None
    memory: Memory | None = None
    energy: Energy | None = None
    energy_reason: str = ""
    conditions: Conditions | None = None
    notes: tuple[str, ...] = ()

    def boundary(self, name: str) -> Boundary | None:
        """The boundary of a name, where it was measured."""
        return next((boundary for boundary in self.boundaries if boundary.name == name), None)


@dataclass(frozen=True)
class SweepPoint:
    """A contestant at a batch size, with so many inferences under way at once; host to host.

    Latency is from the start of one inference to its end, while the others run. `reason` says why it was not run.
    """

    name: str
    batch: int
    streams: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    pictures_per_s: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two contestants, pair by pair: `ratio` is the time of `b` over the time of `a`, with its 95 % interval.

    Attributes:
        pairs: how many; 0 where two records were compared, whose runs are not paired.
        quartiles: first and third quartile of the pairs' ratios; None without pairs.
        method: how ratio and interval were reached.
    """

    a: str
    b: str
    boundary: str
    ratio: float
    low: float
    high: float
    pairs: int
    verdict: str
    method: str
    quartiles: tuple[float, float] | None = None
    ratios: tuple[float, ...] = ()


@dataclass(frozen=True)
class Roof:
    """What this device reaches, measured in the same run."""

    bandwidth_gb_s: float
    """Read and written together, by a copy."""
    gflop_s: float
    """Of a large matrix product, in the type that was timed."""
    how: str


@dataclass(frozen=True)
class Execution:
    """One execution of the operator on one case. `error` is its largest difference from float64."""

    name: str
    outcome: str
    reason: str = ""
    p50_ms: float | None = None
    p90_ms: float | None = None
    gflop_s: float | None = None
    gb_s: float | None = None
    runs: int = 0
    error: float | None = None


@dataclass(frozen=True)
class OperatorCase:
    """One shape of the operator: its work (see ccdeploy.op.work) and who computed it in which time."""

    case: str
    shape: dict[str, int]
    dtype: str
    flops: int
    bytes: int
    executions: tuple[Execution, ...]


@dataclass(frozen=True)
class Operator:
    """The bare operator over the table of cases, and the roof above it."""

    device: str
    threads: int | None
    roof: Roof
    cases: tuple[OperatorCase, ...]


@dataclass(frozen=True)
class SensorsUsed:
    """What was read, and what could not be read with the reason."""

    name: str
    power_scope: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """One benchmark. `order` says how contestants took turns."""

    ccdeploy: str
    date: str
    machine: Machine
    sensors: SensorsUsed
    settings: Settings
    order: str
    contestants: tuple[Contestant, ...] = ()
    sweep: tuple[SweepPoint, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    operator: Operator | None = None
    served: ServedCurve | None = None
    """A server under load; a record that holds it has no contestants."""
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    """The command line that measures this again; "" where it was called as a library."""
    format: int = FORMAT

    def contestant(self, name: str) -> Contestant | None:
        """The contestant of a name."""
        return next((contestant for contestant in self.contestants if contestant.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON can hold it."""
        document: dict[str, Any] = plain(dataclasses.asdict(self))
        return document

    @classmethod
    def from_dict(cls, data: Any, where: str = "the record") -> Record:
        """Builds a record from parsed JSON; `where` names its place in errors.

        Raises:
            ArtefactError: it is damaged, of another format, or contradicts itself.
        """
        if not isinstance(data, dict) or type(data.get("format")) is not int:
            raise ArtefactError(f"{where} is no benchmark record: the field `format` is missing.", REMEDY)
        if data["format"] != FORMAT:
            raise ArtefactError(
                f"{where}: record format {data['format']}, this ccdeploy reads format {FORMAT}.",
                "Use the ccdeploy that wrote it, or measure again.",
            )
        try:
            record = from_json(cls, data, "record")
            _check(record)
        except Mismatch as error:
            raise ArtefactError(f"{where}: {error}.", REMEDY) from error
        return record


def write_record(record: Record, path: Path) -> None:
    """Writes a record as JSON, whole or not at all."""
    with written_whole(path) as temporary:
        text = json.dumps(record.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        ArtefactError: it cannot be read, is no JSON, or is damaged.
    """
    try:
        data = strict_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not UTF-8"
        raise ArtefactError(f"{path} cannot be read as a benchmark record: {reason}.", REMEDY) from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is no benchmark record: not JSON ({error}).", REMEDY) from error
    return Record.from_dict(data, str(path))


def _check(record: Record) -> None:
    """What types cannot say."""
    if record.served is not None:
        check_curve(record.served, "record.served")
    names = [contestant.name for contestant in record.contestants]
    if twice := {name for name in names if names.count(name) > 1}:
        raise Mismatch(f"`record.contestants` names {min(twice)} twice")
    for index, contestant in enumerate(record.contestants):
        where = f"record.contestants[{index}]"
        if contestant.outcome not in (RUN, NOT_RUN):
            raise Mismatch(f"`{where}.outcome` is {contestant.outcome!r}, {RUN!r} or {NOT_RUN!r} was expected")
        if contestant.outcome == RUN and contestant.boundary(HOST) is None:
            raise Mismatch(f"`{where}.boundaries` has no {HOST!r}, although it was run")
        for boundary in contestant.boundaries:
            if boundary.name not in (HOST, DEVICE):
                raise Mismatch(f"`{where}.boundaries` names {boundary.name!r}, {HOST!r} or {DEVICE!r} was expected")
            if not boundary.samples_ms or min(boundary.samples_ms) < 0:
                raise Mismatch(f"`{where}.boundaries` of {boundary.name!r} holds no times, or times below 0")
