"""What a deployment is asked to make and to measure, and what is wrong with it before any long work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.engine import limits
from ccdeploy.engine.flavour import load_flavour
from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.engine.manifest import QUANTIZED_TYPES
from ccdeploy.engine.plugin import given_library
from ccdeploy.errors import UsageError
from ccdeploy.export import ExportOptions, check_options

NO_ENGINE = "none"
BASES = ("fp16", "fp32", "bf16")
"""What a quantised file is made from: the first of these that is exported."""


@dataclass(frozen=True)
class EngineOptions:
    """How engines are built; `flavour` "none" builds none."""

    flavour: str = "auto"
    compute_capabilities: tuple[str, ...] = ()
    plugin: str = "auto"


@dataclass(frozen=True)
class Labelled:
    """A data set that accuracy is measured on; see `ccdeploy.datasets.opening.open_dataset`."""

    spec: str
    layout: str | None = None
    split: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Further:
    """What else than exports, engines and their verification.

    Attributes:
        quantised: types, int8 or fp8: a file more for each, made from BASES' first.
        dataset: what accuracy is measured on, and quantised files are calibrated on.
        benchmark: whether a short benchmark is run.
        command: the command line, for the record.
    """

    quantised: tuple[str, ...] = ()
    dataset: Labelled | None = None
    benchmark: bool = True
    command: str = ""


def check(
    folder: Path, options: Sequence[ExportOptions], engines: EngineOptions, further: Further
) -> tuple[ExportOptions, ...]:
    """The exports to make, those that quantised files need included.

    Raises:
        CcdeployError: what cannot be, known before anything is loaded.
    """
    if not options and not further.quantised:
        raise UsageError("No precision was asked for, one or more were expected.", "Give --precision.")
    for kind in further.quantised:
        if kind not in QUANTIZED_TYPES:
            known = ", ".join(QUANTIZED_TYPES)
            raise UsageError(f"quantised is {kind!r}, one of {known} was expected.", "Choose one of them.")
    if further.quantised and not any(option.precision in BASES[:2] for option in options):
        options = (ExportOptions(options[0].size if options else None, precision=BASES[0]), *options)
    for option in options:
        check_options(option, folder / "model.onnx")
        if option.dynamic != "none" or option.batch != 1:
            raise UsageError(
                "deploy makes artefacts of fixed shape, for one picture.", "Use export and build-engine for others."
            )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, a folder was expected.", "Name another with --output.")
    if engines.flavour != NO_ENGINE:
        targets, _ = limits.choose_compute_capabilities(
            load_flavour(engines.flavour), engines.compute_capabilities, probe_gpus()
        )
        for precision in [*(option.precision for option in options), *further.quantised]:
            limits.check_precision(precision, targets)
        given_library(engines.plugin)
    return tuple(options)


def base_of(options: Sequence[ExportOptions]) -> ExportOptions:
    """The export that quantised files are made from."""
    return min(options, key=lambda option: BASES.index(option.precision))
