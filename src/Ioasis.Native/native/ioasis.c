/*
 * The functions that libioasis exports. They include ioasis.h, so that the compiler holds the header against them, and keep a child of
 * fork() out of the runtime behind them: only the thread that forked is there, and a collection may be under way for ever.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ioasis.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

/* The other half, in C# (Exports.*.cs). */
extern const char *ioasis_impl_errmsg(void);
extern int ioasis_impl_platform_create(const struct ioasis_platform_options *, ioasis_platform **);
extern int ioasis_impl_platform_destroy(ioasis_platform *);
extern int ioasis_impl_platform_stats(ioasis_platform *, struct ioasis_stats *);
extern int ioasis_impl_platform_poll(ioasis_platform *);
extern int ioasis_impl_open(ioasis_platform *, const char *, int);
extern int ioasis_impl_close(ioasis_platform *, int);
extern int ioasis_impl_dup(ioasis_platform *, int);
extern int ioasis_impl_ioctl(ioasis_platform *, int, unsigned long, void *);
extern ssize_t ioasis_impl_read(ioasis_platform *, int, void *, size_t);
extern ssize_t ioasis_impl_write(ioasis_platform *, int, const void *, size_t);
extern ssize_t ioasis_impl_pread(ioasis_platform *, int, void *, size_t, uint64_t);
extern ssize_t ioasis_impl_pwrite(ioasis_platform *, int, const void *, size_t, uint64_t);
extern int ioasis_impl_mmap(ioasis_platform *, int, uint64_t, size_t, int, void **);
extern int ioasis_impl_munmap(ioasis_platform *, void *, size_t);
extern int ioasis_impl_poll(ioasis_platform *, struct pollfd *, nfds_t, int);
extern int ioasis_impl_eventfd(ioasis_platform *, unsigned int, int);
extern int ioasis_impl_memfd(ioasis_platform *, const char *, uint64_t);
extern int ioasis_impl_device_create(ioasis_platform *, const struct ioasis_device_options *, const struct ioasis_device_ops *,
                                     void *, ioasis_device **);
extern int ioasis_impl_device_add(ioasis_platform *, const char *, ioasis_device **);
extern int ioasis_impl_device_find(ioasis_platform *, const char *, ioasis_device **);
extern int ioasis_impl_device_remove(ioasis_device *);
extern int ioasis_impl_device_get_info(ioasis_device *, struct ioasis_device_info *);
extern int ioasis_impl_device_signal(ioasis_device *, uint32_t);
extern int ioasis_impl_device_set_line(ioasis_device *, int);
extern ssize_t ioasis_impl_device_config_read(ioasis_device *, uint32_t, void *, size_t);
extern ssize_t ioasis_impl_device_config_write(ioasis_device *, uint32_t, const void *, size_t);
extern int ioasis_impl_dma_read(ioasis_device *, uint32_t, uint64_t, void *, size_t);
extern int ioasis_impl_dma_write(ioasis_device *, uint32_t, uint64_t, const void *, size_t);
extern int ioasis_impl_translate(ioasis_device *, struct ioasis_translation *);
extern int ioasis_impl_fault_next(ioasis_platform *, struct ioasis_fault *);
extern int ioasis_impl_fault_describe(ioasis_platform *, const struct ioasis_fault *, char *, size_t);
extern int ioasis_impl_sanitize(ioasis_platform *, uint32_t);
extern int ioasis_impl_memory_freed(ioasis_platform *, const void *, size_t);
extern int ioasis_impl_mistake_count(ioasis_platform *, uint32_t);
extern int ioasis_impl_mistake_describe(ioasis_platform *, uint32_t, char *, size_t);

extern const char *ioasis_impl_preload_start(void);
extern int ioasis_impl_preload_call(int, const uint64_t *, int64_t *);
extern int ioasis_impl_preload_access(uint64_t, uint64_t *, void *, intptr_t);
extern int ioasis_impl_preload_idle(void);

#define EXPORT __attribute__((visibility("default")))

