"""The models inside the real server: fixed sizes, labels, versions, and requests to the steps that fit nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from repository_parts import a_changed

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.datasets.streets import Streets
from ccdeploy.segmenters import ArtefactSegmenter, Passing, plan_for
from ccdeploy.serving.repository import Packaging, package

KINDS = {"fixed": {}, "image": {"io": "image", "dynamic": "all"}}


@pytest.fixture(scope="module")
def a_client(server_is_there: None, exports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A client of a server with a deployment of each kind; of "image" there are two versions."""
    import tritonclient.http as http

    from ccdeploy.serving.server import Options, running

    folder = tmp_path_factory.mktemp("kinds")
    for name, options in KINDS.items():
        packaging = Packaging(name=name, cpu_instances=1, keep=2)
        package([exports.file("ccnet", **options)], folder / "r", packaging)
    changed = a_changed(exports.file("ccnet", **KINDS["image"]), folder, notes=("another",))
    package([changed], folder / "r", Packaging(name="image", cpu_instances=1, keep=2))
    lines: list[str] = []
    with running(folder / "r", Options(http_port=0, grpc_port=0, metrics_port=0), lines.append) as server:
        client = http.InferenceServerClient(server.http.removeprefix("http://"))
        yield client
        client.close()
        # What is refused is an answer, not a line in the log; nor is what goes well.
        assert not [line for line in lines if "Traceback" in line or "ValueError" in line]


def a_sent(client: object, model: str, inputs: dict[str, np.ndarray], version: str = "") -> dict[str, np.ndarray]:
    import tritonclient.http as http
    from tritonclient.utils import np_to_triton_dtype

    given = []
    for name, array in inputs.items():
        entry = http.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        entry.set_data_from_numpy(array)
        given.append(entry)
    response = client.infer(model, given, model_version=version)  # type: ignore[attr-defined]
    return {output["name"]: response.as_numpy(output["name"]) for output in response.get_response()["outputs"]}


def a_png(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.mark.parametrize("kind", list(KINDS))
def test_labels_are_those_of_the_local_segmenter(a_client: object, exports, kind: str) -> None:
    artefact = exports.file("ccnet", **KINDS[kind])
    manifest = manifest_of(artefact)
    card = card_from_dict(manifest.model, manifest.card)
    with ArtefactSegmenter(artefact, manifest, card, plan_for(artefact, manifest, card, Passing("whole"))) as segmenter:
        for size in [(65, 97), (33, 49), (131, 17), (1, 1)]:
            pixels = Streets(1, (131, 97))[0].picture[: size[0], : size[1]]
            found = a_sent(a_client, kind, {"picture": a_png(pixels)})["labels"]
            np.testing.assert_array_equal(found, segmenter.labels(pixels, size))


def test_versions_of_steps(a_client: object) -> None:
    assert a_client.is_model_ready("image_network", "1")  # type: ignore[attr-defined]
    assert a_client.is_model_ready("image_network", "2")  # type: ignore[attr-defined]
    assert a_client.is_model_ready("image", "2")  # type: ignore[attr-defined]
    assert not a_client.is_model_ready("image", "1")  # type: ignore[attr-defined]


MALFORMED = {
    "empty picture": ("fixed", {"picture": np.zeros(0, np.uint8)}),
    "no picture": ("fixed", {"picture": np.frombuffer(b"hello", np.uint8)}),
    "cut picture": ("fixed", {"picture": a_png(np.zeros((40, 40, 3), np.uint8))[:60]}),
    "many pixels": ("image", {"picture": a_png(np.zeros((4096, 2049, 3), np.uint8))}),
    "no network input": ("image_network", {"image": np.zeros((1, 0, 5, 3), np.uint8)}),
    "huge network input": ("image_network", {"image": np.zeros((1, 4096, 2049, 3), np.uint8)}),
    "no size": (
        "fixed_labels",
        {"network_output": np.zeros((1, 21, 65, 97), np.float32), "size": np.array([0, 5], np.int32)},
    ),
    "huge size": (
        "fixed_labels",
        {"network_output": np.zeros((1, 21, 65, 97), np.float32), "size": np.array([2**31 - 1, 5], np.int32)},
    ),
}


@pytest.mark.parametrize("case", list(MALFORMED))
def test_what_fits_nothing_is_refused_in_one_line(a_client: object, case: str) -> None:
    from tritonclient.utils import InferenceServerException

    model, inputs = MALFORMED[case]
    with pytest.raises(InferenceServerException) as refused:
        a_sent(a_client, model, inputs)
    assert refused.value.status() == "400", refused.value
    assert "\n" not in refused.value.message()


def test_not_finite_logits_are_an_error_of_the_artefact(a_client: object) -> None:
    from tritonclient.utils import InferenceServerException

    logits = np.full((1, 21, 65, 97), np.nan, np.float32)
    with pytest.raises(InferenceServerException, match="infinite or NaN") as refused:
        a_sent(a_client, "fixed_labels", {"network_output": logits, "size": np.array([65, 97], np.int32)})
    assert refused.value.status() == "500"
