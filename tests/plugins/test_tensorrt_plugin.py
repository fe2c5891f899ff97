"""The plugin through its interface, driven as TensorRT drives it; the kernel runs on the emulator."""

from __future__ import annotations

import itertools
import threading

import plugin_builds
import plugin_driver
import pytest
import torch
from plugin_driver import DataType, Format, Tensor, operands

from ccdeploy.op.cases import MAX_ERROR, Case
from ccdeploy.op.definition import criss_cross_attention as definition
from ccdeploy.op.operands import random_operands

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DATA_TYPES = {"fp32": DataType.FLOAT, "fp16": DataType.HALF, "bf16": DataType.BF16}
TAKEN = [("fp16", Format.HWC8), ("bf16", Format.HWC8), ("fp32", Format.LINEAR), ("fp32", Format.HWC)]
"""Every type and format that the plugin takes."""

CASES = (Case(2, 64, 16, 5, 9), Case(1, 160, 24, 17, 3), Case(3, 32, 8, 1, 7), Case(1, 32, 8, 40, 1))
QUERY_CHANNELS = 8
SMALL = operands(2, 32, QUERY_CHANNELS, 5, 7, DataType.HALF, Format.HWC8)


@pytest.fixture
def library() -> plugin_driver.Library:
    opened = plugin_builds.open_emulated()
    opened.listen(110400)
    opened.log()
    return opened


@pytest.fixture
def creator(library: plugin_driver.Library) -> plugin_driver.Creator:
    found = library.creator()
    assert found is not None
    return found


@pytest.fixture
def plugin(creator: plugin_driver.Creator):
    with plugin_driver.loaded_plugin(creator, QUERY_CHANNELS) as loaded:
        yield loaded


def ordered(tensor: torch.Tensor, format: Format) -> torch.Tensor:
    """A tensor in the memory order of a format."""
    order = torch.contiguous_format if format == Format.LINEAR else torch.channels_last
    return tensor.contiguous(memory_format=order)


def compute(plugin: plugin_driver.Plugin, case: Case, precision: str, format: Format, seed: int) -> float:
    """Runs one problem; the largest difference from float64."""
    dtype = TYPES[precision]
    qkv, residual = (ordered(torch.from_numpy(a).to(dtype), format) for a in random_operands(case, seed=seed))
    y = ordered(torch.full_like(residual, float("nan")), format)
    tensors = operands(
        case.batch,
        case.channels,
        case.query_channels,
        case.height,
        case.width,
        DATA_TYPES[precision],
        format,
    )
    descs = [tensor.desc() for tensor in tensors]
    profiles = [tensor.profile() for tensor in tensors]
    assert plugin.configure(profiles[:2], profiles[2:]) == 0
    assert plugin.shape_change(descs[:2], descs[2:]) == 0
    workspace = torch.full((plugin.workspace(profiles[:2], profiles[2:]),), 0xA5, dtype=torch.uint8)
    pointers = [tensor.data_ptr() for tensor in (qkv, residual, y, workspace)]
    assert plugin.enqueue(descs, *pointers) == 0
    exact = definition(qkv.double(), residual.double(), case.query_channels)
    return float((y.double() - exact).abs().max())


@pytest.mark.parametrize(("precision", "format"), TAKEN)
def test_enqueue_computes_the_operator(creator: plugin_driver.Creator, precision: str, format: Format):
    for case in CASES:
        with plugin_driver.loaded_plugin(creator, case.query_channels) as plugin:
            error = compute(plugin, case, precision, format, seed=2)
        assert error <= MAX_ERROR[precision], case  # a NaN is not


def test_contexts_of_two_threads_do_not_disturb_each_other(creator: plugin_driver.Creator):
    """Each thread changes shape, type and format all the time, while the other does so too."""
    built = creator.build(QUERY_CHANNELS)
    assert built is not None
    cases = (Case(1, 32, QUERY_CHANNELS, 5, 7), Case(2, 64, QUERY_CHANNELS, 3, 2), Case(1, 96, QUERY_CHANNELS, 1, 9))
    contexts = [built.attach(), built.attach()]
    errors: list[list[bool]] = [[], []]
    start = threading.Barrier(2)

    def run(index: int) -> None:
        context = contexts[index]
        assert context is not None
        start.wait()
        for case, (precision, format) in list(itertools.product(cases, TAKEN))[:: 1 if index else -1]:
            errors[index].append(compute(context, case, precision, format, seed=index) <= MAX_ERROR[precision])

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [[True] * len(cases) * len(TAKEN)] * 2
    for context in (*contexts, built):
        assert context is not None
        context.close()


