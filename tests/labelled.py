"""A data set for tests: pictures that a network itself has labelled, so that whatever changes its labels costs IoU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from ccdeploy.ccnet.loading import Model
from ccdeploy.ccnet.preprocessing import noise_pictures, normalise
from ccdeploy.datasets import LabelledDataset, Sample


class Given(LabelledDataset):
    """Samples that are at hand; counts how often each was asked for."""

    def __init__(self, samples: Sequence[Sample], title: str = "given samples") -> None:
        self.title, self.samples, self.asked = title, list(samples), [0] * len(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        self.asked[index] += 1
        return self.samples[index]


def torch_labels(model: Model, picture: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """A network's labels of a picture [H, W, 3], passed whole at its own size or resized to `size`, by torch alone."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    if size is not None:
        x = functional.interpolate(x, size, mode="bilinear", align_corners=False).round()
    batch = torch.from_numpy(normalise(x[0].permute(1, 2, 0).to(torch.uint8).numpy()[None], model.card))
    with torch.no_grad():
        logits, aligned = model.network(batch), model.card.output.align_corners
        for shape in (batch.shape[2:], picture.shape[:2]):
            logits = functional.interpolate(logits, shape, mode="bilinear", align_corners=aligned)
    return logits[0].argmax(dim=0).numpy().astype(np.uint8)


def labelled_by(model: Model, sizes: Sequence[tuple[int, int]], size: tuple[int, int] | None = None) -> Given:
    """Noise pictures with the network's own labels, of which every seventh pixel is ignored and every fifth wrong."""
    samples = []
    for index, (height, width) in enumerate(sizes):
        picture = noise_pictures(model.card, 1, height, width, seed=index)[0]
        labels = torch_labels(model, picture, size)
        flat = labels.reshape(-1)
        flat[::5] = (flat[::5] + 1) % model.card.num_classes
        flat[::7] = 255
        samples.append(Sample(f"noise {index}", picture, labels))
    return Given(samples)
