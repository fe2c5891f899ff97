"""Acts as full TensorRT 10.3 or 11.4 on top of TensorRT-RTX, for machines where the real one cannot be installed.

What only TensorRT-RTX has is hidden, what only full TensorRT has is added in small: a timing cache that remembers its
bytes, and in 10.3 weak typing unless the flag is set, and a parser without the plugin override. Settings are recorded.
"""

import enum
import json
import os
import time
from pathlib import Path

import tensorrt_rtx_bindings as rtx
from tensorrt_rtx_bindings import (  # noqa: F401
    BuilderFlag,
    ILogger,
    IProgressMonitor,
    LayerType,
    MemoryPoolType,
    ProfilingVerbosity,
    get_plugin_registry,
)

__version__ = os.environ["FACADE_VERSION"]
IS_10 = __version__.startswith("10.")
FOLDER = Path(os.environ["FACADE_FOLDER"])
MISBEHAVIOUR = os.environ.get("FACADE_MISBEHAVE")


def record(name, value):
    with (FOLDER / "calls").open("a") as file:
        file.write(json.dumps([name, value]) + "\n")


if IS_10:

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        EXPLICIT_BATCH = 0
        STRONGLY_TYPED = 1

    class OnnxParserFlag(enum.Enum):
        NATIVE_INSTANCENORM = 0

else:
    OnnxParserFlag = rtx.OnnxParserFlag

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        STRONGLY_TYPED = 0


class TimingCache:
    def __init__(self, start):
        self.start = start

    def serialize(self):
        return self.start + b"cache"


class Config:
    """IBuilderConfig without the targets of TensorRT-RTX."""

    def __init__(self, real):
        object.__setattr__(self, "real", real)

    def __setattr__(self, name, value):
        if "compute_capabilit" in name:
            raise AttributeError(name)
        if name != "progress_monitor":
            record(name, getattr(value, "name", value))
        setattr(self.real, name, value)

    def set_memory_pool_limit(self, pool, size):
        record("pool", [pool.name, size])
        self.real.set_memory_pool_limit(pool, size)

    def add_optimization_profile(self, profile):
        return self.real.add_optimization_profile(profile)

    def clear_flag(self, flag):
        record("clear_flag", flag.name)
        self.real.clear_flag(flag)

    def create_timing_cache(self, start):
        cache = TimingCache(bytes(start)) if start in (b"", b"cache") else None
        object.__setattr__(self, "cache", cache)
        return cache

    def set_timing_cache(self, cache, ignore_mismatch):
        record("timing_cache", [cache.start.decode(), ignore_mismatch])
        return True

    def get_timing_cache(self):
        return self.cache


class Builder:
    def __init__(self, log):
        if MISBEHAVIOUR == "no-builder":
            log.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.real = rtx.Builder(log)

    def create_network(self, flags):
        record("strongly_typed", bool(flags >> NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1))
        return self.real.create_network(0)

    def create_builder_config(self):
        return Config(self.real.create_builder_config())

    def create_optimization_profile(self):
        return self.real.create_optimization_profile()

    def build_serialized_network(self, network, config):
        if MISBEHAVIOUR == "abort":
            print("a last word", flush=True)
            os.abort()
        if MISBEHAVIOUR == "exit":
            os._exit(7)
        if MISBEHAVIOUR == "raise":
            raise RuntimeError("something in Python")
        if MISBEHAVIOUR == "hang":
            (FOLDER / "building").write_text(str(os.getpid()))
            time.sleep(600)
        return self.real.build_serialized_network(network, config.real)


class OnnxParser:
    def __init__(self, network, log):
        self.real = rtx.OnnxParser(network, log)

    def set_flag(self, flag):
        record("parser_flag", flag.name)
        if MISBEHAVIOUR != "no-override":
            self.real.set_flag(flag)

    def __getattr__(self, name):
        return getattr(self.real, name)
