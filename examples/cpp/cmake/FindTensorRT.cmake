# Finds one of the two TensorRTs. Before find_package(TensorRT):
#   TENSORRT_FLAVOUR   "tensorrt" (the full one, of JetPack and data-centre GPUs) or "tensorrt-rtx" (for RTX cards)
#   TENSORRT_ROOT      where its archive was unpacked; not needed for Debian packages and JetPack
# Defines the target TensorRT::runtime, and TensorRT_VERSION.
if(TENSORRT_FLAVOUR STREQUAL "tensorrt")
  set(tensorrt_library nvinfer)
  set(tensorrt_version_macros NV_TENSORRT_@ TRT_@_ENTERPRISE)
elseif(TENSORRT_FLAVOUR STREQUAL "tensorrt-rtx")
  set(tensorrt_library tensorrt_rtx)
  set(tensorrt_version_macros NV_TENSORRT_@ TRT_@_RTX)
else()
  message(FATAL_ERROR "TENSORRT_FLAVOUR is '${TENSORRT_FLAVOUR}', tensorrt or tensorrt-rtx was expected")
endif()

find_path(TensorRT_INCLUDE_DIR NvInfer.h
  HINTS ${TENSORRT_ROOT} ENV TENSORRT_ROOT
  PATH_SUFFIXES include
  DOC "Folder of NvInfer.h")
find_library(TensorRT_LIBRARY ${tensorrt_library}
  HINTS ${TENSORRT_ROOT} ENV TENSORRT_ROOT
  PATH_SUFFIXES lib lib64 targets/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu/lib
  DOC "TensorRT's library")

# NV_TENSORRT_MAJOR is a number, or in newer versions the name of a macro that is one.
if(TensorRT_INCLUDE_DIR AND EXISTS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h")
  file(STRINGS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h" tensorrt_lines REGEX "^#define [A-Z_]+ +[0-9]+")
  foreach(part MAJOR MINOR PATCH)
    foreach(macro IN LISTS tensorrt_version_macros)
      string(REPLACE "@" "${part}" macro "${macro}")
      if("${tensorrt_lines}" MATCHES "#define ${macro} +([0-9]+)")
        list(APPEND tensorrt_numbers "${CMAKE_MATCH_1}")
        break()
      endif()
    endforeach()
  endforeach()
  string(REPLACE ";" "." TensorRT_VERSION "${tensorrt_numbers}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
  REQUIRED_VARS TensorRT_LIBRARY TensorRT_INCLUDE_DIR
  VERSION_VAR TensorRT_VERSION
  REASON_FAILURE_MESSAGE "
   There is no SDK of ${TENSORRT_FLAVOUR}: NvInfer.h and lib${tensorrt_library}.so were looked for in TENSORRT_ROOT
   (${TENSORRT_ROOT}) and in the system's folders. pip's packages hold no headers.
   On a Jetson: sudo apt install nvidia-jetpack. Elsewhere: unpack NVIDIA's archive of TensorRT or TensorRT for RTX and
   give -DTENSORRT_ROOT=FOLDER, for RTX with -DTENSORRT_FLAVOUR=tensorrt-rtx.
")

if(TensorRT_FOUND AND NOT TARGET TensorRT::runtime)
  add_library(TensorRT::runtime SHARED IMPORTED)
  set_target_properties(TensorRT::runtime PROPERTIES
    IMPORTED_LOCATION "${TensorRT_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${TensorRT_INCLUDE_DIR}")
endif()
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_LIBRARY)
