// The kernels of scalar/set.c with AVX-512.
#if defined(__x86_64__)
#include "lanes.h"

#include "../convert_body.h"
#include "../quantize_body.h"

#pragma clang attribute pop

static int32_t is_supported(void) {
  return ck_set_avx2.is_supported() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

#define ck_histogram_avx512 ck_histogram_scalar
CK_DEFINE_SET(avx512, LANES, is_supported)
#endif