/*
 * Whether this process may enter the runtime. The state lies in a page that the system wipes in every child, by whatever call it was
 * made; whether an ancestor has entered lies in memory that a child inherits.
 */
enum { NEW_CHILD = 0, OWNER, DECIDING, ORPHAN };
static int unwiped = OWNER;
static int *state = &unwiped;
static int entered;

static void forget(void) { __atomic_store_n(state, NEW_CHILD, __ATOMIC_RELEASE); }

__attribute__((constructor)) static void watch_forks(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED && madvise(page, 4096, MADV_WIPEONFORK) == 0) {
        state = page;
        *state = OWNER;
    } else {
        /* Before Linux 4.14; misses children of clone(2) itself. */
        (void)pthread_atfork(NULL, NULL, forget);
    }
}

/* A child of a process that had not begun with the runtime begins with its own; only one thread decides. */
static int decide(void) {
    for (;;) {
        int seen = NEW_CHILD;
        if (__atomic_compare_exchange_n(state, &seen, DECIDING, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
            seen = __atomic_load_n(&entered, __ATOMIC_RELAXED) ? ORPHAN : OWNER;
            if (seen == OWNER) __atomic_store_n(&entered, 1, __ATOMIC_RELAXED);
            __atomic_store_n(state, seen, __ATOMIC_RELEASE);
        }
        if (seen == OWNER || seen == ORPHAN) return seen == OWNER;
        sched_yield();
    }
}

static inline int may_enter(void) {
    if (__builtin_expect(__atomic_load_n(state, __ATOMIC_ACQUIRE) != OWNER, 0)) return decide();
    /* Before the first step inside: a child that is made from now on inherits it. */
    if (__builtin_expect(!__atomic_load_n(&entered, __ATOMIC_RELAXED), 0)) __atomic_store_n(&entered, 1, __ATOMIC_SEQ_CST);
    return 1;
}

/* What the library asks of the system on the way must not show in the caller's errno. */
#define CALL(type, name, parameters, arguments)         \
    EXPORT type ioasis_##name parameters {              \
        if (!may_enter()) return -EOWNERDEAD;           \
        int before = errno;                             \
        type result = ioasis_impl_##name arguments;     \
        errno = before;                                 \
        return result;                                  \
    }

EXPORT uint32_t ioasis_version(void) { return IOASIS_VERSION; }

EXPORT const char *ioasis_errmsg(void) {
    if (!may_enter()) return "this is a child of fork(): a platform belongs to the process that made it (EOWNERDEAD)";
    int before = errno;
    const char *text = ioasis_impl_errmsg();
    errno = before;
    return text;
}

CALL(int, platform_create, (const struct ioasis_platform_options *options, ioasis_platform **platform), (options, platform))
CALL(int, platform_destroy, (ioasis_platform *platform), (platform))
CALL(int, platform_stats, (ioasis_platform *platform, struct ioasis_stats *stats), (platform, stats))
CALL(int, platform_poll, (ioasis_platform *platform), (platform))
CALL(int, open, (ioasis_platform *platform, const char *path, int flags), (platform, path, flags))
CALL(int, close, (ioasis_platform *platform, int fd), (platform, fd))
CALL(int, dup, (ioasis_platform *platform, int fd), (platform, fd))
CALL(int, ioctl, (ioasis_platform *platform, int fd, unsigned long request, void *argument), (platform, fd, request, argument))
CALL(ssize_t, read, (ioasis_platform *platform, int fd, void *buffer, size_t count), (platform, fd, buffer, count))
CALL(ssize_t, write, (ioasis_platform *platform, int fd, const void *buffer, size_t count), (platform, fd, buffer, count))
CALL(ssize_t, pread, (ioasis_platform *platform, int fd, void *buffer, size_t count, uint64_t offset),
     (platform, fd, buffer, count, offset))
CALL(ssize_t, pwrite, (ioasis_platform *platform, int fd, const void *buffer, size_t count, uint64_t offset),
     (platform, fd, buffer, count, offset))
