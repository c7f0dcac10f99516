// Activations as int8: plain loops that every set compiles for its own instructions, so that all give the same bits.
#ifndef INT8_ACTIVATIONS_H
#define INT8_ACTIVATIONS_H

#include "kernels.h"

// A group is `group_size` neighbouring activations of one token. With a its largest magnitude:
//   scale = a / 127,   code = round(x · (127 / a)) to nearest, ties to even,   start = −Σ code
// all in binary32. Groups below 2⁻¹⁰⁰, where 127 / a might overflow, get the scale 0 and codes 0. Groups with an infinity
// or a NaN get a NaN as scale and codes 0, so that every product with them is a NaN.
static inline __attribute__((always_inline)) void quantize_activation_groups(
    const float *x, size_t group_count, size_t group_size, const ck_activations *to) {
  const float round = 0x1.8p23f;  // a sum with it is a whole number, whose lowest byte is the code
  for (size_t g = 0; g < group_count; g++, x += group_size) {
    uint32_t most = 0;
    for (size_t i = 0; i < group_size; i++) {
      uint32_t bits;
      __builtin_memcpy(&bits, x + i, 4);
      bits &= 0x7FFFFFFF;
      most = bits > most ? bits : most;
    }
    float a;
    __builtin_memcpy(&a, &most, 4);
    int8_t *codes = to->codes + g * group_size;
    int32_t start = 0;
    if (most >= CK_F32_NOT_FINITE || a < 0x1p-100f) {
      __builtin_memset(codes, 0, group_size);
      to->scales[g] = most >= CK_F32_NOT_FINITE ? __builtin_nanf("") : 0;
    } else {
      const float factor = 127 / a;
      for (size_t i = 0; i < group_size; i++) {
        float shifted = x[i] * factor + round;
        uint32_t bits;
        __builtin_memcpy(&bits, &shifted, 4);
        codes[i] = (int8_t)(uint8_t)bits;
      }
      for (size_t i = 0; i < group_size; i++) start -= codes[i];
      to->scales[g] = a / 127;
    }
    to->starts[g] = start;
  }
}

#endif
