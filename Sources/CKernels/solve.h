// What the sets of the calibrated solver share: the constants of Formats/solver.md.
#ifndef SOLVE_H
#define SOLVE_H

#include "kernels.h"

// §4: the candidates m / (first + k · step), k = 0 … CK_CANDIDATES − 1.
enum { CK_CANDIDATES = 15, CK_REFITS = 3 };
static inline float ck_first_divisor(int bits) { return bits == 4 ? 5.5f : 95.5f; }
static inline float ck_divisor_step(int bits) { return bits == 4 ? 0.25f : 4.0f; }

#endif