CALL(int, mmap, (ioasis_platform *platform, int fd, uint64_t offset, size_t length, int protection, void **address),
     (platform, fd, offset, length, protection, address))
CALL(int, munmap, (ioasis_platform *platform, void *address, size_t length), (platform, address, length))
CALL(int, poll, (ioasis_platform *platform, struct pollfd *fds, nfds_t count, int timeout), (platform, fds, count, timeout))
CALL(int, eventfd, (ioasis_platform *platform, unsigned int initial, int flags), (platform, initial, flags))
CALL(int, memfd, (ioasis_platform *platform, const char *name, uint64_t length), (platform, name, length))
CALL(int, device_create, (ioasis_platform *platform, const struct ioasis_device_options *options,
                          const struct ioasis_device_ops *ops, void *context, ioasis_device **device),
     (platform, options, ops, context, device))
CALL(int, device_add, (ioasis_platform *platform, const char *text, ioasis_device **device), (platform, text, device))
CALL(int, device_find, (ioasis_platform *platform, const char *name, ioasis_device **device), (platform, name, device))
CALL(int, device_remove, (ioasis_device *device), (device))
CALL(int, device_get_info, (ioasis_device *device, struct ioasis_device_info *info), (device, info))
CALL(int, device_signal, (ioasis_device *device, uint32_t vector), (device, vector))
CALL(int, device_set_line, (ioasis_device *device, int asserted), (device, asserted))
CALL(ssize_t, device_config_read, (ioasis_device *device, uint32_t offset, void *buffer, size_t count),
     (device, offset, buffer, count))
CALL(ssize_t, device_config_write, (ioasis_device *device, uint32_t offset, const void *buffer, size_t count),
     (device, offset, buffer, count))
CALL(int, dma_read, (ioasis_device *device, uint32_t pasid, uint64_t iova, void *buffer, size_t count),
     (device, pasid, iova, buffer, count))
CALL(int, dma_write, (ioasis_device *device, uint32_t pasid, uint64_t iova, const void *buffer, size_t count),
     (device, pasid, iova, buffer, count))
CALL(int, translate, (ioasis_device *device, struct ioasis_translation *translation), (device, translation))
CALL(int, fault_next, (ioasis_platform *platform, struct ioasis_fault *fault), (platform, fault))
CALL(int, fault_describe, (ioasis_platform *platform, const struct ioasis_fault *fault, char *text, size_t length),
     (platform, fault, text, length))
CALL(int, sanitize, (ioasis_platform *platform, uint32_t flags), (platform, flags))
CALL(int, memory_freed, (ioasis_platform *platform, const void *memory, size_t length), (platform, memory, length))
CALL(int, mistake_count, (ioasis_platform *platform, uint32_t flags), (platform, flags))
CALL(int, mistake_describe, (ioasis_platform *platform, uint32_t index, char *text, size_t length), (platform, index, text, length))

/* For libioasis-preload.so alone (preload.c); errno is its affair. */
extern const char *ioasis_preload_start(void);
extern int ioasis_preload_call(int number, const uint64_t *arguments, int64_t *result);
extern int ioasis_preload_access(uint64_t address, uint64_t *registers, void *vectors, intptr_t size);
extern int ioasis_preload_idle(void);

EXPORT const char *ioasis_preload_start(void) {
    return may_enter() ? ioasis_impl_preload_start() : "this is a child of fork(): the machine belongs to the process that made it";
}

EXPORT int ioasis_preload_call(int number, const uint64_t *arguments, int64_t *result) {
    if (!may_enter()) {
        *result = -EOWNERDEAD;
        return 1;
    }
    return ioasis_impl_preload_call(number, arguments, result);
}

EXPORT int ioasis_preload_access(uint64_t address, uint64_t *registers, void *vectors, intptr_t size) {
    return may_enter() && ioasis_impl_preload_access(address, registers, vectors, size);
}

EXPORT int ioasis_preload_idle(void) {
    return may_enter() && ioasis_impl_preload_idle();
}
