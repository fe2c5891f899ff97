"""What criss-cross attention is worth: networks of `tools/train_streets.py` that differ in their number of passes.

    python tools/train_streets.py --recurrence 0 -o r0.safetensors
    python tools/train_streets.py --recurrence 2 -o r2.safetensors
    python benchmarks/streets_ablation.py 0=r0.safetensors 2=r2.safetensors

Prints a table: mean IoU on held-out scenes, the IoU of each class, and for the two kinds of masts the share of their
shafts' pixels (the lower half of the picture, far from what tells them apart) that are given to the right kind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ccdeploy.ccnet.loading import load_model
from ccdeploy.datasets import IGNORED
from ccdeploy.datasets.scene import LAMP, SIGNAL
from ccdeploy.datasets.streets import Streets
from ccdeploy.segmentation import Confusion
from ccdeploy.segmenters import ModelSegmenter
from ccdeploy.windows import Plan

CARD = "ccnet_r18-d8_streets"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", metavar="R=FILE", help="number of passes and the weights trained with it")
    parser.add_argument("--limit", type=int, default=100, help="held-out scenes (default 100)")
    arguments = parser.parse_args()
    rows = [row(int(passes), Path(file), arguments.limit) for passes, file in map(split, arguments.weights)]
    names = ["R", "mIoU", *rows[0][1], "shafts right"]
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for passes, classes, miou, shafts in rows:
        cells = [str(passes), f"{miou:.2%}", *(f"{value:.1%}" for value in classes.values()), f"{shafts:.1%}"]
        print("| " + " | ".join(cells) + " |")


def split(text: str) -> tuple[str, str]:
    passes, equals, file = text.partition("=")
    if not equals or not passes.isdigit():
        raise SystemExit(f"{text!r} is not R=FILE, such as 2=r2.safetensors")
    return passes, file


def row(passes: int, file: Path, limit: int) -> tuple[int, dict[str, float], float, float]:
    model = load_model(CARD, file, recurrence=passes)
    size = model.card.input.size
    whole, shafts = Confusion(model.card.num_classes), Confusion(model.card.num_classes)
    with ModelSegmenter(model, Plan("whole", size=size)) as segmenter:
        for sample in Streets(limit, size):
            found = segmenter.labels(sample.picture, size)
            whole.add(sample.labels, found)
            lower = sample.labels.copy()
            lower[: size[0] // 2] = IGNORED
            lower[(lower != LAMP) & (lower != SIGNAL)] = IGNORED
            shafts.add(lower, found)
    figures = whole.figures()
    names = [info.name for info in model.card.classes]
    counts = shafts.matrix[[LAMP, SIGNAL]][:, [LAMP, SIGNAL]]
    classes = {name: value or 0.0 for name, value in zip(names, figures.iou, strict=True)}
    return passes, classes, figures.miou, float(counts.trace() / counts.sum())


if __name__ == "__main__":
    main()
