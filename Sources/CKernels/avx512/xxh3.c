// XXH3 with 64-byte vectors. The header of libxxhash chooses by the compiler's flags, not by attributes, so it is told.
#include "../kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#define XXH_INLINE_ALL
#define XXH_VECTOR 3  // XXH_AVX512
#include <xxhash.h>

#define CK_SET(name) name##_avx512
#include "../xxh3_body.h"

#pragma clang attribute pop
#endif
