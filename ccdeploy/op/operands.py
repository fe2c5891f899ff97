"""Random operands of a case, for whoever compares executions of the operator: tests, checks and benchmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ccdeploy.op.cases import Case

Array = npt.NDArray[np.float64]


def random_operands(case: Case, seed: int) -> tuple[Array, Array]:
    """Float64 qkv [B, 2 * Cq + C, H, W] and residual [B, C, H, W].

    Values and residuals have unit variance and lie within +-sqrt(3): then |y| < 4, and one bound on the error holds for
    all of them. Queries and keys are normal, scaled so that energies have the standard deviation `case.energy_scale`.
    """
    generator = np.random.default_rng(seed)
    plane = (case.height, case.width)
    queries_and_keys = generator.standard_normal((case.batch, 2 * case.query_channels, *plane))
    queries_and_keys *= case.energy_scale**0.5 / case.query_channels**0.25
    values, residual = generator.uniform(-(3**0.5), 3**0.5, (2, case.batch, case.channels, *plane))
    return np.concatenate([queries_and_keys, values], axis=1), residual
