// Which sets there are and which of them this processor can run.
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)
static int has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("fma");
}

static int has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#endif

static int always(void) { return 1; }

// Fastest first.
static const struct {
  const ck_kernel_set *set;
  int (*is_supported)(void);
} sets[] = {
#if defined(__x86_64__)
    {&ck_set_avx512, has_avx512},
    {&ck_set_avx2, has_avx2},
#endif
    {&ck_set_scalar, always},
};

static const size_t known_count = sizeof sets / sizeof sets[0];

size_t ck_set_count(void) {
  size_t count = 0;
  for (size_t i = 0; i < known_count; i++) count += sets[i].is_supported() != 0;
  return count;
}

const ck_kernel_set *ck_set(size_t index) {
  for (size_t i = 0; i < known_count; i++)
    if (sets[i].is_supported() && index-- == 0) return sets[i].set;
  return &ck_set_scalar;
}

const ck_kernel_set *ck_select(const char *name) {
  for (size_t i = 0; i < known_count; i++)
    if (strcmp(sets[i].set->name, name) == 0) return sets[i].is_supported() ? sets[i].set : NULL;
  return NULL;
}
