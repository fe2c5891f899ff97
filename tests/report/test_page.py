"""The page says what the folder holds, whatever names users give and whatever is missing, and asks no network."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from folders import HOSTILE, MODEL, Folder, different, whole
from html_check import Page
from markupsafe import Markup
from PIL import Image

from ccdeploy.accuracy import AccuracyReport
from ccdeploy.report import write_report
from ccdeploy.report.charts import drawing
from ccdeploy.report.folder import FAILED, NOT_ASKED_FOR, NOT_RUN, Step, read_index, write_document
from ccdeploy.report.words import NOTHING, TIMES

DASHES = " ".join(NOTHING * 7)
LETTERS = "Straße · 道路 · طريق · 🛣"


@pytest.fixture(autouse=True)
def quick_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts have tests of their own and take seconds: here they are empty, except where a test wants them."""
    if "real_charts" not in request.fixturenames:
        monkeypatch.setattr(drawing, "_drawn", lambda prefix, *_, **__: Markup('<svg id="{}"></svg>').format(prefix))


@pytest.fixture
def real_charts() -> None:
    """For tests of the whole page."""


def page_of(folder: Path) -> Page:
    page = Page(write_report(folder).path.read_text(encoding="utf-8"))
    assert page.problems == []
    return page


def parts(page: Page) -> dict[str, str]:
    """The text of each section, by the title that it starts with."""
    titles = (
        "At a glance",
        "Pictures side by side",
        "Accuracy by class",
        "Stage by stage against PyTorch",
        "Speed, memory, energy",
        "Served under load",
        "The operator alone",
        "Layers by type",
        "Where it comes from",
    )
    body = page.text[page.text.index("Deployment report") :]
    places = [body.index(title) for title in titles]
    assert places == sorted(places), "no section vanishes, and they keep their order"
    return {title: body[start:end] for title, start, end in zip(titles, places, [*places[1:], None], strict=True)}


def test_a_whole_folder_is_shown_whole(tmp_path: Path) -> None:
    folder = whole(tmp_path, 3)
    page = page_of(folder.write())
    sections = parts(page)
    assert page.tags.count("h1") == 1
    assert "3 of 4 artefacts passed; 1 was not run." in page.text
    glance = sections["At a glance"]
    for number in range(3):
        assert f"{number}.onnx fp16 200 B passed passed {81.25 - (number + 1) / 100:.2f} 0.0{number + 1}" in glance
    assert f"gpu.engine fp16 200 B not run not run {DASHES[:5]}" in glance
    assert "gpu.engine , same network and accuracy: not run, no GPU: none is here" in glance
    assert "100.000 % of the labels" not in sections["Pictures side by side"]
    for number, rows in ((0, 1), (2, 3)):
        equal = 100 * (1 - rows / 32)
        assert f"{number}.onnx {equal:.3f} % of the labels equal PyTorch's" in sections["Pictures side by side"]
    assert "mean IoU, % 81.25 81.24 81.23 81.22" in sections["Accuracy by class"]
    assert "labels equal to PyTorch's, % 99.8700 99.8700 99.8700" in sections["Accuracy by class"]
    assert "relative L2 ≤ 0.005, labels equal ≥ 99.00%" in sections["Stage by stage against PyTorch"]
    assert "99.9000 %" in sections["Stage by stage against PyTorch"]
    assert "p50 p90 p95 p99 mean std min max runs" in sections["Speed, memory, energy"]
    assert "ccdeploy benchmark --op" in sections["The operator alone"]
    assert "39 nodes of 3 types; 2 criss-cross passes" in sections["Layers by type"]
    assert f"ccdeploy deploy {MODEL} -o deployed" in sections["Where it comes from"]


def test_speed_is_of_pytorch_beside_each(tmp_path: Path) -> None:
    sections = parts(page_of(whole(tmp_path, 2).write()))
    row = r"(\d)\.onnx ÷ PyTorch host to host ([\d.]+) [\d.]+ to [\d.]+ \d\.onnx is"
    compared = re.findall(row, sections["Speed, memory, energy"])
    assert [name for name, _ in compared] == ["0", "1"]
    assert [float(ratio) for _, ratio in compared] == pytest.approx([0.5, 0.25], rel=0.05)
    glance = sections["At a glance"]
    speeds = [float(text) for text in re.findall(rf"(\d+\.\d\d){TIMES}", glance)]
    assert speeds[0] == 1.0
    assert speeds[1] == pytest.approx(2, rel=0.05)
    assert speeds[2] == pytest.approx(4, rel=0.05)


