// Which sets there are and which of them this processor can run.
#include <string.h>

#include "kernels.h"

#define ADDRESS(set) &ck_set_##set,
static const ck_kernel_set *const sets[] = {CK_SETS(ADDRESS)};
static const size_t known_count = sizeof sets / sizeof sets[0];

size_t ck_set_count(void) {
  size_t count = 0;
  for (size_t i = 0; i < known_count; i++) count += sets[i]->is_supported() != 0;
  return count;
}

const ck_kernel_set *ck_set(size_t index) {
  for (size_t i = 0; i < known_count; i++)
    if (sets[i]->is_supported() && index-- == 0) return sets[i];
  return &ck_set_scalar;
}

const ck_kernel_set *ck_select(const char *name) {
  for (size_t i = 0; i < known_count; i++)
    if (strcmp(sets[i]->name, name) == 0) return sets[i]->is_supported() ? sets[i] : NULL;
  return NULL;
}
