// The search over scales (§9), LANES groups at a time; part of quantize_body.h. Everything up to the gains is exact, as integers
// are, so that all sets choose the same.

// Groups in lanes, as words of 32 bits: lane g holds those of group g, each with one number or with two of 16 bits. Returns
// the element of largest magnitude of each group with its sign, the positive one if both signs have it.
// As signed integers the bits of positive floats are the greatest, as unsigned integers those of negative floats.
INLINE V words_in_lanes(const void *x, int wide, size_t n, I *words) {
  const size_t count = wide ? n : n / 2;
  I positive = {0}, negative = {0};
  for (size_t i = 0; i < count; i += 4) {
    turn16((const char *)x + 4 * i, 4 * count, words + i);
    UNROLL for (size_t c = i; c < i + 4; c++) {
      positive = wide ? MAX(positive, words[c]) : GREATER_16(positive, words[c]);
      negative = wide ? (I)MAX((U)negative, (U)words[c]) : GREATER_U16(negative, words[c]);
    }
  }
  if (!wide) {
    positive = UPPER_OF_TWO(GREATER_16, positive);
    negative = UPPER_OF_TWO(GREATER_U16, negative);
  }
  // A group without negative elements has its positive maximum in `negative`: not greater than `positive`.
  return (V)SELECT((negative & 0x7FFFFFFF) > positive, negative, positive);
}

// The integers of §9 as pairs of 16 bits, n/2 vectors in the place of the words. Which elements make a pair does not
// matter, because only sums over the group are taken.
INLINE void to_integers(I *words, int wide, size_t n, V f) {
  for (size_t i = 0; i < n / 2; i++) {
    I v = wide ? words[2 * i] : words[i] & (int32_t)0xFFFF0000, w = wide ? words[2 * i + 1] : words[i] << 16;
    words[i] = v_round((V)v * f) << 16 | (v_round((V)w * f) & 0xFFFF);
  }
}

#ifndef HAS_TWICE
INLINE H twice(I v) { return (H)(v << 16 | (v & 0xFFFF)); }
#endif

enum { MOST_TOGETHER = 6 };  // candidates whose sums registers hold

// Integers which are limited on one or both sides before they are multiplied.
struct limits {
  int is_below, is_above;
  H lowest, highest;
};

// A = Σ n · q and B = Σ q² of `count` multipliers. Where codes could leave their range it is the integers that are limited,
// once for `shared` multipliers, which takes fewer operations than to limit each code. The codes are the same if that of the
// limit is the last in the range under each of these multipliers: as codes rise with the integers, none on this side of it
// leaves the range, and those beyond would be clamped to that code. All of it is exact, as integers are.
//
// Meanwhile n/2 lines of memory from `ahead` on are asked for: numbers of GROUPS groups are turned faster than they come from
// memory, and this takes long enough for the next ones to come.
INLINE void explain(const I *pairs, size_t n, int count, const I *r, const struct limits *limits, int shared,
                    const char *ahead, I *a, I *b) {
  H multiplier[MOST_TOGETHER];
  UNROLL for (int j = 0; j < count; j++) {
    multiplier[j] = twice(r[j]);
    a[j] = b[j] = (I){0};
  }
  for (size_t i = 0; i < n / 2; i++) {
    H v = (H)pairs[i], limited = v;
    if (ahead) __builtin_prefetch(ahead + 64 * i);
    UNROLL for (int j = 0; j < count; j++) {
      if (j % shared == 0) {
        const struct limits *own = limits + j / shared;
        limited = own->is_below ? MAX(v, own->lowest) : v;
        if (own->is_above) limited = MIN(limited, own->highest);
      }
      H q = h_multiply_high(limited, multiplier[j]);
      a[j] = i_add_pair_products(a[j], v, q);
      b[j] = i_add_pair_products(b[j], q, q);
    }
  }
}

// Which lines the j-th look at GROUPS groups of n numbers asks for, of as many groups at `next`; NULL when all were asked for.
INLINE const char *lines_ahead(const void *next, int wide, size_t n, size_t j) {
  const size_t place = j * (n / 2) * 64;
  return place < (wide ? 4 : 2) * GROUPS * n ? (const char *)next + place : NULL;
}