def test_what_the_benchmark_does_not_tell_apart_is_not_called_faster(tmp_path: Path) -> None:
    folder = whole(tmp_path, 1)
    folder.write()
    record = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    pytorch, artefact = record["contestants"][:2]
    artefact["boundaries"] = pytorch["boundaries"]
    (tmp_path / "benchmark.json").write_text(json.dumps(record), encoding="utf-8")
    page = page_of(tmp_path)
    assert f"≈ 1{TIMES}" in parts(page)["At a glance"]
    assert "0.onnx ÷ PyTorch host to host 1.000" in parts(page)["Speed, memory, energy"]
    assert "no difference seen" in parts(page)["Speed, memory, energy"]


def test_what_differs_is_the_headline(tmp_path: Path) -> None:
    folder = whole(tmp_path, 2)
    folder.write()
    report = different(folder.verification(), 1)
    write_document(report.to_dict(), tmp_path / "verification.json")
    page = page_of(tmp_path)
    assert "different 1 of 3 artefacts differs from PyTorch; 1 of 3 artefacts passed; 1 was not run." in page.text
    stages = parts(page)["Stage by stage against PyTorch"]
    assert "1.onnx different departs first at backbone" in stages
    assert "backbone not finite not finite" in stages


def test_an_accuracy_that_is_lost_is_different_though_the_stages_passed(tmp_path: Path) -> None:
    folder = whole(tmp_path, 1)
    folder.write()
    (measurement,) = folder.accuracy().measurements
    lost = dataclasses.replace(measurement.artefacts[0], outcome="different", drop=3.5)
    report = AccuracyReport((dataclasses.replace(measurement, artefacts=(lost, *measurement.artefacts[1:])),))
    write_document(report.to_dict(), tmp_path / "accuracy.json")
    page = page_of(tmp_path)
    assert "1 of 2 artefacts differs from PyTorch" in page.text
    assert "0.onnx , accuracy: different, loses more than 0.1 points of mean IoU" in page.text
    assert "loses 3.50 points of mean IoU (fp16 may lose 0.1)" in page.text


def test_nothing_but_what_passed_is_called_the_same_network(tmp_path: Path) -> None:
    folder = Folder(tmp_path, (f"{MODEL}.one.onnx",))
    assert "The artefact is the same network as in PyTorch." in page_of(folder.write()).text
    (tmp_path / "verification.json").unlink()
    page = page_of(tmp_path)
    assert "not run 1 was not run." in page.text
    assert "same network as in PyTorch" not in page.text
    assert "verification.json is not in the folder" in parts(page)["Stage by stage against PyTorch"]


@pytest.mark.parametrize("count", [1, 8, 12])
def test_any_number_of_artefacts(tmp_path: Path, count: int) -> None:
    page = page_of(whole(tmp_path, count, seed=count).write())
    for number in range(count):
        assert f"{number}.onnx" in page.text
    slots = {int(slot) for slot in re.findall(r"--series-(\d+)", str(page.attributes))}
    assert slots <= set(range(9)), "a colour that the style does not have"


def test_hostile_names_stay_text(real_charts: None, tmp_path: Path) -> None:
    folder = Folder(tmp_path, (f"{HOSTILE}.onnx", f"{LETTERS}.onnx", "x" * 200 + ".onnx"), model=f"m{HOSTILE}")
    folder.rename_classes([HOSTILE, "$x^2$ & co", LETTERS, *(f"class {index}" for index in range(6))])
    folder.write()
    index = read_index(tmp_path)
    photos = tuple(dataclasses.replace(photo, name=HOSTILE + LETTERS) for photo in index.pictures)
    steps = (*index.steps, Step(HOSTILE, FAILED, f"because of {HOSTILE}"))
    folder.rewrite_index(
        dataclasses.replace(index, pictures=photos, steps=steps, versions={HOSTILE: HOSTILE}, command=f"x {HOSTILE}")
    )
    page = page_of(tmp_path)
    assert page.tags.count("script") == 2, "the page's own"
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) >= 8
    assert LETTERS in page.text
    assert "$x^2$ & co" in page.text
    assert not [value for tag, name, value in page.attributes if tag == "img" and name == "src" and value == "x"]


