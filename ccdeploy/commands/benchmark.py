"""`ccdeploy benchmark`: how fast is it, and how far can that be trusted?"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ccdeploy.commands.benchmark_server import (
    SERVER_OPTIONS,
    benchmark_of_server,
    check_server_options,
    server_options,
)
from ccdeploy.commands.benchmark_view import show_comparisons, show_record
from ccdeploy.commands.console import print_json, progress
from ccdeploy.commands.lists import Counts
from ccdeploy.commands.options import FILE, SEED, json_option, size_option
from ccdeploy.errors import UsageError

MISSING = 3


SECONDS = click.FloatRange(0.1, 86400)
"""Of what must take some time."""
COUNT = click.IntRange(1, 1_000_000)


def timing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How long, how often and in which order; None where nothing was given, so that --quick can decide."""
    for decorate in (
        click.option("--quick", is_flag=True, help="A first look: seconds instead of minutes, coarse percentiles."),
        click.option(
            "--duration", type=SECONDS, help="Seconds of timed runs a contestant and boundary; 10, quick 1.5."
        ),
        click.option("--runs", type=COUNT, help="Timed runs a contestant and boundary, instead of --duration."),
        click.option("--block", type=click.IntRange(1, 1000), help="Timed runs in a row in one turn, at least; 5."),
        click.option("--warm-up", type=SECONDS, help="Longest warm-up of a contestant in seconds; 10, quick 2."),
        click.option("--pairs", type=click.IntRange(2, 100_000), help="Pairs of turns of --compare; 200, quick 60."),
        click.option(
            "--energy",
            type=click.FloatRange(0, 3600),
            help="Seconds of each of two blocks for the energy, where power can be read; 0 leaves it out; 5, quick 1.",
        ),
        click.option("--alone/--no-alone", default=True, help="Also each in a process of its own, for its memory."),
        click.option("--seed", type=SEED, default=0, show_default=True, help="Of the inputs and the order of turns."),
    )[::-1]:
        function = decorate(function)
    return function


def work_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is run, and where."""
    for decorate in (
        click.option("--pytorch", is_flag=True, help="Also the network of the first artefact, in PyTorch, in float32."),
        click.option(
            "--weights", type=FILE, metavar="FILE", help="Its checkpoint, if it is not where it was at export."
        ),
        click.option(
            "--provider",
            type=click.Choice(["cpu", "cuda", "tensorrt"]),
            help="What onnxruntime runs ONNX files on; cpu unless given.",
        ),
        click.option("--threads", type=click.IntRange(1, 1024), help="Of the CPU; the runtime's choice unless given."),
        click.option("--cuda-graph", is_flag=True, help="Run engines as CUDA graphs."),
        click.option("--batch", type=click.IntRange(1, 1024), default=1, show_default=True, help="Where it is open."),
        size_option,
        click.option("--batches", type=Counts(), default=(), help="Also at these batch sizes, where they are open."),
        click.option("--streams", type=Counts(), default=(), help="Also with so many inferences under way at once."),
        click.option(
            "--compare",
            nargs=2,
            metavar="A B",
            help="Time two in adjacent turns: artefacts, or contestants' names. Two records (.json): nothing is timed.",
        ),
    )[::-1]:
        function = decorate(function)
    return function


def operator_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The bare operator."""
    for decorate in (
        click.option("--op", "operator", is_flag=True, help="The bare operator instead, over the table of cases."),
        click.option(
            "--cases",
            type=click.Choice(["one", "small", "deployed", "all"]),
            help="Of --op: the map of 97x97 (unless there is a GPU), odd shapes, published maps, or everything.",
        ),
        click.option("--dtype", type=click.Choice(["fp32", "fp16", "bf16"]), help="Of --op; fp32 unless given."),
    )[::-1]:
        function = decorate(function)
    return function


