"""What finds labels in a run, here or on a server: pictures go in, and come out in their order with their labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelMap
from ccdeploy.errors import CcdeployError
from ccdeploy.segment.passing import Plans
from ccdeploy.segment.results import Requests, Subject
from ccdeploy.segment.sources import Source
from ccdeploy.windows import Plan

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A picture and its labels on their way to the disk.

    Attributes:
        source: the picture's file.
        sha256: of the file's bytes; "" where they could not be read again.
        picture: uint8 RGB [H, W, 3]; None where nothing that is written needs it.
        labels: the class of each pixel, [H, W].
        passing: how it passed.
        seconds: from the picture in memory to its labels; of a batch its share.
    """

    source: Source
    sha256: str
    picture: Pictures | None
    labels: LabelMap
    passing: str
    seconds: float

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return self.labels.nbytes + (0 if self.picture is None else self.picture.nbytes)


Answered = Answer | CcdeployError
"""In a picture's place the reason why there are no labels of it."""
Labelled = tuple[int, Pictures, LabelMap | CcdeployError]
"""A frame's place in its video, the frame, and its labels or why there are none."""


@dataclass
class Network(ABC):
    """An open artefact, or a deployment on a server.

    Attributes:
        plans: how pictures pass.
        card: of the network.
        subject: for the record.
        facts: name -> value of what its results depend on, for the journal.
    """

    plans: Plans
    card: Card
    subject: Subject
    facts: dict[str, Any]

    @property
    @abstractmethod
    def at_once(self) -> int:
        """Pictures that it works on together."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Spent in finding labels so far, all pictures and frames together."""

    @property
    @abstractmethod
    def not_finite(self) -> tuple[int, int]:
        """Pictures whose logits were infinite or NaN, of how many whose logits were seen."""

    @property
    def requests(self) -> Requests | None:
        """What was asked of a server so far; None where none is asked."""
        return None

    @abstractmethod
    def answers(self, sources: Sequence[Source], pixels: bool) -> Generator[tuple[Source, Answered], None, None]:
        """Each picture with its labels, in order, or with why there are none, which may come sooner; to be closed.

        Pictures are read ahead, and memory stays bounded.

        Args:
            sources: picture files.
            pixels: whether answers hold the picture, too.

        Raises:
            CcdeployError: no picture can be segmented.
        """

    @abstractmethod
    def labelled(
        self, frames: Iterable[tuple[int, Pictures]], plan: Plan, soon: bool
    ) -> Generator[Labelled, None, None]:
        """Frames with their labels, in order; to be closed.

        Args:
            frames: their places and pixels, all of one size; consumed by the caller's thread.
            plan: how they pass.
            soon: whether a frame shall not wait for others to fill a batch, as a camera's.

        Raises:
            CcdeployError: no frame can be segmented.
        """

    def passing(self, plan: Plan) -> str:
        """How pictures of a plan pass, for the record."""
        return str(plan)

    def abandon(self) -> None:  # noqa: B027
        """Ends what is under way, as far as that can be ended; nothing can be asked afterwards."""


def named(error: CcdeployError, name: str) -> CcdeployError:
    """An error that says of which picture it is."""
    return error if name in error.what else type(error)(f"{name}: {error.what}", error.remedy)


@contextmanager
def ended_with(network: Network, generator: Generator[T, None, None]) -> Iterator[Generator[T, None, None]]:
    """Closes a generator behind the block; after an error or Ctrl-C in it without waiting for what nobody takes."""
    try:
        yield generator
    except BaseException:
        network.abandon()
        raise
    finally:
        generator.close()
