"""How a picture passes through a network to become labels: whole or in windows, at several scales, mirrored.

The order is mmsegmentation's, whose published figures the cards state: the picture is scaled (bilinear, as OpenCV does
it), normalised, run; the logits of overlapping windows are averaged where they overlap, enlarged to the label map, and
with several passes turned into probabilities, which are averaged; the class of the largest is the label. Windows that
reach over the edge of a small picture are filled with zeros after normalisation, as the authors' own evaluation does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Batch, Pictures, normalise
from ccdeploy.datasets import LabelMap

Logits = npt.NDArray[np.float32]
Forward = Callable[[Batch], Logits]
"""[B, channels, H, W], normalised -> logits [B, classes, H, W]."""
STRIP = 1 << 22
"""Logits that are enlarged at once: 16 MB, where a label map of 150 classes would take gigabytes."""
WINDOW_PIXELS = 1 << 20
"""Of windows that are run at once, where the artefact leaves their number open."""


@dataclass(frozen=True)
class Plan:
    """How pictures pass.

    Attributes:
        mode: "whole" or "slide".
        crop: height and width of a window; where slide.
        stride: from a window's start to the next's; where slide.
        size: height and width that whole pictures are brought to, whatever their ratio; None: they keep theirs.
        resize: short and long side that bound the picture; see `ccdeploy.ccnet.cards.Evaluation`.
        scales: further factors, a pass each.
        flip: a second, mirrored pass at each scale.
    """

    mode: str
    crop: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)
    size: tuple[int, int] | None = None
    resize: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __str__(self) -> str:
        if self.mode == "slide":
            text = f"windows of {_by(self.crop)} every {_by(self.stride)}"
        else:
            text = "whole pictures" + (f", brought to {_by(self.size)}" if self.size else "")
        if self.resize and not self.size:
            text += f", short side at most {self.resize[0]}, long side at most {self.resize[1]}"
        if self.scales != (1.0,):
            text += f", scales {', '.join(f'{scale:g}' for scale in self.scales)}"
        return text + (", each also mirrored" if self.flip else "")

    @property
    def passes(self) -> int:
        """How often each picture passes."""
        return len(self.scales) * (2 if self.flip else 1)

    def scaled_size(self, height: int, width: int, scale: float) -> tuple[int, int]:
        """The size that a picture is brought to for one scale."""
        if self.size:
            return self.size
        if self.resize:
            short, long = (int(side * scale) for side in self.resize)
            scale = min(long / max(height, width), short / min(height, width))
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def predicted_labels(
    picture: Pictures, size: tuple[int, int], plan: Plan, card: Card, forward: Forward, at_once: int | None = None
) -> LabelMap:
    """The class of each pixel, uint8 [height, width].

    Args:
        picture: uint8 RGB [H, W, channels].
        size: height and width of the label map.
        plan: how it passes.
        card: of the network: how pictures are normalised and logits enlarged.
        forward: runs it.
        at_once: windows in a batch at most; as many as `WINDOW_PIXELS` allows unless given.
    """
    aligned = card.output.align_corners
    if plan.passes == 1:
        scaled = _scaled(picture, plan, plan.scales[0])
        if plan.mode == "slide" and not plan.flip and scaled.shape[:2] == size:
            # Logits of a large picture take gigabytes: here only those of one row of windows are there at a time.
            rows = (strip for _, strip in _strips_of_windows(scaled, plan, card, forward, at_once))
            return np.concatenate([strip.argmax(axis=0).astype(np.uint8) for strip in rows])
        (logits,) = _logits_of_passes(picture, plan, card, forward, at_once)
        return labels_of_logits(logits.numpy(), size, card)
    total: torch.Tensor | None = None
    for logits in _logits_of_passes(picture, plan, card, forward, at_once):
        if total is None:
            total = torch.zeros(logits.shape[0], *size)
        for row, strip in _enlarged(logits, size, aligned):
            total[:, row : row + strip.shape[1]] += strip.softmax(dim=0)
    assert total is not None
    return total.max(dim=0).indices.to(torch.uint8).numpy()


def labels_of_batch(
    pictures: Sequence[Pictures],
    sizes: Sequence[tuple[int, int]],
    plan: Plan,
    card: Card,
    forward: Forward,
    at_once: int | None = None,
) -> list[LabelMap]:
    """Label maps of several pictures; see `predicted_labels`.

    Pictures that pass whole and once, and are brought to one size, share batches; others pass one by one.
    """
    if plan.mode != "whole" or plan.passes > 1:
        pairs = zip(pictures, sizes, strict=True)
        return [predicted_labels(picture, size, plan, card, forward, at_once) for picture, size in pairs]
    found: dict[int, LabelMap] = {}
    groups: dict[tuple[int, int], list[int]] = {}
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        groups.setdefault(plan.scaled_size(height, width, plan.scales[0]), []).append(index)
    for scaled, indices in groups.items():
        for first in range(0, len(indices), at_once or len(indices)):
            part = indices[first : first + (at_once or len(indices))]
            batch = normalise(np.stack([resized(pictures[index], *scaled) for index in part]), card)
            for index, logits in zip(part, forward(batch), strict=True):
                found[index] = labels_of_logits(logits, sizes[index], card)
    return [found[index] for index in range(len(pictures))]


def labels_of_logits(logits: Logits, size: tuple[int, int], card: Card) -> LabelMap:
    """The class of the largest of logits [classes, h, w], which are enlarged to a label map's size.

    Args:
        logits: of one picture, finite.
        size: height and width of the label map.
        card: of the network: how logits are enlarged.
    """
    strips = _enlarged(torch.from_numpy(logits), size, card.output.align_corners)
    # The indices of max are those of argmax, in a fifth of the time on a CPU.
    return torch.cat([strip.max(dim=0).indices.to(torch.uint8) for _, strip in strips]).numpy()


def resized(picture: Pictures, height: int, width: int) -> Pictures:
    """A picture [H, W, channels] of another size: bilinear between pixel centres, no filter, rounded to uint8."""
    if picture.shape[:2] == (height, width):
        return picture
    planes = torch.tensor(picture).permute(2, 0, 1).float()
    strips = [strip.round().to(torch.uint8) for _, strip in _enlarged(planes, (height, width), aligned=False)]
    return torch.cat(strips, dim=1).permute(1, 2, 0).contiguous().numpy()


def nearest(labels: LabelMap, size: tuple[int, int]) -> LabelMap:
    """A label map [h, w] of another size: each pixel takes the label of the nearest pixel centre."""
    (height, width), (h, w) = size, labels.shape
    rows, columns = (2 * np.arange(height) + 1) * h // (2 * height), (2 * np.arange(width) + 1) * w // (2 * width)
    taken: LabelMap = labels[rows[:, None], columns]
    return taken


def _scaled(picture: Pictures, plan: Plan, scale: float) -> Pictures:
    height, width = picture.shape[:2]
    return resized(picture, *plan.scaled_size(height, width, scale))


def window_corners(height: int, width: int, crop: tuple[int, int], stride: tuple[int, int]) -> list[tuple[int, int]]:
    """Top and left of each window: every stride, the last ones moved back to end with the picture."""
    return [(top, left) for top in _starts(height, crop[0], stride[0]) for left in _starts(width, crop[1], stride[1])]


def _starts(length: int, crop: int, stride: int) -> list[int]:
    last = max(length - crop, 0)
    return [*range(0, last, stride), last]


def _logits_of_passes(
    picture: Pictures, plan: Plan, card: Card, forward: Forward, at_once: int | None
) -> Iterator[torch.Tensor]:
    """Logits [classes, h, w] of each pass, not mirrored any more."""
    for scale in plan.scales:
        scaled = _scaled(picture, plan, scale)
        yield torch.from_numpy(_logits(scaled, plan, card, forward, at_once))
        if plan.flip:
            yield torch.from_numpy(_logits(scaled[:, ::-1], plan, card, forward, at_once)).flip(-1)


def _logits(picture: Pictures, plan: Plan, card: Card, forward: Forward, at_once: int | None) -> Logits:
    """Logits [classes, h, w] of a picture [h, w, channels]: of windows, their average."""
    if plan.mode == "whole":
        (logits,) = forward(normalise(picture[None], card))
        return np.asarray(logits)
    total: Logits | None = None
    for row, strip in _strips_of_windows(picture, plan, card, forward, at_once):
        if total is None:
            total = np.empty((len(strip), *picture.shape[:2]), np.float32)
        total[:, row : row + strip.shape[1]] = strip
    assert total is not None
    return total


def _strips_of_windows(
    picture: Pictures, plan: Plan, card: Card, forward: Forward, at_once: int | None
) -> Iterator[tuple[int, Logits]]:
    """Averaged logits of windows, in strips of rows that no later window reaches: (first row, [classes, rows, w])."""
    height, width = picture.shape[:2]
    crop_height, crop_width = plan.crop
    corners = window_corners(height, width, plan.crop, plan.stride)
    count = np.zeros((crop_height, max(width, crop_width)), np.float32)
    total: Logits | None = None
    first = 0
    for (top, left), logits in _logits_of_windows(picture, corners, plan.crop, card, forward, at_once):
        if total is None:
            total = np.zeros((len(logits), *count.shape), np.float32)
        if rows := top - first:
            yield first, np.divide(total[:, :rows, :width], count[:rows, :width], dtype=np.float32)
            for held in (total, count):
                held[..., : crop_height - rows, :] = held[..., rows:, :].copy()
                held[..., crop_height - rows :, :] = 0
            first = top
        total[:, :, left : left + crop_width] += logits
        count[:, left : left + crop_width] += 1
    assert total is not None
    rows = height - first
    yield first, np.divide(total[:, :rows, :width], count[:rows, :width], dtype=np.float32)


def _logits_of_windows(
    picture: Pictures,
    corners: Sequence[tuple[int, int]],
    crop: tuple[int, int],
    card: Card,
    forward: Forward,
    at_once: int | None,
) -> Iterator[tuple[tuple[int, int], Logits]]:
    """Each window's corner and logits [classes, crop height, crop width]; windows are filled with zeros."""
    number = at_once or max(1, WINDOW_PIXELS // (crop[0] * crop[1]))
    for start in range(0, len(corners), number):
        group = corners[start : start + number]
        windows = np.zeros((len(group), picture.shape[2], *crop), np.float32)
        for window, (top, left) in zip(windows, group, strict=True):
            part = normalise(picture[None, top : top + crop[0], left : left + crop[1]], card)[0]
            window[:, : part.shape[1], : part.shape[2]] = part
        yield from zip(group, forward(windows), strict=True)


def _enlarged(logits: torch.Tensor, size: tuple[int, int], aligned: bool) -> Iterator[tuple[int, torch.Tensor]]:
    """Planes [n, h, w] of another size, [n, height, width], bilinear, in strips of rows: (first row, strip)."""
    classes, h, w = logits.shape
    height, width = size
    above, below, row_weight = _neighbours(h, height, aligned)
    left, right, column_weight = _neighbours(w, width, aligned)
    rows = max(1, STRIP // (classes * max(w, width)))
    for first in range(0, height, rows):
        part = slice(first, first + rows)
        strip = logits
        if h != height or w != width:
            strip = _between(logits[:, above[part]], logits[:, below[part]], row_weight[part, None])
            strip = _between(strip[:, :, left], strip[:, :, right], column_weight)
        yield first, strip if strip is not logits else logits[:, part]


def _between(first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """first + weight * (second - first), in operations that each round once.

    torch.lerp and torch's interpolation round otherwise where a thread's share ends: their last bits depend on the
    number of threads, and a label here and there with them.
    """
    return (second - first).mul_(weight).add_(first)


def _neighbours(source: int, target: int, aligned: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The two source pixels between which each target pixel lies, and the second's weight, as torch interpolates."""
    place = torch.arange(target, dtype=torch.float64)
    if aligned:
        place = place * ((source - 1) / (target - 1) if target > 1 else 0.0)
    else:
        place = ((place + 0.5) * (source / target) - 0.5).clamp(min=0)
    first = place.long().clamp(max=source - 1)
    return first, (first + 1).clamp(max=source - 1), (place - first).float()


def _by(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))