// A/B of the candidate with the largest gain, group by group.
INLINE V best_ratio(const I *pairs, int bits, const void *next, int wide, size_t n) {
  V best = v_set1(-1), best_a = v_zero(), best_b = v_set1(1);
  // Unrolled, so that candidates whose codes cannot leave the range do without limits.
  UNROLL for (int k = 0; k < ck_search_count(bits); k += 4) {
    // The last integers with a code in the range under the last multiplier, the largest: just before 7.5 and −8.5 steps. The
    // first is 0.89 times as large or more, so that under it they are beyond 6.5 and −7.5 steps. int8 needs no limits.
    const int last = ck_search_multiplier(bits, k + 3);
    const struct limits limits = {
        .is_below = ck_search_code(bits, k + 3, -1) < ck_code_min(bits),
        .is_above = ck_search_code(bits, k + 3, 1) > ck_code_max(bits),
        .lowest = twice(i_set1(-((1 - 2 * ck_code_min(bits)) << 14) / last)),
        .highest = twice(i_set1((((1 + 2 * ck_code_max(bits)) << 14) - 1) / last)),
    };
    I a[4], b[4], r[4];
    UNROLL for (int j = 0; j < 4; j++) r[j] = i_set1(ck_search_multiplier(bits, k + j));
    explain(pairs, n, 4, r, &limits, 4, lines_ahead(next, wide, n, (size_t)k / 4), a, b);
    UNROLL for (int j = 0; j < 4; j++) {
      V fa = v_of_integers(a[j]), fb = v_of_integers(b[j]);
      V gain = fa * fa / fb;  // B > 0, as m has a code other than 0
      I better = gain > best;
      best = SELECT(better, gain, best);
      best_a = SELECT(better, fa, best_a);
      best_b = SELECT(better, fb, best_b);
    }
  }
  return best_a / best_b;
}

INLINE I within_range(I index, I lowest) { return MAX(MIN(index, lowest + CK_GRID_LAST), lowest); }

// The scale of the grid with the largest gain, as its index, group by group; m is the largest magnitude, f that of the factor
// which made the integers.
INLINE I best_index(const I *pairs, int bits, const void *next, int wide, size_t n, V m, V f, I lowest) {
  const I first = (I)(m * ck_grid_least(bits)) >> 19;
  V best = v_set1(-__builtin_inff());
  I chosen = lowest;
  // Limits in units of u, that of the first of `shared` candidates. int4: the last of three has a scale at most 18/16 times as
  // large. With the first 7.4 has a code below 7.5, with the last one above 6.57, and 8.475 has one between −8.5 and −7.53;
  // rounded multipliers and limits, whose u is more than 101, move these by less than 0.03. int8: 127 has a code within 0.1 of
  // 127. Where u is so large that it is cut off, no integer reaches a limit.
  const int together = bits == 4 ? MOST_TOGETHER : 4, shared = bits == 4 ? 3 : 1;
  const float low = bits == 4 ? -8.475f : -127, high = bits == 4 ? 7.4f : 127;
  UNROLL for (int k = 0; k < ck_grid_count(bits); k += together) {
    I a[MOST_TOGETHER], b[MOST_TOGETHER], r[MOST_TOGETHER], index[MOST_TOGETHER];
    V u[MOST_TOGETHER];
    struct limits limits[MOST_TOGETHER];
    UNROLL for (int j = 0; j < together; j++) {
      index[j] = within_range(first + (k + j), lowest);
      u[j] = (V)(index[j] << 19) * f;
      r[j] = v_round(32768 / u[j]);
      if (j % shared != 0) continue;
      const V unit = v_min(u[j], v_set1(255));
      limits[j / shared] = (struct limits){
          .is_below = ck_grid_exceeds(bits, k + j, -ck_code_min(bits)),
          .is_above = ck_grid_exceeds(bits, k + j, ck_code_max(bits)),
          .lowest = twice(__builtin_convertvector(unit * low, I)),
          .highest = twice(__builtin_convertvector(unit * high, I)),
      };
    }
    explain(pairs, n, together, r, limits, shared, lines_ahead(next, wide, n, (size_t)(k / together)), a, b);
    UNROLL for (int j = 0; j < together; j++) {
      V fa = v_of_integers(a[j]), gain = u[j] * (fa + fa - u[j] * v_of_integers(b[j]));
      I better = gain > best;
      best = SELECT(better, gain, best);
      chosen = SELECT(better, index[j], chosen);
    }
  }
  return chosen;
}
