// XXH3 for any processor: what the header of libxxhash chooses for the instructions every one has.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "../kernels.h"

#define CK_SET(name) name##_scalar
#include "../xxh3_body.h"
