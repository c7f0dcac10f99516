// The calibrated solver's kernels with AVX-512.
#if defined(__x86_64__)
#include "lanes.h"

enum { SIDE = 12 };  // twice as many sums in registers

#include "../solve_body.h"

#pragma clang attribute pop
#endif
