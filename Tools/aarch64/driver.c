// Runs every set of kernels of this processor against the golden vectors of Formats/golden/encodings, as vectors.py
// writes them, and the products of every set against those of scalar. Exit code 1 if anything differs.
#include <CKernels.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What vectors.py writes before the bytes of a vector.
typedef struct {
  int32_t bits, group_size, scale, row_groups, solver, is_f32, is_refused;
  uint32_t x_bytes, code_bytes, scale_bytes;
  double squared_error, squared_weight, saturated, clamped;
} vector;

static int failures;

static void check(int is_right, const char *set, const char *what, size_t index) {
  if (is_right) return;
  printf("%s: %s %zu differs\n", set, what, index);
  failures++;
}

static void *filled(FILE *file, size_t bytes) {
  void *to = malloc(bytes + 1);
  if (fread(to, 1, bytes, file) != bytes) exit(2);
  return to;
}

static void check_vector(const ck_kernel_set *set, size_t index, const vector *v, const void *x, const void *codes,
                         const void *scales) {
  const ck_scheme scheme = {.bits = v->bits, .group_size = v->group_size, .scale = v->scale,
                            .solver = v->solver, .row_groups = (size_t)v->row_groups};
  const size_t count = v->x_bytes / (v->is_f32 ? 4 : 2), groups = count / (size_t)v->group_size;
  uint8_t *found = malloc(count), *found_scales = malloc(count);  // vectors that are refused have no results
  float *y = malloc(8 * count), *expected = y + count;
  ck_sums sums = {0};
  size_t bad;
  const int32_t status =
      (v->is_f32 ? set->quantize_f32 : set->quantize_bf16)(x, groups, &scheme, found, found_scales, &sums, &bad);
  check((status != CK_OK) == v->is_refused, set->name, "the refusal of vector", index);
  if (status == CK_OK && !v->is_refused) {
    check(memcmp(found, codes, v->code_bytes) == 0, set->name, "a code of vector", index);
    check(memcmp(found_scales, scales, v->scale_bytes) == 0, set->name, "a scale of vector", index);
    check(sums.squared_error == v->squared_error && sums.squared_weight == v->squared_weight &&
              (double)sums.saturated == v->saturated && (double)sums.clamped == v->clamped,
          set->name, "a sum of vector", index);
    set->decode(found, found_scales, groups, &scheme, y);
    ck_select("scalar")->decode(found, found_scales, groups, &scheme, expected);
    check(memcmp(y, expected, 4 * count) == 0, set->name, "a decoded number of vector", index);
  }
  free(found), free(found_scales), free(y);
}

// Sums of 256 products near one: sets may differ in the order of additions.
static void check_products(const ck_kernel_set *set) {
  enum { ROWS = 37, COLUMNS = 256, TOKENS = 40 };
  static float x[TOKENS * COLUMNS], w[ROWS * COLUMNS], y[TOKENS * ROWS], expected[TOKENS * ROWS];
  uint64_t state = 1;
  for (size_t i = 0; i < TOKENS * COLUMNS; i++) x[i] = (float)((state = state * 6364136223846793005u + 1) >> 40) * 0x1p-23f - 1;
  for (size_t i = 0; i < ROWS * COLUMNS; i++) w[i] = (float)((state = state * 6364136223846793005u + 1) >> 40) * 0x1p-23f - 1;
  for (size_t tokens = 1; tokens <= TOKENS; tokens++) {
    ck_product product = {.weights = w, .rows = ROWS, .columns = COLUMNS, .format = CK_F32, .tokens = tokens, .x = x,
                          .x_stride = COLUMNS, .y = y, .y_stride = ROWS};
    set->multiply(&product);
    product.y = expected;
    ck_select("scalar")->multiply(&product);
    for (size_t i = 0; i < tokens * ROWS; i++)
      check(fabsf(y[i] - expected[i]) < 1e-4f, set->name, "a product of tokens", tokens);
  }
  set->exp(x, TOKENS * COLUMNS, x);
  check(fabsf(x[0] - 1) < 2, set->name, "an exponential", 0);
  check(set->xxh3(w, sizeof w) == ck_select("scalar")->xxh3(w, sizeof w), set->name, "a hash", 0);
}

int main(int count, char **arguments) {
  FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
  if (!file) return 2;
  size_t vectors = 0;
  for (vector v; fread(&v, sizeof v, 1, file) == 1; vectors++) {
    void *x = filled(file, v.x_bytes), *codes = filled(file, v.code_bytes), *scales = filled(file, v.scale_bytes);
    for (size_t i = 0; i < ck_set_count(); i++) check_vector(ck_set(i), vectors, &v, x, codes, scales);
    free(x), free(codes), free(scales);
  }
  for (size_t i = 0; i < ck_set_count(); i++) {
    check_products(ck_set(i));
    printf("%s: ", ck_set(i)->name);
  }
  printf("%zu vectors, %d differences\n", vectors, failures);
  return failures != 0 || vectors == 0;
}
