"""The table of cases against float64: every type, layout and tile, into poisoned memory, twice, bit for bit.

Then what a single result cannot show: that a NaN stays in its criss-cross, that two streams do not meet, and that a
CUDA graph computes what it was captured for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ccdeploy.op.cases import MAX_ERROR, STEEP, Case
from ccdeploy.op.definition import criss_cross_attention
from ccdeploy.op.operands import random_operands
from gpu_steps.context import Context
from gpu_steps.library import LAYOUTS, PRECISIONS, CrissCrossLibrary, Device, Operands, Prepared, held_tiles
from gpu_steps.record import DIFFERS, NOT_RUN, OK, Row

_BITS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32}
_OLDEST_FOR_BF16 = (8, 0)


@dataclass(frozen=True)
class Way:
    """One way to run a case."""

    which: str
    """"library" or "tuning", as Context.build calls them."""
    precision: str
    layout: str
    tile: str
    steep: bool
    """Of the cases, those with large energies; else all others."""

    @property
    def allowed(self) -> float:
        """The largest error."""
        return MAX_ERROR[self.precision]

    def __str__(self) -> str:
        energies = ", large energies" if self.steep else ""
        return f"{self.precision} {self.layout} {self.tile}{energies}" + (
            "" if self.which == "library" else " (tuning build)"
        )


@dataclass
class Tally:
    """What one way showed over all cases."""

    cases: int = 0
    worst: float = 0.0
    worst_case: str = ""
    too_far: int = 0
    not_repeated: int = 0

    def add(self, case: Case, error: float, allowed: float, repeated: bool) -> None:
        """Counts a case. An error that is not a number is the worst there is."""
        self.cases += 1
        if error != error:
            error = float("inf")
        if error >= self.worst:
            self.worst, self.worst_case = error, str(case)
        self.too_far += not error <= allowed
        self.not_repeated += not repeated

    def row(self, way: Way) -> Row:
        """As it is written down."""
        good = not self.too_far and not self.not_repeated
        said = f"{self.cases} cases, largest error {self.worst:.2e} ({self.worst_case}), {way.allowed:.0e} allowed"
        if self.too_far:
            said += f"; {self.too_far} cases are beyond it"
        if self.not_repeated:
            said += f"; {self.not_repeated} cases gave other bits the second time"
        numbers = {
            "cases": self.cases,
            "largest error": self.worst,
            "in case": self.worst_case,
            "allowed": way.allowed,
            "beyond": self.too_far,
            "not repeated": self.not_repeated,
        }
        return Row(str(way), OK if good else DIFFERS, said, numbers)


def run(context: Context) -> Iterator[Row]:
    """The step."""
    device = Device(context.build.device)
    library = CrissCrossLibrary(Path(context.build.library))
    yield Row("library", OK, library.build_info(), {"seed": context.seed})
    libraries = {"library": library}
    tiles: list[str] = []
    if context.build.tuning:
        libraries["tuning"] = CrissCrossLibrary(Path(context.build.tuning))
        tiles = held_tiles(libraries["tuning"], device)
        yield Row("tiles", OK, f"the tuning build holds {', '.join(tiles)}", {"tiles": tiles})
    else:
        yield Row("tiles", NOT_RUN, "there is no tuning build")
    precisions = list(PRECISIONS)
    if device.is_gpu and torch.cuda.get_device_capability() < _OLDEST_FOR_BF16:
        precisions.remove("bf16")
        yield Row("bf16", NOT_RUN, "it needs compute capability 8.0")
    yield from sweep(context, libraries, tiles, precisions, device)
    for precision in precisions:
        yield contain_nan(library, precision, context.seed, device)
    yield two_streams(library, context.seed, device)
    yield captured(library, context.seed, device)


def sweep(
    context: Context, libraries: dict[str, CrissCrossLibrary], tiles: list[str], precisions: list[str], device: Device
) -> Iterator[Row]:
    """Every case, every way that is for it; one row a way, when all cases have been through."""
    tallies: dict[Way, Tally] = {}
    for precision in precisions:
        for steep in (False, True):
            ways = [Way("library", precision, layout, "auto", steep) for layout in LAYOUTS]
            if precision != "fp32":
                ways += [Way("tuning", precision, "nhwc", tile, steep) for tile in tiles]
            tallies.update((way, Tally()) for way in ways)
    for number, case in enumerate(context.cases):
        exact = {}
        for precision in precisions:
            qkv, residual = random_tensors(case, context.seed + number, precision, device)
            expected = criss_cross_attention(qkv.double(), residual.double(), case.query_channels)
            exact[precision] = qkv, residual, expected
        for way, tally in tallies.items():
            if way.steep != (case.energy_scale >= STEEP):
                continue
            qkv, residual, expected = exact[way.precision]
            operands = Operands.of(case, way.precision, way.layout, qkv, residual)
            try:
                first = libraries[way.which].run_guarded(operands, way.tile, device)
                second = libraries[way.which].run_guarded(operands, way.tile, device)
            except RuntimeError as error:
                raise RuntimeError(f"{way}, case {case}: {error}") from error
            distance = (operands.nchw(first).double() - expected).abs().max().item()
            tally.add(case, distance, way.allowed, same_bits(first, second))
    for way, tally in tallies.items():
        if tally.cases:
            yield tally.row(way)


def random_tensors(case: Case, seed: int, precision: str, device: Device) -> tuple[torch.Tensor, torch.Tensor]:
    """qkv and residual of a case, NCHW, rounded to a type."""
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(operand).to(device.name).to(PRECISIONS[precision]) for operand in random_operands(case, seed)
    )


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors are the same bit for bit, NaNs included."""
    return torch.equal(first.view(_BITS[first.dtype]), second.view(_BITS[second.dtype]))


