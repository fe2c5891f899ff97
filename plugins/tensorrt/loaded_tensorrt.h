// The TensorRT libraries in this process. Nothing here loads one.
#pragma once

#include "abi_host.h"

namespace ccdeploy::tensorrt {

// By the version that the library exports; unknown if it exports none, or one that is not known here.
abi::Generation generation_of_library(void* handle);

// A plugin registry: TensorRT, TensorRT-RTX and the lean runtime have one each.
struct LoadedTensorRT {
    void* handle;   // of its library, from dlopen: whoever has it must dlclose it
    void* registry; // an IPluginRegistry of that generation
    abi::Generation generation;
};

constexpr int kMaxLoaded = 4;

// Writes what it finds, at most kMaxLoaded, and returns how many. Libraries of unknown generation are left out.
int find_loaded(LoadedTensorRT (&found)[kMaxLoaded]);

} // namespace ccdeploy::tensorrt
