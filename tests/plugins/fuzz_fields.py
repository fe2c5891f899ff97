"""Offers thousands of collections of fields to the plugin's creators: the right ones must be taken, all others refused.

`python fuzz_fields.py DRIVER PLUGIN SEED COUNT` prints how many were taken and refused in each phase. Every field, name
and value lies in a heap block of its own of exactly its size, so that under the address sanitizer a read beyond one
ends the process. It imports nothing that is not in the standard library: the sanitizer does not get along with all.
"""

from __future__ import annotations

import ctypes
import random
import struct
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tools"))

import plugin_driver
from plugin_driver import Field, Fields, FieldType, Phase

LARGEST = 2
"""The most fields that a right collection has."""

PACKED = {FieldType.INT32: "=i", FieldType.INT64: "=q"}
NAMES = (
    b"query_channels",
    b"fields_version",
    b"",
    b"query_channel",
    b"query_channels2",
    b"Query_channels",
    b"\xff\n%s%n",
)
INTERESTING = (8, 64, 128, 0, 1, -8, 7, 136, 1 << 20, -(1 << 31), (1 << 31) - 1, 1 << 31, (1 << 32) + 64, 1, 2, 3)


@dataclass
class Parameter:
    """One field; `data` None stands for a null pointer, and so does `name`."""

    name: bytes | None
    type: int
    length: int
    data: bytes | None


@dataclass
class Collection:
    """What a creator is offered: `count` is what it is told, `parameters` what there is; None is a null pointer."""

    count: int
    parameters: list[Parameter] | None
    present: bool = True


def integer(name: bytes, value: int, type: int = FieldType.INT32) -> Parameter:
    """A well-formed parameter, its value wrapped to its type."""
    code = PACKED[FieldType(type)]
    size = struct.calcsize(code)
    return Parameter(name, type, 1, (value % (1 << 8 * size)).to_bytes(size, "little"))


def right(phase: int, generator: random.Random) -> Collection:
    """A collection that must be taken."""
    value = 8 * generator.randint(1, 16)
    kind = generator.choice(list(PACKED)) if phase == Phase.BUILD else FieldType.INT32
    parameters = [integer(b"query_channels", value, kind)]
    if phase == Phase.RUNTIME:
        parameters.append(integer(b"fields_version", 1))
        generator.shuffle(parameters)
    return Collection(len(parameters), parameters)


def spoil(collection: Collection, generator: random.Random) -> None:
    """Changes one thing, perhaps into what it was."""
    parameters = collection.parameters
    if not parameters:
        collection.count = generator.choice([0, 1, 2, -1])
        return
    parameter = generator.choice(parameters)
    match generator.randrange(12):
        case 0:
            parameter.name = generator.choice(NAMES)
        case 1:
            parameter.name = None
        case 2:
            parameter.type = generator.choice([*range(-1, 16), 1 << 30, -(1 << 31)])
        case 3:
            parameter.length = generator.choice([0, 1, 2, 3, -1, (1 << 31) - 1, -(1 << 31)])
        case 4:
            parameter.data = None
        case 5:
            parameter.data = generator.randbytes(len(parameter.data or b"1234"))
        case 6:
            kind = generator.choice(list(PACKED))
            value = generator.choice(INTERESTING)
            parameters[parameters.index(parameter)] = integer(parameter.name or b"query_channels", value, kind)
        case 7:
            parameters.append(Parameter(parameter.name, parameter.type, parameter.length, parameter.data))
            collection.count += 1
        case 8:
            parameters.remove(parameter)
            collection.count -= 1
        case 9:
            # Counts that would lead beyond the end, or stop before it.
            collection.count = generator.choice([-1, 0, 3, 1 << 20, (1 << 31) - 1, -(1 << 31)])
        case 10:
            collection.parameters = None
        case 11:
            collection.present = False


