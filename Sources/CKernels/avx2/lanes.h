// Vectors of 8 numbers: AVX2, FMA and F16C.
#define SET(name) name##_avx2
#define LANES 8

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "../lanes.h"

INLINE V v_of_f16(W bits) { return _mm256_cvtph_ps((__m128i)bits); }
INLINE I v_round(V a) { return (I)_mm256_cvtps_epi32(a); }
INLINE H h_multiply_high(H a, H b) { return (H)_mm256_mulhrs_epi16((__m256i)a, (__m256i)b); }
INLINE I i_add_pair_products(I sum, H a, H b) { return sum + (I)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
