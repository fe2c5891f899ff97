/* Criss-cross attention on an NVIDIA GPU: the C interface of libccdeploy_plugins.so.
 *
 *   y[p] = sum over r in the criss-cross of p of softmax_r(q[p] . k[r]) v[r]  +  residual[p]
 *
 * The criss-cross of a pixel is its row and its column; the pixel itself counts once. Energies are not scaled.
 *   qkv       [batch, 2 * query_channels + channels, height, width]: queries, keys and values, stacked
 *   residual  [batch, channels, height, width]
 *   y         [batch, channels, height, width]
 * All three have one type and one layout, are dense and aligned to 16 bytes; y must not overlap an input.
 *
 * Every function may be called from any thread. None allocates, none synchronises, none needs cuBLAS or cuDNN. A
 * launch may be captured into a CUDA graph, after a first one of its kind outside of the capture, with which CUDA loads
 * the code. The result is the same bit for bit every time.
 *
 * A function that does not return CCDEPLOY_OK has done nothing, and says why in ccdeploy_last_error().
 */
#ifndef CCDEPLOY_CRISS_CROSS_H
#define CCDEPLOY_CRISS_CROSS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CCDEPLOY_PUBLIC __attribute__((visibility("default")))
#else
#define CCDEPLOY_PUBLIC
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface. It grows when a declaration below changes. */
#define CCDEPLOY_API_VERSION 1

typedef enum ccdeploy_status {
    CCDEPLOY_OK = 0,
    CCDEPLOY_BAD_ARGUMENT = 1, /* a null or misaligned pointer, overlap, a value that is none of an enumeration */
    CCDEPLOY_UNSUPPORTED = 2,  /* a shape or type outside the limits of the kernel */
    CCDEPLOY_NO_CODE = 3,      /* the library was not built for this GPU */
    CCDEPLOY_WORKSPACE_TOO_SMALL = 4, /* fewer bytes than ccdeploy_criss_cross_workspace() asks for */
    CCDEPLOY_CUDA_ERROR = 5           /* CUDA refused the launch */
} ccdeploy_status;

typedef enum ccdeploy_type {
    CCDEPLOY_FLOAT32 = 0,
    CCDEPLOY_FLOAT16 = 1,
    CCDEPLOY_BFLOAT16 = 2 /* needs compute capability 8.0 */
} ccdeploy_type;

typedef enum ccdeploy_layout {
    CCDEPLOY_NHWC = 0, /* channels last, in memory [batch, height, width, channels]: what the kernel reads */
    CCDEPLOY_NCHW = 1  /* transposed through the workspace, before and after */
} ccdeploy_layout;

/* How the kernel cuts the work of 16-bit types; see criss_cross/tiles.h. float32 has one tile, and takes AUTO only. */
typedef enum ccdeploy_tile {
    CCDEPLOY_TILE_AUTO = 0,   /* chosen by GPU and shape */
    CCDEPLOY_TILE_NARROW = 1, /* 128 channels a block, 2 stages */
    CCDEPLOY_TILE_WIDE = 2,   /* 256 channels a block, 2 stages */
    CCDEPLOY_TILE_DEEP = 3    /* 256 channels a block, 3 stages */
} ccdeploy_tile;

/* Limits: sizes >= 1; channels a multiple of 32, at most 2048; query_channels a multiple of 8, at most 128;
 * batch x height x width at most 2 ** 24. */
typedef struct ccdeploy_criss_cross {
    int32_t type;   /* ccdeploy_type */
    int32_t layout; /* ccdeploy_layout */
    int32_t tile;   /* ccdeploy_tile */
    int32_t batch;
    int32_t channels;
    int32_t query_channels;
    int32_t height;
    int32_t width;
} ccdeploy_criss_cross;

/* CCDEPLOY_API_VERSION as the library was built with it. */
CCDEPLOY_PUBLIC int32_t ccdeploy_api_version(void);

/* What the library was built from and for, as one line of JSON:
 * {"version": "0.1.0", "architectures": "86,89", "compiler": "13.0.88", "source": "<sha256>"} */
CCDEPLOY_PUBLIC char const* ccdeploy_build_info(void);

/* A status in words; never null. */
CCDEPLOY_PUBLIC char const* ccdeploy_status_string(ccdeploy_status status);

/* What the last call of this thread that failed saw, and what it expected; empty if none has failed. */
CCDEPLOY_PUBLIC char const* ccdeploy_last_error(void);

/* Whether the kernel computes this problem on GPUs of a compute capability, written as major * 10 + minor; 0: on any.
 * It asks no GPU, and does not say whether the library holds code for that one: a launch does. */
CCDEPLOY_PUBLIC ccdeploy_status ccdeploy_criss_cross_supported(ccdeploy_criss_cross const* problem,
                                                               int32_t compute_capability);

/* Bytes of scratch memory that a launch needs. It grows with every size of the problem. */
CCDEPLOY_PUBLIC ccdeploy_status ccdeploy_criss_cross_workspace(ccdeploy_criss_cross const* problem, size_t* bytes);

/* Launches on the current device. All pointers are device pointers; `stream` is a cudaStream_t. */
CCDEPLOY_PUBLIC ccdeploy_status ccdeploy_criss_cross_launch(ccdeploy_criss_cross const* problem, void const* qkv,
                                                            void const* residual, void* y, void* workspace,
                                                            size_t workspace_bytes, void* stream);

#ifdef __cplusplus
}
#endif

#endif