@click.command("benchmark")
@click.argument("artefacts", type=FILE, nargs=-1, metavar="ARTEFACT...")
@work_options
@timing_options
@operator_options
@server_options
@click.option("-o", "--output", type=FILE, help="Write the record here, as JSON.")
@json_option
def command(
    artefacts: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    operator: bool,
    cases: str | None,
    dtype: str | None,
    **options: Any,
) -> int:
    """Measure each ARTEFACT (.onnx, .engine) side by side, in turns: latency, throughput, memory, energy.

    With --server, a deployment on an inference server under load instead: throughput against latency, closed and open
    loop, errors counted, and how many streams it holds.

    \b
    Boundaries, each named in the output:
      host to host  inputs in host memory to outputs in host memory
      device        the inference alone, between two events on the GPU

    Contestants take turns, so that what drifts hits all alike. What cannot run on this machine is "not run", with the
    reason, and the others go on. --compare also times two of them in adjacent turns and says whether one is faster;
    it refuses two that do not do the same work.

    \b
    ccdeploy benchmark --server http://127.0.0.1:8000 --model ccnet -o served.json
    ccdeploy benchmark --server grpc://127.0.0.1:8001 --rate 5,10,20 --deadline 200ms --streams-fps 10

    Exits with 3 if none could run, or if --compare could not be done; with 0 otherwise.
    """
    server = {name: options.pop(name) for name in SERVER_OPTIONS}
    if check_server_options(server, artefacts, {**options, "operator": operator, "cases": cases, "dtype": dtype}):
        return benchmark_of_server(server, options, output, as_json, _command_line())
    if not operator and (cases or dtype):
        raise UsageError(f"{'--cases' if cases else '--dtype'} needs --op.", "Give --op, or leave it out.")
    compare = options["compare"]
    saved = [name for name in compare or () if name.endswith(".json")]
    if saved:
        return _compare_saved(compare, artefacts, operator, output, as_json)
    if operator:
        given = [str(path) for path in artefacts] or list(compare or ())
        if given:
            raise UsageError(f"--op was given with {given[0]}: it times the bare operator.", "Leave one of them out.")
    elif not artefacts and not compare:
        raise UsageError("No artefact was given, one or more were expected.", "Name an .onnx or .engine file, or --op.")
    with progress() as say:
        record = _operator(cases, dtype, options, say) if operator else _networks(artefacts, options, say)
    if output is not None:
        from ccdeploy.benchmark import write_record

        write_record(record, output)
    print_json(record.to_dict()) if as_json else show_record(record, output)
    return _exit_code(record)


def _exit_code(record: Any) -> int:
    if record.operator is not None:
        ran = any(each.outcome == "run" for case in record.operator.cases for each in case.executions)
    else:
        ran = any(contestant.outcome == "run" for contestant in record.contestants)
    return MISSING if not ran or (record.settings.compare and not record.comparisons) else 0


def _settings(options: dict[str, Any]) -> Any:
    from ccdeploy.benchmark import Settings

    base = Settings.quick() if options["quick"] else Settings()
    given = {
        "duration_s": options["duration"],
        "runs": options["runs"],
        "block": options["block"],
        "warm_up_s": options["warm_up"],
        "pairs": options["pairs"],
        "energy_s": options["energy"],
        "size": options["size"],
        "threads": options["threads"],
        "provider": options["provider"],
    }
    settings = dataclasses.replace(
        base,
        **{name: value for name, value in given.items() if value is not None},
        batch=options["batch"],
        seed=options["seed"],
        cuda_graph=options["cuda_graph"],
        alone=options["alone"],
        batches=options["batches"],
        streams=options["streams"],
    )
    settings.check()  # NaN is within every range
    return settings


def _networks(artefacts: tuple[Path, ...], options: dict[str, Any], say: Callable[[str], None]) -> Any:
    from ccdeploy.benchmark import benchmark
    from ccdeploy.benchmark.artefact import Artefact
    from ccdeploy.benchmark.network import Network
    from ccdeploy.benchmark.subjects import with_compared

    settings = _settings(options)
    subjects, compared = with_compared(artefacts, options["compare"], settings, with_pytorch=options["pytorch"])
    if options["pytorch"]:
        first = next(subject for subject in subjects if isinstance(subject, Artefact))
        device = "cuda" if first.on_gpu and not first.why_not() else "cpu"
        subjects.append(Network(settings, of=first, weights=options["weights"], device=device))
    elif options["weights"]:
        raise UsageError("--weights needs --pytorch: artefacts hold their own.", "Give --pytorch, or leave it out.")
    return benchmark(subjects, dataclasses.replace(settings, compare=compared), say, command=_command_line())


def _operator(cases: str | None, dtype: str | None, options: dict[str, Any], say: Callable[[str], None]) -> Any:
    say("loading PyTorch")
    from ccdeploy.benchmark.operator.measuring import benchmark_operator

    settings = _settings(options)
    if options["duration"] is None:  # an execution and case: there are many
        settings = dataclasses.replace(settings, duration_s=0.5 if options["quick"] else 1.5)
    if options["warm_up"] is None:
        settings = dataclasses.replace(settings, warm_up_s=1.0)
    return benchmark_operator(cases, dtype or "fp32", settings, say, command=_command_line())


def _compare_saved(
    compare: tuple[str, str], artefacts: tuple[Path, ...], operator: bool, output: Path | None, as_json: bool
) -> int:
    """Compares two records; nothing is measured."""
    other = [name for name in compare if not name.endswith(".json")]
    if other:
        raise UsageError(f"--compare was given a record and {other[0]}, which is none.", "Name two of one kind.")
    if artefacts or operator or output:
        raise UsageError(
            "Two records were given to --compare: nothing is measured then.", "Give nothing but --compare."
        )
    from ccdeploy.benchmark import read_record
    from ccdeploy.benchmark.compare import compare_records

    records = [read_record(Path(name)) for name in compare]
    comparisons = compare_records(records[0], records[1], compare)
    if as_json:
        print_json({"comparisons": [dataclasses.asdict(each) for each in comparisons]})
    else:
        show_comparisons(comparisons)
    return 0


def _command_line() -> str:
    """What to type to measure again."""
    return shlex.join(["ccdeploy", *sys.argv[1:]])
