"""The monitor: energy of known curves, what is in a window and what is not, errors told, and a prompt end."""

from __future__ import annotations

import itertools
import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccdeploy.machine import Monitor, Reading, Sensors
from ccdeploy.machine.monitor import energy, summarise


def powered(*points: tuple[float, float]) -> list[Reading]:
    return [Reading(moment, power_w=watts) for moment, watts in points]


def counted(*points: tuple[float, float]) -> list[Reading]:
    return [Reading(moment, energy_j=joules) for moment, joules in points]


def test_constant_power() -> None:
    seen = summarise(powered((0, 12.5), (1, 12.5), (2, 12.5), (3, 12.5)), 0.25, 2.75)
    assert seen.joules == pytest.approx(31.25)
    assert seen.watts == pytest.approx(12.5)
    assert (seen.seconds, seen.samples, seen.problems) == (2.5, 2, ())


def test_a_ramp_is_exact_by_the_trapezoidal_rule() -> None:
    readings = powered(*((t / 3, 10 + 6 * t / 3) for t in range(10)))
    expected = 10 * (2.1 - 0.4) + 3 * (2.1**2 - 0.4**2)
    assert summarise(readings, 0.4, 2.1).joules == pytest.approx(expected, rel=1e-12)


def test_a_sine_is_near() -> None:
    readings = powered(*((t / 10, 20 + 5 * math.sin(t / 10)) for t in range(101)))
    expected = 20 * 9 - 5 * (math.cos(9.5) - math.cos(0.5))
    assert summarise(readings, 0.5, 9.5).joules == pytest.approx(expected, rel=1e-4)


