/* Drives the plugin as TensorRT does, without TensorRT: each function here calls one function of the plugin's interface
 * through its place in the virtual table, and nothing else. For tests, which call it from Python
 * (tools/plugin_driver.py): with the emulated library and memory of the host, or with the real one and memory of a GPU.
 *
 * The structs are those of ../abi.h. Pointers to creators and plugins are opaque. A function that returns a pointer
 * returns null if the plugin did; the plugin's log then says why.
 */
#pragma once

#include "../abi.h"

#define CCDEPLOY_DRIVER_PUBLIC __attribute__((visibility("default")))

extern "C" {

struct ccdeploy_driver_library;
struct ccdeploy_driver_creator;
struct ccdeploy_driver_plugin;

/* Opens a plugin library for the rest of the process. Null: it cannot be opened or lacks getCreators or
 * setLoggerFinder; driver_log() says which. */
CCDEPLOY_DRIVER_PUBLIC ccdeploy_driver_library* driver_open(char const* path);

/* From now on the plugin logs into driver_log(), to a logger as TensorRT of this version has it: 101600 is 10.16.
 * Version 0: to none. */
CCDEPLOY_DRIVER_PUBLIC void driver_listen(ccdeploy_driver_library* library, int32_t version);

/* Copies what was logged since the last call, a line each, and forgets it. Returns the length of the whole text, which
 * is cut to fit. */
CCDEPLOY_DRIVER_PUBLIC size_t driver_log(char* text, size_t bytes);

/* The creator of this plugin, or null. */
CCDEPLOY_DRIVER_PUBLIC ccdeploy_driver_creator* driver_creator(ccdeploy_driver_library* library, char const* name,
                                                               char const* version, char const* plugin_namespace);

/* IPluginCreatorV3One */
CCDEPLOY_DRIVER_PUBLIC ccdeploy::abi::PluginFieldCollection const* driver_field_names(ccdeploy_driver_creator* creator);
CCDEPLOY_DRIVER_PUBLIC ccdeploy_driver_plugin* driver_create(ccdeploy_driver_creator* creator,
                                                             ccdeploy::abi::PluginFieldCollection const* fields,
                                                             int32_t phase);

/* IPluginV3 */
CCDEPLOY_DRIVER_PUBLIC ccdeploy_driver_plugin* driver_clone(ccdeploy_driver_plugin* plugin);
CCDEPLOY_DRIVER_PUBLIC void driver_destroy(ccdeploy_driver_plugin* plugin);

/* IPluginV3OneCore: name, version and namespace. */
CCDEPLOY_DRIVER_PUBLIC void driver_identity(ccdeploy_driver_plugin* plugin, char const* (*identity)[3]);

/* IPluginV3OneBuild */
CCDEPLOY_DRIVER_PUBLIC bool driver_supports_format(ccdeploy_driver_plugin* plugin, int32_t position,
                                                   ccdeploy::abi::DynamicPluginTensorDesc const* tensors,
                                                   int32_t inputs, int32_t outputs);
CCDEPLOY_DRIVER_PUBLIC int32_t driver_configure(ccdeploy_driver_plugin* plugin,
                                                ccdeploy::abi::DynamicPluginTensorDesc const* in, int32_t inputs,
                                                ccdeploy::abi::DynamicPluginTensorDesc const* out, int32_t outputs);
CCDEPLOY_DRIVER_PUBLIC int32_t driver_output_types(ccdeploy_driver_plugin* plugin, ccdeploy::abi::DataType* out,
                                                   int32_t outputs, ccdeploy::abi::DataType const* in, int32_t inputs);
CCDEPLOY_DRIVER_PUBLIC int32_t driver_output_shapes(ccdeploy_driver_plugin* plugin, ccdeploy::abi::DimsExprs const* in,
                                                    int32_t inputs, ccdeploy::abi::DimsExprs* out, int32_t outputs);
CCDEPLOY_DRIVER_PUBLIC int32_t driver_outputs(ccdeploy_driver_plugin* plugin);
CCDEPLOY_DRIVER_PUBLIC size_t driver_workspace(ccdeploy_driver_plugin* plugin,
                                               ccdeploy::abi::DynamicPluginTensorDesc const* in, int32_t inputs,
                                               ccdeploy::abi::DynamicPluginTensorDesc const* out, int32_t outputs);
CCDEPLOY_DRIVER_PUBLIC char const* driver_timing_cache_id(ccdeploy_driver_plugin* plugin);
CCDEPLOY_DRIVER_PUBLIC char const* driver_metadata(ccdeploy_driver_plugin* plugin);

/* IPluginV3OneRuntime */
CCDEPLOY_DRIVER_PUBLIC ccdeploy::abi::PluginFieldCollection const* driver_fields(ccdeploy_driver_plugin* plugin);
CCDEPLOY_DRIVER_PUBLIC ccdeploy_driver_plugin* driver_attach(ccdeploy_driver_plugin* plugin);
CCDEPLOY_DRIVER_PUBLIC int32_t driver_shape_change(ccdeploy_driver_plugin* plugin,
                                                   ccdeploy::abi::PluginTensorDesc const* in, int32_t inputs,
                                                   ccdeploy::abi::PluginTensorDesc const* out, int32_t outputs);
CCDEPLOY_DRIVER_PUBLIC int32_t driver_enqueue(ccdeploy_driver_plugin* plugin, ccdeploy::abi::PluginTensorDesc const* in,
                                              ccdeploy::abi::PluginTensorDesc const* out, void const* const* inputs,
                                              void* const* outputs, void* workspace, void* stream);
}
