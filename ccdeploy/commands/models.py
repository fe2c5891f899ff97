"""`ccdeploy models`: the zoo."""

from __future__ import annotations

import click

from ccdeploy.ccnet.cards import Card, card_names, find_card, weights_beside
from ccdeploy.commands.console import print_facts, print_json, print_table
from ccdeploy.commands.options import json_option


@click.command("models")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the networks that ccdeploy knows, or show one.

    Cards of your own: put .toml files into a folder and name it in CCDEPLOY_MODELS, or give a card file as MODEL.
    """
    cards = [find_card(name)] if name else [find_card(known) for known in card_names()]
    if as_json:
        documents = [{"name": card.name, **card.to_dict()} for card in cards]
        print_json(documents[0] if name else documents)
    elif name:
        print_facts(_facts(cards[0], name))
    else:
        columns = ("name", "input", "classes", "R", "mIoU", "description")
        print_table(columns, [_row(card) for card in cards], right=("classes", "R", "mIoU"))


def _row(card: Card) -> tuple[str, ...]:
    size = "x".join(map(str, card.input.size)) if all(card.input.size) else "any"
    miou = f"{card.published.miou:.2f}" if card.published else "-"
    recurrence = str(card.network.recurrence) if card.network.has("recurrence") else "-"
    return card.name, size, str(card.num_classes or "-"), recurrence, miou, card.description


def _facts(card: Card, name: str) -> list[tuple[str, str]]:
    network = ", ".join(f"{key} {value}" for key, value in card.to_dict()["network"].items())
    facts = [
        ("name", card.name),
        ("description", card.description),
        ("network", network),
        ("input", f"{'x'.join(map(str, card.input.size))}, {card.input.channels} channels, {card.input.channel_order}"),
    ]
    if card.input.mean:
        facts += [("mean", ", ".join(map(str, card.input.mean))), ("std", ", ".join(map(str, card.input.std)))]
    if card.classes:
        facts.append((f"{card.num_classes} classes", ", ".join(info.name for info in card.classes)))
    facts.append(("evaluation", card.evaluation.mode))
    if card.published:
        flip = f", {card.published.miou_flip} with scales and flip" if card.published.miou_flip else ""
        facts.append(("published mIoU", f"{card.published.miou}{flip} ({card.published.source})"))
    if card.weights:
        file = weights_beside(card, name)
        facts += [("weights", card.weights.file), ("from", str(file or card.weights.source or "not stated"))]
    if card.training:
        training = card.training
        facts += [
            ("trained on", training.data),
            ("training", f"{training.steps} steps of {training.batch} pictures, seed {training.seed}"),
            ("trained by", training.script or "not stated"),
        ]
    return facts
