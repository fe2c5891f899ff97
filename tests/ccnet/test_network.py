"""The network has the published shapes, dilations and rounding, and can be trained in any float type."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest
import torch
from networks import run, stirred
from published import Size
from small import bare_card, small_card
from torch import nn

import ccdeploy
from ccdeploy.ccnet.criss_cross import BareCrissCross
from ccdeploy.ccnet.network import CCNet, build_network
from ccdeploy.ccnet.resnet import ResNet

STEM = {"official": [64, 64, 128], "mmsegmentation": [32, 32, 64]}
DILATIONS = {
    "official": [[1, 1, 1], [1, 1, 1, 1], [2, 2, 2, 2, 2, 2], [4, 4, 4]],
    "mmsegmentation": [[1, 1, 1], [1, 1, 1, 1], [1, 2, 2, 2, 2, 2], [2, 4, 4]],
}
FEATURES = {
    (769, 769): {"official": (97, 97), "mmsegmentation": (97, 97)},
    (1024, 2048): {"official": (129, 257), "mmsegmentation": (128, 256)},
    (512, 1024): {"official": (65, 129), "mmsegmentation": (64, 128)},
    (65, 49): {"official": (9, 7), "mmsegmentation": (9, 7)},
    (1, 1): {"official": (1, 1), "mmsegmentation": (1, 1)},
}
"""Size of the picture -> of the feature maps at output stride 8."""
variants = pytest.mark.parametrize("variant", STEM)


def on_meta(depth: int, variant: str) -> ResNet:
    with torch.device("meta"):
        return ResNet(depth, variant).eval()


@variants
@pytest.mark.parametrize("size", FEATURES, ids=str)
def test_feature_maps_have_the_published_size(variant: str, size: tuple[int, int]) -> None:
    y = on_meta(50, variant)(torch.empty(1, 3, *size, device="meta"))
    assert y.shape == (1, 2048, *FEATURES[size][variant])


@variants
@pytest.mark.parametrize(("depth", "blocks"), [(18, [2, 2, 2, 2]), (50, [3, 4, 6, 3]), (101, [3, 4, 23, 3])])
def test_stem_and_stages_have_the_published_layers(variant: str, depth: int, blocks: list[int]) -> None:
    network = on_meta(depth, variant)
    stem = [layer for layer in network.stem if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in stem] == STEM[variant]
    assert [conv.stride for conv in stem] == [(2, 2), (1, 1), (1, 1)]
    assert network.maxpool.ceil_mode is (variant == "official")
    assert [len(network.get_submodule(f"layer{stage}")) for stage in (1, 2, 3, 4)] == blocks
    assert network.out_channels == (512 if depth == 18 else 2048)


@variants
def test_3x3_convolutions_have_the_published_strides_and_dilations(variant: str) -> None:
    network = on_meta(50, variant)
    stages = [[block.conv2 for block in network.get_submodule(f"layer{stage}")] for stage in (1, 2, 3, 4)]
    assert [[conv.dilation[0] for conv in convs] for convs in stages] == DILATIONS[variant]
    assert [[conv.stride[0] for conv in convs] for convs in stages] == [[1] * 3, [2, 1, 1, 1], [1] * 6, [1] * 3]
    assert all(conv.padding == conv.dilation for convs in stages for conv in convs)


@variants
@pytest.mark.parametrize("size", [(65, 49), (33, 71), (1, 9)], ids=str)
def test_logits_have_the_pictures_size(variant: str, size: tuple[int, int]) -> None:
    network = stirred(build_network(small_card(variant)))
    assert run(network, torch.randn(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("depth", [18, 50])
def test_gradients_reach_every_parameter(depth: int) -> None:
    network = stirred(build_network(small_card(size=Size(depth=depth)))).train()
    network(torch.randn(2, 3, 33, 33)).square().mean().backward()
    untouched = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert untouched == []


def test_recurrence_shares_weights_and_changes_the_result() -> None:
    x = torch.randn(1, 3, 33, 41)
    networks = [stirred(build_network(small_card(recurrence=recurrence))) for recurrence in (0, 1, 2)]
    assert len({sum(each.numel() for each in network.parameters()) for network in networks}) == 1
    outputs = [run(network, x) for network in networks]
    assert all((a - b).abs().max() > 1e-3 for a, b in [outputs[:2], outputs[1:]])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-4), (torch.bfloat16, 0.1)], ids=str)
def test_other_float_types_agree_with_float32(dtype: torch.dtype, tolerance: float) -> None:
    network = stirred(build_network(small_card()))
    x = torch.randn(1, 3, 33, 41, generator=torch.Generator().manual_seed(0))
    y = run(network, x)
    z = run(network.to(dtype), x.to(dtype))
    assert z.dtype == dtype
    assert (z.double() - y.double()).norm() <= tolerance * y.norm()


def test_card_decides_the_network() -> None:
    card = small_card("mmsegmentation", Size(classes=4))
    network = build_network(dataclasses.replace(card, input=dataclasses.replace(card.input, channels=5)))
    assert isinstance(network, CCNet)
    assert network.align_corners is card.output.align_corners
    assert network.backbone.stem[0].in_channels == 5
    assert network.head.classifier.out_channels == 4
    assert isinstance(network.head.conva.activation, nn.ReLU)
    official = build_network(small_card("official"))
    assert isinstance(official.head.conva.activation, nn.LeakyReLU)
    assert official.head.conva.activation.negative_slope == 0.01
    assert isinstance(build_network(bare_card()), BareCrissCross)


def test_nothing_in_the_network_asks_for_a_device() -> None:
    """The published module's `.cuda()` is why it runs nowhere else."""
    folder = Path(ccdeploy.__file__).parent
    files = [file for part in ("ccnet", "op") for file in folder.glob(f"{part}/*.py") if file.name != "well_known.py"]
    assert len(files) > 10
    for path in files:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call, ast.Attribute) and call.attr == "cuda"], path
