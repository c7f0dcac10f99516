// BLAKE3 for any processor: vectors of 4 numbers, which the compiler makes of whatever there is.
#define SET(name) name##_scalar
#define LANES 4
#include "../lanes.h"

#include "../blake3_body.h"

void ck_blake3_end(const void *x, size_t byte_count, int32_t is_chunk, uint64_t counter, int32_t is_root, void *value) {
  const uint8_t *bytes = x;
  const U low = (U){0} + (uint32_t)counter, high = (U){0} + (uint32_t)(counter >> 32);
  U h[8];
  for (int i = 0; i < 8; i++) h[i] = (U){0} + blake3_start[i];
  size_t done = 0;
  do {
    const size_t length = byte_count - done < BLOCK_BYTES ? byte_count - done : BLOCK_BYTES;
    uint32_t words[16] = {0};
    U m[16];
    if (length > 0) __builtin_memcpy(words, bytes + done, length);
    for (int i = 0; i < 16; i++) m[i] = (U){0} + words[i];
    uint32_t flags = !is_chunk ? CK_BLAKE3_PARENT : done == 0 ? CK_BLAKE3_START : 0;
    done += length;
    if (done == byte_count) flags |= (is_chunk ? CK_BLAKE3_END : 0) | (is_root ? CK_BLAKE3_ROOT : 0);
    blake3_compress(h, m, low, high, (uint32_t)length, flags);
  } while (done < byte_count);
  for (int i = 0; i < 8; i++) __builtin_memcpy((char *)value + 4 * i, &h[i], 4);
}
