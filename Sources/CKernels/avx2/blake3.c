// The kernel of ../blake3_body.h for this set.
#if defined(__x86_64__)
#include "lanes.h"

#include "../blake3_body.h"

#pragma clang attribute pop
#endif
