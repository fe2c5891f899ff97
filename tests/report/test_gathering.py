"""What is not a folder of deploy is refused; what a document says is believed only if it can be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from folders import MODEL, Folder, whole

from ccdeploy.errors import ArtefactError, InputError
from ccdeploy.report.folder import LARGEST_DOCUMENT, Index, read_document, read_index, write_document
from ccdeploy.report.gathering import gather, short_names


@pytest.mark.parametrize(("make", "what"), [(False, "is not a folder."), (True, "holds nothing that deploy writes")])
def test_what_is_no_folder_of_deploy_is_refused(tmp_path: Path, make: bool, what: str) -> None:
    folder = tmp_path / "d"
    if make:
        folder.mkdir()
        (folder / "notes.txt").touch()
    with pytest.raises(InputError, match=what) as error:
        gather(folder)
    assert "ccdeploy deploy" in error.value.remedy


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole(tmp_path).write()
    index = read_index(tmp_path)
    assert index.step("verification") is not None
    assert index.step("nothing") is None
    write_document(index.to_dict(), tmp_path / "deploy.json")
    assert read_index(tmp_path) == index


def test_the_index_of_an_earlier_ccdeploy_is_read(tmp_path: Path) -> None:
    """It had these keys and no format."""
    entry = {"file": "a.onnx", "kind": "onnx", "precision": "fp16", "sha256": "0" * 64}
    old = {"ccdeploy": "0.1.0", "model": "m", "artefacts": [entry], "outcome": "passed", "verification": "v.json"}
    (tmp_path / "deploy.json").write_text(json.dumps({**old, "picture": None}), encoding="utf-8")
    assert read_index(tmp_path).artefacts[0].file == "a.onnx"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", r"deploy.json is damaged: it is not JSON \(.+\)\."),
        ("[]", r"deploy.json is damaged: `deploy.json` is list, a table was expected\."),
        ('{"ccdeploy": "1"}', r"deploy.json is damaged: the field `deploy.json.model` is missing\."),
        ('{"format": 2}', r"deploy.json has format 2, this ccdeploy reads 1\."),
        ("[" * 100_000, "deploy.json is damaged: it is not JSON"),
    ],
)
def test_a_damaged_index_is_told(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "deploy.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError, match=what):
        read_index(tmp_path)


def test_a_document_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "verification.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_DOCUMENT + 1)
    with pytest.raises(ArtefactError, match=rf"verification.json has more than {LARGEST_DOCUMENT} bytes"):
        read_document(path)


def _edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_a_verdict_that_does_not_exist_is_not_believed(tmp_path: Path) -> None:
    whole(tmp_path, 1).write()
    _edit(tmp_path / "verification.json", lambda data: data["verdicts"][0].update(outcome="great"))
    part = gather(tmp_path).verification
    assert part.value is None
    assert "verification.json is damaged: the verdict on" in part.why
    assert "is 'great', with tolerances of fp16" in part.why


def test_a_verdict_without_its_tolerance_is_not_believed(tmp_path: Path) -> None:
    whole(tmp_path, 1).write()
    _edit(tmp_path / "verification.json", lambda data: data["tolerances"].clear())
    assert gather(tmp_path).verification.value is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["measurements"][0]["reference"]["iou"].pop(),
        lambda data: data["measurements"][0]["artefacts"][0]["figures"]["iou"].append(0.5),
        lambda data: data["measurements"][0]["artefacts"][0].update(outcome="great"),
        lambda data: data["measurements"].clear(),
        lambda data: data["measurements"][0]["artefacts"].clear(),
    ],
)
def test_an_accuracy_that_does_not_add_up_is_not_believed(tmp_path: Path, change: Any) -> None:
    whole(tmp_path, 1).write()
    assert gather(tmp_path).accuracy.value is not None
    _edit(tmp_path / "accuracy.json", change)
    part = gather(tmp_path).accuracy
    assert part.value is None
    assert part.why.startswith("accuracy.json is damaged: ")


def test_a_name_that_leaves_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "d", (f"{MODEL}.a.onnx",))
    folder.write()
    index = read_index(folder.path)
    (tmp_path / "secret.onnx").write_bytes(b"x")
    entry = dataclasses.replace(index.artefacts[0], file="../secret.onnx")
    folder.rewrite_index(dataclasses.replace(index, artefacts=(entry,)))
    assert gather(folder.path).problems == (
        "'../secret.onnx' is no name of a file in the folder: it is not looked at.",
    )


def test_contestants_are_known_by_their_digests(tmp_path: Path) -> None:
    """A record made elsewhere, or with other names, belongs to the same artefacts."""
    whole(tmp_path, 2).write()
    _edit(
        tmp_path / "benchmark.json",
        lambda data: [one.update(name=f"renamed {i}", artefact="x") for i, one in enumerate(data["contestants"])],
    )
    deployed = gather(tmp_path)
    record = deployed.benchmark.value
    assert record is not None
    assert [deployed.series_of(one) for one in record.contestants[:3]] == [
        deployed.reference,
        deployed.artefacts[0].series,
        deployed.artefacts[1].series,
    ]
    other = dataclasses.replace(record.contestants[0], model="another")
    assert deployed.series_of(other) is None, "PyTorch of another network is another contestant"


def test_a_record_that_was_named_and_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    whole(tmp_path, 1).write()
    with pytest.raises(ArtefactError, match=r"absent\.json cannot be read as a benchmark record"):
        gather(tmp_path, [tmp_path / "absent.json"])


@pytest.mark.parametrize(
    ("model", "files", "names"),
    [
        ("m", ["m.fp16.onnx", "m.int8.engine"], ["fp16.onnx", "int8.engine"]),
        ("a:B", ["a.B.fp16.onnx"], ["fp16.onnx"]),
        ("m", ["other.onnx", "m."], ["other.onnx", "m."]),
        ("m", ["x" * 40 + ".onnx"], ["…" + "x" * 26 + ".onnx"]),
        ("m", ["1" + "x" * 40, "2" + "x" * 40], ["1: …" + "x" * 31, "2: …" + "x" * 31]),
    ],
)
def test_short_names(model: str, files: list[str], names: list[str]) -> None:
    assert short_names(model, files) == names


def test_an_index_holds_no_absolute_path(tmp_path: Path) -> None:
    """A folder can be moved: nothing in its index names where it was."""
    whole(tmp_path, 1).write()
    index: Index = read_index(tmp_path)
    assert str(tmp_path) not in json.dumps(index.to_dict()["pictures"])
