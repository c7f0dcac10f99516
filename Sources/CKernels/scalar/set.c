// The meaning of every kernel, in plain loops. Sections (§) are those of Formats/encodings.md.
#include <math.h>
#include <string.h>

#include "../kernels.h"

static uint16_t load16(const void *x, size_t i) {
  uint16_t bits;
  memcpy(&bits, (const char *)x + 2 * i, sizeof bits);
  return bits;
}

static void store16(void *x, size_t i, uint16_t bits) { memcpy((char *)x + 2 * i, &bits, sizeof bits); }

static uint32_t load32(const void *x, size_t i) {
  uint32_t bits;
  memcpy(&bits, (const char *)x + 4 * i, sizeof bits);
  return bits;
}

static float bf16_to_float(uint16_t bits) { return ck_float_of((uint32_t)bits << 16); }

static float f16_to_float(uint16_t bits) {
  uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1F, fraction = bits & 0x3FF;
  if (exponent == 0) {  // zero or subnormal: fraction · 2⁻²⁴
    float magnitude = (float)fraction * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  uint32_t widened = exponent == 0x1F ? 0xFF : exponent + 112;
  uint32_t quiet = exponent == 0x1F && fraction ? 0x400000 : 0;  // as the processor's conversion does
  return ck_float_of(sign | widened << 23 | fraction << 13 | quiet);
}

// portable(x) of §3 as bf16 bits; a magnitude above CK_SCALE_MAX is returned as it is.
static uint16_t portable(float x) {
  uint32_t bits = ck_bits_of(x);
  uint16_t rounded = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  uint16_t sign = rounded & 0x8000, magnitude = rounded & 0x7FFF;
  return sign | (magnitude < CK_SCALE_MIN ? CK_SCALE_MIN : magnitude);
}

static int clamp(int code, int bits) {
  int low = ck_code_min(bits), high = ck_code_max(bits);
  return code < low ? low : code > high ? high : code;
}

static float magnitude_of(const float *x, int n) {
  float a = 0;
  for (int i = 0; i < n; i++) a = fmaxf(a, fabsf(x[i]));
  return a;
}

// §8.1
static uint16_t absmax_scale(const float *x, int n, int bits) {
  float a = magnitude_of(x, n);
  return a <= CK_NEGLIGIBLE ? 0 : portable(a / (float)ck_code_max(bits));
}

// The element of largest magnitude, §9, the positive one if both signs have it.
static float extreme_of(const float *x, int n) {
  float maximum = x[0], minimum = x[0];
  for (int i = 1; i < n; i++) {
    if (x[i] > maximum) maximum = x[i];
    if (x[i] < minimum) minimum = x[i];
  }
  return maximum >= -minimum ? maximum : minimum;
}

// A = Σ n · q and B = Σ q² of the codes q that a multiplier gives to integers.
static void explain(const int *integers, int n, int bits, int r, int *A, int *B) {
  *A = *B = 0;
  for (int i = 0; i < n; i++) {
    int q = clamp((integers[i] * r + (1 << 14)) >> 15, bits);
    *A += integers[i] * q;
    *B += q * q;
  }
}

// §9.1
static uint16_t search_scale(const float *x, int n, int bits, int is_positive) {
  float m = extreme_of(x, n);
  if (is_positive) m = -fabsf(m);
  if (fabsf(m) <= CK_NEGLIGIBLE) return 0;

  float range = (float)-ck_search_range(bits);
  float f = range / m;
  int integers[128];
  for (int i = 0; i < n; i++) integers[i] = (int)rintf(x[i] * f);

  float best = -1, ratio = 0;
  for (int k = 0; k < ck_search_count(bits); k++) {
    int A, B;
    explain(integers, n, bits, ck_search_multiplier(bits, k), &A, &B);
    float gain = B == 0 ? 0 : (float)A * (float)A / (float)B;
    if (gain > best) {
      best = gain;
      ratio = (float)A / (float)B;
    }
  }
  return portable(ratio * (m / range));
}

// §8.2: the index of the least scale of the grid under which the largest magnitude is at most half a step beyond the largest
// code. It may lie outside of the range of the row.
static int absmax_index(float a, int bits) {
  return (int)((ck_bits_of(a / ((float)ck_code_max(bits) + 0.5f)) + 0x7FFFF) >> 19);
}

static uint8_t byte_of(int index, int lowest) {
  index -= lowest;
  return (uint8_t)(index < 0 ? 0 : index > CK_GRID_LAST ? CK_GRID_LAST : index);
}

// §9.2
static uint8_t search_byte(const float *x, int n, int bits, int lowest, int is_positive) {
  float m = extreme_of(x, n);
  if (is_positive) m = -fabsf(m);
  if (fabsf(m) <= CK_NEGLIGIBLE) return 0;

  float f = (float)-ck_search_range(bits) / m;
  int integers[128];
  for (int i = 0; i < n; i++) integers[i] = (int)rintf(x[i] * f);

  int first = (int)(ck_bits_of(fabsf(m) * ck_grid_least(bits)) >> 19);
  uint8_t chosen = 0;
  float best = -INFINITY;
  for (int k = 0; k < ck_grid_count(bits); k++) {
    uint8_t byte = byte_of(first + k, lowest);
    float u = ck_float_of((uint32_t)(lowest + byte) << 19) * fabsf(f);
    int A, B;
    explain(integers, n, bits, (int)rintf(32768 / u), &A, &B);
    float gain = u * ((float)A + (float)A - u * (float)B);
    if (gain > best) {
      best = gain;
      chosen = byte;
    }
  }
  return m > 0 ? chosen | 0x80 : chosen;
}

// Partial sums of §10 in pairs: k with k + 8, k + 4, k + 2, k + 1.
static float sum_pairs(float *partial) {
  for (int half = 8; half > 0; half /= 2)
    for (int k = 0; k < half; k++) partial[k] += partial[k + half];
  return partial[0];
}

// §7, §4, §5 and §10 for one group; `is_upper` says that it is the second half of a run.
static void encode_group(const float *x, int n, int bits, float s, int is_upper, uint8_t *codes, ck_sums *sums) {
  float r = s == 0 ? 0 : 1 / s;
  float error[16] = {0}, weight[16] = {0};
  for (int i = 0; i < n; i++) {
    int code = clamp((int)rintf(x[i] * r), bits);
    sums->saturated += code == ck_code_min(bits) || code == ck_code_max(bits);
    float e = x[i] - (float)code * s;
    error[i % 16] += e * e;
    weight[i % 16] += x[i] * x[i];
    if (bits == 8)
      codes[i] = (uint8_t)code;
    else if (is_upper || i % 32 >= 16)
      codes[i / 32 * 16 + i % 16] |= (uint8_t)((code + 8) << 4);
    else
      codes[i / 32 * 16 + i % 16] = (uint8_t)(code + 8);
  }
  sums->squared_error += sum_pairs(error);
  sums->squared_weight += sum_pairs(weight);
}

static void widen_group(const void *x, int wide, size_t first, int n, float *group) {
  for (int i = 0; i < n; i++)
    group[i] = wide ? ck_float_of(load32(x, first + (size_t)i)) : bf16_to_float(load16(x, first + (size_t)i));
}

static int is_finite(const float *x, int n) {
  for (int i = 0; i < n; i++)
    if (!isfinite(x[i])) return 0;
  return 1;
}

static int32_t quantize_group(const float *x, size_t group, const ck_scheme *scheme, uint8_t *codes, void *scales,
                              ck_sums *sums) {
  int n = scheme->group_size, bits = scheme->bits;
  if (!is_finite(x, n)) return CK_NOT_FINITE;
  uint16_t s = scheme->solver == CK_ABSMAX ? absmax_scale(x, n, bits)
                                           : search_scale(x, n, bits, scheme->solver == CK_SEARCH_POSITIVE);
  if ((s & 0x7FFF) > CK_SCALE_MAX) return CK_SCALE_TOO_LARGE;
  store16(scales, group, s);
  encode_group(x, n, bits, bf16_to_float(s), 0, codes, sums);
  return CK_OK;
}

// §3.2: the base of a row, whose groups all have one.
static int32_t base_of_row(const void *x, int wide, size_t first, const ck_scheme *scheme, int *base, size_t *bad_group) {
  float group[128];
  *base = 0;
  for (size_t g = 0; g < scheme->row_groups; g++) {
    widen_group(x, wide, first + g * (size_t)scheme->group_size, scheme->group_size, group);
    int own = ck_base(scheme->bits, ck_bits_of(magnitude_of(group, scheme->group_size)));
    *bad_group = g;
    if (!is_finite(group, scheme->group_size)) return CK_NOT_FINITE;
    if (own > CK_BASE_MAX) return CK_SCALE_TOO_LARGE;
    if (own > *base) *base = own;
  }
  return CK_OK;
}

static void quantize_group_to_byte(const float *x, int base, const ck_scheme *scheme, int is_upper, uint8_t *codes,
                                   uint8_t *scale, ck_sums *sums) {
  int n = scheme->group_size, bits = scheme->bits;
  float a = magnitude_of(x, n);
  int index = absmax_index(a, bits);
  sums->clamped += a > 0 && index < 16 * base;
  *scale = scheme->solver == CK_ABSMAX ? byte_of(index, 16 * base)
                                       : search_byte(x, n, bits, 16 * base, scheme->solver == CK_SEARCH_POSITIVE);
  encode_group(x, n, bits, ck_byte_scale((uint8_t)base, *scale), is_upper, codes, sums);
}

static int32_t quantize(const void *x, int wide, size_t group_count, const ck_scheme *scheme, uint8_t *codes,
                        void *scales, ck_sums *sums, size_t *bad_group) {
  float group[128];
  int base = 0;
  uint8_t *bytes = scales;
  for (size_t g = 0; g < group_count; g++) {
    const size_t first = g * (size_t)scheme->group_size, run = first / 32 * 32;
    uint8_t *own = codes + (scheme->bits == 8 ? first : run / 2);
    int32_t status = CK_OK;
    if (scheme->scale == CK_SCALE_BYTE && g % scheme->row_groups == 0) {
      status = base_of_row(x, wide, first, scheme, &base, bad_group);
      if (status != CK_OK) return *bad_group += g, status;
      *bytes++ = (uint8_t)base;
    }
    widen_group(x, wide, first, scheme->group_size, group);
    if (scheme->scale == CK_SCALE_BYTE)
      quantize_group_to_byte(group, base, scheme, first != run, own, bytes++, sums);
    else
      status = quantize_group(group, g, scheme, own, scales, sums);
    if (status != CK_OK) return *bad_group = g, status;
  }
  return CK_OK;
}

int32_t ck_quantize_bf16_scalar(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes, void *scales,
                                ck_sums *sums, size_t *bad_group) {
  return quantize(x, 0, group_count, scheme, codes, scales, sums, bad_group);
}

int32_t ck_quantize_f32_scalar(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes, void *scales,
                               ck_sums *sums, size_t *bad_group) {
  return quantize(x, 1, group_count, scheme, codes, scales, sums, bad_group);
}

void ck_decode_scalar(const uint8_t *codes, const void *scales, size_t group_count, const ck_scheme *scheme, float *y) {
  const size_t n = (size_t)scheme->group_size;
  const int format = scheme->bits == 8 ? CK_INT8 : CK_INT4;
  const size_t row_groups = scheme->scale == CK_SCALE_BYTE ? scheme->row_groups : group_count;
  for (size_t g = 0; g < group_count; g++) {
    const char *row = (const char *)scales + g / row_groups * ck_row_scale_bytes(scheme->scale, row_groups);
    const float s = ck_scale_of(scheme->scale, row, g % row_groups);
    for (size_t i = g * n; i < (g + 1) * n; i++) y[i] = (float)ck_code_of(format, codes, i) * s;
  }
}

void ck_widen_bf16_scalar(const void *x, size_t count, float *y) {
  for (size_t i = 0; i < count; i++) y[i] = bf16_to_float(load16(x, i));
}

void ck_widen_f16_scalar(const void *x, size_t count, float *y) {
  for (size_t i = 0; i < count; i++) y[i] = f16_to_float(load16(x, i));
}

static uint16_t float_to_bf16(float x) {
  uint32_t bits = ck_bits_of(x);
  return x != x ? CK_BF16_NAN : (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

void ck_scale_e4m3_scalar(const uint8_t *codes, size_t count, float scale, void *y) {
  for (size_t i = 0; i < count; i++) {
    uint16_t sign = (uint16_t)((codes[i] & 0x80) << 8), magnitude = codes[i] & 0x7F;
    float value = f16_to_float(sign | (uint16_t)(magnitude << 7)) * CK_E4M3_FACTOR;
    store16(y, i, magnitude == CK_E4M3_NOT_FINITE ? CK_BF16_NAN : float_to_bf16(value * scale));
  }
}

void ck_scale_e5m2_scalar(const uint8_t *codes, size_t count, float scale, void *y) {
  for (size_t i = 0; i < count; i++) store16(y, i, float_to_bf16(f16_to_float((uint16_t)(codes[i] << 8)) * scale));
}

size_t ck_first_not_finite_bf16_scalar(const void *x, size_t count) {
  size_t i = 0;
  while (i < count && (load16(x, i) & 0x7FFF) < CK_BF16_NOT_FINITE) i++;
  return i;
}

size_t ck_first_not_finite_f16_scalar(const void *x, size_t count) {
  size_t i = 0;
  while (i < count && (load16(x, i) & 0x7FFF) < CK_F16_NOT_FINITE) i++;
  return i;
}

size_t ck_first_not_finite_f32_scalar(const void *x, size_t count) {
  size_t i = 0;
  while (i < count && (load32(x, i) & 0x7FFFFFFF) < CK_F32_NOT_FINITE) i++;
  return i;
}

size_t ck_first_not_finite_e4m3_scalar(const void *x, size_t count) {
  size_t i = 0;
  while (i < count && (((const uint8_t *)x)[i] & 0x7F) < CK_E4M3_NOT_FINITE) i++;
  return i;
}

size_t ck_first_not_finite_e5m2_scalar(const void *x, size_t count) {
  size_t i = 0;
  while (i < count && (((const uint8_t *)x)[i] & 0x7F) < CK_E5M2_NOT_FINITE) i++;
  return i;
}

void ck_split16_scalar(const void *x, size_t count, uint8_t *high, uint8_t *low) {
  for (size_t i = 0; i < count; i++) {
    uint16_t value = load16(x, i);
    high[i] = (uint8_t)(value >> 8);
    low[i] = (uint8_t)value;
  }
}

void ck_join16_scalar(const uint8_t *high, const uint8_t *low, size_t count, void *x) {
  for (size_t i = 0; i < count; i++) store16(x, i, (uint16_t)(high[i] << 8 | low[i]));
}

void ck_histogram_scalar(const uint8_t *codes, size_t byte_count, int32_t bits, uint64_t *counts) {
  uint64_t bytes[4][256] = {{0}};  // four, since the same counter twice in a row waits for its own store
  for (size_t i = 0; i < byte_count; i++) bytes[i % 4][codes[i]]++;
  for (int byte = 0; byte < 256; byte++) {
    uint64_t count = bytes[0][byte] + bytes[1][byte] + bytes[2][byte] + bytes[3][byte];
    if (bits == 8) {
      counts[byte ^ 0x80] += count;  // code + 128
    } else {
      counts[byte & 15] += count;
      counts[byte >> 4] += count;
    }
  }
}

// Few bytes of a pack are scales, so there is one for all sets; compilers make vectors of the inner loop.
size_t ck_first_unusual_scale(const void *scales, size_t count) {
  enum { PIECE = 64 };
  size_t i = 0;
  for (; i + PIECE <= count; i += PIECE) {
    uint16_t bits[PIECE], unusual = 0;
    memcpy(bits, (const char *)scales + 2 * i, sizeof bits);
    for (size_t j = 0; j < PIECE; j++)
      unusual |= (uint16_t)((bits[j] & 0x7FFF) - CK_SCALE_MIN) > CK_SCALE_MAX - CK_SCALE_MIN;
    if (unusual) break;
  }
  for (; i < count; i++) {
    uint16_t bits;
    memcpy(&bits, (const char *)scales + 2 * i, sizeof bits);
    if ((uint16_t)((bits & 0x7FFF) - CK_SCALE_MIN) > CK_SCALE_MAX - CK_SCALE_MIN) break;
  }
  return i;
}

uint64_t ck_read_sum_scalar(const void *x, size_t byte_count) {
  uint64_t sum = 0, word;
  for (size_t i = 0; i + 8 <= byte_count; i += 8) {
    memcpy(&word, (const char *)x + i, sizeof word);
    sum += word;
  }
  return sum;
}

static int32_t always(void) { return 1; }

CK_DEFINE_SET(scalar, 16, always)
