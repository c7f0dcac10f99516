// The kernels of scalar/set.c with AVX2.
#if defined(__x86_64__)
#include "lanes.h"

#include "../convert_body.h"
#include "../quantize_body.h"

#pragma clang attribute pop

static int32_t is_supported(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("fma");
}

#define ck_histogram_avx2 ck_histogram_scalar
CK_DEFINE_SET(avx2, LANES, is_supported)
#endif