def test_context_outlives_the_plugin_it_came_from(creator: plugin_driver.Creator):
    built = creator.build(QUERY_CHANNELS)
    assert built is not None
    copy, context = built.clone(), built.attach()
    built.close()
    assert copy is not None
    assert context is not None
    assert copy.fields() == context.fields()
    assert compute(context, Case(1, 32, QUERY_CHANNELS, 3, 4), "fp16", Format.HWC8, seed=1) <= MAX_ERROR["fp16"]
    copy.close()
    context.close()


@pytest.mark.parametrize("namespace", ["", "ccdeploy"])
def test_plugin_is_found_in_both_namespaces(library: plugin_driver.Library, namespace: str):
    creator = library.creator(namespace)
    assert creator is not None
    assert creator.field_names() == [("query_channels", plugin_driver.FieldType.INT32, 1)]
    with plugin_driver.loaded_plugin(creator, 64) as plugin:
        assert plugin.identity() == ("CrissCrossAttention", "1", namespace)


def test_other_versions_and_names_are_not_offered(library: plugin_driver.Library):
    assert library.creator(version="2") is None
    assert library.creator(name="CrissCross") is None
    assert library.creator("nvidia") is None


def test_only_the_kernels_formats_are_taken(plugin: plugin_driver.Plugin):
    """Offered as TensorRT does: one tensor at a time, all types and all formats for each."""
    offers = list(itertools.product(range(12), range(13)))
    taken = set()
    first = [offer for offer in offers if plugin.supports(0, [Tensor(SMALL[0].sizes, *offer), *SMALL[1:]])]
    for offer in first:
        qkv = Tensor(SMALL[0].sizes, *offer)
        second = [o for o in offers if plugin.supports(1, [qkv, Tensor(SMALL[1].sizes, *o), SMALL[2]])]
        assert second == [offer]
        residual = Tensor(SMALL[1].sizes, *offer)
        third = [o for o in offers if plugin.supports(2, [qkv, residual, Tensor(SMALL[2].sizes, *o)])]
        assert third == [offer]
        taken.add(offer)
    assert taken == {(DATA_TYPES[precision], format) for precision, format in TAKEN}
    assert not plugin.supports(3, SMALL)
    assert not plugin.supports(-1, SMALL)


def test_output_is_like_the_residual(plugin: plugin_driver.Plugin):
    assert plugin.outputs() == 1
    assert plugin.output_types([DataType.HALF, DataType.HALF]) == [DataType.HALF]
    assert plugin.output_types([DataType.BF16, DataType.FLOAT]) == [DataType.FLOAT]  # refused later: formats differ
    assert plugin.output_shape([[11, 12, 13, 14], [21, 22, 23, 24]]) == [21, 22, 23, 24]


def test_wrong_number_of_tensors_is_refused(library: plugin_driver.Library, plugin: plugin_driver.Plugin):
    profiles = [tensor.profile() for tensor in SMALL]
    descs = [tensor.desc() for tensor in SMALL]
    assert plugin.output_types([DataType.HALF]) is None
    assert plugin.output_shape([[1, 2, 3, 4]]) is None
    assert not plugin.supports(0, SMALL[:2], inputs=1)
    assert plugin.configure(profiles[:1], profiles[2:]) != 0
    assert plugin.configure(profiles[:2], []) != 0
    assert plugin.workspace(profiles, profiles[2:]) == 0
    assert plugin.shape_change(descs[:2], [*descs[2:], *descs[2:]]) != 0
    log = library.log()
    assert len(log) == 7
    assert all("2 (qkv, residual) and 1 were expected" in line for line in log)


WRONG_SHAPES = {
    "rank of qkv": ((2, 48, 5), (2, 32, 5, 7), "qkv has 3 dimensions, 4 (batch, channels, height, width)"),
    "rank of residual": ((2, 48, 5, 7), (2, 32, 5, 7, 1), "residual has 5 dimensions, 4"),
    "height": ((2, 48, 5, 7), (2, 32, 6, 7), "qkv has height 5, residual 6"),
    "batch": ((1, 48, 5, 7), (2, 32, 5, 7), "qkv has batch 1, residual 2"),
    "channels of qkv": ((2, 32, 5, 7), (2, 32, 5, 7), "qkv has 32 channels, 48 (2 x 8 query channels + 32)"),
    "too many channels": ((1, 2096, 1, 1), (1, 2080, 1, 1), "channels is 2080, a multiple of 32 from 32 to 2048"),
    "odd channels": ((1, 56, 1, 1), (1, 40, 1, 1), "channels is 40, a multiple of 32"),
    "empty": ((0, 48, 5, 7), (0, 32, 5, 7), "batch is 0, 1 or more was expected"),
    "unknown": ((-1, 48, 5, 7), (-1, 32, 5, 7), "qkv has batch -1, a size was expected"),
    "too many pixels": ((2, 48, 4096, 4096), (2, 32, 4096, 4096), "at most 16777216 pixels"),
    "beyond 32 bits": ((1, 48, 1 << 32, 1), (1, 32, 1 << 32, 1), "qkv has height 4294967296, a size was expected"),
}


