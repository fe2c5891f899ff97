"""32 clients at once, 2,000 pictures: each is answered once, in order, with its own labels, and memory stays flat."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from serving_parts import SIZES, ServedNetwork, expected, picture

from ccdeploy.errors import InputError
from ccdeploy.serving.client import connect

CLIENTS, PICTURES = 32, 2000


@pytest.fixture(scope="module")
def pictures(artefact) -> list[bytes]:
    """All different, so that an answer that went to the wrong request shows."""
    sides = [SIZES[index % len(SIZES)] for index in range(PICTURES)]
    return [picture(artefact, *side, seed=index) for index, side in enumerate(sides)]


@pytest.fixture(scope="module")
def labels(artefact, pictures) -> list[np.ndarray]:
    return expected(artefact, pictures)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_labels_are_the_local_runners_bit_for_bit(server: ServedNetwork, artefact, pictures, labels, protocol: str):
    contents = [*pictures[:40], *(picture(artefact, *side, seed=5, format="JPEG") for side in SIZES)]
    with connect(getattr(server.running, protocol), model="tiny") as client:
        for content, wanted in zip(contents, [*labels[:40], *expected(artefact, contents[40:])], strict=True):
            np.testing.assert_array_equal(client.segment(content), wanted)
    assert len({wanted.tobytes() for wanted in labels[:40]}) > 30, "the pictures tell answers apart"


@pytest.mark.parametrize("format", ["BMP", "WEBP", "TIFF", "GIF"])
def test_a_server_decodes_jpeg_and_png_only(server: ServedNetwork, artefact, format: str):
    """Each further decoder is one more that strangers can reach."""
    with (
        connect(server.running.http, model="tiny") as client,
        pytest.raises(InputError, match="neither a JPEG nor a PNG"),
    ):
        client.segment(picture(artefact, 61, 83, seed=7, format=format))


def test_32_clients_and_2000_pictures(server: ServedNetwork, pictures, labels):
    memory = []
    with connect(server.running.http, model="tiny") as watching:
        before = watching.statistics()["tiny"].successes

        def stream(number: int) -> list[np.ndarray]:
            """What one client gets for every 32nd picture, in the order it asked."""
            url = server.running.http if number % 2 else server.running.grpc
            answers = []
            with connect(url, model="tiny", retries=0) as client:
                for content in pictures[number::CLIENTS]:
                    answers.append(client.segment(content))
                    if number == 0:
                        memory.append(server.memory())
            return answers

        with ThreadPoolExecutor(CLIENTS) as pool:
            streams = list(pool.map(stream, range(CLIENTS)))
        after = watching.statistics()["tiny"].successes
    assert after - before == PICTURES, "the server answered each once"
    for number, answers in enumerate(streams):
        wanted = labels[number::CLIENTS]
        assert len(answers) == len(wanted)
        for answer, want in zip(answers, wanted, strict=True):
            np.testing.assert_array_equal(answer, want)
    # The first third is warm-up: threads, connections and the allocator's arenas come to be.
    settled, rest = memory[len(memory) // 3], memory[len(memory) // 3 :]
    assert max(rest) < 1.1 * settled, f"{[size >> 20 for size in memory]} MiB"
