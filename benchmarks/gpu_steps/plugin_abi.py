"""stub"""

from collections.abc import Iterator

from gpu_steps.context import Context
from gpu_steps.record import Row


def run(context: Context) -> Iterator[Row]:
    yield from ()