def test_nothing_in_the_page_asks_for_anything(real_charts: None, tmp_path: Path) -> None:
    folder = whole(tmp_path, 2)
    html = write_report(folder.write()).path.read_text(encoding="utf-8")
    page = Page(html)
    wanted = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "action", "data")]
    assert len(wanted) > 20
    assert not [value for value in wanted if not value.startswith(("#", "data:"))]
    assert "url(" not in re.sub(r"url\(#[\w.-]+\)", "", html)
    assert "@import" not in html
    policy = next(value for tag, _, value in page.attributes if tag == "meta" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("verification.json", "Stage by stage against PyTorch"),
        ("accuracy.json", "Accuracy by class"),
        ("benchmark.json", "Speed, memory, energy"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "not a table", "a wrong type", "not text"])
def test_a_part_that_is_missing_or_damaged_is_told_in_its_place(
    tmp_path: Path, name: str, title: str, damage: str
) -> None:
    whole(tmp_path, 1).write()
    path = tmp_path / name
    text = path.read_text(encoding="utf-8")
    if damage == "missing":
        path.unlink()
    elif damage == "not text":
        path.write_bytes(b"\xff\xfe\x00")
    else:
        data = json.loads(text)
        key = {"verification.json": "verdicts", "accuracy.json": "measurements", "benchmark.json": "contestants"}[name]
        data[key] = "none"
        damaged = {
            "empty": "",
            "truncated": text[: len(text) // 2],
            "not a table": "[1]",
            "a wrong type": json.dumps(data),
        }
        path.write_text(damaged[damage], encoding="utf-8")
    sections = parts(page_of(tmp_path))
    assert "Not here:" in sections[title]
    assert name.removesuffix(".json") in sections[title]
    intact = {"Stage by stage against PyTorch", "Accuracy by class", "Speed, memory, energy"} - {title}
    assert not [other for other in intact if "Not here:" in sections[other]]


def test_why_a_step_was_not_run_stands_in_its_section(tmp_path: Path) -> None:
    folder = whole(tmp_path, 1)
    folder.write()
    for name in ("accuracy.json", "benchmark.json"):
        (tmp_path / name).unlink()
    index = read_index(tmp_path)
    steps = (Step("accuracy", NOT_RUN, NOT_ASKED_FOR), Step("benchmark", FAILED, "the disk is full. Free some."))
    folder.rewrite_index(dataclasses.replace(index, steps=steps))
    sections = parts(page_of(tmp_path))
    assert "Not here: not run: not asked for" in sections["Accuracy by class"]
    assert "Not here: failed: the disk is full. Free some." in sections["Speed, memory, energy"]
    assert "failed benchmark : the disk is full. Free some." in sections["At a glance"]
    assert "passed not asked for" in sections["At a glance"]


def test_a_document_of_an_earlier_deployment_is_not_shown_as_this_ones(tmp_path: Path) -> None:
    folder = whole(tmp_path, 1)
    folder.write()
    index = read_index(tmp_path)
    folder.rewrite_index(dataclasses.replace(index, steps=(Step("verification", FAILED, "out of memory"),)))
    page = page_of(tmp_path)
    assert "failed: out of memory (verification.json in the folder is of an earlier deployment)" in page.text
    assert "0.onnx, gpu.engine , same network: not run, failed: out of memory" in page.text


def test_without_an_index_the_page_is_made_from_what_is_there(tmp_path: Path) -> None:
    whole(tmp_path, 2).write()
    (tmp_path / "deploy.json").write_text("{", encoding="utf-8")
    page = page_of(tmp_path)
    assert "deploy.json is damaged: it is not JSON" in page.text
    assert "0.onnx fp16 200 B passed passed" in page.text
    assert "the folder holds no pictures" in parts(page)["Pictures side by side"]


def test_figures_that_are_null_are_a_dash(tmp_path: Path) -> None:
    folder = whole(tmp_path, 1)
    folder.write()
    data = json.loads((tmp_path / "accuracy.json").read_text(encoding="utf-8"))
    measurement = data["measurements"][0]
    measurement["reference"]["iou"][0] = measurement["artefacts"][0]["figures"]["iou"][0] = None
    measurement["artefacts"][0]["agreement"] = measurement["artefacts"][0]["drop"] = None
    (tmp_path / "accuracy.json").write_text(json.dumps(data), encoding="utf-8")
    record = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    for contestant in record["contestants"]:
        for key in ("memory", "energy", "warm_up", "conditions", "pictures_per_s", "first_inference_s", "load_s"):
            contestant[key] = None
    (tmp_path / "benchmark.json").write_text(json.dumps(record), encoding="utf-8")
    sections = parts(page_of(tmp_path))
    assert f"sky {DASHES[:3]}" in sections["Accuracy by class"]
    assert f"PyTorch {DASHES}" in sections["Speed, memory, energy"]


@pytest.mark.parametrize("what", ["missing", "no picture", "outside", "colours for labels"])
def test_a_picture_that_cannot_be_shown_is_told_and_the_others_are_shown(tmp_path: Path, what: str) -> None:
    inside = tmp_path / "deployed"
    folder = whole(inside, 1)
    folder.write()
    index = read_index(inside)
    first, second = index.pictures
    if what == "missing":
        (inside / first.file).unlink()
    elif what == "no picture":
        (inside / first.file).write_bytes(b"no picture")
    elif what == "colours for labels":
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(inside / first.labels["PyTorch"])
    else:
        Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
        first = dataclasses.replace(first, file="../secret.png")
    folder.rewrite_index(dataclasses.replace(index, pictures=(first, second)))
    section = parts(page_of(inside))["Pictures side by side"]
    told = {
        "missing": "photo 1: pictures/01.png cannot be read as a picture (FileNotFoundError).",
        "no picture": "photo 1: pictures/01.png cannot be read as a picture (UnidentifiedImageError).",
        "outside": "photo 1: '../secret.png' lies outside of the folder: it is not read.",
        "colours for labels": "photo 1: pictures/01.pytorch.png has RGB pixels, a label map of one channel was",
    }
    assert told[what] in section
    assert "photo 2 Picture" in section


def test_pictures_are_scaled_and_labels_are_not(tmp_path: Path) -> None:
    import base64
    import io

    folder = whole(tmp_path, 1)
    folder.write()
    Image.new("RGB", (3000, 1500), "teal").save(tmp_path / "pictures" / "01.png")
    page = page_of(tmp_path)
    uris = [value for tag, name, value in page.attributes if tag == "img" and name == "src"]
    images = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in uris]
    photo, truth, expected, got, difference = images[:5]
    assert (photo.format, photo.size) == ("WEBP", (1024, 512))
    colours = np.array([info.color for info in folder.card.classes], np.uint8)
    labels = np.asarray(Image.open(tmp_path / "pictures" / "01.pytorch.png"))
    assert (np.asarray(expected.convert("RGB")) == colours[labels]).all()
    assert (np.asarray(truth.convert("RGB")) == np.asarray(expected.convert("RGB"))).all()
    assert (np.asarray(got.convert("RGB"))[1:] == colours[labels][1:]).all()
    assert (np.asarray(got.convert("RGB"))[0] != colours[labels][0]).any(axis=1).all()
    marked = np.asarray(difference.convert("RGBA"))
    assert (marked[:2, :, 3] == 255).all(), "the row that differs, and one beside it so that it is seen"
    assert (marked[2:, :, 3] < 255).all()


def test_a_folder_of_noise_shows_no_photographs_and_says_so(tmp_path: Path) -> None:
    folder = whole(tmp_path, 1)
    folder.pictures = 0
    folder.write()
    folder.rewrite_index(dataclasses.replace(read_index(tmp_path), inputs="noise, seed 0"))
    page = page_of(tmp_path)
    section = parts(page)["Pictures side by side"]
    assert "Not here: the artefacts were verified on noise, seed 0" in section
    assert "img" not in page.tags


def test_an_artefact_that_was_changed_or_lost_is_told(tmp_path: Path) -> None:
    whole(tmp_path, 2).write()
    (tmp_path / f"{MODEL}.0.onnx").write_bytes(b"another")
    (tmp_path / f"{MODEL}.1.onnx").unlink()
    glance = parts(page_of(tmp_path))["At a glance"]
    assert f"{MODEL}.0.onnx was changed after it was deployed: its sha256 is another." in glance
    assert f"{MODEL}.1.onnx is not in the folder any more." in glance
