// The calibrated solver's kernels with AVX2.
#if defined(__x86_64__)
#include "lanes.h"

enum { SIDE = 6 };  // twice as many sums in registers

#include "../solve_body.h"

#pragma clang attribute pop
#endif
