"""What a user is told of a network's ranges: few notes, an error where the file would be wrong, and fixes that hold."""

from __future__ import annotations

import re

import pytest
import torch
from networks import UserNet, run, stirred
from torch import nn

from ccdeploy.ccnet.adopt import adopt
from ccdeploy.deployable import fold_norms
from ccdeploy.errors import ModelError
from ccdeploy.mixed import NOTHING_KEPT, Kept, matching
from ccdeploy.ranges import Subject, check_ranges, check_weights

PICTURE = torch.randn(1, 3, 33, 41, generator=torch.Generator().manual_seed(2))


def subject(network: nn.Module, *keep: str, precision: str = "fp16") -> Subject:
    packed, _ = adopt(network)
    folded, norms = fold_norms(packed, PICTURE)
    kept: Kept = matching(folded, keep) if keep else NOTHING_KEPT
    return Subject(folded, precision, PICTURE, kept, norms)


def notes(given: Subject, strict: bool = False, rescaling: bool = False) -> list[str]:
    return check_ranges(given, [PICTURE, PICTURE.flip(2)], "2 pictures", strict, rescaling)


def keep_options(text: str) -> list[str]:
    return re.findall(r"--keep-fp32 ([\w.]+)", text)


@pytest.fixture
def network() -> nn.Module:
    return stirred(UserNet())


def test_a_network_in_range_has_no_notes(network: nn.Module) -> None:
    assert notes(subject(network), strict=True) == []


def amplify(network: nn.Module, place: str, factor: float) -> None:
    with torch.no_grad():
        for parameter in network.get_submodule(place).parameters():
            parameter.mul_(factor)


def test_values_that_overflow_are_notes_with_the_fix_and_the_fix_holds(network: nn.Module) -> None:
    amplify(network, "down.7", 1e5)
    told = notes(subject(network))
    assert told[0].startswith("overflows fp16 on 2 pictures: down.6: values up to ")
    assert told[-1].startswith("in range with --keep-fp32 ")
    assert "--precision bf16 (its 8 bits move the output by " in told[-1]
    assert len(told) <= 5
    assert notes(subject(network, *keep_options(told[-1])), strict=True) == []


def test_values_that_overflow_are_refused_where_that_is_asked_for(network: nn.Module) -> None:
    amplify(network, "predict", 6e4)
    with pytest.raises(ModelError) as caught:
        notes(subject(network), strict=True)
    assert re.fullmatch(
        r"fp16 overflows on 2 pictures: predict: values up to [\d.e+]+, the largest is 65504\.", caught.value.what
    )
    assert caught.value.remedy.startswith("Export with --keep-fp32 predict, or --precision bf16")
    assert notes(subject(network, "predict"), strict=True) == []


def test_rescaling_is_offered_where_it_holds_and_holds(network: nn.Module) -> None:
    amplify(network, "down.4", 6e4)
    told = notes(subject(network))
    (fix,) = [note for note in told if note.startswith("in range")]
    assert re.search(r"or --rescale \(down\.3 by 2\^-\d+, down\.6 by 2\^\d+\), or", fix) is None, "down.6 overflows too"
    amplify(network, "down.6", 1 / 6e4)
    (fix, *_) = [note for note in notes(subject(network)) if note.startswith("in range")]
    match = re.search(r"--rescale \((down\.3 by 2\^-\d+, down\.6 by 2\^\d+)\)", fix)
    assert match
    assert notes(subject(network), strict=True, rescaling=True) == [f"rescaled, the network stays the same: {match[1]}"]


def test_rescaling_in_vain_is_told(network: nn.Module) -> None:
    amplify(network, "predict", 6e4)
    told = notes(subject(network), rescaling=True)
    assert told[0] == "rescaled nothing: no layer that needs it has a next one that allows it"
    assert "--rescale" not in "".join(told[1:])


def test_near_values_are_told(network: nn.Module) -> None:
    small = subject(network)
    seen = float(run(small.network, PICTURE).abs().max())
    amplify(small.network, "predict", 50000 / seen)
    (note,) = notes(small, strict=True)
    assert note.startswith("comes within a factor of 2 of overflow on 2 pictures: predict: values up to 5e+04")


def test_many_places_are_counted(network: nn.Module) -> None:
    amplify(network, "down.1", 4e4)
    told = [note for note in notes(subject(network)) if note.startswith("overflows")]
    assert len(told) == 4
    assert re.fullmatch(r"overflows fp16 on 2 pictures: \d+ more places?", told[-1])
    with pytest.raises(ModelError) as caught:
        notes(subject(network), strict=True)
    assert re.search(r"; and \d+ more\.$", caught.value.what)


def test_a_norm_of_tiny_variance_is_named_as_the_cause(network: nn.Module) -> None:
    norm = network.down[4]
    norm.running_var[3], norm.eps = 1e-13, 1e-14
    norm.weight.data[3], norm.running_mean[3] = 1.0, 0.0
    with pytest.raises(ModelError) as caught:
        notes(subject(network))
    assert re.match(
        r"down\.3\.weight holds [\d.e+]+ \(its batch norm is folded in: a factor of 3\.02e\+06, from a running_var of "
        r"1e-13\), the largest fp16 value is 65504\.",
        caught.value.what,
    )
    keep = keep_options(caught.value.remedy)
    assert "down.3" in keep
    assert notes(subject(network, *keep), strict=True) == []


def test_weights_that_overflow_are_named_with_the_layers_of_all(network: nn.Module) -> None:
    with torch.no_grad():
        network.predict.weight[0, 0] = 70000
        network.down[0].weight[0, 0, 0, 0] = -1e6
    with pytest.raises(ModelError) as caught:
        notes(subject(network))
    assert re.match(
        r"down\.0\.weight holds .*, the largest fp16 value is 65504\. So do others: predict\.", caught.value.what
    )
    assert caught.value.remedy.startswith("Export with --precision bf16"), "nothing is left that could be 16 bits"


def test_weights_that_underflow_are_notes_with_shares_effect_and_fix(network: nn.Module) -> None:
    amplify(network, "predict", 1e-6)
    told = notes(subject(network), strict=True)
    assert re.fullmatch(
        r"underflows fp16: predict: 100\.0% of its weights \(1\.0e\+00 of their energy\) are subnormal or 0; where "
        r"hardware makes them 0 the output moves by 1\.0e\+00",
        told[0],
    )
    assert told[1:] == ["in range with --keep-fp32 predict, or --precision bf16"]
    assert notes(subject(network, "predict"), strict=True) == []


def test_bfloat16_that_would_lose_too_much_is_said_so(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    amplify(network, "predict", 6e4)
    for effect, said in ((0.039, "by 3.9e-02)"), (0.041, "by 4.1e-02, too much)")):
        monkeypatch.setattr("ccdeploy.ranges.check.rounding_effect", lambda *_, effect=effect: effect)
        assert said in notes(subject(network))[-1]


def test_bfloat16_files_have_a_limit_too(network: nn.Module) -> None:
    check_weights(subject(network, precision="bf16"))
    network.predict.bias.data[0] = torch.finfo(torch.float32).max
    with pytest.raises(
        ModelError, match=r"predict\.bias holds 3\.4e\+38, the largest bf16 value is 3\.3895e\+38\."
    ) as e:
        check_weights(subject(network, precision="bf16"))
    assert e.value.remedy == "Export with --keep-fp32 predict, or --precision fp32."
    check_weights(subject(network, "predict", precision="bf16"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_weights_that_are_no_numbers_are_refused_in_every_type(network: nn.Module, precision: str) -> None:
    network.predict.bias.data[0] = float("nan")
    given = subject(network, precision=precision)
    with pytest.raises(ModelError, match=r"predict\.bias holds 1 values that are not finite"):
        check_weights(given)
    with pytest.raises(ModelError, match=r"predict\.bias holds 1 values that are not finite"):
        notes(given)


def test_weights_that_no_layer_holds_leave_the_other_types(network: nn.Module) -> None:
    network.register_parameter("scale", nn.Parameter(torch.full((1,), 1e5)))
    with pytest.raises(ModelError) as caught:
        notes(subject(network))
    assert caught.value.what.startswith("scale holds 1e+05, the largest fp16 value is 65504.")
    assert caught.value.remedy.startswith("Export with --precision bf16")
