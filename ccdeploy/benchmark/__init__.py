"""Measures artefacts side by side: latency, throughput, memory, energy; which of two is faster; the bare operator.

    from pathlib import Path
    from ccdeploy.benchmark import Settings, benchmark

    record = benchmark([Path("ccnet.fp32.onnx"), Path("ccnet.fp16.onnx")], Settings.quick())
    for contestant in record.contestants:
        print(contestant.name, contestant.outcome, contestant.pictures_per_s)

docs/benchmark.md says how, and why so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ccdeploy.benchmark.record import Record, read_record, write_record
from ccdeploy.benchmark.settings import Settings

if TYPE_CHECKING:
    from ccdeploy.benchmark.running import Tools
    from ccdeploy.benchmark.subject import Subject
    from ccdeploy.ccnet.loading import Model

__all__ = ["Record", "Settings", "benchmark", "read_record", "write_record"]


def benchmark(
    subjects: Sequence[Path | str | Model | Subject],
    settings: Settings | None = None,
    say: Callable[[str], None] = lambda line: None,
    *,
    command: str = "",
    tools: Tools | None = None,
) -> Record:
    """Measures artefacts, and networks in PyTorch, in turns; what cannot run here is "not run", and the rest goes on.

    Args:
        subjects: files of artefacts, loaded networks (they run in PyTorch on the CPU), or subjects made before.
        settings: how long, on what; `Settings()` unless given.
        say: told each step, one line at a time.
        command: the command line, for the record.
        tools: clock and sensors, where others than the machine's shall be used.

    Raises:
        UsageError: settings that cannot be, or two contestants to compare that are not comparable.
        ArtefactError: a file that is damaged or of another manifest.
    """
    from ccdeploy.benchmark.running import Tools, run
    from ccdeploy.benchmark.subjects import subjects_of

    settings = settings or Settings()
    settings.check()
    return run(subjects_of(subjects, settings), settings, say, command, tools or Tools())
