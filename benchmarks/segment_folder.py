"""`ccdeploy segment` on a folder of 200 pictures, ten of them damaged: what comes out, and whether memory stays flat.

    python benchmarks/segment_folder.py [--count N] [--artefact FILE] [--batch N] [--keep FOLDER]

Draws street scenes of 256x512 as JPEG and PNG, damages ten of them in five ways, exports the network that ships, and
runs the real command as a process of its own while its resident memory is sampled. Exits with 1 unless each whole
picture has its overlay and mask, each damaged one is named, and the exit code is the documented one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from ccdeploy.datasets.streets import HELD_OUT_SEED, Streets

CARD = "ccnet_r18-d8_streets"
DAMAGED = 10
SOME_SKIPPED = 2
"""The documented exit code."""
SECONDS_BETWEEN_SAMPLES = 0.05

DAMAGES: tuple[tuple[str, Callable[[bytes, np.random.Generator], bytes]], ...] = (
    ("cut in half", lambda content, generator: content[: len(content) // 2]),
    ("empty", lambda content, generator: b""),
    ("wrong magic number", lambda content, generator: b"\x00\x01\x02\x03" + content[4:]),
    ("random bytes", lambda content, generator: generator.bytes(len(content))),
    ("text", lambda content, generator: b"<html>404 Not Found</html>"),
)


@dataclass(frozen=True)
class Sample:
    """Resident memory when so many pictures had their masks."""

    pictures: int
    bytes: int


def main() -> None:
    """Runs the command and prints what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="pictures, the damaged ones included (default 200)")
    parser.add_argument("--artefact", type=Path, help="segments; an fp32 export of the network that ships unless given")
    parser.add_argument("--batch", type=int, help="as `ccdeploy segment` has it")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work here and leave everything")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        scenes, results = folder / "scenes", folder / "results"
        damaged = drawn(scenes, arguments.count)
        artefact = arguments.artefact or exported(folder / "ccnet.onnx")
        command = [sys.executable, "-m", "ccdeploy", "segment", str(artefact), str(scenes), "-o", str(results)]
        command += ["--json"] + (["--batch", str(arguments.batch)] if arguments.batch else [])
        code, out, samples, seconds = watched(command, results)
        wrong = checked(code, out, results, damaged, arguments.count)
        told(code, out, samples, seconds, arguments.count)
    for line in wrong:
        print(f"WRONG: {line}")
    sys.exit(1 if wrong else 0)


def drawn(folder: Path, count: int) -> dict[str, str]:
    """Writes scenes, every other one as PNG; returns the names of those that were damaged, and how."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    places = generator.choice(count, DAMAGED, replace=False)
    chosen = {int(place): DAMAGES[number % len(DAMAGES)] for number, place in enumerate(places)}
    damaged = {}
    for index, sample in enumerate(Streets(count, seed=HELD_OUT_SEED)):
        path = folder / f"{sample.name}.{'png' if index % 2 else 'jpg'}"
        Image.fromarray(sample.picture).save(path, quality=92)
        if index in chosen:
            name, damage = chosen[index]
            path.write_bytes(damage(path.read_bytes(), generator))
            damaged[path.name] = name
    return damaged


def exported(target: Path) -> Path:
    """The network that ships, in fp32."""
    command = [sys.executable, "-m", "ccdeploy", "export", CARD, "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def watched(command: list[str], results: Path) -> tuple[int, str, list[Sample], float]:
    """Runs a command: its exit code, its output, memory over the number of masks, and seconds."""
    start = time.perf_counter()
    samples = []
    with tempfile.TemporaryFile("w+") as out:
        running = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        process = psutil.Process(running.pid)
        while running.poll() is None:
            try:
                resident = process.memory_info().rss
            except psutil.NoSuchProcess:
                break
            samples.append(Sample(len(list(results.glob("*.mask.png"))) if results.is_dir() else 0, resident))
            time.sleep(SECONDS_BETWEEN_SAMPLES)
        code = running.wait()
        out.seek(0)
        return code, out.read(), samples, time.perf_counter() - start


def checked(code: int, out: str, results: Path, damaged: dict[str, str], count: int) -> list[str]:
    """What is not as documented."""
    document = json.loads(out)
    wrong = []
    if code != SOME_SKIPPED:
        wrong.append(f"exit code {code}, {SOME_SKIPPED} is documented")
    if {Path(entry["source"]).name for entry in document["skipped"]} != set(damaged):
        wrong.append("the pictures that were named are not those that were damaged")
    for kind in ("overlay.jpg", "mask.png"):
        files = list(results.glob(f"*.{kind}"))
        if len(files) != count - len(damaged):
            wrong.append(f"{len(files)} files *.{kind}, {count - len(damaged)} were expected")
        for file in files:
            with Image.open(file) as image:
                image.load()
    if leftover := list(results.glob(".*")):
        wrong.append(f"left behind: {', '.join(path.name for path in leftover)}")
    return wrong


def told(code: int, out: str, samples: list[Sample], seconds: float, count: int) -> None:
    """Prints what was seen."""
    document = json.loads(out)
    done = len(document["results"])
    print(f"{count} street scenes of 256x512; {document['runtime']}, {document['precision']}, {document['passing']}")
    print(f"results    {done}")
    print(f"skipped    {len(document['skipped'])}")
    for entry in document["skipped"]:
        print(f"           {Path(entry['source']).name}: {entry['reason'].replace(entry['source'], '...')}")
    print(f"exit code  {code}")
    for mark in sorted({20, count // 2, done}):
        after = [sample.bytes for sample in samples if sample.pictures >= min(mark, done)]
        if after:
            print(f"memory     {after[0] / 1e6:.1f} MB resident after {mark} pictures")
    print(f"memory     {max(sample.bytes for sample in samples) / 1e6:.1f} MB at most")
    network = sum(entry["seconds"] for entry in document["results"]) / max(1, done)
    print(f"speed      {done / document['seconds']:.1f} pictures/s, the network {1000 * network:.1f} ms each")
    print(f"whole run  {seconds:.1f} s, imports and loading included")


if __name__ == "__main__":
    main()
