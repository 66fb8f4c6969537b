//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Swift 6.3's Synchronization.Mutex takes a contended lock inside the standard library, which is not instrumented:
// ThreadSanitizer misses that happens-before edge and reports whatever the lock protects, as it does for eight tasks
// that append to a `Mutex<[Int]>` and do nothing else. Told here, so that nothing of ours has to be suppressed.
// Compiled only with -fsanitize=thread; the standard library's own functions still do the work.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define SWIFT_SELF __attribute__((swift_context))
#define SWIFT_CALL __attribute__((swiftcall))
#define VISIBLE __attribute__((visibility("default")))

#define LOCK_SLOW "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define TRY_LOCK_SLOW "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
#define UNLOCK_SLOW "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

void __tsan_acquire(void *address);
void __tsan_release(void *address);

VISIBLE SWIFT_CALL void lwsx_mutex_lock_slow(uint32_t thread, SWIFT_SELF void *handle) __asm__(LOCK_SLOW);
VISIBLE SWIFT_CALL _Bool lwsx_mutex_try_lock_slow(SWIFT_SELF void *handle) __asm__(TRY_LOCK_SLOW);
VISIBLE SWIFT_CALL void lwsx_mutex_unlock_slow(SWIFT_SELF void *handle) __asm__(UNLOCK_SLOW);

static void *original(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL) abort();
    return function;
}

SWIFT_CALL void lwsx_mutex_lock_slow(uint32_t thread, SWIFT_SELF void *handle) {
    typedef SWIFT_CALL void (*function)(uint32_t, SWIFT_SELF void *);
    ((function)original(LOCK_SLOW))(thread, handle);
    __tsan_acquire(handle);
}

SWIFT_CALL _Bool lwsx_mutex_try_lock_slow(SWIFT_SELF void *handle) {
    typedef SWIFT_CALL _Bool (*function)(SWIFT_SELF void *);
    _Bool isLocked = ((function)original(TRY_LOCK_SLOW))(handle);
    if (isLocked) __tsan_acquire(handle);
    return isLocked;
}

SWIFT_CALL void lwsx_mutex_unlock_slow(SWIFT_SELF void *handle) {
    typedef SWIFT_CALL void (*function)(SWIFT_SELF void *);
    __tsan_release(handle);
    ((function)original(UNLOCK_SLOW))(handle);
}

#endif
#endif
