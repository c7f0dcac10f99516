// Calls that glibc shows only under _GNU_SOURCE, which Swift does not define, and what Swift cannot say of its stack.
#ifndef CLINUX_SHIM_H
#define CLINUX_SHIM_H

#include <malloc.h>
#include <sys/types.h>

#pragma clang assume_nonnull begin

ssize_t copy_file_range(int source, __off64_t *source_position, int target, __off64_t *target_position, size_t count,
                        unsigned flags);

int fallocate(int file, int mode, __off64_t position, __off64_t byte_count);

int memfd_create(const char *name, unsigned flags);

int renameat2(int old_directory, const char *old_path, int new_directory, const char *new_path, unsigned flags);

// Makes the stack of the calling thread as large as any command needs it.
__attribute__((noinline)) static void claim_stack(void) {
  char room[1 << 20];
  room[0] = 0;
  __asm__ volatile("" : : "r"(room) : "memory");  // or the compiler keeps one byte of it
}

#pragma clang assume_nonnull end

#endif
