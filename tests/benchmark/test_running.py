"""A whole benchmark on a fake clock: who takes part, what is told of those who cannot, energy, and Ctrl-C."""

from __future__ import annotations

import dataclasses
import json

import pytest
from benchmark_fakes import Clock, FakeSensors, FakeSubject, noisy, steady, tools

from ccdeploy.benchmark import Record, Settings, benchmark
from ccdeploy.benchmark.alone import Alone
from ccdeploy.benchmark.record import DEVICE, HOST, NOT_RUN, RUN
from ccdeploy.benchmark.sweep import keep_under_way
from ccdeploy.benchmark.timing import WINDOW
from ccdeploy.errors import MissingError, UsageError

QUICK = Settings(runs=20, warm_up_s=1.0, energy_s=2.0)


def test_two_run_and_a_third_that_cannot_is_told_with_its_reason() -> None:
    clock = Clock()
    fast, slow = FakeSubject("fast", clock, steady(0.02)), FakeSubject("slow", clock, steady(0.04), 0.5)
    absent = FakeSubject("absent", clock, steady(0.03))
    absent.reason = "no GPU: none was found"
    record = benchmark([fast, slow, absent], QUICK, tools=tools(clock, alone=Alone(10, 20, None, 0.25, 0.125)))
    first, second, third = record.contestants
    assert [each.outcome for each in record.contestants] == [RUN, RUN, NOT_RUN]
    assert third.reason == "no GPU: none was found"
    assert (third.boundaries, third.memory, third.load_s) == ((), None, None)
    assert [each.name for each in first.boundaries] == [HOST]
    assert [each.name for each in second.boundaries] == [HOST, DEVICE]
    host = second.boundary(HOST)
    device = second.boundary(DEVICE)
    assert host is not None
    assert device is not None
    assert (host.p50_ms, device.p50_ms) == (pytest.approx(40.0), pytest.approx(20.0))
    assert len(host.samples_ms) == 20
    assert first.pictures_per_s == pytest.approx(50.0)
    assert (first.load_s, first.first_inference_s) == (0.25, 0.125)
    assert first.memory is not None
    assert (first.memory.host_bytes, first.memory.host_before_bytes, first.memory.device_bytes) == (20, 10, None)
    assert second.memory is not None
    assert second.memory.device_bytes == 7_000_000
    assert (first.runtime, first.device) == ("fake runtime 1.0", "CPU")
    assert first.warm_up is not None
    assert first.warm_up.stable
    assert first.energy is None
    assert first.energy_reason == "power: no sensors in a test"
    assert record.machine.cpu == "Test CPU"
    assert fast.prepared.closed
    assert fast.runner.closed
    assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_throughput_counts_the_pictures_of_a_batch() -> None:
    clock = Clock()
    subject = FakeSubject("four", clock, steady(0.02))
    subject.batch = 4
    record = benchmark([subject], QUICK, tools=tools(clock))
    assert record.contestants[0].pictures_per_s == pytest.approx(200.0)


def test_without_a_process_of_its_own_loading_is_timed_here_and_that_is_said() -> None:
    clock = Clock()
    subject = FakeSubject("here", clock, lambda time, number: 0.5 if number == 1 else 0.02)
    record = benchmark([subject], QUICK, tools=tools(clock))
    contestant = record.contestants[0]
    assert contestant.first_inference_s == pytest.approx(0.5)
    assert contestant.memory is not None
    assert contestant.memory.host_bytes is None
    assert any("alone in a process, not in a test" in note for note in contestant.notes)


@pytest.mark.parametrize("fails_at", [1, 3, WINDOW + 20])
def test_one_that_fails_at_any_time_is_named_and_the_rest_goes_on(fails_at: int) -> None:
    clock = Clock()
    good, bad = FakeSubject("good", clock, steady(0.02)), FakeSubject("bad", clock, steady(0.02))
    bad.prepared.fails_at = fails_at
    record = benchmark(
        [bad, good], dataclasses.replace(QUICK, compare=("good", "bad"), streams=(2,)), tools=tools(clock)
    )
    failed, fine = record.contestants
    assert (failed.outcome, failed.reason) == (NOT_RUN, "RuntimeError: the device is gone")
    assert failed.boundaries == ()
    assert fine.outcome == RUN
    assert len(fine.boundaries[0].samples_ms) == 20
    assert record.comparisons == ()
    assert [(point.name, point.reason) for point in record.sweep] == [
        ("bad", "RuntimeError: the device is gone"),
        ("good", ""),
    ]


