"""Drives the TensorRT plugin as TensorRT does, without TensorRT: plugins/tensorrt/checks/driver.h in Python.

Pointers are plain numbers: addresses of host memory for the emulated library, of a GPU's memory for the real one. Needs
nothing but the standard library. A call through a wrong pointer or a wrong description ends the process, as it would in
TensorRT.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAME = "CrissCrossAttention"
VERSION = "1"
MAX_DIMS = 8


class DataType(enum.IntEnum):
    """TensorRT's; those that matter here."""

    FLOAT = 0
    HALF = 1
    INT8 = 2
    BF16 = 7


class Format(enum.IntEnum):
    """TensorRT's TensorFormat; those that matter here."""

    LINEAR = 0
    HWC8 = 2
    HWC = 8


class FieldType(enum.IntEnum):
    """TensorRT's PluginFieldType; those that matter here."""

    FLOAT32 = 1
    INT32 = 5
    CHAR = 6
    UNKNOWN = 8
    INT64 = 10


class Phase(enum.IntEnum):
    """Whether a plugin is made from an ONNX node or from an engine."""

    BUILD = 0
    RUNTIME = 1


class Dims(ctypes.Structure):
    """A shape."""

    _fields_ = (("count", ctypes.c_int32), ("sizes", ctypes.c_int64 * MAX_DIMS))


class TensorDesc(ctypes.Structure):
    """A tensor of an execution."""

    _fields_ = (
        ("dims", Dims),
        ("type", ctypes.c_int32),
        ("format", ctypes.c_int32),
        ("scale", ctypes.c_float),
    )


class DynamicTensorDesc(ctypes.Structure):
    """A tensor of an engine that is being built."""

    _fields_ = (("desc", TensorDesc), ("min", Dims), ("max", Dims), ("opt", Dims))


class DimsExprs(ctypes.Structure):
    """A symbolic shape: pointers that mean something to the builder only."""

    _fields_ = (("count", ctypes.c_int32), ("sizes", ctypes.c_void_p * MAX_DIMS))


