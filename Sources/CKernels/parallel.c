// A pool of threads for regions of a few microseconds and more. Waking a sleeping thread took 40 to 70 µs where it was
// measured, as long as a small product takes; so workers look out for the next region for a while before they sleep.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernels.h"

enum { MOST_WORKERS = 255 };
#define AWAKE_NANOSECONDS 100000  // how long a worker looks out

// The region: number << 32 | parts << 16 | next part. Whoever raises the last field owns that part; the region cannot end
// before the part has, so that body and context are valid then.
static _Atomic uint64_t region;
static _Atomic size_t unfinished;
static ck_part *region_body;
static void *region_context;

static _Atomic uint32_t epoch;  // changes after each new region; sleepers wait for it
static _Atomic uint32_t sleepers;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static size_t worker_count;  // guarded by busy

static void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void take_parts(void) {
  uint64_t now = atomic_load(&region);
  while ((now & 0xFFFF) < (now >> 16 & 0xFFFF)) {
    if (!atomic_compare_exchange_weak(&region, &now, now + 1)) continue;
    region_body(region_context, (size_t)(now & 0xFFFF));
    atomic_fetch_sub(&unfinished, 1);
    now = atomic_load(&region);
  }
}

static void wait_for_change(uint32_t seen) {
  uint64_t end = nanoseconds() + AWAKE_NANOSECONDS;
  do {
    for (int i = 0; i < 32; i++) {
      if (atomic_load(&epoch) != seen) return;
      pause_briefly();
    }
    sched_yield();  // others may have better use for this processor
  } while (nanoseconds() < end);
  atomic_fetch_add(&sleepers, 1);
  syscall(SYS_futex, &epoch, FUTEX_WAIT_PRIVATE, seen, NULL);
  atomic_fetch_sub(&sleepers, 1);
}

static void *work(void *unused) {
  for (;;) {
    uint32_t seen = atomic_load(&epoch);
    take_parts();
    wait_for_change(seen);
  }
  return unused;
}

static void start_workers(size_t count) {
  while (worker_count < count && worker_count < MOST_WORKERS) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, NULL) != 0) return;  // the others do the work
    pthread_detach(thread);
    worker_count++;
  }
}

void ck_parallel(size_t count, ck_part *body, void *context) {
  if (count <= 1 || count > 0xFFFF || atomic_flag_test_and_set(&busy)) {
    for (size_t i = 0; i < count; i++) body(context, i);
    return;
  }
  start_workers(count - 1);
  region_body = body;
  region_context = context;
  atomic_store(&unfinished, count);
  atomic_store(&region, ((atomic_load(&region) >> 32) + 1) << 32 | (uint64_t)count << 16);
  atomic_fetch_add(&epoch, 1);
  if (atomic_load(&sleepers) > 0) syscall(SYS_futex, &epoch, FUTEX_WAKE_PRIVATE, (int)(count - 1));
  take_parts();
  for (int i = 0; atomic_load(&unfinished) != 0; i++) {
    if (i < 256) pause_briefly();
    else sched_yield();  // a worker may wait for this processor
  }
  atomic_flag_clear(&busy);
}
