// Products and functions of activations with AVX2.
#if defined(__x86_64__)
#include "lanes.h"

// Rows that are multiplied at a time with 1 … 4 tokens: about 8 sums of 16 registers.
enum { ROWS_1 = 4, ROWS_2 = 3, ROWS_3 = 2, ROWS_4 = 2 };
enum { PANEL_ROWS = 6, PANEL_LEAST = 13, SUM_TOKENS = 4, SUM_WIDTH = 2, ATTEND_ROWS = 4 };

#include "../multiply_decode.h"
#include "../multiply_body.h"
#include "../elementwise_body.h"
#include "../attention_body.h"

#include "multiply_int8.h"

#pragma clang attribute pop
#endif