class Field(ctypes.Structure):
    """A parameter of a plugin."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int32),
        ("length", ctypes.c_int32),
    )


class Fields(ctypes.Structure):
    """The parameters of a plugin."""

    _fields_ = (("count", ctypes.c_int32), ("fields", ctypes.POINTER(Field)))


@dataclass(frozen=True)
class Tensor:
    """A tensor as TensorRT describes it."""

    sizes: tuple[int, ...]
    type: int
    format: int

    def desc(self) -> TensorDesc:
        """As an execution has it."""
        return TensorDesc(dims_of(self.sizes), self.type, self.format, 1.0)

    def profile(self, known: Sequence[int] | None = None) -> DynamicTensorDesc:
        """As a build has it: `sizes` is the largest shape of the profile; in `known` a size of -1 is dynamic."""
        largest = dims_of(self.sizes)
        desc = TensorDesc(dims_of(self.sizes if known is None else known), self.type, self.format, 1.0)
        return DynamicTensorDesc(desc, largest, largest, largest)


def dims_of(sizes: Sequence[int]) -> Dims:
    """A shape."""
    return Dims(len(sizes), (ctypes.c_int64 * MAX_DIMS)(*sizes))


def operands(
    batch: int, channels: int, query_channels: int, height: int, width: int, type: DataType, format: Format
) -> tuple[Tensor, Tensor, Tensor]:
    """The tensors of one problem: qkv, residual and y."""
    qkv = Tensor((batch, 2 * query_channels + channels, height, width), type, format)
    residual = Tensor((batch, channels, height, width), type, format)
    return qkv, residual, residual


def _array(structure: type[ctypes.Structure], items: Sequence[ctypes.Structure]) -> ctypes.Array[ctypes.Structure]:
    return (structure * len(items))(*items)


class Plugin:
    """A plugin; to be closed."""

    def __init__(self, driver: ctypes.CDLL, handle: int) -> None:
        self._driver = driver
        self._handle = ctypes.c_void_p(handle)

    def close(self) -> None:
        """Destroys it."""
        self._driver.driver_destroy(self._handle)
        self._handle = ctypes.c_void_p()

    def __enter__(self) -> Plugin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _text(self, function: str) -> str:
        call = getattr(self._driver, function)
        call.restype = ctypes.c_char_p
        return bytes(call(self._handle)).decode()

    def _other(self, function: str) -> Plugin | None:
        call = getattr(self._driver, function)
        call.restype = ctypes.c_void_p
        handle = call(self._handle)
        return Plugin(self._driver, handle) if handle else None

    def identity(self) -> tuple[str, str, str]:
        """Name, version and namespace."""
        texts = (ctypes.c_char_p * 3)()
        self._driver.driver_identity(self._handle, ctypes.byref(texts))
        name, version, namespace = (bytes(text or b"").decode() for text in texts)
        return name, version, namespace

    def clone(self) -> Plugin | None:
        """A copy."""
        return self._other("driver_clone")

    def attach(self) -> Plugin | None:
        """The plugin of a new execution context."""
        return self._other("driver_attach")

    def supports(self, position: int, tensors: Sequence[Tensor], *, inputs: int = 2) -> bool:
        """Whether the tensor at a position may be as described, those before it being accepted."""
        array = _array(DynamicTensorDesc, [tensor.profile() for tensor in tensors])
        call = self._driver.driver_supports_format
        call.restype = ctypes.c_bool
        return bool(call(self._handle, position, array, inputs, len(tensors) - inputs))

    def configure(self, inputs: Sequence[DynamicTensorDesc], outputs: Sequence[DynamicTensorDesc]) -> int:
        """0 if the plugin computes the largest shapes of a profile."""
        first, second = _array(DynamicTensorDesc, inputs), _array(DynamicTensorDesc, outputs)
        return int(self._driver.driver_configure(self._handle, first, len(inputs), second, len(outputs)))

    def workspace(self, inputs: Sequence[DynamicTensorDesc], outputs: Sequence[DynamicTensorDesc]) -> int:
        """Bytes of scratch memory for the largest shapes of a profile."""
        first, second = _array(DynamicTensorDesc, inputs), _array(DynamicTensorDesc, outputs)
        call = self._driver.driver_workspace
        call.restype = ctypes.c_size_t
        return int(call(self._handle, first, len(inputs), second, len(outputs)))

    def output_types(self, inputs: Sequence[int], outputs: int = 1) -> list[int] | None:
        """The outputs' types; None if the plugin refuses."""
        types = (ctypes.c_int32 * outputs)(*[-1] * outputs)
        given = (ctypes.c_int32 * len(inputs))(*inputs)
        failed = self._driver.driver_output_types(self._handle, types, outputs, given, len(inputs))
        return None if failed else list(types)

    def output_shape(self, inputs: Sequence[Sequence[int]]) -> list[int] | None:
        """The output's symbolic shape from symbols, which are numbers other than 0; None if the plugin refuses."""
        given = _array(DimsExprs, [DimsExprs(len(shape), (ctypes.c_void_p * MAX_DIMS)(*shape)) for shape in inputs])
        out = DimsExprs()
        failed = self._driver.driver_output_shapes(self._handle, given, len(inputs), ctypes.byref(out), 1)
        return None if failed else [int(symbol or 0) for symbol in out.sizes[: out.count]]

    def outputs(self) -> int:
        """How many outputs it has."""
        return int(self._driver.driver_outputs(self._handle))

    def timing_cache_id(self) -> str:
        """What tells layers apart whose timings differ."""
        return self._text("driver_timing_cache_id")

    def metadata(self) -> str:
        """What an inspector shows."""
        return self._text("driver_metadata")

    def fields(self) -> dict[str, tuple[int, bytes, int]]:
        """What an engine keeps of the plugin: type, data and length by name. All of them are int32."""
        call = self._driver.driver_fields
        call.restype = ctypes.POINTER(Fields)
        collection = call(self._handle).contents
        return {
            bytes(field.name).decode(): (field.type, ctypes.string_at(field.data, 4 * field.length), field.length)
            for field in collection.fields[: collection.count]
        }

    def shape_change(self, inputs: Sequence[TensorDesc], outputs: Sequence[TensorDesc]) -> int:
        """0 if the plugin computes these shapes."""
        first, second = _array(TensorDesc, inputs), _array(TensorDesc, outputs)
        return int(self._driver.driver_shape_change(self._handle, first, len(inputs), second, len(outputs)))

    def enqueue(
        self,
        tensors: Sequence[TensorDesc],
        qkv: int,
        residual: int,
        y: int,
        workspace: int,
        stream: int = 0,
    ) -> int:
        """Launches on a stream; 0 if that succeeded. `tensors` describes qkv, residual, y; the rest are addresses."""
        first, second = _array(TensorDesc, tensors[:2]), _array(TensorDesc, tensors[2:])
        inputs = (ctypes.c_void_p * 2)(qkv, residual)
        outputs = (ctypes.c_void_p * 1)(y)
        call = self._driver.driver_enqueue
        return int(
            call(self._handle, first, second, inputs, outputs, ctypes.c_void_p(workspace), ctypes.c_void_p(stream))
        )


