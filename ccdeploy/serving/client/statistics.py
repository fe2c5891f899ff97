"""What a server has counted of a model: requests, their times in queue and network, and batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Times:
    """How often something was done, and the seconds of all together."""

    count: int
    seconds: float


@dataclass(frozen=True)
class BatchStatistics:
    """Executions of one batch size.

    Attributes:
        size: pictures in a batch.
        count: executions.
        compute_s: seconds of all together.
    """

    size: int
    count: int
    compute_s: float


@dataclass(frozen=True)
class ModelStatistics:
    """Of one model since it was loaded, its versions together; see Triton's statistics extension.

    Attributes:
        name: of the model.
        inferences: pictures that succeeded.
        executions: of the model, that is batches; of an ensemble its requests.
        success, fail: requests, from their arrival to their answer. Some versions of Triton count a failure of an
            ensemble twice.
        queue: waiting of the requests that succeeded.
        compute_input, compute, compute_output: before, in and after the model, of the requests that succeeded.
        batches: by size.
    """

    name: str
    inferences: int
    executions: int
    success: Times
    fail: Times
    queue: Times
    compute_input: Times
    compute: Times
    compute_output: Times
    batches: tuple[BatchStatistics, ...]

    @property
    def successes(self) -> int:
        """Requests that were answered."""
        return self.success.count

    @property
    def failures(self) -> int:
        """Requests that failed, were refused or timed out."""
        return self.fail.count

    @property
    def mean_batch(self) -> float | None:
        """Pictures in a batch on average; None where nothing ran."""
        return self.inferences / self.executions if self.executions else None

    def since(self, before: ModelStatistics) -> ModelStatistics:
        """What happened after `before`."""
        old = {batch.size: batch for batch in before.batches}
        nothing = BatchStatistics(0, 0, 0.0)
        batches = (
            BatchStatistics(
                batch.size,
                batch.count - old.get(batch.size, nothing).count,
                batch.compute_s - old.get(batch.size, nothing).compute_s,
            )
            for batch in self.batches
        )
        times = {
            name: Times(getattr(self, name).count - then.count, getattr(self, name).seconds - then.seconds)
            for name, then in ((name, getattr(before, name)) for name in _TIMES)
        }
        return ModelStatistics(
            name=self.name,
            inferences=self.inferences - before.inferences,
            executions=self.executions - before.executions,
            batches=tuple(batch for batch in batches if batch.count),
            **times,
        )


_TIMES = {
    "success": "success",
    "fail": "fail",
    "queue": "queue",
    "compute_input": "compute_input",
    "compute": "compute_infer",
    "compute_output": "compute_output",
}
"""Attributes, and the protocol's names of them."""


def parse_statistics(name: str, data: Any) -> ModelStatistics:
    """Reads the protocol's statistics of a model, as JSON; numbers may be strings, as JSON of protobuf has them.

    Raises:
        LookupError, TypeError, ValueError: they are not the protocol's.
    """
    versions = [entry for entry in data["model_stats"] if entry["name"] == name]
    if not versions:
        raise ValueError(f"nothing of {name} is in it")
    batches: dict[int, BatchStatistics] = {}
    for entry in versions:
        for batch in entry.get("batch_stats", ()):
            size = int(batch["batch_size"])
            times = _times(batch, "compute_infer")
            old = batches.get(size, BatchStatistics(size, 0, 0.0))
            batches[size] = BatchStatistics(size, old.count + times.count, old.compute_s + times.seconds)
    return ModelStatistics(
        name=name,
        inferences=sum(int(entry.get("inference_count", 0)) for entry in versions),
        executions=sum(int(entry.get("execution_count", 0)) for entry in versions),
        batches=tuple(batches[size] for size in sorted(batches)),
        **{
            attribute: _total([_times(entry["inference_stats"], theirs) for entry in versions])
            for attribute, theirs in _TIMES.items()
        },
    )


def _times(data: Mapping[str, Any], name: str) -> Times:
    entry = data.get(name, {})
    return Times(int(entry.get("count", 0)), int(entry.get("ns", 0)) / 1e9)


def _total(parts: list[Times]) -> Times:
    return Times(sum(part.count for part in parts), sum(part.seconds for part in parts))
