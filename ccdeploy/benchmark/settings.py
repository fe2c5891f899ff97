"""How long, on what and in which order is measured: the settings of a benchmark, with their limits."""

from __future__ import annotations

from dataclasses import dataclass

from ccdeploy.errors import UsageError

MOST_RUNS = 1_000_000


@dataclass(frozen=True)
class Settings:
    """What `benchmark` is asked to do.

    Attributes:
        batch: pictures at once, where an artefact leaves that open.
        size: height and width, where an artefact leaves them open; its card's unless given.
        seed: of the inputs and of the order of turns.
        provider: of onnxruntime, for ONNX files: cpu, cuda or tensorrt; cpu unless given.
        threads: of the CPU, for one inference; the runtime's own choice unless given.
        cuda_graph: run engines as CUDA graphs.
        duration_s: seconds of timed runs, a contestant and boundary.
        runs: timed runs instead, a contestant and boundary.
        block: timed runs in a row in one turn of a contestant, at least; see ccdeploy.benchmark.timing.
        warm_up_s: longest warm-up of a contestant.
        energy_s: seconds that a contestant runs alone in each of two rounds, for the energy; 0 leaves energy out.
        alone: load each contestant once more in a process of its own, for its memory and its first inference.
        batches: batch sizes to measure besides; only where an artefact leaves them open.
        streams: numbers of inferences under way at once to measure besides.
        sweep_s: seconds of timed runs of one point of batches or streams.
        compare: names of the two contestants to compare pair by pair.
        pairs: how many pairs of turns; such a turn has one timed run (or TURN_S of them), whatever `block` is.
    """

    batch: int = 1
    size: tuple[int, int] | None = None
    seed: int = 0
    provider: str | None = None
    threads: int | None = None
    cuda_graph: bool = False
    duration_s: float = 10.0
    runs: int | None = None
    block: int = 5
    warm_up_s: float = 10.0
    energy_s: float = 5.0
    alone: bool = True
    batches: tuple[int, ...] = ()
    streams: tuple[int, ...] = ()
    sweep_s: float = 3.0
    compare: tuple[str, str] | None = None
    pairs: int = 200

    @classmethod
    def quick(cls) -> Settings:
        """A few seconds a contestant: a first look, for `deploy` and for tests; its percentiles are coarse."""
        return cls(duration_s=1.5, warm_up_s=2.0, energy_s=1.0, sweep_s=1.0, pairs=60)

    def check(self) -> None:
        """Refuses what cannot be measured.

        Raises:
            UsageError: names the setting, its value and what was expected.
        """
        counts = {"batch": self.batch, "block": self.block, "pairs": self.pairs, "runs": self.runs}
        counts |= {"threads": self.threads}
        counts |= {f"batches[{i}]": value for i, value in enumerate(self.batches)}
        counts |= {f"streams[{i}]": value for i, value in enumerate(self.streams)}
        for name, value in counts.items():
            if value is not None and not 1 <= value <= MOST_RUNS:
                raise UsageError(f"{name} is {value}, 1 to {MOST_RUNS} was expected.", f"Correct {name}.")
        for name, seconds in (
            ("duration_s", self.duration_s),
            ("warm_up_s", self.warm_up_s),
            ("sweep_s", self.sweep_s),
        ):
            if not 0 < seconds <= 86400:
                raise UsageError(f"{name} is {seconds}, more than 0 up to 86400 was expected.", f"Correct {name}.")
        if not 0 <= self.energy_s <= 86400:
            raise UsageError(f"energy_s is {self.energy_s}, 0 to 86400 was expected.", "Correct energy_s.")
