// The kernels of scalar/set.c with NEON.
#if defined(__aarch64__)
#include "lanes.h"

#include "../convert_body.h"
#include "../quantize_body.h"

static int32_t always(void) { return 1; }

#define ck_histogram_neon ck_histogram_scalar
// The header of libxxhash chooses NEON by itself, as every processor has it.
#define ck_xxh3_neon ck_xxh3_scalar
#define ck_xxh3_begin_neon ck_xxh3_begin_scalar
#define ck_xxh3_add_neon ck_xxh3_add_scalar
#define ck_xxh3_end_neon ck_xxh3_end_scalar
// Its vectors are as wide as those that the compiler makes for every processor.
#define ck_blake3_neon ck_blake3_scalar
#define ck_quantize_activations_neon ck_quantize_activations_scalar
#define ck_multiply_int8_neon ck_multiply_int8_scalar
CK_DEFINE_SET(neon, LANES, always)
#endif
