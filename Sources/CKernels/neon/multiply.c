// Products and functions of activations with NEON.
#if defined(__aarch64__)
#include "lanes.h"

// Rows that are multiplied at a time with 1 … 4 tokens, of 32 registers.
enum { ROWS_1 = 4, ROWS_2 = 3, ROWS_3 = 2, ROWS_4 = 2 };
enum { PANEL_ROWS = 8, PANEL_LEAST = 13, SUM_TOKENS = 4, SUM_WIDTH = 4, ATTEND_ROWS = 8 };

#include "../multiply_decode.h"
#include "../multiply_body.h"
#include "../elementwise_body.h"
#include "../attention_body.h"
#endif
