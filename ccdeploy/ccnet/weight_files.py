"""Reads the tensors of an untrusted checkpoint: nothing in it is executed, no more memory taken than it fills."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ccdeploy.errors import CheckpointError, first_line

SUFFIXES = (".pth", ".pt", ".safetensors")
CONTAINERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts keep a state dict among other things."""


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a `.pth`, `.pt` or `.safetensors` file, on the CPU, without `module.` prefixes.

    Raises:
        CheckpointError: missing, damaged, in need of code to load, or without a state dict.
    """
    if path.suffix not in SUFFIXES:
        raise CheckpointError(
            f"{path} ends in {path.suffix or 'nothing'}, one of {', '.join(SUFFIXES)} was expected.",
            "Give a PyTorch checkpoint or a safetensors file.",
        )
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is not a file.", "Check the path given as --weights.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty.", "Download or copy the file again.")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _unwrap(_read_pickle(path), path)
    _refuse_views(tensors, path)
    return _without_prefix(tensors)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({first_line(error)}).", "Copy it again."
        ) from error


def _read_pickle(path: Path) -> Any:
    _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)|Unsupported (?:global|class) (\S+)", str(error))
        if wanted is None:
            raise _damaged(path, error) from error
        raise CheckpointError(
            f"{path} wants to run code to load ({wanted.group(1) or wanted.group(2)}), "
            "only tensors and plain data were expected.",
            "Where you trust the file, save its tensors alone: torch.save(torch.load(FILE, weights_only=False)"
            '["state_dict"], NEW) (or model.state_dict() if it holds a whole model).',
        ) from error
    except Exception as error:  # torch raises many types on damaged files
        raise _damaged(path, error) from error


def _check_archive(path: Path) -> None:
    """Refuses archives that torch.save does not write; a compressed record could unpack to any size."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # zipfile raises many types on damaged files
        raise _damaged(path, error) from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise CheckpointError(
            f"{path} is a TorchScript archive, a state dict was expected.",
            "Save the weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW).",
        )
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise CheckpointError(
            f"{path} holds compressed records ({packed[0]}), torch.save writes none.", "Save it again with torch.save."
        )


def _refuse_views(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """A view with stride 0 could claim any size; filled weights are as large as what the file stores for them."""
    for key, tensor in tensors.items():
        if tensor.is_nested or tensor.is_meta:
            raise CheckpointError(
                f"{path}: {key} is a {'nested' if tensor.is_nested else 'meta'} tensor, a dense one was expected.",
                "Save plain tensors: torch.save(model.state_dict(), FILE).",
            )
        if (
            tensor.layout == torch.strided
            and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
        ):
            raise CheckpointError(
                f"{path}: {key} claims the shape {list(tensor.shape)}, more than the file stores for it.",
                "Save plain tensors: torch.save(model.state_dict(), FILE).",
            )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a whole PyTorch checkpoint ({first_line(error)}).",
        "Download or copy the file again, and compare its size and checksum with the publisher's.",
    )


def _unwrap(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    """Finds the state dict: the object itself, or under the usual keys of a training script's dictionary."""
    candidates = [loaded]
    if isinstance(loaded, Mapping):
        candidates = [loaded[key] for key in CONTAINERS if isinstance(loaded.get(key), Mapping)] + candidates
    for candidate in candidates:
        if isinstance(candidate, Mapping) and any(isinstance(value, torch.Tensor) for value in candidate.values()):
            for key, value in candidate.items():
                if not isinstance(value, torch.Tensor) or not isinstance(key, str):
                    raise CheckpointError(
                        f"{path}: the entry {str(key)[:100]!r} is {type(key).__name__}: {type(value).__name__}, "
                        "str: Tensor was expected.",
                        "Save a state dict: torch.save(model.state_dict(), FILE).",
                    )
            return dict(candidate)
    seen = (
        f"a dictionary with the keys {', '.join(str(key)[:40] for key in list(loaded)[:6]) or '(none)'}"
        if isinstance(loaded, Mapping)
        else f"a {type(loaded).__name__}"
    )
    raise CheckpointError(
        f"{path} holds {seen}, a state dict was expected (bare, or under one of {', '.join(CONTAINERS)}).",
        "Save a state dict: torch.save(model.state_dict(), FILE).",
    )


def _without_prefix(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drops the `module.` that nn.DataParallel puts before every key."""
    while tensors and all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors
