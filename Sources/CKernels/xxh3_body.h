// The kernels of XXH3 for one set: included where the header of libxxhash was told how wide its vectors are.
_Static_assert(sizeof(XXH3_state_t) == CK_XXH3_STATE_BYTES && _Alignof(XXH3_state_t) == 64, "a state of another version");

uint64_t CK_SET(ck_xxh3)(const void *x, size_t byte_count) { return XXH3_64bits(x, byte_count); }

void CK_SET(ck_xxh3_begin)(void *state) {
  XXH3_INITSTATE((XXH3_state_t *)state);
  XXH3_64bits_reset(state);
}

void CK_SET(ck_xxh3_add)(void *state, const void *x, size_t byte_count) { XXH3_64bits_update(state, x, byte_count); }

uint64_t CK_SET(ck_xxh3_end)(const void *state) { return XXH3_64bits_digest(state); }
