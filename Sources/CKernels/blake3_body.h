// BLAKE3 of LANES inputs at a time, each in one lane of all vectors. Included behind the lanes.h of a set.

enum { BLOCK_BYTES = 64, CHUNK_BLOCKS = 16, VALUE_WORDS = 8 };

// What the words of a state start with, and the words of a message in each round, from the specification.
static const uint32_t blake3_start[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                         0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
static const uint8_t blake3_order[7][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
    {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1}, {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
    {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4}, {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
    {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13}};

#define ROTATE_(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define MIX_(a, b, c, d, x, y)                                                   \
  v[a] += v[b] + (x), v[d] = ROTATE_(v[d] ^ v[a], 16), v[c] += v[d], v[b] = ROTATE_(v[b] ^ v[c], 12), \
  v[a] += v[b] + (y), v[d] = ROTATE_(v[d] ^ v[a], 8), v[c] += v[d], v[b] = ROTATE_(v[b] ^ v[c], 7)

// One block of each input: `h` becomes the next chaining value.
INLINE void blake3_compress(U *h, const U *m, U counter_low, U counter_high, uint32_t length, uint32_t flags) {
  U v[16];
  UNROLL for (int i = 0; i < 8; i++) v[i] = h[i];
  UNROLL for (int i = 0; i < 4; i++) v[8 + i] = (U){0} + blake3_start[i];
  v[12] = counter_low, v[13] = counter_high, v[14] = (U){0} + length, v[15] = (U){0} + flags;
  UNROLL for (int r = 0; r < 7; r++) {
    const uint8_t *s = blake3_order[r];
    MIX_(0, 4, 8, 12, m[s[0]], m[s[1]]), MIX_(1, 5, 9, 13, m[s[2]], m[s[3]]);
    MIX_(2, 6, 10, 14, m[s[4]], m[s[5]]), MIX_(3, 7, 11, 15, m[s[6]], m[s[7]]);
    MIX_(0, 5, 10, 15, m[s[8]], m[s[9]]), MIX_(1, 6, 11, 12, m[s[10]], m[s[11]]);
    MIX_(2, 7, 8, 13, m[s[12]], m[s[13]]), MIX_(3, 4, 9, 14, m[s[14]], m[s[15]]);
  }
  UNROLL for (int i = 0; i < 8; i++) h[i] = v[i] ^ v[8 + i];
}

// Values of LANES inputs, one behind the other, of `blocks` whole blocks each.
INLINE void blake3_lanes(const char *inputs, size_t blocks, uint64_t counter, int is_counted, uint32_t flags,
                         uint32_t first, uint32_t last, uint32_t (*values)[LANES]) {
  U h[8], low, high;
  UNROLL for (int i = 0; i < 8; i++) h[i] = (U){0} + blake3_start[i];
  for (int l = 0; l < LANES; l++) {
    const uint64_t own = counter + (is_counted ? (uint64_t)l : 0);
    low[l] = (uint32_t)own, high[l] = (uint32_t)(own >> 32);
  }
  for (size_t b = 0; b < blocks; b++) {
    I m[16];
    UNROLL for (int part = 0; part < 16; part += 4)
      turn16(inputs + BLOCK_BYTES * b + 4 * part, BLOCK_BYTES * blocks, m + part);
    blake3_compress(h, (const U *)m, low, high, BLOCK_BYTES,
                    flags | (b == 0 ? first : 0) | (b + 1 == blocks ? last : 0));
  }
  UNROLL for (int i = 0; i < 8; i++) STORE(values[i], h[i]);
}

void SET(ck_blake3)(const void *x, size_t count, int32_t is_chunk, uint64_t first, void *values) {
  const size_t blocks = is_chunk ? CHUNK_BLOCKS : 1;
  for (size_t i = 0; i < count; i += LANES) {
    const char *inputs = (const char *)x + i * blocks * BLOCK_BYTES;
    char room[LANES * CHUNK_BLOCKS * BLOCK_BYTES];
    uint32_t found[8][LANES];
    if (count - i < LANES) {
      // Lanes that are left over do zeros.
      const size_t own = (count - i) * blocks * BLOCK_BYTES;
      __builtin_memcpy(room, inputs, own);
      __builtin_memset(room + own, 0, sizeof(room) - own);
      inputs = room;
    }
    blake3_lanes(inputs, blocks, is_chunk ? first + i : 0, is_chunk, is_chunk ? 0 : CK_BLAKE3_PARENT,
                 is_chunk ? CK_BLAKE3_START : 0, is_chunk ? CK_BLAKE3_END : 0, found);
    for (size_t l = 0; l < LANES && i + l < count; l++)
      for (size_t w = 0; w < VALUE_WORDS; w++)
        __builtin_memcpy((char *)values + 4 * (VALUE_WORDS * (i + l) + w), &found[w][l], 4);
  }
}
