// XXH3 with 32-byte vectors. The header of libxxhash chooses by the compiler's flags, not by attributes, so it is told.
#include "../kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define XXH_INLINE_ALL
#define XXH_VECTOR 2  // XXH_AVX2
#include <xxhash.h>

#define CK_SET(name) name##_avx2
#include "../xxh3_body.h"

#pragma clang attribute pop
#endif