def test_one_that_does_not_open_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    good, bad = FakeSubject("good", clock, steady(0.02)), FakeSubject("bad", clock, steady(0.02))

    def refuse(contexts: int = 1) -> None:
        raise MissingError("The engine does not fit into the memory.", "Free some.")

    monkeypatch.setattr(bad, "open", refuse)
    record = benchmark([bad, good], QUICK, tools=tools(clock))
    assert record.contestants[0].reason == "The engine does not fit into the memory."
    assert record.contestants[1].outcome == RUN


def test_nothing_that_can_run_is_a_record_too() -> None:
    clock = Clock()
    subject = FakeSubject("absent", clock, steady(0.02))
    subject.reason = "no GPU"
    record = benchmark([subject], dataclasses.replace(QUICK, batches=(1, 2)), tools=tools(clock))
    assert [each.outcome for each in record.contestants] == [NOT_RUN]
    assert {point.reason for point in record.sweep} == {"no GPU"}


def test_ctrl_c_closes_everything_and_goes_through() -> None:
    clock = Clock()
    first, second = FakeSubject("first", clock, steady(0.02)), FakeSubject("second", clock, steady(0.02))
    second.prepared.fails_at, second.prepared.error = 60, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        benchmark([first, second], dataclasses.replace(QUICK, runs=500), tools=tools(clock))
    for subject in (first, second):
        assert subject.prepared.closed
        assert subject.runner.closed


def test_a_comparison_is_made_of_the_two_that_were_named() -> None:
    clock = Clock()
    subjects = [
        FakeSubject(name, clock, noisy(t, 0.02, n))
        for n, (name, t) in enumerate([("a", 0.03), ("b", 0.02), ("c", 0.036)])
    ]
    record = benchmark(subjects, dataclasses.replace(QUICK, compare=("a", "c"), pairs=40), tools=tools(clock))
    (found,) = record.comparisons
    assert (found.a, found.b, found.pairs) == ("a", "c", 40)
    assert found.ratio == pytest.approx(1.2, abs=0.02)
    assert found.verdict.startswith("a is ")


def test_what_is_not_comparable_is_refused_before_anything_is_run() -> None:
    clock = Clock()
    a, b = FakeSubject("a", clock, steady(0.02)), FakeSubject("b", clock, steady(0.02), weights="other")
    with pytest.raises(UsageError, match="their weights differ: 1234 and other"):
        benchmark([a, b], dataclasses.replace(QUICK, compare=("a", "b")), tools=tools(clock))
    assert a.prepared.count == 0


def test_devices_are_known_after_opening_and_must_be_equal_too() -> None:
    clock = Clock()
    a, b = FakeSubject("a", clock, steady(0.02)), FakeSubject("b", clock, steady(0.02))
    b.device = "Test GPU"
    with pytest.raises(UsageError, match="their devices differ: CPU and Test GPU"):
        benchmark([a, b], dataclasses.replace(QUICK, compare=("a", "b")), tools=tools(clock))
    assert a.runner.closed


