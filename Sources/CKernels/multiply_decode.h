// How products decode weights in registers; the multiply.c of a set includes this.

enum { UNIT = 32, VECTORS = UNIT / LANES };  // columns decoded at a time

// Formats of weights with all that has to be constant: codes with byte scales, and with two groups in UNIT columns.
enum { INT8_BYTES = CK_INT4 + 1, INT4_BYTES, INT4_HALVES, FORMATS };

INLINE int format_of(const ck_product *p) {
  if (p->format < CK_INT8 || p->scale == CK_SCALE_BF16) return p->format;
  return p->format == CK_INT8 ? INT8_BYTES : p->group_size < UNIT ? INT4_HALVES : INT4_BYTES;
}
INLINE int is_coded(int format) { return format >= CK_INT8; }
INLINE int is_int4(int format) { return format == CK_INT4 || format == INT4_BYTES || format == INT4_HALVES; }
INLINE int scale_of(int format) { return format >= INT8_BYTES ? CK_SCALE_BYTE : CK_SCALE_BF16; }

INLINE size_t bytes_of(int format, size_t elements) {
  switch (format) {
    case CK_F32: return 4 * elements;
    case CK_INT8:
    case INT8_BYTES: return elements;
    case CK_INT4:
    case INT4_BYTES:
    case INT4_HALVES: return elements / 2;
    default: return 2 * elements;
  }
}

// The bits of byte scales, each of which is in the highest bits of its lane; bases are in their places.
INLINE I byte_scales(I bases, I bytes) { return bases + (bytes >> 5 & (int32_t)CK_BYTE_SCALE_BITS); }

#ifndef HAS_LOOKUP
// Byte scales of a row with base 127, by byte.
#define FRACTION(sign, e, m) sign(16 + m) * (float)(1 << e) / 16
#define FRACTIONS_4(sign, e, m) \
  FRACTION(sign, e, m), FRACTION(sign, e, m + 1), FRACTION(sign, e, m + 2), FRACTION(sign, e, m + 3)
#define FRACTIONS_16(sign, e) \
  FRACTIONS_4(sign, e, 0), FRACTIONS_4(sign, e, 4), FRACTIONS_4(sign, e, 8), FRACTIONS_4(sign, e, 12)
#define FRACTIONS(sign)                                                                                             \
  FRACTIONS_16(sign, 0), FRACTIONS_16(sign, 1), FRACTIONS_16(sign, 2), FRACTIONS_16(sign, 3),                       \
      FRACTIONS_16(sign, 4), FRACTIONS_16(sign, 5), FRACTIONS_16(sign, 6), FRACTIONS_16(sign, 7)
static const float byte_fractions[256] = {FRACTIONS(+), FRACTIONS(-)};

// The scale of a group of a row in all lanes: a byte's takes a load and a product, which are fewer instructions than its bits
// take.
INLINE V v_scale_of(int scale, const char *row, size_t group) {
  if (scale == CK_SCALE_BF16) return v_set1(ck_scale_of(scale, row, group));
  const uint8_t *bytes = (const uint8_t *)row;
  return v_set1(ck_float_of((uint32_t)bytes[0] << 23)) * v_set1(byte_fractions[bytes[1 + group]]);
}

// What a group of codes is decoded with: code · scale + offset. For int4 the code is the stored 0 … 15 and the offset
// −8 · scale; the sum is exact, because scales have eight bits.
typedef struct {
  V scale, offset;
} group_t;

INLINE group_t group_of(int format, V scale) {
  (void)format;
  return (group_t){scale, -8 * scale};
}

// Codes in the lower or upper four bits of bytes.
INLINE V v_of_lower(I both, group_t group) { return v_fma(v_of_integers(both & 15), group.scale, group.offset); }
INLINE V v_of_upper(I both, group_t group) { return v_fma(v_of_integers(both >> 4), group.scale, group.offset); }

// The most tokens that multiply_special takes; 0 where it does not take such a product.
static size_t special_tokens(const ck_product *p) {
  (void)p;
  return 0;
}

// Does a product by a shorter way: there is none.
static int multiply_special(const ck_product *p, const float *x, float *y, size_t tokens) {
  (void)p, (void)x, (void)y, (void)tokens;
  return 0;
}
#endif

// 32 weights as floats; the last 16 belong to the group `upper`.
INLINE void decode32(const char *w, int format, group_t group, group_t upper, V *out) {
  if (is_int4(format)) {
    UNROLL for (size_t i = 0; i < 16 / LANES; i++) {
      I both = __builtin_convertvector(LOAD(B, w + LANES * i), I);
      out[i] = v_of_lower(both, group);
      out[i + 16 / LANES] = v_of_upper(both, upper);
    }
    return;
  }
  UNROLL for (size_t i = 0; i < 32 / LANES; i++) {
    if (format == CK_F32)
      out[i] = LOAD(V, w + 4 * LANES * i);
    else if (format == CK_BF16)
      out[i] = v_of_bf16(LOAD(W, w + 2 * LANES * i));
    else if (format == CK_F16)
      out[i] = v_of_f16(LOAD(W, w + 2 * LANES * i));
    else  // int8, whose groups have at least 32
      out[i] = v_of_integers(__builtin_convertvector((VECTOR(int8_t, LANES))LOAD(B, w + LANES * i), I)) * group.scale;
  }
}
