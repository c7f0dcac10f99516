// The calibrated solver's kernels with NEON.
#if defined(__aarch64__)
#include "lanes.h"

enum { SIDE = 12 };  // twice as many sums in registers

#include "../solve_body.h"
#endif
