// The meaning of products with int8 activations, in plain loops; every other set gives the same bits.
#include "../int8_activations.h"

void ck_quantize_activations_scalar(const float *x, size_t group_count, size_t group_size, const ck_activations *to) {
  quantize_activation_groups(x, group_count, group_size, to);
}

void ck_multiply_int8_scalar(const ck_product *p, const ck_activations *x) {
  const size_t group = (size_t)p->group_size, groups = p->columns / group;
  for (size_t row = 0; row < p->rows; row++) {
    const char *scales = (const char *)p->scales + row * ck_row_scale_bytes(p->scale, groups);
    for (size_t t = 0; t < p->tokens; t++) {
      float y = 0;
      for (size_t g = 0; g < groups; g++) {
        int32_t sum = 0;
        for (size_t k = g * group; k < (g + 1) * group; k++)
          sum += ck_code_of(p->format, p->weights, row * p->columns + k) * x->codes[t * p->columns + k];
        y += (float)sum * ck_scale_of(p->scale, scales, g) * x->scales[t * groups + g];
      }
      p->y[t * p->y_stride + row] = y;
    }
  }
}