@given(st.lists(st.floats(0, 500), min_size=4, max_size=12), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_energy_of_parts_is_energy_of_the_whole(watts: list[float], a: float, b: float) -> None:
    readings = powered(*enumerate(watts))
    last = len(watts) - 1
    start, middle, end = a, a + b * (last - a) / 2, a + b * (last - a)
    whole = summarise(readings, start, end).joules
    parts = [summarise(readings, start, middle).joules, summarise(readings, middle, end).joules]
    assert None not in (whole, *parts)
    assert sum(part or 0 for part in parts) == pytest.approx(whole, abs=1e-6)


def test_the_counter_is_preferred_and_interpolated() -> None:
    readings = [Reading(float(t), power_w=999.0, energy_j=1000.0 + 40 * t) for t in range(5)]
    assert summarise(readings, 0.5, 3.25).joules == pytest.approx(110)


def test_a_counter_that_stands_still_is_told() -> None:
    assert energy(counted((0, 5), (1, 5), (2, 5)), 0.5, 1.5) == (None, "energy: the counter did not advance")
    both = [Reading(float(t), power_w=8.0, energy_j=5.0) for t in range(3)]
    assert energy(both, 0.5, 1.5) == (8.0, "energy: the counter did not advance, power was integrated")
    assert energy(counted((0, 9), (1, 9), (2, 1)), 0.5, 1.5)[0] is None, "set back"


@pytest.mark.parametrize(("start", "end"), [(-0.1, 1.0), (1.0, 2.1), (3.0, 4.0), (1.0, 1.0), (1.5, 0.5)])
def test_a_stretch_that_the_readings_do_not_cover_has_no_energy(start: float, end: float) -> None:
    seen = summarise(powered((0, 1), (1, 1), (2, 1)), start, end)
    assert (seen.joules, seen.watts) == (None, None)
    assert seen.problems == ("energy: no readings around the whole stretch",)


def test_readings_without_power_are_passed_over() -> None:
    readings = [Reading(0.0, power_w=4.0), Reading(1.0), Reading(2.0, power_w=4.0)]
    assert summarise(readings, 0.5, 1.5).joules == pytest.approx(4.0)
    assert summarise([Reading(0.0), Reading(1.0)], 0.2, 0.8).problems == ()


def test_what_is_outside_of_the_window_does_not_count() -> None:
    readings = [
        Reading(0, temperature_c=99, clock_mhz=1, throttled=("thermal",)),
        Reading(1, temperature_c=50, clock_mhz=1500, memory_clock_mhz=7000, throttled=("power cap",)),
        Reading(2, temperature_c=61, clock_mhz=1200, throttled=("thermal", "power cap")),
        Reading(3, temperature_c=55, clock_mhz=1400),
        Reading(4, temperature_c=98, clock_mhz=9999, throttled=("power brake",)),
    ]
    seen = summarise(readings, 0.5, 3.5)
    assert seen.temperature_c == (50, 61)
    assert seen.clock_mhz == (1200, 1400, 1500)
    assert seen.memory_clock_mhz == (7000, 7000, 7000)
    assert seen.throttled == ("power cap", "thermal")
    assert seen.samples == 3


def test_a_stretch_between_two_readings_is_told_by_them() -> None:
    readings = [Reading(float(t), temperature_c=40.0 + t, clock_mhz=100.0 * t) for t in range(4)]
    seen = summarise(readings, 1.25, 1.75)
    assert (seen.samples, seen.temperature_c, seen.clock_mhz) == (0, (41, 42), (100, 150, 200))


def test_no_readings_at_all() -> None:
    seen = summarise([], 0, 1)
    assert (seen.joules, seen.temperature_c, seen.clock_mhz, seen.throttled, seen.samples) == (None, None, None, (), 0)


class Steady(Sensors):
    """10 W for ever; can fail, and tells how often it was read."""

    name = "steady"

    def __init__(self, fail_from: int = 1 << 30) -> None:
        super().__init__()
        self.count = itertools.count(1)
        self.fail_from = fail_from
        self.many = threading.Event()

    def read(self) -> Reading:
        number = next(self.count)
        if number > 4:
            self.many.set()
        if number >= self.fail_from:
            raise ZeroDivisionError("the sensor is gone")
        return Reading(time.perf_counter(), power_w=10.0)


def test_it_reads_in_the_background_and_covers_what_just_ended() -> None:
    sensors = Steady()
    with Monitor(sensors, interval=0.005) as monitor:
        start = time.perf_counter()
        assert sensors.many.wait(30)
        end = time.perf_counter()
        seen = monitor.between(start, end)
    assert seen.joules == pytest.approx(10 * (end - start))
    assert seen.samples >= 2
    times = [reading.time for reading in monitor.readings]
    assert times == sorted(times)


def test_readings_lie_around_work_that_is_shorter_than_the_interval() -> None:
    with Monitor(Steady(), interval=3600) as monitor:
        start = time.perf_counter()
        end = time.perf_counter() + 1e-6
        while time.perf_counter() < end:
            pass
        assert monitor.between(start, end).watts == pytest.approx(10)
    assert len(monitor.readings) == 3, "one at the start, one for the question, one at the end"


def test_a_long_interval_does_not_hold_up_the_end() -> None:
    with Monitor(Steady(), interval=3600) as monitor:
        thread = next(thread for thread in threading.enumerate() if thread.name == "ccdeploy sensors")
        start = time.perf_counter()
    assert not thread.is_alive()
    assert monitor.between(start, time.perf_counter()).joules is None, "nothing is read after the end"


def test_errors_of_sensors_are_told_and_stop_nothing() -> None:
    sensors = Steady(fail_from=2)
    with Monitor(sensors, interval=0.001) as monitor:
        start = time.perf_counter()
        assert sensors.many.wait(30)
        seen = monitor.between(start, time.perf_counter())
    assert seen.problems == (
        "reading steady failed: ZeroDivisionError: the sensor is gone",
        "energy: no readings around the whole stretch",
    )
    assert next(sensors.count) > 5, "it went on reading"


def test_an_error_in_the_work_passes_through() -> None:
    with pytest.raises(KeyError), Monitor(Steady(), interval=3600):
        raise KeyError("work")
    assert not any(thread.name == "ccdeploy sensors" for thread in threading.enumerate())
