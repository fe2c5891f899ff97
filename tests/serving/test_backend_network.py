"""Requests that go through the network together come back each with its own; one that fails does so alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.serving.backend.network import outputs_of, runner_of


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([(2, 3), (3, 2), (1, 1)]), st.booleans()), max_size=12),
    st.integers(3, 8),
)
def test_each_gets_its_own(requests: list[tuple[int, tuple[int, int], bool]], most: int) -> None:
    inputs: list[np.ndarray | Exception] = []
    for number, (count, shape, fails) in enumerate(requests):
        inputs.append(ValueError(str(number)) if fails else np.full((count, 1, *shape), number, np.float32))
    seen: list[int] = []

    def infer(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return batch * 2

    outputs = outputs_of(inputs, infer, most)
    assert len(outputs) == len(inputs)
    assert all(count <= most for count in seen)
    assert sum(seen) == sum(count for count, _, fails in requests if not fails)
    for given_, found in zip(inputs, outputs, strict=True):
        if isinstance(given_, Exception):
            assert found is given_
        else:
            np.testing.assert_array_equal(found, given_ * 2)


def test_requests_of_one_shape_share_batches() -> None:
    seen: list[int] = []

    def infer(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return batch

    outputs_of([np.zeros((1, 3, 4, 5 + index % 2)) for index in range(8)], infer, 4)
    assert seen == [4, 4]


def test_what_fails_in_a_batch_fails_alone() -> None:
    def infer(batch: np.ndarray) -> np.ndarray:
        if (batch == 7).any():
            raise RuntimeError("seven")
        return batch

    outputs = outputs_of([np.full((1, 2), value) for value in (1, 7, 3)], infer, 8)
    assert [isinstance(found, Exception) for found in outputs] == [False, True, False]
    assert outputs[2] == pytest.approx(np.full((1, 2), 3))


def test_a_batch_is_bit_equal_to_its_pictures(exports) -> None:
    artefact = exports.file("ccnet", dynamic="all")
    manifest = manifest_of(artefact)
    batch = noise_batch(exports.model().card, 5, 65, 97, seed=1)
    with runner_of(artefact, manifest, None, 1) as runner, runner_of(artefact, manifest, None, 4) as shared:

        def infer(part: np.ndarray) -> np.ndarray:
            return runner.infer({"input": part})["logits"]

        singles = [infer(batch[index : index + 1]) for index in range(5)]
        together = outputs_of([batch[index : index + 1] for index in range(5)], infer, 5)
        for single, found in zip(singles, together, strict=True):
            np.testing.assert_array_equal(single, found)
        np.testing.assert_array_equal(shared.infer({"input": batch})["logits"], np.concatenate(singles))


def test_what_the_cpu_cannot_run_as_it_stands_is_rounded_node_by_node(exports) -> None:
    artefact = exports.file("ccnet", precision="bf16")
    with runner_of(Path(artefact), manifest_of(artefact), None, 1) as runner:
        assert "each node rounded" in runner.how
