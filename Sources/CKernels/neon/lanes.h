// Vectors of 4 numbers: what every 64-bit ARM processor has.
#define SET(name) name##_neon
#define LANES 4

#include <arm_neon.h>

#include "../lanes.h"

INLINE V v_of_f16(W bits) { return vcvt_f32_f16((float16x4_t)bits); }
INLINE I v_round(V a) { return vcvtnq_s32_f32(a); }
INLINE H h_multiply_high(H a, H b) { return vqrdmulhq_s16(a, b); }
INLINE I i_add_pair_products(I sum, H a, H b) {
  return sum + vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b));
}