class Creator:
    """Makes plugins."""

    def __init__(self, driver: ctypes.CDLL, handle: int) -> None:
        self._driver = driver
        self._handle = ctypes.c_void_p(handle)

    def field_names(self) -> list[tuple[str, int, int]]:
        """Name, type and length of what an ONNX node must say."""
        call = self._driver.driver_field_names
        call.restype = ctypes.POINTER(Fields)
        collection = call(self._handle).contents
        return [(bytes(f.name).decode(), f.type, f.length) for f in collection.fields[: collection.count]]

    def create(self, fields: Sequence[Field] | Fields | None, phase: int) -> Plugin | None:
        """A plugin from these fields, or None if they are refused. The caller keeps the data that they point to."""
        if fields is None or isinstance(fields, Fields):
            collection = fields
        else:
            array = (Field * len(fields))(*fields)
            collection = Fields(len(fields), array)
        call = self._driver.driver_create
        call.restype = ctypes.c_void_p
        handle = call(self._handle, None if collection is None else ctypes.byref(collection), phase)
        return Plugin(self._driver, handle) if handle else None

    def build(self, query_channels: int) -> Plugin | None:
        """A plugin as the ONNX parser makes it."""
        value = ctypes.c_int32(query_channels)
        return self.create([Field(b"query_channels", ctypes.addressof(value), FieldType.INT32, 1)], Phase.BUILD)

    def reload(self, plugin: Plugin) -> Plugin | None:
        """The plugin that an engine's loading makes of what the engine kept of this one."""
        kept = [
            (name.encode(), ctypes.create_string_buffer(data, len(data)), type_, length)
            for name, (type_, data, length) in plugin.fields().items()
        ]
        fields = [Field(name, ctypes.addressof(data), type_, length) for name, data, type_, length in kept]
        return self.create(fields, Phase.RUNTIME)


class Library:
    """A plugin library, opened by the driver."""

    def __init__(self, driver: Path, plugins: Path) -> None:
        """Opens both.

        Raises:
            OSError: one of them cannot be opened, or is not what it should be.
        """
        self._driver = ctypes.CDLL(str(driver))
        self._driver.driver_log.restype = ctypes.c_size_t
        self._driver.driver_open.restype = ctypes.c_void_p
        self._driver.driver_creator.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(self._driver.driver_open(str(plugins).encode()))
        if not self._handle:
            raise OSError("; ".join(self.log()))

    def listen(self, version: int) -> None:
        """Sends the plugin's log to `log()`, through a logger of this TensorRT (101600: 10.16); 0 for none."""
        self._driver.driver_listen(self._handle, version)

    def log(self) -> list[str]:
        """What was logged since the last call: TensorRT's severity (1: error) and a sentence."""
        buffer = ctypes.create_string_buffer(1 << 16)
        self._driver.driver_log(buffer, ctypes.c_size_t(len(buffer)))
        return buffer.value.decode(errors="replace").splitlines()

    def creator(self, namespace: str = "", *, name: str = NAME, version: str = VERSION) -> Creator | None:
        """The creator of a plugin; None if the library has none of that name, version and namespace."""
        handle = self._driver.driver_creator(self._handle, name.encode(), version.encode(), namespace.encode())
        return Creator(self._driver, handle) if handle else None


@contextmanager
def loaded_plugin(creator: Creator, query_channels: int) -> Iterator[Plugin]:
    """The plugin of an execution context: built, serialised, made anew from that, and attached.

    Raises:
        RuntimeError: one of these steps was refused; the library's log says why.
    """
    built = creator.build(query_channels)
    reloaded = creator.reload(built) if built else None
    attached = reloaded.attach() if reloaded else None
    try:
        if attached is None:
            raise RuntimeError("the plugin was refused; its log says why")
        yield attached
    finally:
        for plugin in (attached, reloaded, built):
            if plugin is not None:
                plugin.close()
