"""Which GPUs compiled code runs on, by CUDA's rules of compatibility, and for which architectures to compile.

An architecture is a compute capability without its point: 87 for 8.7. A library holds machine code ("87-real"), PTX,
which the driver compiles when the library is first used ("87-virtual"), or both ("87"); this is CMake's notation, and
the library tells its own in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ccdeploy.errors import MissingError, UsageError

NATIVE = "native"
ALL = "all"
DEPLOYED = (75, 80, 86, 87, 89, 90, 100, 110, 120)
"""What "all" means, as far as a compiler knows them: Turing to Blackwell, with the Jetsons Orin and Thor."""
OLDEST = 75
"""The kernel is written for this and newer."""

_INTEGRATED = (72, 87, 88, 101, 110)
"""Systems on a chip: the promise of compatibility within one major version is not made for them."""
_WRITTEN = re.compile(r"(\d{1,2})\.(\d)|(\d{2,3})", re.ASCII)
_CODE = re.compile(r"(\d{2,3})[a-z]?(-real|-virtual)?", re.ASCII)


def text_of(architecture: int) -> str:
    """87 -> "8.7"."""
    return f"{architecture // 10}.{architecture % 10}"


def number_of(capability: str) -> int:
    """ "8.7" or "87" -> 87.

    Raises:
        UsageError: it is neither.
    """
    match = _WRITTEN.fullmatch(capability.strip())
    if match is None:
        raise UsageError(
            f"{capability!r} is no compute capability, two numbers with or without a point were expected.",
            "Write it like 8.7 or 87; several with commas.",
        )
    return int(match[3]) if match[3] else 10 * int(match[1]) + int(match[2])


def covers(code: str, capability: str) -> bool:
    """Whether a library that holds this code ("80-real;86") runs on GPUs of a compute capability ("8.9").

    Machine code runs on its own compute capability and on later minor versions of the same major one, except to or
    from systems on a chip (Jetson). PTX runs on everything from its own on.
    """
    target = number_of(capability)
    return any(
        (real and _machine_code_runs(number, target)) or (ptx and number <= target)
        for number, real, ptx in _parsed(code)
    )


def holds_machine_code(code: str, capability: str) -> bool:
    """Whether the library was compiled for exactly this compute capability."""
    return any(real and number == number_of(capability) for number, real, _ in _parsed(code))


def uncovered(code: str, capabilities: Iterable[str]) -> list[str]:
    """The compute capabilities that a library with this code does not run on."""
    return [capability for capability in capabilities if not covers(code, capability)]


def in_words(code: str) -> str:
    """ "80-real;86" -> "8.0, 8.6 and newer": what its machine code is for, and whether PTX serves what comes after."""
    parsed = _parsed(code)
    newest_ptx = max((number for number, _, ptx in parsed if ptx), default=0)
    named = ", ".join(text_of(number) for number in sorted({number for number, _, _ in parsed}))
    return f"{named} and newer" if newest_ptx and newest_ptx == max(number for number, _, _ in parsed) else named


def cmake_list(architectures: Collection[int]) -> str:
    """Machine code for each, and PTX of the newest for GPUs to come: (80, 86) -> "80-real;86"."""
    *older, newest = sorted(set(architectures))
    return ";".join([*(f"{number}-real" for number in older), str(newest)])


@dataclass(frozen=True)
class Known:
    """The architectures that a compiler knows."""

    compiler: str
    """For messages: "nvcc 13.0.88"."""
    architectures: tuple[int, ...]

    @property
    def usable(self) -> tuple[int, ...]:
        """Those that the kernel is written for."""
        return tuple(number for number in sorted(self.architectures) if number >= OLDEST)

    def __str__(self) -> str:
        return f"{self.compiler} compiles the kernel for {', '.join(map(text_of, self.usable))}"


def check_choice(choice: str) -> None:
    """Whether a value of --arch can mean something, whatever compiler there is; raises UsageError if not."""
    if choice not in (NATIVE, ALL):
        _listed(choice)


def _listed(choice: str) -> set[int]:
    return {number_of(part) for part in entries_of(choice) or [choice]}


def choose(choice: str, known: Known, present: Sequence[str], absent: str) -> tuple[int, ...]:
    """The architectures that a value of --arch means: "native", "all", or a list such as "87" or "8.0,9.0".

    Args:
        choice: the value.
        known: what the compiler knows.
        present: compute capabilities of the GPUs in this machine.
        absent: why there are none, where there are none.

    Raises:
        UsageError: not an architecture, or one that the compiler or the kernel does not know.
        MissingError: "native" without a GPU, or with one that the compiler does not know.
    """
    if choice == ALL:
        return tuple(number for number in DEPLOYED if number in known.usable)
    if choice == NATIVE:
        if not present:
            raise MissingError(
                f"--arch native compiles for the GPU in this machine, and there is none: {absent}.",
                "Name the architecture of the GPU that shall run it: --arch 87 for a Jetson Orin, or --arch all.",
            )
        return for_targets(present, known)
    wanted = _listed(choice)
    if unknown := sorted(number for number in wanted if number not in known.usable):
        raise UsageError(f"--arch {', '.join(map(text_of, unknown))} was asked for; {known}.", "Choose from these.")
    return tuple(sorted(wanted))


def for_targets(capabilities: Iterable[str], known: Known) -> tuple[int, ...]:
    """What to compile for, so that the library runs on all of these: each itself, or the nearest older code.

    Raises:
        MissingError: this compiler makes no code that runs there.
    """
    chosen = set()
    for capability in capabilities:
        target = number_of(capability)
        nearest = [number for number in known.usable if _machine_code_runs(number, target)]
        by_ptx = [number for number in known.usable if number <= target]
        if not by_ptx:
            raise _unknown([capability], known)
        chosen.add(max(nearest or by_ptx))
    if missing := uncovered(cmake_list(chosen), capabilities):
        raise _unknown(missing, known)
    return tuple(sorted(chosen))


def _unknown(capabilities: Iterable[str], known: Known) -> MissingError:
    return MissingError(
        f"The library is needed for compute capability {', '.join(capabilities)}; {known}.",
        "Install a newer CUDA toolkit, or leave GPUs older than 7.5 out.",
    )


def _machine_code_runs(number: int, target: int) -> bool:
    if number == target:
        return True
    apart = number in _INTEGRATED or target in _INTEGRATED
    return not apart and number // 10 == target // 10 and number < target


def entries_of(code: str) -> list[str]:
    """The entries of a list that semicolons, commas or spaces separate."""
    return [entry for entry in re.split(r"[;,\s]+", code) if entry]


def _parsed(code: str) -> list[tuple[int, bool, bool]]:
    """Each entry's architecture, whether it is machine code and whether it is PTX; what is no architecture counts not.

    Code of one architecture alone ("90a") is read as that of "90", of which it is a part.
    """
    matches = (_CODE.fullmatch(entry) for entry in entries_of(code))
    return [(int(m[1]), m[2] != "-virtual", m[2] != "-real") for m in matches if m is not None]
