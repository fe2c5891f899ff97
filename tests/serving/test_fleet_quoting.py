"""Nothing of a name or a path is read as anything but itself."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest
from fleet_parts import fleet_documents, fleet_facts, fleet_served, fleet_setting, fleet_words
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ccdeploy.errors import UsageError
from ccdeploy.serving.contract import MODEL_NAME, TENSORRT
from ccdeploy.serving.fleet import FleetOptions, render
from ccdeploy.serving.fleet.options import LONGEST_NAME, label_of
from ccdeploy.serving.fleet.quoting import TOKEN, comment, kubernetes_argument, unit, unit_word, yaml

LABEL = r"[a-z]([a-z0-9-]*[a-z0-9])?"
names = st.from_regex(MODEL_NAME, fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), max_size=40)
folders = texts.map(lambda text: "/" + text.replace("\0", "").replace("..", "")).filter(lambda text: "/../" not in text)


@given(texts)
@example('a "b" \\ $(X) {{ y }} %n \u2028 \x85 \x7f \U0001f600 #: -')
def test_yaml_reads_what_was_written(text: str) -> None:
    assert fleet_documents(f"key: {yaml(text)} # a comment") == [{"key": text}]
    assert yaml(text).isascii()
    assert "\n" not in yaml(text)


@given(texts)
@example("\n[Service]\nExecStart=/bin/evil")
@example("\x85\u2028\u2029\v\f\r")
def test_a_comment_stays_in_its_line(text: str) -> None:
    assert len(f"# {comment(text)}".splitlines()) == 1
    assert len(f"Description={unit(text)}x".splitlines()) == 1


@given(texts.map(comment))
@example('/opt/a b/50% "off"\\')
@example("$HOME ${X} %h ; 'x'")
def test_systemd_splits_what_was_written(text: str) -> None:
    assert fleet_words(f"{unit_word('first')} {unit_word(text)} {unit_word('last')}") == ["first", text, "last"]


def test_kubernetes_expands_the_token_and_nothing_else() -> None:
    assert kubernetes_argument(f"--x=$(HOME),$$:{TOKEN}") == f"--x=$$(HOME),$$:{TOKEN}"


@given(texts | names)
@example("")
@example("...")
@example("3d_NET")
@example("ß")
@example("a" * 200)
def test_any_name_becomes_a_label(text: str) -> None:
    label = label_of(text)
    assert re.fullmatch(LABEL, label)
    assert len(label) <= LONGEST_NAME
    assert label_of(label) == label


@settings(max_examples=30, deadline=None)
@given(st.lists(names, min_size=1, max_size=3, unique=True), folders, folders, folders)
@example(["Tiny.v2"], "/re po/{{ 7 * 7 }}'\"$(x)", "/out\nput", "/opt/50% of $HOME/models")
def test_files_keep_their_shape_whatever_the_names(
    models: list[str], repository: str, folder: str, target: str
) -> None:
    plugins = (f"{models[0]}_network/1/libccdeploy_plugins.so",)
    facts = fleet_facts(*(fleet_served(name, TENSORRT) for name in models), gpus=1, plugins=plugins, tensorrt="10.7.0")
    try:
        options = FleetOptions(models=PurePosixPath(target))
    except UsageError:
        assert not target.isprintable() or set(target) & set("\"'\\")
        return
    fleet = render(facts, Path(repository), Path(folder), options)
    dockerfile, manifest, service = (file.text for file in fleet.files)
    plain = render(facts, Path("/repository"), Path("/folder"), FleetOptions(name=fleet.name, image=fleet.image))
    assert fleet_documents(manifest) == fleet_documents(plain.files[1].text)
    assert _instructions(dockerfile) == _instructions(plain.files[0].text)
    start = fleet_words(fleet_setting(service, "ExecStart"))
    assert start[:5] == [":/opt/ccdeploy/bin/python", "-m", "ccdeploy", "serve", str(PurePosixPath(target))]
    keys = re.findall(r"^([A-Za-z]+)=", service, re.MULTILINE)
    assert keys == re.findall(r"^([A-Za-z]+)=", plain.files[2].text, re.MULTILINE)


def _instructions(dockerfile: str) -> list[str]:
    return [line for line in dockerfile.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", "Upper"),
        ("name", "a\nb"),
        ("name", "a" * 51),
        ("name", "-a"),
        ("name", "a.b"),
        ("namespace", "a b"),
        ("namespace", "a" * 64),
        ("claim", "x: y"),
        ("image", "x\nCMD evil"),
        ("image", "Upper/x"),
        ("image", "x y"),
        ("image", ""),
        ("triton_tag", "24.10-py3\nRUN evil"),
        ("triton_tag", "24.10 AS x"),
        ("memory", "6"),
        ("memory", "0Gi"),
        ("memory", "6Gi\n"),
        ("cpus", "0"),
        ("cpus", "1.5"),
        ("replicas", 0),
        ("http_port", 80),
        ("http_port", 8001),
        ("metrics_port", 0),
        ("start_timeout_s", 0),
        ("exit_timeout_s", -1),
        ("python", PurePosixPath("bin/python")),
        ("models", PurePosixPath("/a/../b")),
        ("models", PurePosixPath("/a\nExecStart=/bin/evil")),
        ("server_binary", PurePosixPath('/a"b')),
    ],
)
def test_what_would_be_refused_or_misread_is_refused_here(option: str, value: object) -> None:
    with pytest.raises(UsageError) as refused:
        FleetOptions(**{option: value})
    assert refused.value.remedy
    assert "\n" not in refused.value.what


@pytest.mark.parametrize(
    "image",
    [
        "streets",
        "streets:3",
        "registry.example.com:5000/vision/street_cameras:2024.1-a",
        f"registry.example.com/x@sha256:{'0a' * 32}",
    ],
)
def test_names_of_images(image: str) -> None:
    assert FleetOptions(image=image).image == image
