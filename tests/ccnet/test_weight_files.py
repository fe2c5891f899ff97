"""Whatever a weights file holds, reading it runs nothing, takes no memory on its word, and says what is wrong."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import UserNet
from safetensors.torch import save_file
from torch import nn

from ccdeploy.ccnet.weight_files import read_state_dict
from ccdeploy.errors import CheckpointError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def refusal(path: Path) -> str:
    """The error's two lines; both say something."""
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    assert caught.value.what.startswith(str(path))
    assert caught.value.remedy
    assert "\n" not in caught.value.what
    return str(caught.value)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    for path in (saved(tmp_path / "w.pth", STATE), tmp_path / "w.safetensors"):
        read = read_state_dict(path)
        assert read.keys() == STATE.keys()
        assert all(torch.equal(read[key], STATE[key]) for key in STATE)


def test_module_prefix_is_dropped_only_where_every_key_has_it(tmp_path: Path) -> None:
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert read_state_dict(saved(tmp_path / "w.pth", mixed)).keys() == mixed.keys()


@pytest.mark.parametrize("name", ["weights.bin", "weights", "weights.pth.tar", "weights.onnx"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    assert "one of .pth, .pt, .safetensors was expected" in refusal(saved(tmp_path / name, STATE))


def test_missing_files_folders_and_empty_files_are_named(tmp_path: Path) -> None:
    assert "does not exist or is not a file" in refusal(tmp_path / "none.pth")
    (tmp_path / "folder.pth").mkdir()
    assert "does not exist or is not a file" in refusal(tmp_path / "folder.pth")
    (tmp_path / "empty.safetensors").touch()
    assert "is empty" in refusal(tmp_path / "empty.safetensors")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_truncated_checkpoints_are_refused(tmp_path: Path, kept: float, legacy: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save(STATE | {"b": torch.randn(5000)}, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert "is not a whole PyTorch checkpoint" in refusal(path)


@pytest.mark.parametrize("kept", [4, 60, -1])
def test_truncated_safetensors_are_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "w.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:kept])
    assert "is not a whole safetensors file" in refusal(path)


@pytest.mark.parametrize("content", [b"<html>404 Not Found</html>", b"PK\x03\x04 and no more", bytes(1000)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_under_the_name_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert "is not a whole" in refusal(path)


class Bomb:
    """Runs a command when it is unpickled without protection."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def plant(kind: str, path: Path, marker: Path) -> None:
    content = {**STATE, "c": Bomb(marker)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, kind: str) -> None:
    path, marker = tmp_path / "w.pth", tmp_path / "was_here"
    plant(kind, path, marker)
    message = refusal(path)
    assert not marker.exists()
    assert kind == "pickle" or "wants to run code to load (posix.system)" in message


def test_the_planted_code_would_have_run(tmp_path: Path) -> None:
    """The test above can fail."""
    path, marker = tmp_path / "w.pth", tmp_path / "was_here"
    plant("zip", path, marker)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_whole_models_are_refused_with_the_way_out(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "w.pth", UserNet()))
    assert "wants to run code to load (networks.UserNet)" in message
    assert "model.state_dict()" in message


def test_torchscript_archives_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.jit.script(nn.Conv2d(2, 3, 1)).save(str(path))
    message = refusal(path)
    assert "is a TorchScript archive, a state dict was expected" in message
    assert "torch.jit.load(FILE).state_dict()" in message


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    """A kilobyte of it could unpack to a gigabyte."""
    stored, packed = saved(tmp_path / "stored.pth", {"a": torch.zeros(100000)}), tmp_path / "packed.pth"
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry))
    assert packed.stat().st_size < stored.stat().st_size / 10
    assert "holds compressed records" in refusal(packed)


def test_damaged_archive_directories_are_refused(tmp_path: Path) -> None:
    """zipfile raises this one while only asked whether the file is an archive."""
    path = saved(tmp_path / "w.pth", STATE)
    raw = bytearray(path.read_bytes())
    locator = raw.rindex(b"PK\x06\x07")
    raw[locator + 4 : locator + 8] = raw[locator + 16 : locator + 20] = b"\x09\x00\x00\x00"  # of nine disks
    path.write_bytes(raw)
    assert "is not a whole PyTorch checkpoint" in refusal(path)


@pytest.mark.parametrize("shape", [(10**9, 10**6), (2, 3)], ids=str)
def test_tensors_larger_than_what_the_file_stores_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = saved(tmp_path / "w.pth", STATE | {"b": torch.zeros(1).expand(shape)})
    assert path.stat().st_size < 10_000
    assert f"b claims the shape {list(shape)}, more than the file stores for it" in refusal(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_without_plain_data_are_refused(tmp_path: Path) -> None:
    meta = torch.ones(2, device="meta")
    assert "b is a meta tensor" in refusal(saved(tmp_path / "meta.pth", STATE | {"b": meta}))
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    assert "b is a nested tensor" in refusal(saved(tmp_path / "nested.pth", STATE | {"b": nested}))


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ([1, 2], "holds a list"),
        (torch.ones(3), "holds a Tensor"),
        (None, "holds a NoneType"),
        ({}, "holds a dictionary with the keys (none)"),
        ({"epoch": 3, "lr": 0.1}, "holds a dictionary with the keys epoch, lr"),
        ({"state_dict": None, "epoch": 3}, "holds a dictionary with the keys state_dict, epoch"),
        ({**STATE, "epoch": 3}, "the entry 'epoch' is str: int, str: Tensor was expected"),
        ({**STATE, 3: torch.ones(1)}, "the entry '3' is int: Tensor, str: Tensor was expected"),
        ({"state_dict": {**STATE, "a": {"b": 1}}}, "the entry 'a' is str: dict, str: Tensor was expected"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: Any, seen: str) -> None:
    assert seen in refusal(saved(tmp_path / "w.pth", content))
