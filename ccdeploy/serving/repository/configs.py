"""The configs of a deployment's four models, as messages of Triton's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ccdeploy.engine.manifest import Tensor
from ccdeploy.serving.backend.deployment import NETWORK_INPUT, NETWORK_OUTPUT
from ccdeploy.serving.contract import LABELS, ONNXRUNTIME, PARAMETER, PICTURE, PYTHON, SIZE, triton_type
from ccdeploy.serving.repository.options import Packaging
from ccdeploy.serving.repository.schema import schema
from ccdeploy.serving.repository.subject import Subject
from ccdeploy.serving.repository.warming import Warmth

CPU_KIND, GPU_KIND = "KIND_CPU", "KIND_GPU"


def configs_of(subject: Subject, packaging: Packaging, file: str) -> dict[str, Any]:
    """A config for each model, by its name.

    Args:
        subject: what is served.
        packaging: how.
        file: the artefact's name in its folder.
    """
    names = subject.served.names
    source, output = _dims(subject.source), _dims(subject.output)
    configs = {
        names.ensemble: _ensemble(subject),
        names.read: _step(
            subject,
            names.read,
            {PICTURE: ("UINT8", [-1])},
            {NETWORK_INPUT: (triton_type(subject.source.dtype), [1, *source[1:]]), SIZE: ("INT32", [2])},
            packaging,
        ),
        names.network: _network(subject, packaging, file),
        names.labels: _step(
            subject,
            names.labels,
            {NETWORK_OUTPUT: (triton_type(subject.output.dtype), [1, *output[1:]]), SIZE: ("INT32", [2])},
            {LABELS: ("UINT8", [-1, -1])},
            packaging,
        ),
    }
    for name, config in configs.items():
        # The steps of all versions of an ensemble are the latest ones: it has no older version to offer.
        config.version_policy.latest.num_versions = 1 if name == names.ensemble else packaging.keep
        if name in (names.ensemble, names.network):
            config.parameters[PARAMETER].string_value = subject.served.to_json()
    return configs


def warm(configs: Mapping[str, Any], warmth: Warmth) -> None:
    """Adds warm-ups to configs: a sample a model, its inputs in files in the model's folder for them.

    A batch of 0 would be skipped, also by a model that forms none.
    """
    for model, inputs in warmth.inputs.items():
        sample = configs[model].model_warmup.add(name="picture", batch_size=1)
        for name, (file, dims) in inputs.items():
            kept = next(tensor for tensor in configs[model].input if tensor.name == name)
            entry = sample.inputs[name]
            entry.data_type = kept.data_type
            entry.dims.extend(dims)
            entry.input_data_file = file


def _dims(tensor: Tensor) -> list[int]:
    """A shape as Triton writes it: -1 where it is open."""
    return [size if isinstance(size, int) else -1 for size in tensor.shape]


def _ensemble(subject: Subject) -> Any:
    names = subject.served.names
    config = schema().ModelConfig(name=names.ensemble, platform="ensemble")
    _add(config, {PICTURE: ("UINT8", [-1])}, {LABELS: ("UINT8", [-1, -1])})
    read, network, labels = (
        config.ensemble_scheduling.step.add(model_name=name, model_version=-1)
        for name in (names.read, names.network, names.labels)
    )
    read.input_map[PICTURE] = PICTURE
    read.output_map[NETWORK_INPUT] = NETWORK_INPUT
    read.output_map[SIZE] = SIZE
    network.input_map[subject.source.name] = NETWORK_INPUT
    network.output_map[subject.output.name] = NETWORK_OUTPUT
    labels.input_map[NETWORK_OUTPUT] = NETWORK_OUTPUT
    labels.input_map[SIZE] = SIZE
    labels.output_map[LABELS] = LABELS
    return config


def _step(
    subject: Subject,
    name: str,
    inputs: Mapping[str, tuple[str, Sequence[int]]],
    outputs: Mapping[str, tuple[str, Sequence[int]]],
    packaging: Packaging,
) -> Any:
    """A step in Python beside the network: on the CPU, one request at a time."""
    config = schema().ModelConfig(name=name, backend=PYTHON)
    _add(config, inputs, outputs)
    config.instance_group.add(kind=CPU_KIND, count=packaging.cpu_instances)
    _bound(config, packaging)
    return config


def _network(subject: Subject, packaging: Packaging, file: str) -> Any:
    served, source, output = subject.served, subject.source, subject.output
    config = schema().ModelConfig(name=served.names.network, backend=served.backend)
    if served.backend != PYTHON:  # there it would be the name of model.py
        config.default_model_filename = file
    first = 1 if subject.batched else 0  # the batch axis is Triton's own where it forms batches
    _add(
        config,
        {source.name: (triton_type(source.dtype), _dims(source)[first:])},
        {output.name: (triton_type(output.dtype), _dims(output)[first:])},
    )
    config.max_batch_size = served.batch if subject.batched else 0
    group = config.instance_group.add(count=packaging.instances, kind=CPU_KIND)
    if subject.gpus is not None:
        group.kind = schema().ModelInstanceGroup.Kind.Value(GPU_KIND)
        group.gpus.extend(subject.gpus)
    if subject.batched:
        config.dynamic_batching.max_queue_delay_microseconds = packaging.queue_delay_us
    _bound(config, packaging)
    if served.backend == ONNXRUNTIME and subject.gpus is not None:
        cuda = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
        cuda.parameters["use_tf32"] = "0"  # its default would multiply float32 with float16's mantissa
    return config


def _bound(config: Any, packaging: Packaging) -> None:
    """Bounds a model's queue where that was asked for; not by default, see `Packaging.queue_size`."""
    if packaging.queue_size is None:
        return
    policy = config.dynamic_batching.default_queue_policy
    policy.max_queue_size = packaging.queue_size
    policy.default_timeout_microseconds = packaging.queue_timeout_us
    policy.allow_timeout_override = True  # a client that gives up earlier says so


def _add(
    config: Any,
    inputs: Mapping[str, tuple[str, Sequence[int]]],
    outputs: Mapping[str, tuple[str, Sequence[int]]],
) -> None:
    for kept, tensors in ((config.input, inputs), (config.output, outputs)):
        for name, (dtype, dims) in tensors.items():
            kept.add(name=name, data_type=f"TYPE_{dtype}", dims=dims)
