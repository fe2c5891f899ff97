"""How much work a case of the operator is: floating-point operations, and the least bytes that must be moved.

The one place of these formulas; docs/kernel.md has them for published feature maps.
"""

from __future__ import annotations

from ccdeploy.op.cases import Case


def flops(case: Case) -> int:
    """Operations of the two products, a multiplication and an addition counted as two.

    A pixel meets its column and its row: H + W keys (itself twice, masked once: it is computed nevertheless). Energies
    cost 2 Cq operations a key, the weighted sum 2 C: 2 (Cq + C) (H + W) a pixel. Softmax and residual are left out, as
    is usual: they are below one per cent at published sizes.
    """
    pixels = case.batch * case.height * case.width
    return 2 * (case.query_channels + case.channels) * (case.height + case.width) * pixels


def bytes_a_pixel(case: Case, item_bytes: int) -> int:
    """The least that any execution must move for a pixel, with numbers of so many bytes: read qkv (2 Cq + C) and the
    residual (C) once, write y (C) once; nothing between them in memory."""
    return (2 * case.query_channels + 3 * case.channels) * item_bytes


def least_bytes(case: Case, item_bytes: int) -> int:
    """`bytes_a_pixel` of all pixels."""
    return bytes_a_pixel(case, item_bytes) * case.batch * case.height * case.width
