// How products decode weights in registers; the multiply.c of a set includes this.

#ifndef HAS_LOOKUP
// What a group of codes is decoded with: code · scale + offset. For int4 the code is the stored 0 … 15 and the offset
// −8 · scale; the sum is exact, because scales have eight bits.
typedef struct {
  V scale, offset;
} group_t;

INLINE group_t group_of(int format, float scale) {
  (void)format;
  return (group_t){v_set1(scale), v_set1(-8 * scale)};
}

// Codes in the lower or upper four bits of bytes.
INLINE V v_of_lower(I both, group_t group) { return v_fma(v_of_integers(both & 15), group.scale, group.offset); }
INLINE V v_of_upper(I both, group_t group) { return v_fma(v_of_integers(both >> 4), group.scale, group.offset); }

// Does a product by a shorter way: there is none.
static int multiply_special(const ck_product *p, const float *x, float *y, size_t tokens) {
  (void)p, (void)x, (void)y, (void)tokens;
  return 0;
}
#endif

// 32 weights as floats.
INLINE void decode32(const char *w, int format, group_t group, V *out) {
  if (format == CK_INT4) {
    UNROLL for (size_t i = 0; i < 16 / LANES; i++) {
      I both = __builtin_convertvector(LOAD(B, w + LANES * i), I);
      out[i] = v_of_lower(both, group);
      out[i + 16 / LANES] = v_of_upper(both, group);
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
    else
      out[i] = v_of_integers(__builtin_convertvector((VECTOR(int8_t, LANES))LOAD(B, w + LANES * i), I)) * group.scale;
  }
}
