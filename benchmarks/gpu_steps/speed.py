"""The speed table: the kernel against the floor of memory traffic and against PyTorch, on published feature maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ccdeploy.op.cases import DEPLOYED, Case
from ccdeploy.op.work import least_bytes
from gpu_steps.contestants import COMPILED, EAGER, KERNEL, NCHW, Contestant, WellKnown
from gpu_steps.context import Context
from gpu_steps.library import PRECISIONS, CrissCrossLibrary, Device, Operands, Prepared, held_tiles
from gpu_steps.record import NOT_RUN, OK, Row
from gpu_steps.timing import Flush, Times, copy_bandwidth, in_a_graph, in_turns

BATCHES = (1, 8)
_OLDEST_FOR_BF16 = (8, 0)


def run(context: Context) -> Iterator[Row]:
    """The step."""
    device = Device(context.build.device)
    if not device.is_gpu:
        yield Row("speed", NOT_RUN, "the emulator tells nothing of speed")
        return
    torch.set_float32_matmul_precision("highest")  # no TF32
    bandwidth, size = copy_bandwidth()
    said = f"{bandwidth / 1e9:.0f} GB/s, read and written together, copying {size >> 20} MiB"
    yield Row("copy bandwidth", OK, said, {"bytes a second": bandwidth, "bytes copied": size})
    library = CrissCrossLibrary(Path(context.build.library))
    tuning = CrissCrossLibrary(Path(context.build.tuning)) if context.build.tuning else None
    tiles = held_tiles(tuning, device) if tuning else []
    for precision in PRECISIONS:
        if precision == "bf16" and torch.cuda.get_device_capability() < _OLDEST_FOR_BF16:
            yield Row("bf16", NOT_RUN, "it needs compute capability 8.0")
            continue
        for batch in BATCHES:
            for shape in DEPLOYED:
                case = replace(shape, batch=batch)
                name = f"{precision} {case}"
                try:
                    yield race(name, case, precision, library, tuning, tiles, bandwidth, device)
                except torch.OutOfMemoryError:
                    yield Row(name, NOT_RUN, "it does not fit into the memory of the GPU")
                torch.cuda.empty_cache()


def race(
    name: str,
    case: Case,
    precision: str,
    library: CrissCrossLibrary,
    tuning: CrissCrossLibrary | None,
    tiles: list[str],
    bandwidth: float,
    device: Device,
) -> Row:
    """One row of the table."""
    qkv, residual = operands_on(device, case, precision)
    nhwc = Operands.of(case, precision, "nhwc", qkv, residual)
    prepared = Prepared(library, nhwc, "auto", device)
    kernel = Contestant(KERNEL, prepared)
    well_known = WellKnown(case, precision, qkv, residual, device)
    eager = well_known.eager()
    contestants = [kernel, eager]
    contestants.append(
        Contestant(NCHW, Prepared(library, Operands.of(case, precision, "nchw", qkv, residual), "auto", device))
    )
    if tuning is not None and precision != "fp32":
        contestants += [Contestant(f"{KERNEL}, {tile}", Prepared(tuning, nhwc, tile, device)) for tile in tiles]
    remarks: dict[str, str] = {}
    if precision == "fp16":  # compiling takes long: once a shape
        compiled = well_known.compiled()
        try:
            compiled.run()
            contestants.append(compiled)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever the compiler raises; it is no fault of the kernel
            remarks[COMPILED] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    times = in_turns(contestants, Flush(bandwidth))
    graphs: dict[str, float] = {}
    for contestant in (kernel, eager):
        try:
            graphs[contestant.name] = in_a_graph(contestant)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            remarks[f"{contestant.name}, in a graph"] = (str(error).splitlines() or [""])[0][:200]
    difference = (nhwc.nchw(prepared.y).float() - eager.run().float()).abs().max().item()
    return table_row(name, case, precision, times, graphs, remarks, bandwidth, difference)


def operands_on(device: Device, case: Case, precision: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random qkv and residual made where they are needed: a table row of 20 million numbers, nine times."""
    generator = torch.Generator(device.name).manual_seed(1)
    size = (case.height, case.width)
    channels = 2 * case.query_channels + case.channels
    qkv = torch.randn(case.batch, channels, *size, device=device.name, generator=generator)
    qkv[:, : 2 * case.query_channels] *= case.energy_scale**0.5 / case.query_channels**0.25
    residual = torch.randn(case.batch, case.channels, *size, device=device.name, generator=generator)
    dtype = PRECISIONS[precision]
    return qkv.to(dtype), residual.to(dtype)


def table_row(
    name: str,
    case: Case,
    precision: str,
    times: dict[str, Times],
    graphs: dict[str, float],
    remarks: dict[str, str],
    bandwidth: float,
    difference: float,
) -> Row:
    """The numbers of one row, and what people want to know first."""
    floor = 1e6 * least_bytes(case, PRECISIONS[precision].itemsize) / bandwidth
    ours = times[KERNEL].median
    said = f"{ours:.1f} us, {ours / floor:.2f} x the floor of {floor:.1f} us"
    numbers: dict[str, Any] = {
        "precision": precision,
        "batch": case.batch,
        "height": case.height,
        "width": case.width,
        "floor us": floor,
        "times": {
            each: {"median us": t.median, "p10 us": t.low, "p90 us": t.high, "rounds": t.rounds}
            for each, t in times.items()
        },
        "in a graph us": graphs,
        "remarks": remarks,
        "kernel over floor": ours / floor,
        "difference from eager": difference,
    }
    for contestant in (EAGER, COMPILED):
        if contestant in times:
            ratio = times[contestant].median / ours
            numbers[f"{contestant} over kernel"] = ratio
            said += f"; {contestant} takes {ratio:.1f} x as long"
        elif contestant in remarks:
            said += f"; {contestant}: {remarks[contestant]}"
    return Row(name, OK, said, numbers)
