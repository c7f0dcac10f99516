// The meaning of products with int8 activations, in plain loops; every other set gives the same bits.
#include "../int8_activations.h"

void ck_quantize_activations_scalar(const float *x, size_t group_count, size_t group_size, const ck_activations *to) {
  quantize_activation_groups(x, group_count, group_size, to);
}

// The code of element i of a plane, Formats/encodings.md §4 and §5.
static int code_at(const uint8_t *codes, int format, size_t i) {
  if (format == CK_INT8) return (int8_t)codes[i];
  return (codes[i / 32 * 16 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15) - 8;
}

static float scale_at(const void *scales, size_t i) {
  float scale;
  ck_widen_bf16_scalar((const char *)scales + 2 * i, 1, &scale);
  return scale;
}

void ck_multiply_int8_scalar(const ck_product *p, const ck_activations *x) {
  const size_t group = (size_t)p->group_size, groups = p->columns / group;
  for (size_t row = 0; row < p->rows; row++)
    for (size_t t = 0; t < p->tokens; t++) {
      float y = 0;
      for (size_t g = 0; g < groups; g++) {
        int32_t sum = 0;
        for (size_t k = g * group; k < (g + 1) * group; k++)
          sum += code_at(p->weights, p->format, row * p->columns + k) * x->codes[t * p->columns + k];
        y += (float)sum * scale_at(p->scales, row * groups + g) * x->scales[t * groups + g];
      }
      p->y[t * p->y_stride + row] = y;
    }
}
