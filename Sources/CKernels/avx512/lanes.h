// Vectors of 16 numbers: AVX-512 F, BW, VL and VNNI.
#define SET(name) name##_avx512
#define LANES 16
#define HAS_SCALE

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c"))), \
                             apply_to = function)
#include "../lanes.h"

INLINE V v_of_f16(W bits) { return _mm512_cvtph_ps((__m256i)bits); }
INLINE I v_round(V a) { return (I)_mm512_cvtps_epi32(a); }
INLINE H h_multiply_high(H a, H b) { return (H)_mm512_mulhrs_epi16((__m512i)a, (__m512i)b); }
// Written as it is because the compiler would take the intrinsic apart again, into a multiplication and an addition.
INLINE I i_add_pair_products(I sum, H a, H b) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}
#define HAS_TWICE
INLINE H twice(I v) {
  return (H)_mm512_shuffle_epi8((__m512i)v, _mm512_set4_epi32(0x0D0C0D0C, 0x09080908, 0x05040504, 0x01000100));
}
INLINE V v_scale(V a, V n) { return _mm512_scalef_ps(a, n); }  // a · 2ⁿ