@pytest.mark.parametrize(
    ("compare", "said"),
    [
        (("a", "nobody"), r"nobody is none of the contestants \(a, b\)"),
        (("a", "a"), "a was to be compared with itself"),
    ],
)
def test_names_that_cannot_be_compared(compare: tuple[str, str], said: str) -> None:
    clock = Clock()
    subjects = [FakeSubject(name, clock, steady(0.02)) for name in "ab"]
    with pytest.raises(UsageError, match=said):
        benchmark(subjects, dataclasses.replace(QUICK, compare=compare), tools=tools(clock))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": 0}, "batch is 0, 1 to 1000000 was expected"),
        ({"runs": 0}, "runs is 0"),
        ({"streams": (1, 0)}, r"streams\[1\] is 0"),
        ({"duration_s": 0.0}, "duration_s is 0.0, more than 0"),
        ({"energy_s": -1.0}, "energy_s is -1.0, 0 to 86400"),
        ({"warm_up_s": float("nan")}, "warm_up_s is nan"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        benchmark([], dataclasses.replace(Settings(), **change))  # type: ignore[arg-type]


def test_no_subject_is_refused() -> None:
    with pytest.raises(UsageError, match="No artefact was given"):
        benchmark([])


def test_energy_is_of_the_contestants_own_runs() -> None:
    """The power depends on who runs: with interleaved power, both would have the mean of the two."""
    clock = Clock()
    now = {"watts": 30.0}

    def drawing(watts: float, seconds: float) -> FakeSubject:
        def law(time: float, number: int) -> float:
            now["watts"] = watts
            return seconds

        return FakeSubject(f"{watts:g} W", clock, law)

    low, high = drawing(100.0, 0.02), drawing(200.0, 0.05)
    for subject in (low, high):
        subject.on_gpu = True
    sensors = FakeSensors(clock, lambda time: now["watts"], throttled=("thermal",))
    record = benchmark([low, high], QUICK, tools=tools(clock, sensors))
    energies = [contestant.energy for contestant in record.contestants]
    assert energies[0] is not None
    assert energies[1] is not None
    assert energies[0].joules_per_picture == pytest.approx(100 * 0.02, rel=0.02)
    assert energies[1].joules_per_picture == pytest.approx(200 * 0.05, rel=0.02)
    assert energies[0].watts == pytest.approx(100, rel=0.02)
    assert energies[0].idle_watts == pytest.approx(30.0)
    assert energies[0].scope == "GPU board"
    assert energies[0].seconds == pytest.approx(2 * 2.0, abs=0.1)
    assert record.contestants[0].conditions is not None
    assert record.contestants[0].conditions.throttled == ("thermal",)


def test_a_contestant_on_the_cpu_is_not_given_the_power_of_the_gpu() -> None:
    clock = Clock()
    cpu, gpu = FakeSubject("cpu", clock, steady(0.02)), FakeSubject("gpu", clock, steady(0.02))
    gpu.on_gpu = True
    record = benchmark([cpu, gpu], QUICK, tools=tools(clock, FakeSensors(clock, lambda time: 50.0)))
    assert record.contestants[0].energy is None
    assert record.contestants[0].energy_reason == "power is that of the GPU board, it runs elsewhere"
    assert record.contestants[1].energy is not None


def test_energy_can_be_left_out() -> None:
    clock = Clock()
    settings = dataclasses.replace(QUICK, energy_s=0.0)
    record = benchmark([FakeSubject("a", clock, steady(0.02))], settings, tools=tools(clock))
    assert record.contestants[0].energy_reason == "it was not asked for"


def test_a_sweep_has_a_point_for_each_batch_and_number_of_streams() -> None:
    clock = Clock()
    open_batch, fixed = FakeSubject("open", clock, steady(0.02)), FakeSubject("fixed", clock, steady(0.02))
    open_batch.open_batch = True
    settings = dataclasses.replace(QUICK, batches=(1, 4), streams=(1, 2))
    record = benchmark([open_batch, fixed], settings, tools=tools(clock))
    found = {(point.name, point.batch, point.streams): point for point in record.sweep}
    assert list(found) == [(n, b, s) for n in ("open", "fixed") for b, s in ((1, 1), (4, 1), (1, 2))]
    assert found["fixed", 4, 1].reason == "the batch is fixed at 1"
    assert found["open", 4, 1].pictures_per_s == pytest.approx(200.0)
    assert found["open", 1, 1].pictures_per_s == pytest.approx(50.0)
    assert found["open", 1, 1].p50_ms == pytest.approx(20.0)


def test_streams_that_share_one_device_do_not_raise_its_throughput() -> None:
    """Three slots on a device that runs one after the other: three times the latency, the same throughput."""
    clock = Clock()
    subject = FakeSubject("serial", clock, steady(0.02))
    device = {"free": 0}

    class Slot(type(subject.prepared)):  # type: ignore[misc]
        def start(self) -> None:
            device["free"] = max(device["free"], clock.now) + 20_000_000
            self.ends = device["free"]

    slots = [Slot(clock, steady(0.02)) for _ in range(3)]
    flow = keep_under_way(slots, 2.0, clock)
    assert len(flow.latencies) / flow.seconds == pytest.approx(50.0, rel=0.02)
    assert flow.latencies == pytest.approx([0.06] * len(flow.latencies))
