"""Trains the small CCNet that ships with ccdeploy, on street scenes drawn as it goes.

    python tools/train_streets.py -o ccnet.safetensors                 the shipped weights
    python tools/train_streets.py --recurrence 0 -o r0.safetensors     one row of the ablation
    python tools/train_streets.py --steps 50 --losses losses.json      the first steps, to compare two runs

Every number that enters comes from a seed: the initial weights, the scenes, dropout. With the same PyTorch, number of
threads and kind of CPU, two runs give the same losses to the last bit.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional

from ccdeploy.ccnet.cards import Card, find_card
from ccdeploy.ccnet.network import CCNet, build_network
from ccdeploy.ccnet.preprocessing import normalise
from ccdeploy.datasets.streets import TRAINING_SEED, Streets
from ccdeploy.files import written_whole

CARD = "ccnet_r18-d8_streets"
STEPS, BATCH, PEAK_RATE, DECAY = 900, 4, 4e-3, 1e-2
THREADS = 2
"""Fixed, because the order of sums depends on it."""
FIRST_GAMMA = 0.5
"""The published module starts at 0, as the identity; a short training cannot wait for gamma to grow."""
FIRST_PROJECTIONS = 2.0
"""Queries and keys start this much larger than PyTorch draws them: attention that is flat at first learns slowly."""
CLASS_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0, 3.0, 3.0)
"""Of the loss: people and masts are few pixels."""


def main() -> None:
    """Trains, and writes the weights and the losses that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="safetensors file for the weights, stored in float16")
    parser.add_argument("--losses", type=Path, help="JSON file for the loss of each step")
    parser.add_argument("--recurrence", type=int, help="criss-cross passes; the card's unless given")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--schedule", type=int, default=STEPS, help="steps that the learning rate's schedule is for")
    parser.add_argument("--seed", type=int, default=1, help="of the initial weights and of dropout")
    parser.add_argument("--threads", type=int, default=THREADS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    card = find_card(CARD)
    if arguments.recurrence is not None:
        card = dataclasses.replace(card, network=dataclasses.replace(card.network, recurrence=arguments.recurrence))
    start, losses = time.monotonic(), []
    network = new_network(card, arguments.seed)
    for loss in train(network, card, arguments.steps, max(arguments.steps, arguments.schedule)):
        losses.append(loss)
        if len(losses) % 25 == 0:
            recent = sum(losses[-25:]) / 25
            print(f"step {len(losses):5}  loss {recent:.4f}  {time.monotonic() - start:6.0f} s", flush=True)
    if arguments.losses:
        with written_whole(arguments.losses) as temporary:
            temporary.write_text(json.dumps(losses))
    if arguments.output:
        write_weights(network, arguments.output)


def new_network(card: Card, seed: int) -> CCNet:
    """The untrained network of a card, its weights and everything random after it from a seed."""
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    network = build_network(card)
    assert isinstance(network, CCNet)
    with torch.no_grad():
        network.head.cca.gamma.fill_(FIRST_GAMMA)
        network.head.cca.query_conv.weight.mul_(FIRST_PROJECTIONS)
        network.head.cca.key_conv.weight.mul_(FIRST_PROJECTIONS)
    return network


def train(network: CCNet, card: Card, steps: int, schedule: int) -> Iterator[float]:
    """Trains a network in place and yields the loss of each step.

    AdamW with one cycle of the learning rate; cross entropy of the logits at the picture's size, classes weighted.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=schedule, pct_start=0.15)
    weights = torch.tensor(CLASS_WEIGHTS)
    network.train()
    for pictures, labels in _batches(card, steps):
        loss = functional.cross_entropy(network(pictures), labels, weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
        yield float(loss.detach())


def write_weights(network: CCNet, target: Path) -> None:
    """Stores the weights in float16, in ccdeploy's own layout of keys."""
    state = {key: value.half() for key, value in network.state_dict().items() if value.is_floating_point()}
    with written_whole(target) as temporary:
        save_file(state, temporary)


def _batches(card: Card, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pictures [BATCH, 3, H, W] normalised and labels [BATCH, H, W], each scene once, mirrored every other one."""
    scenes = Streets(steps * BATCH, card.input.size, TRAINING_SEED)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        samples = [scenes[step * BATCH + number] for number in range(BATCH)]
        pictures = normalise(np.stack([sample.picture for sample in samples]), card)
        labels = np.stack([sample.labels for sample in samples]).astype(np.int64)
        return torch.from_numpy(pictures), torch.from_numpy(labels)

    with ThreadPoolExecutor(1) as drawing:  # the next batch is drawn while this one is learned
        upcoming = drawing.submit(batch, 0)
        for step in range(steps):
            ready = upcoming.result()
            if step + 1 < steps:
                upcoming = drawing.submit(batch, step + 1)
            yield ready


if __name__ == "__main__":
    main()
