"""Cards of small networks: the zoo's, cut down."""

from __future__ import annotations

import dataclasses

from published import Size

from ccdeploy.ccnet.cards import Card, Network, find_card

ZOO = {"official": "ccnet_r101-d8_official_cityscapes", "mmsegmentation": "ccnet_r50-d8_512x1024_40k_cityscapes"}
SIZE = Size()
DEFAULT = Size()
BARE = "criss_cross_c512"


def small_card(variant: str = "official", size: Size = SIZE, recurrence: int = 2) -> Card:
    """A published CCNet's card, with a network of the given size."""
    card = find_card(ZOO[variant])
    network = Network(
        "ccnet",
        variant=variant,
        depth=size.depth,
        width=size.width,
        channels=size.channels,
        query_channels=size.query_channels,
        recurrence=recurrence,
    )
    output = dataclasses.replace(card.output, classes=card.classes[: size.classes])
    return dataclasses.replace(card, name=f"small-{variant}", network=network, output=output, weights=None)


def bare_card(channels: int = 16, query_channels: int = 4, recurrence: int = 2) -> Card:
    """The card of a bare criss-cross module."""
    card = find_card(BARE)
    network = Network("criss-cross", channels=channels, query_channels=query_channels, recurrence=recurrence)
    source = dataclasses.replace(card.input, channels=channels, size=(9, 11))
    return dataclasses.replace(card, name="small-bare", network=network, input=source)
