"""Triton's own schema of a model's config, as its client package carries it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ccdeploy.errors import ArtefactError, MissingError, first_line

CONFIG = "config.pbtxt"


def schema() -> Any:
    """The module of the messages: `schema().ModelConfig()`.

    Raises:
        MissingError: Triton's client is not installed.
    """
    try:
        from tritonclient.grpc import model_config_pb2
    except ImportError as error:
        raise MissingError(
            f"Triton's client, which knows the format of model configs, is not there ({first_line(error)}).",
            'pip install "ccdeploy[triton]"',
        ) from error
    return model_config_pb2


def rendered(config: Any) -> str:
    """A config as the text of config.pbtxt."""
    from google.protobuf import text_format  # type: ignore[import-untyped]

    text: str = text_format.MessageToString(config, as_utf8=True)
    return text


def parsed(path: Path) -> Any:
    """The config in a file.

    Raises:
        ArtefactError: it cannot be read, or is no config.
    """
    from google.protobuf import text_format

    config = schema().ModelConfig()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        what = f"{path} is no model config ({first_line(error)})."
        raise ArtefactError(what, "Package the artefact again.") from error
    return config
