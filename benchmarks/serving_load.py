"""What many clients at once get from a server beside one alone, and whether the server's memory stays flat.

    python benchmarks/serving_load.py [--artefact FILE] [--pictures N] [--clients N] [--rounds N]

Packages an artefact for the Python backend and serves it on loopback. One client and many take turns, so that what
else the machine does hits both alike; the ratio is of medians of rounds. Each answer is compared with the local
runner's, pixel by pixel. Nothing is retried. Exits with 1 if an answer is missing, is not equal, or was given twice.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from PIL import Image

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.ccnet.loading import load_model
from ccdeploy.datasets.streets import Streets
from ccdeploy.errors import ServerError
from ccdeploy.export import ExportOptions, export
from ccdeploy.pictures import decoded
from ccdeploy.runners import open_runner
from ccdeploy.segmenters import ArtefactSegmenter, Passing, plan_for
from ccdeploy.serving.client import connect
from ccdeploy.serving.contract import MOST_PIXELS
from ccdeploy.serving.repository import Packaging, package
from ccdeploy.serving.server import Options, Running, running

CARD, NAME = "ccnet_r18-d8_streets", "served"
DISTINCT = 40
"""Different pictures; those of a round go through them again and again."""
SIZES = ((256, 512), (181, 263), (240, 320), (97, 131))
Labels = npt.NDArray[np.uint8]


def main() -> None:
    """Runs it and prints what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", type=Path, help="served; an fp32 export of the network that ships unless given")
    parser.add_argument("--pictures", type=int, default=2000, help="of the many clients, in all (default 2000)")
    parser.add_argument("--clients", type=int, default=32, help="at once (default 32)")
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artefact = arguments.artefact or _exported(Path(folder))
        package([artefact], Path(folder, "repository"), Packaging(name=NAME))
        pictures = [_picture(index) for index in range(DISTINCT)]
        wanted = _local(artefact, pictures)
        free = Options(http_port=0, grpc_port=0, metrics_port=0)
        with running(Path(folder, "repository"), free, lambda line: None) as server:
            whole = _rounds(server, pictures, wanted, arguments.pictures, arguments.clients, arguments.rounds)
    sys.exit(0 if whole else 1)


def _exported(folder: Path) -> Path:
    target = folder / "ccnet.onnx"
    export(load_model(CARD), target, ExportOptions(dynamic="batch"))
    return target


def _picture(index: int) -> bytes:
    """A street scene as a JPEG file."""
    pixels = Streets(DISTINCT, SIZES[index % len(SIZES)])[index].picture
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=90)
    return file.getvalue()


def _local(artefact: Path, pictures: Sequence[bytes]) -> list[Labels]:
    manifest = manifest_of(artefact)
    card = card_from_dict(manifest.model, manifest.card)
    plan = plan_for(artefact, manifest, card, Passing("whole"))
    with ArtefactSegmenter(artefact, manifest, card, plan, open_runner(artefact)) as segmenter:
        pixels = [decoded(content, "a picture", MOST_PIXELS) for content in pictures]
        return [segmenter.labels(each, (each.shape[0], each.shape[1])) for each in pixels]


def _rounds(
    server: Running, pictures: Sequence[bytes], wanted: Sequence[Labels], total: int, clients: int, rounds: int
) -> bool:
    """Prints a line a round and the ratio; whether every answer was there, once, and the right one."""
    rates: dict[int, list[float]] = {1: [], clients: []}
    faults = answers = 0
    with connect(server.http, model=NAME) as client:
        client.segment(pictures[0])
        before = client.statistics()[NAME].successes
        print(f"server memory, start       {_memory(server) / 1e6:8.1f} MB")
        for number in range(rounds):
            for at_once, count in ((1, total // rounds // 4), (clients, total // rounds)):
                rate, wrong = _round(server, pictures, wanted, at_once, count)
                rates[at_once].append(rate)
                faults, answers = faults + wrong, answers + count
            both = f"{rates[1][-1]:7.2f} pictures/s by 1 client, {rates[clients][-1]:7.2f} by {clients}"
            print(f"round {number + 1}: {both}; server memory {_memory(server) / 1e6:8.1f} MB", flush=True)
        served = client.statistics()[NAME].successes - before
    one, many = statistics.median(rates[1]), statistics.median(rates[clients])
    print(f"medians: {one:.2f} and {many:.2f} pictures/s, ratio {many / one:.2f}")
    print(f"{answers} pictures asked for, {served} served, {faults} answers missing or not the local runner's")
    return faults == 0 and served == answers


def _round(
    server: Running, pictures: Sequence[bytes], wanted: Sequence[Labels], clients: int, count: int
) -> tuple[float, int]:
    """Pictures a second, and how many answers were missing or wrong."""
    start = time.perf_counter()

    def stream(number: int) -> int:
        faults = 0
        with connect(server.http, model=NAME, retries=0, connections=1) as client:
            for index in range(number, count, clients):
                try:
                    labels = client.segment(pictures[index % len(pictures)])
                except ServerError:
                    faults += 1
                    continue
                faults += not np.array_equal(labels, wanted[index % len(wanted)])
        return faults

    with ThreadPoolExecutor(clients) as pool:
        faults = sum(pool.map(stream, range(clients)))
    return count / (time.perf_counter() - start), faults


def _memory(server: Running) -> int:
    """Bytes of the server's processes, what they share counted once."""
    parent = psutil.Process(server.pid)
    return sum(int(process.memory_full_info().pss) for process in [parent, *parent.children(recursive=True)])


if __name__ == "__main__":
    main()
