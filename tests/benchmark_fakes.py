"""A clock that tests turn, and contestants whose times are drawn from it: benchmarks without waiting, each the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ccdeploy.benchmark.alone import Alone
from ccdeploy.benchmark.record import NOT_RUN, Contestant
from ccdeploy.benchmark.running import Tools
from ccdeploy.benchmark.subject import Subject
from ccdeploy.engine.manifest import Tensor
from ccdeploy.machine import Machine, NoSensors, Reading, Sensors
from ccdeploy.runners import Array, Description, Prepared, Runner

MACHINE = Machine(
    cpu="Test CPU",
    cores=4,
    memory_bytes=8 << 30,
    system="Linux",
    python="3.11",
    gpu="",
    compute_capability="",
    gpu_memory_bytes=None,
    driver="",
    cuda="",
    jetson="",
    jetpack="",
    power_mode="",
    governor="performance",
)


class Clock:
    """Nanoseconds that pass only when somebody says so."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += round(1e9 * seconds)


Law = Callable[[float, int], float]
"""Seconds of a run, from the time since the clock began and the number of the run."""


def steady(seconds: float) -> Law:
    """Always the same."""
    return lambda time, number: seconds


def noisy(seconds: float, share: float, seed: int) -> Law:
    """Lognormal around a median."""
    generator = np.random.default_rng(seed)
    return lambda time, number: seconds * float(np.exp(share * generator.standard_normal()))


class FakePrepared(Prepared):
    """Takes as long as its law says; raises `error` in the run of that number."""

    def __init__(self, clock: Clock, law: Law, device_share: float | None = None) -> None:
        self.clock, self.law, self.device_share = clock, law, device_share
        self.count = 0
        self.fails_at: int | None = None
        self.error: BaseException = RuntimeError("the device is gone")
        self.closed = False
        self.ends = 0

    @property
    def outputs(self) -> dict[str, Array]:
        return {}

    @property
    def device_bytes(self) -> int | None:
        return None if self.device_share is None else 7_000_000

    def run(self) -> None:
        self.count += 1
        if self.fails_at is not None and self.count >= self.fails_at:
            raise self.error
        self.clock.sleep(self.law(self.clock.now / 1e9 - 1, self.count))

    def run_on_device(self) -> float | None:
        if self.device_share is None:
            return None
        seconds = self.device_share * self.law(self.clock.now / 1e9 - 1, self.count)
        self.clock.sleep(2 * seconds)  # events and launches around it
        return seconds

    def start(self) -> None:
        """Serial, as on a machine that runs one after the other."""
        self.ends = max(self.clock.now, self.ends) + round(1e9 * self.law(0, 0))

    def wait(self) -> None:
        self.clock.now = max(self.clock.now, self.ends)

    def close(self) -> None:
        self.closed = True


class FakeRunner(Runner):
    """One prepared inference for all slots."""

    how = "fake runtime 1.0"

    def __init__(self, prepared: FakePrepared, device: str) -> None:
        self.prepared, self.device = prepared, device
        self.closed = False

    def infer(self, inputs: Any) -> dict[str, Array]:
        return {}

    def describe(self) -> Description:
        tensor = Tensor("input", "float32", "NCHW", (1, 3, 8, 8))
        return Description("fake", "onnx", "fp32", self.how, self.device, (tensor,), ())

    def prepare(self, inputs: Any, slot: int = 0) -> Prepared:
        return self.prepared

    def close(self) -> None:
        self.closed = True


class FakeSubject(Subject):
    """A subject with a law; everything else can be set."""

    def __init__(self, name: str, clock: Clock, law: Law, device_share: float | None = None, **facts: Any) -> None:
        self.name, self.clock, self.reason, self.on_gpu, self.batch = name, clock, "", False, 1
        self.device = "CPU"
        self.prepared = FakePrepared(clock, law, device_share)
        self.runner = FakeRunner(self.prepared, self.device)
        self.facts_given = facts
        self.open_batch = False

    def facts(self) -> Contestant:
        blank = Contestant(
            name=self.name,
            artefact=self.name,
            sha256="",
            kind="onnx",
            precision="fp32",
            runtime="",
            device="",
            model="a-network",
            weights="1234",
            recurrence=2,
            io="tensor",
            input=(self.batch, 3, 8, 8),
            input_type="float32 NCHW",
            threads=None,
            outcome=NOT_RUN,
        )
        return dataclasses.replace(blank, **self.facts_given)

    def why_not(self) -> str:
        return self.reason

    def open(self, contexts: int = 1) -> Runner:
        self.runner.device = self.device
        return self.runner

    def inputs(self, batch: int | None = None) -> dict[str, Array]:
        return {"input": np.zeros((batch or self.batch, 3, 8, 8), np.float32)}

    def fixed_batch(self) -> int | None:
        return None if self.open_batch else self.batch

    def spec(self) -> dict[str, Any]:
        return {}

    def import_runtime(self) -> None:
        return None


class FakeSensors(Sensors):
    """A constant power on the fake clock."""

    name, power_scope = "fake sensors", "GPU board"

    def __init__(self, clock: Clock, watts: Callable[[float], float], throttled: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.clock, self.watts, self.throttled = clock, watts, throttled

    def read(self) -> Reading:
        now = self.clock.now / 1e9
        return Reading(now, power_w=self.watts(now), temperature_c=50.0, clock_mhz=1500.0, throttled=self.throttled)


def tools(clock: Clock, sensors: Sensors | None = None, alone: Alone | None = None) -> Tools:
    """Tools on a fake clock."""
    return Tools(
        clock=clock,
        sleep=clock.sleep,
        sensors=lambda device: sensors or NoSensors(power="no sensors in a test"),
        machine=lambda: MACHINE,
        alone=lambda subject: (alone, "" if alone else "not in a test"),
    )
