"""Every error a user can meet: what happened, what to do about it, and the exit code it ends with.

Exit codes of the command line: 0 done and true; 1 verified and different; 2 wrong usage or input;
3 this machine lacks what was asked for (a GPU, TensorRT, a compiler).
"""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """What an error of another library says, cut to a part of a line; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:400]


class CcdeployError(Exception):
    """Base of all errors that ccdeploy raises on purpose.

    Args:
        what: one line: what happened, with the value seen and the value expected.
        remedy: one line: what the user can do about it.
    """

    exit_code = 2

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n{self.remedy}"


class UsageError(CcdeployError):
    """Options that do not go together, or a value outside what an option takes."""


class CardError(CcdeployError):
    """A model card that cannot be found, read or believed; names the field and why."""


class CheckpointError(CcdeployError):
    """A checkpoint that is damaged, unsafe, or of another network."""


class ModelError(CcdeployError):
    """A network of the user's that cannot be loaded, run or exported."""


class ArtefactError(CcdeployError):
    """An ONNX file, engine or manifest that is damaged or does not say what is needed."""


class InputError(CcdeployError):
    """A picture or another input file that cannot be read."""


class BuildError(CcdeployError):
    """TensorRT refused a model or a configuration that ccdeploy had accepted."""


class MissingError(CcdeployError):
    """This machine lacks what was asked for: a GPU, TensorRT, a compiler, an optional package."""

    exit_code = 3


class ServerError(CcdeployError):
    """A server that is not there, not ready, too slow, or that fails; what it says of a request is another error."""

    exit_code = 3
