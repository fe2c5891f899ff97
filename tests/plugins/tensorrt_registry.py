"""Loads the plugin library into one TensorRT, in a process of its own, and prints what its plugin registry then holds.

`python tensorrt_registry.py MODULE LIBRARY ACTION...` prints one line of JSON after each action, and its exit code
tells whether the process survived its end. Actions:
  nothing
  open        the way of tools that only dlopen the library
  close       undoes it
  load        IPluginRegistry::loadLibrary, the way of those that know plugin libraries
  unload      undoes it
  refuse      creates a plugin from a wrong field
"""

from __future__ import annotations

import _ctypes
import ctypes
import importlib
import json
import sys
from pathlib import Path

import numpy as np

NAME, VERSION = "CrissCrossAttention", "1"
NAMESPACES = ("", "ccdeploy")


def main(module: str, library: str, *actions: str) -> None:
    """Does what is asked."""
    trt = importlib.import_module(module)
    registry = trt.get_plugin_registry()
    opened = loaded = None
    for action in actions:
        result = None
        if action == "open":
            opened = ctypes.CDLL(library)
        elif action == "close":
            _ctypes.dlclose(opened._handle)
        elif action == "load":
            loaded = registry.load_library(library)
            result = loaded is not None
        elif action == "unload":
            registry.deregister_library(loaded)
        elif action == "refuse":
            field = trt.PluginField("query_channels", np.array([7], np.int32), trt.PluginFieldType.INT32)
            creator = registry.get_creator(NAME, VERSION, "")
            result = creator.create_plugin("refused", trt.PluginFieldCollection([field]), trt.TensorRTPhase.BUILD)
        creators = [
            (creator.name, creator.plugin_version, creator.plugin_namespace) for creator in registry.all_creators
        ]
        report = {
            "version": trt.__version__,
            "action": action,
            "result": result,
            "listed": [creator for creator in creators if creator[0] == NAME],
            "found": [namespace for namespace in NAMESPACES if registry.get_creator(NAME, VERSION, namespace)],
            "mapped": library in Path("/proc/self/maps").read_text(),
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
