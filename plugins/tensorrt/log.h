// Where the plugin's sentences go: to the logger of its host if the host has named one, else to standard error.
#pragma once

namespace ccdeploy::tensorrt {

// The ILoggerFinder that the host gave, or null. Its class depends on the generation of the host; see abi_host.h.
void set_logger_finder(void* finder);

// Logs why something is refused, as an error. Always false, so that a check can end with it.
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
bool refuse(char const* format, ...);

} // namespace ccdeploy::tensorrt