@pytest.mark.parametrize("what", WRONG_SHAPES)
def test_shape_beyond_the_kernel_is_refused_with_a_sentence(
    library: plugin_driver.Library, plugin: plugin_driver.Plugin, what: str
):
    qkv_sizes, residual_sizes, sentence = WRONG_SHAPES[what]
    qkv, residual = (Tensor(sizes, DataType.HALF, Format.HWC8) for sizes in (qkv_sizes, residual_sizes))
    descs = [qkv.desc(), residual.desc(), residual.desc()]
    assert plugin.shape_change(descs[:2], descs[2:]) != 0
    assert plugin.configure([qkv.profile(), residual.profile()], [residual.profile()]) != 0
    assert plugin.workspace([qkv.profile(), residual.profile()], [residual.profile()]) == 0
    assert plugin.enqueue(descs, 16, 32, 48, 64) != 0  # none of these addresses is read
    log = library.log()
    assert len(log) == 4
    assert all(line.startswith("1 CrissCrossAttention: ") and sentence in line for line in log)


def test_formats_that_were_not_negotiated_are_refused(library: plugin_driver.Library, plugin: plugin_driver.Plugin):
    for type, format in ((DataType.HALF, Format.LINEAR), (DataType.FLOAT, Format.HWC8), (DataType.INT8, Format.HWC)):
        other = Tensor(SMALL[0].sizes, type, format)
        for tensors in ([Tensor(t.sizes, type, format) for t in SMALL], [other, *SMALL[1:]]):
            descs = [tensor.desc() for tensor in tensors]
            assert plugin.shape_change(descs[:2], descs[2:]) != 0
            assert plugin.enqueue(descs, 16, 32, 48, 64) != 0
    log = library.log()
    assert len(log) == 12
    assert all("the same for all was expected: kHALF or kBF16 in kHWC8, kFLOAT in kHWC or kLINEAR" in s for s in log)


def test_dynamic_sizes_are_judged_by_the_largest_of_the_profile(
    library: plugin_driver.Library, plugin: plugin_driver.Plugin
):
    def profiles(height: int) -> list[plugin_driver.DynamicTensorDesc]:
        tensors = operands(4, 64, QUERY_CHANNELS, height, 2048, DataType.FLOAT, Format.LINEAR)
        return [tensor.profile((-1, tensor.sizes[1], -1, -1)) for tensor in tensors]

    fits, too_large = profiles(2048), profiles(2049)
    assert plugin.configure(fits[:2], fits[2:]) == 0
    assert plugin.workspace(fits[:2], fits[2:]) > 4 * 2048 * 2048 * 4
    assert plugin.configure(too_large[:2], too_large[2:]) != 0
    assert ["4 x 2049 x 2048" in line for line in library.log()] == [True]


def test_launch_that_fails_is_told(library: plugin_driver.Library, plugin: plugin_driver.Plugin):
    descs = [tensor.desc() for tensor in SMALL]
    assert plugin.enqueue(descs, 16, 32, 48, 0) != 0
    assert plugin.enqueue(descs, 16, 32, 49, 64) != 0
    assert plugin.enqueue(descs, 4096, 4096, 4096, 64) != 0
    null, odd, overlap = library.log()
    assert null == "1 CrissCrossAttention: enqueue: workspace is a null pointer"
    assert "enqueue: y is 0x31, an address aligned to 16 bytes was expected" in odd
    assert "enqueue: y overlaps an input" in overlap


def test_layers_share_timings_only_if_their_parameters_agree(creator: plugin_driver.Creator):
    with plugin_driver.loaded_plugin(creator, 64) as one, plugin_driver.loaded_plugin(creator, 64) as same:
        assert one.timing_cache_id() == same.timing_cache_id() == one.metadata() == "query_channels=64"
    with plugin_driver.loaded_plugin(creator, 128) as other:
        assert other.timing_cache_id() == "query_channels=128"


@pytest.mark.parametrize("version", [100000, 101600, 110000, 110400, 10701])
def test_log_goes_to_the_logger_of_each_generation(
    library: plugin_driver.Library, creator: plugin_driver.Creator, version: int, capfd: pytest.CaptureFixture[str]
):
    library.listen(version)
    assert creator.build(7) is None
    (line,) = library.log()
    assert line.startswith("1 CrissCrossAttention: query_channels is 7, ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("version", [0, 90000, 120000, 10600])
def test_log_goes_to_standard_error_without_a_logger_that_is_known(
    library: plugin_driver.Library, creator: plugin_driver.Creator, version: int, capfd: pytest.CaptureFixture[str]
):
    """A logger of a TensorRT that is not known here is not called: nobody knows at which place."""
    library.listen(version)
    assert creator.build(7) is None
    assert library.log() == []
    assert capfd.readouterr().err.startswith("CrissCrossAttention: query_channels is 7, ")
