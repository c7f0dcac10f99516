// Calls that glibc shows only under _GNU_SOURCE, which Swift does not define.
#ifndef CLINUX_SHIM_H
#define CLINUX_SHIM_H

#include <sys/types.h>

#pragma clang assume_nonnull begin

ssize_t copy_file_range(int source, __off64_t *source_position, int target, __off64_t *target_position, size_t count,
                        unsigned flags);

int fallocate(int file, int mode, __off64_t position, __off64_t byte_count);

int renameat2(int old_directory, const char *old_path, int new_directory, const char *new_path, unsigned flags);

#pragma clang assume_nonnull end

#endif