def contain_nan(library: CrissCrossLibrary, precision: str, seed: int, device: Device) -> Row:
    """A NaN in one value spoils that channel of its criss-cross, and nothing else; the rest keeps its very bits."""
    case = Case(2, 64, 16, 37, 21)
    image, channel, y, x = 1, 5, 30, 20
    qkv, residual = random_tensors(case, seed, precision, device)
    spoilt = qkv.clone()
    spoilt[image, 2 * case.query_channels + channel, y, x] = float("nan")
    results = [
        library.run_guarded(Operands.of(case, precision, "nhwc", each, residual), "auto", device)
        for each in (qkv, spoilt)
    ]
    clean, seen = (each.permute(0, 3, 1, 2).contiguous() for each in results)
    expected = torch.zeros_like(seen, dtype=torch.bool)
    expected[image, channel, y, :] = True
    expected[image, channel, :, x] = True
    wrong = int((seen.isnan() != expected).sum())
    changed = 0 if same_bits(clean[~expected], seen[~expected]) else int((clean[~expected] != seen[~expected]).sum())
    said = f"{int(expected.sum())} elements must be NaN: {wrong} elements are what they must not be"
    said += f", {changed} others have changed"
    return Row(f"{precision}: a NaN stays in its criss-cross", DIFFERS if wrong or changed else OK, said)


def two_streams(library: CrissCrossLibrary, seed: int, device: Device) -> Row:
    """Two problems at once on streams of their own give what each gives alone."""
    name = "two streams at once"
    if not device.is_gpu:
        return Row(name, NOT_RUN, "the emulator has no streams")
    cases = (Case(1, 512, 64, 97, 97), Case(2, 256, 32, 61, 83))
    operands = [
        Operands.of(case, "fp16", "nhwc", *random_tensors(case, seed + number, "fp16", device))
        for number, case in enumerate(cases)
    ]
    alone = [library.run_guarded(each, "auto", device) for each in operands]
    streams = [torch.cuda.Stream() for _ in operands]  # type: ignore[no-untyped-call]
    launches = [Prepared(library, each, "auto", device) for each in operands]
    rounds, different = 20, 0
    for _ in range(rounds):
        for launch in launches:
            launch.y.fill_(float("nan"))
        torch.cuda.synchronize()
        for stream, launch in zip(streams, launches, strict=True):
            with torch.cuda.stream(stream):
                launch()
        torch.cuda.synchronize()
        different += sum(not same_bits(a, launch.y) for a, launch in zip(alone, launches, strict=True))
    return Row(name, DIFFERS if different else OK, f"{rounds} rounds, {different} results differ from those alone")


def captured(library: CrissCrossLibrary, seed: int, device: Device) -> Row:
    """A CUDA graph of one launch, replayed with other operands in the same memory."""
    name = "CUDA graph"
    if not device.is_gpu:
        return Row(name, NOT_RUN, "the emulator has no graphs")
    different = 0
    for layout in LAYOUTS:
        case = Case(1, 512, 64, 64, 128)
        operands = Operands.of(case, "fp16", layout, *random_tensors(case, seed, "fp16", device))
        launch = Prepared(library, operands, "auto", device)
        launch()  # whatever is done once for a kernel is done before the capture
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launch()
        for step in range(3):
            other = Operands.of(case, "fp16", layout, *random_tensors(case, seed + 1 + step, "fp16", device))
            operands.qkv.copy_(other.qkv)
            operands.residual.copy_(other.residual)
            launch.y.fill_(float("nan"))
            graph.replay()
            torch.cuda.synchronize()
            different += not same_bits(launch.y, library.run_guarded(other, "auto", device))
    return Row(name, DIFFERS if different else OK, f"{2 * 3} replays, {different} differ from plain launches")