def honest(collection: Collection) -> bool:
    """Whether memory is as large as counts, types and lengths say: hosts guarantee that, and no plugin can check it.

    A count that cannot be right is offered all the same: a plugin must not follow it.
    """
    parameters = collection.parameters
    if parameters is not None and len(parameters) < collection.count <= LARGEST:
        return False
    for parameter in parameters or []:
        if parameter.type in list(PACKED) and parameter.length == 1 and parameter.data is not None:
            size = struct.calcsize(PACKED[FieldType(parameter.type)])
            if len(parameter.data) < size:
                return False
    return True


def is_right(collection: Collection, phase: int) -> bool:
    """What the plugin should say, put as plainly as can be."""
    if not collection.present or not collection.parameters or not 0 < collection.count <= len(collection.parameters):
        return False
    parameters = collection.parameters[: collection.count]  # whatever lies behind them is not offered
    expected = {b"query_channels"} if phase == Phase.BUILD else {b"query_channels", b"fields_version"}
    kinds = (FieldType.INT32, FieldType.INT64) if phase == Phase.BUILD else (FieldType.INT32,)
    values = {}
    for parameter in parameters:
        if parameter.type not in kinds or parameter.length != 1 or parameter.data is None:
            return False
        code = PACKED[FieldType(parameter.type)]
        (values[parameter.name],) = struct.unpack_from(code, parameter.data)
    if set(values) != expected or len(parameters) != len(expected):
        return False
    query_channels = values[b"query_channels"]
    return values.get(b"fields_version", 1) == 1 and query_channels in range(8, 129, 8)


class Heap:
    """Blocks of exactly the size of their content."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._malloc, self._free = libc.malloc, libc.free
        self._malloc.restype = ctypes.c_void_p
        self._blocks: list[int] = []

    def put(self, content: bytes) -> int:
        """The address of a new block."""
        address = self._malloc(ctypes.c_size_t(len(content)))
        ctypes.memmove(address, content, len(content))
        self._blocks.append(address)
        return int(address)

    def clear(self) -> None:
        """Frees them all."""
        for address in self._blocks:
            self._free(ctypes.c_void_p(address))
        self._blocks.clear()


def offer(creator: plugin_driver.Creator, collection: Collection, phase: int, heap: Heap) -> bool:
    """Whether the creator takes it."""
    content = b""
    for p in collection.parameters or []:
        name = heap.put(p.name + b"\0") if p.name is not None else 0
        data = heap.put(p.data) if p.data is not None else 0
        content += struct.pack("=QQii", name, data, p.type, p.length)
    assert len(content) == len(collection.parameters or []) * ctypes.sizeof(Field)
    address = heap.put(content) if collection.parameters is not None else 0
    fields = Fields(collection.count, ctypes.cast(address, ctypes.POINTER(Field)))
    plugin = creator.create(fields if collection.present else None, phase)
    heap.clear()
    if plugin is None:
        return False
    kept = plugin.fields()
    plugin.close()
    assert list(kept) == ["fields_version", "query_channels"]
    return True


def main(driver: str, plugins: str, seed: str, count: str) -> None:
    """Prints the tally; a wrong answer of the plugin raises AssertionError."""
    library = plugin_driver.Library(Path(driver), Path(plugins))
    library.listen(110400)
    heap, generator, tally = Heap(), random.Random(int(seed)), Counter[str]()
    for number in range(int(count)):
        phase = generator.choice([Phase.BUILD, Phase.RUNTIME])
        creator = library.creator(generator.choice(["", "ccdeploy"]))
        assert creator is not None
        collection = right(phase, generator)
        for _ in range(generator.choice([0, 1, 1, 1, 2, 3])):
            spoil(collection, generator)
        if not honest(collection):
            continue
        told = generator.choice([phase] * 9 + [Phase(1 - phase), 2, -1, 1 << 30])
        expected = told in (0, 1) and is_right(collection, told)
        taken = offer(creator, collection, told, heap)
        log = library.log()
        assert taken is expected, (number, told, collection, log)
        assert len(log) == (0 if taken else 1), (number, told, collection, log)
        assert all(line.startswith("1 CrissCrossAttention: ") and line.isprintable() for line in log), log
        tally[f"{'taken' if taken else 'refused'} in phase {told if told in (0, 1) else 'none'}"] += 1
    print(dict(sorted(tally.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
