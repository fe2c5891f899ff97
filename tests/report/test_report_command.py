"""`ccdeploy report`: writes the page where it is asked to, says what is not in it, and takes further records."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark_records import sample_record
from folders import whole

from ccdeploy.benchmark.record import write_record

Run = Callable[..., Any]


def test_it_says_what_it_wrote_and_what_is_not_there(ccdeploy: Run, tmp_path: Path) -> None:
    folder = whole(tmp_path / "d", 1).write()
    (folder / "accuracy.json").unlink()
    ended = ccdeploy("report", folder)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith(f"wrote     {folder / 'report.html'} (")
    assert lines[1] == "outcome   1 of 2 artefacts passed; 1 was not run."
    assert "not here  accuracy: accuracy.json is not in the folder" in lines
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_json_is_one_document(ccdeploy: Run, tmp_path: Path) -> None:
    folder = whole(tmp_path / "d", 1).write()
    ended = ccdeploy("report", folder, "-o", tmp_path / "page.html", "--json")
    document = json.loads(ended.out)
    assert document["page"] == str(tmp_path / "page.html")
    assert document["bytes"] == (tmp_path / "page.html").stat().st_size
    assert [entry["part"] for entry in document["missing"]] == ["served", "operator"]
    assert not (folder / "report.html").exists()


def test_further_records_are_shown_with_their_operator(ccdeploy: Run, tmp_path: Path) -> None:
    folder = whole(tmp_path / "d", 1).write()
    write_record(sample_record(), tmp_path / "op.json")
    ended = ccdeploy("report", folder, "--benchmark", tmp_path / "op.json")
    assert ended.code == 0, ended.err
    assert "operator" not in ended.out
    page = (folder / "report.html").read_text(encoding="utf-8")
    operator = page[page.index('id="operator"') :]
    assert "from op.json" in operator
    assert "1,800 GB/s and 71,000 GFLOP/s" in operator
    assert "BackendCompilerFailed" in operator
    speed = page[page.index('id="speed"') : page.index('id="operator"')]
    assert "Throttled while it was measured:</strong> power cap" in speed
    assert speed.index("benchmark.json") < speed.index("op.json"), "the folder's own stands first"
    assert "the batch is fixed at 1" in speed


def test_two_records_with_operators_keep_their_charts_apart(ccdeploy: Run, tmp_path: Path) -> None:
    from html_check import Page

    folder = whole(tmp_path / "d", 1).write()
    for name in ("a.json", "b.json"):
        write_record(dataclasses.replace(sample_record(), contestants=(), comparisons=()), tmp_path / name)
    ended = ccdeploy("report", folder, "--benchmark", tmp_path / "a.json", "--benchmark", tmp_path / "b.json")
    assert ended.code == 0, ended.err
    assert Page((folder / "report.html").read_text(encoding="utf-8")).problems == []


def test_what_cannot_be_done_ends_with_2(ccdeploy: Run, tmp_path: Path) -> None:
    folder = whole(tmp_path / "d", 1).write()
    (tmp_path / "broken.json").write_text("{}", encoding="utf-8")
    for arguments, what in (
        ((tmp_path / "absent",), "is not a folder."),
        ((folder, "-o", tmp_path), "is a folder, a file was expected."),
        ((folder, "--benchmark", tmp_path / "broken.json"), "is no benchmark record: the field `format` is missing."),
    ):
        ended = ccdeploy("report", *arguments)
        assert ended.code == 2
        assert what in ended.err
    assert not (folder / "report.html").exists()
