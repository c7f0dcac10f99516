// OpenBLAS through addresses found at run time. A program that is linked with it runs its set-up before main: tens of
// milliseconds and a table of buffers for every command, with kernels already chosen.
#ifndef COPENBLAS_SHIM_H
#define COPENBLAS_SHIM_H

#include <stddef.h>

#pragma clang assume_nonnull begin

// y (m, n) = a (m, k) · b (n, k)ᵀ in row order.
static inline void openblas_multiply_transposed(void *cblas_sgemm, int m, int n, int k, const float *a, int a_stride,
                                                const float *b, int b_stride, float *y, int y_stride) {
  enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
  typedef void sgemm(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
  ((sgemm *)cblas_sgemm)(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, m, n, k, 1, a, a_stride, b, b_stride, 0, y, y_stride);
}

// LAPACK's spotrf: a (n, n), symmetric, becomes its Cholesky factor in place. `triangle` is 'L' or 'U' as LAPACK, which
// thinks in columns, sees it. Returns 0, or the 1-based order of the first minor that is not positive definite.
static inline int openblas_cholesky(void *spotrf, char triangle, int n, float *a, int stride) {
  typedef void potrf(const char *, const int *, float *, const int *, int *, size_t);
  int info = 0;
  ((potrf *)spotrf)(&triangle, &n, a, &stride, &info, 1);
  return info;
}

static inline void openblas_set_threads(void *openblas_set_num_threads, int count) {
  ((void (*)(int))openblas_set_num_threads)(count);
}

// Makes the library take the buffers of so many callers at once, which it then keeps: each 128 MiB of address space. Where it
// gets none it tries again, for ever.
static inline void openblas_take_buffers(void *blas_memory_alloc, void *blas_memory_free, size_t count) {
  if (count == 0) return;
  enum { SOME = 1 };  // not used: which kind of work the buffer is for
  void *buffer = ((void *(*)(int))blas_memory_alloc)(SOME);
  openblas_take_buffers(blas_memory_alloc, blas_memory_free, count - 1);
  ((void (*)(void *))blas_memory_free)(buffer);
}

static inline const char *openblas_core(void *openblas_get_corename) {
  return ((const char *(*)(void))openblas_get_corename)();
}

#pragma clang assume_nonnull end

#endif
