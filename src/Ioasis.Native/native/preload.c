/*
 * libioasis-preload.so: stands between a program and the C library, and asks libioasis what those system calls give that a machine with our
 * IOMMU and devices would answer otherwise. The library is loaded at the program's first question after such a device. See
 * docs/foreign-programs.md for what a program does past it.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <ucontext.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "System calls are told apart by the numbers of x86-64."
#endif

#define EXPORT __attribute__((visibility("default")))
#define CALLER ((uintptr_t)__builtin_return_address(0))
#define A(value) ((uint64_t)(uintptr_t)(value))

/* ---- the library behind ---- */

static const char *(*library_start)(char *, size_t);
static int (*library_call)(int, const uint64_t *, int64_t *);
static int (*library_access)(uint64_t, uint64_t *);
static void (*library_end)(void);
static uintptr_t library_first, library_last;

enum { IDLE, RUNNING, FAILED };
static int state = IDLE;
static volatile int forked;
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static char view[65536], *root, *prefixes[1024];
static struct sigaction program_bus;
static __thread int busy __attribute__((tls_model("initial-exec")));

static const char *const first_prefixes[] = {
    "/dev/iommu", "/dev/ioasid", "/dev/vfio", "/sys/bus/pci", "/sys/kernel/iommu_groups", "/sys/class/iommu", "/sys/class/vfio-dev",
    "/sys/devices/virtual/iommu", "/sys/devices/pci", "/sys/dev/char", "/sys/module/vfio", "/sys/module/iommufd", NULL };

static long real(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    long result;
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

static int find_range(struct dl_phdr_info *info, size_t size, void *name)
{
    (void)size;
    if (info->dlpi_name == NULL || strcmp(info->dlpi_name, name) != 0) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, end = start + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        if (library_first == 0 || start < library_first) library_first = start;
        if (end > library_last) library_last = end;
    }
    return 1;
}

static const char *load(void)
{
    Dl_info self;
    static char path[PATH_MAX], why[PATH_MAX + 512];
    if (dladdr((void *)load, &self) == 0 || strlen(self.dli_fname) >= sizeof path - 32) return "libioasis-preload.so does not find itself";
    strcpy(path, self.dli_fname);
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, "libioasis.so.0");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(why, sizeof why, "%s", dlerror());
        return why;
    }
    *(void **)&library_start = dlsym(library, "ioasis_preload_start");
    *(void **)&library_call = dlsym(library, "ioasis_preload_call");
    *(void **)&library_access = dlsym(library, "ioasis_preload_access");
    *(void **)&library_end = dlsym(library, "ioasis_preload_end");
    if (!library_start || !library_call || !library_access || !library_end) return "libioasis.so.0 is of another version";
    struct link_map *map = NULL;
    if (dlinfo(library, RTLD_DI_LINKMAP, &map) == 0) dl_iterate_phdr(find_range, map->l_name);
    return NULL;
}

/* ---- registers that the program maps: each access stops the thread, and is made at the device's model ---- */

static const int order[23] = { REG_R15, REG_R14, REG_R13, REG_R12, REG_RBP, REG_RBX, REG_R11, REG_R10, REG_R9, REG_R8, REG_RAX, REG_RCX,
    REG_RDX, REG_RSI, REG_RDI, -1, REG_RIP, -1, REG_EFL, REG_RSP, -1, -1, -1 };

static void on_bus(int signal, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    uint64_t registers[27] = { 0 };
    int before = errno;
    if (info->si_code == BUS_ADRERR && __atomic_load_n(&state, __ATOMIC_ACQUIRE) == RUNNING) {
        for (int i = 0; i < 23; i++) if (order[i] >= 0) registers[i] = (uint64_t)user->uc_mcontext.gregs[order[i]];
        busy++;
        int done = library_access(A(info->si_addr), registers);
        busy--;
        if (done) {
            for (int i = 0; i < 23; i++) if (order[i] >= 0) user->uc_mcontext.gregs[order[i]] = (greg_t)registers[i];
            errno = before;
            return;
        }
    }
    errno = before;
    if ((program_bus.sa_flags & SA_SIGINFO) && program_bus.sa_sigaction != NULL) program_bus.sa_sigaction(signal, info, context);
    else if (program_bus.sa_handler != SIG_DFL && program_bus.sa_handler != SIG_IGN) program_bus.sa_handler(signal);
    else {
        /* As if nobody had looked: the access is made again. */
        static int (*next)(int, const struct sigaction *, struct sigaction *);
        if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
        struct sigaction none = { .sa_handler = SIG_DFL };
        next(SIGBUS, &none, NULL);
    }
}

static void watch_bus(void)
{
    int (*next)(int, const struct sigaction *, struct sigaction *);
    *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    struct sigaction ours = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER }, before;
    if (next(SIGBUS, &ours, &before) == 0) program_bus = before;
}

EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    static int (*next)(int, const struct sigaction *, struct sigaction *);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    if (number != SIGBUS || __atomic_load_n(&state, __ATOMIC_ACQUIRE) != RUNNING) return next(number, action, before);
    if (before != NULL) *before = program_bus;
    if (action != NULL) program_bus = *action;
    return 0;
}

EXPORT sighandler_t signal(int number, sighandler_t handler)
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART }, before;
    return sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

/* ---- which calls are ours ---- */

static int is_below(const char *path, const char *const *prefix, int exactly)
{
    for (; *prefix != NULL; prefix++) {
        size_t length = strlen(*prefix);
        if (strncmp(path, *prefix, length) == 0 && (!exactly || path[length] == 0 || path[length] == '/')) return 1;
    }
    return 0;
}

/* Whether a path may be below a prefix: the library knows it exactly. */
static int may_be_ours(int folder, const char *path)
{
    if (path == NULL) return 0;
    if (path[0] == '/') {
        return is_below(path, first_prefixes, 0)
            || ((strstr(path, "sys") != NULL || strstr(path, "dev") != NULL)
                && (strstr(path, "..") != NULL || strstr(path, "//") != NULL || strstr(path, "/./") != NULL));
    }
    /* A relative one: of a folder that was opened, or of a working folder in /sys or /dev. */
    if (folder != AT_FDCWD) return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == RUNNING;
    char here[PATH_MAX];
    long length = real(SYS_getcwd, A(here), sizeof here, 0, 0, 0, 0);
    return length > 0 && (strncmp(here, "/sys", 4) == 0 || strncmp(here, "/dev", 4) == 0 || (root != NULL && strncmp(here, root, strlen(root)) == 0));
}

static void note_fork(void) { forked = 1; }

static int start(void)
{
    if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != IDLE) return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == RUNNING;
    pthread_mutex_lock(&start_lock);
    if (state == IDLE) {
        busy++;
        const char *problem = load();
        if (problem == NULL) problem = library_start(view, sizeof view);
        busy--;
        if (problem != NULL) {
            fprintf(stderr, "ioasis: %s\n", problem);
        } else {
            root = view;
            int count = 0;
            for (char *end = strchr(view, '\n'); end != NULL && count < 1023; end = strchr(end + 1, '\n')) {
                *end = 0;
                if (end[1] != 0) prefixes[count++] = end + 1;
            }
            pthread_atfork(NULL, NULL, note_fork);
            watch_bus();
        }
        __atomic_store_n(&state, problem == NULL ? RUNNING : FAILED, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&start_lock);
    return state == RUNNING;
}

__attribute__((destructor)) static void end(void)
{
    if (state == RUNNING && !forked && busy == 0) {
        busy++;
        library_end();
        busy--;
    }
}

/* The library's own calls, and those that it makes on the way, are nobody's. */
static int is_own(uintptr_t caller)
{
    return busy != 0 || (caller >= library_first && caller < library_last);
}

static int ask(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, int64_t *result)
{
    uint64_t arguments[6] = { a, b, c, d, e, f };
    int before = errno;
    busy++;
    int ours = library_call((int)number, arguments, result);
    busy--;
    errno = before;
    return ours;
}

static long finish(int64_t result)
{
    if (result >= 0) return (long)result;
    errno = (int)-result;
    return -1;
}

/* In a child of fork the machine is not there, but the files of its view are. */
static int in_child(void) { return forked; }

static const char *in_view(const char *path, char *place)
{
    if (path == NULL || path[0] != '/' || !is_below(path, (const char *const *)prefixes, 1)) return path;
    return snprintf(place, PATH_MAX, "%s%s", root, path) < PATH_MAX ? place : path;
}

/* A call that names a file. */
static long by_path(uintptr_t caller, long number, int folder, const char *path, int at, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    int64_t result;
    char place[PATH_MAX];
    if (!is_own(caller) && may_be_ours(folder, path)) {
        if (in_child()) {
            path = in_view(path, place);
            if (at == 0) a = A(path); else b = A(path);
        } else if (start() && ask(number, a, b, c, d, e, 0, &result)) {
            return finish(result);
        }
    }
    return finish(real(number, a, b, c, d, e, 0));
}

/* A call on a descriptor: nothing is ours before the machine is there. */
static int is_ours(uintptr_t caller)
{
    return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == RUNNING && !is_own(caller);
}

static long by_descriptor(uintptr_t caller, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    int64_t result;
    if (is_ours(caller) && !in_child() && ask(number, a, b, c, d, e, f, &result)) return finish(result);
    return finish(real(number, a, b, c, d, e, f));
}

/* ---- the C library's functions ---- */

#define MODE(flags, last) ({ unsigned mode_ = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list list_; va_start(list_, last); mode_ = va_arg(list_, unsigned); va_end(list_); } mode_; })

static int open_file(uintptr_t caller, int folder, const char *path, int flags, unsigned mode)
{
    return (int)by_path(caller, SYS_openat, folder, path, 1, (uint64_t)(int64_t)folder, A(path), (uint32_t)flags, mode, 0);
}

EXPORT int open(const char *path, int flags, ...) { return open_file(CALLER, AT_FDCWD, path, flags, MODE(flags, flags)); }
EXPORT int open64(const char *path, int flags, ...) { return open_file(CALLER, AT_FDCWD, path, flags | O_LARGEFILE, MODE(flags, flags)); }
EXPORT int openat(int folder, const char *path, int flags, ...) { return open_file(CALLER, folder, path, flags, MODE(flags, flags)); }
EXPORT int openat64(int folder, const char *path, int flags, ...) { return open_file(CALLER, folder, path, flags | O_LARGEFILE, MODE(flags, flags)); }
EXPORT int __open_2(const char *path, int flags) { return open_file(CALLER, AT_FDCWD, path, flags, 0); }
EXPORT int __open64_2(const char *path, int flags) { return open_file(CALLER, AT_FDCWD, path, flags | O_LARGEFILE, 0); }
EXPORT int __openat_2(int folder, const char *path, int flags) { return open_file(CALLER, folder, path, flags, 0); }
EXPORT int __openat64_2(int folder, const char *path, int flags) { return open_file(CALLER, folder, path, flags | O_LARGEFILE, 0); }

static int flags_of(const char *mode)
{
    int flags = strchr(mode, '+') ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    if (mode[0] == 'w') flags |= O_CREAT | O_TRUNC;
    if (mode[0] == 'a') flags |= O_CREAT | O_APPEND;
    if (strchr(mode, 'x')) flags |= O_EXCL;
    return strchr(mode, 'e') ? flags | O_CLOEXEC : flags;
}

static FILE *open_stream(uintptr_t caller, const char *name, const char *path, const char *mode)
{
    FILE *(*next)(const char *, const char *);
    *(void **)&next = dlsym(RTLD_NEXT, name);
    if (is_own(caller) || !may_be_ours(AT_FDCWD, path)) return next(path, mode);
    int fd = open_file(caller, AT_FDCWD, path, flags_of(mode), 0666);
    FILE *stream = fd < 0 ? NULL : fdopen(fd, mode);
    if (fd >= 0 && stream == NULL) close(fd);
    return stream;
}

EXPORT FILE *fopen(const char *path, const char *mode) { return open_stream(CALLER, "fopen", path, mode); }
EXPORT FILE *fopen64(const char *path, const char *mode) { return open_stream(CALLER, "fopen64", path, mode); }

EXPORT DIR *opendir(const char *path)
{
    uintptr_t caller = CALLER;
    DIR *(*next)(const char *);
    *(void **)&next = dlsym(RTLD_NEXT, "opendir");
    if (is_own(caller) || !may_be_ours(AT_FDCWD, path)) return next(path);
    int fd = open_file(caller, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK, 0);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && folder == NULL) close(fd);
    return folder;
}

EXPORT int scandir(const char *path, struct dirent ***entries, int (*wants)(const struct dirent *), int (*compare)(const struct dirent **, const struct dirent **))
{
    uintptr_t caller = CALLER;
    int (*next)(const char *, struct dirent ***, int (*)(const struct dirent *), int (*)(const struct dirent **, const struct dirent **));
    *(void **)&next = dlsym(RTLD_NEXT, "scandir");
    char self[64];
    if (is_own(caller) || !may_be_ours(AT_FDCWD, path)) return next(path, entries, wants, compare);
    int fd = open_file(caller, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int count = next(self, entries, wants, compare), before = errno;
    close(fd);
    errno = before;
    return count;
}
__asm__(".globl scandir64\n.set scandir64, scandir");

static ssize_t read_link(uintptr_t caller, int folder, const char *path, char *buffer, size_t size)
{
    int64_t result;
    if (path != NULL && strncmp(path, "/proc/", 6) == 0 && is_ours(caller) && !in_child()
        && ask(SYS_readlinkat, (uint64_t)(int64_t)folder, A(path), A(buffer), size, 0, 0, &result)) return finish(result);
    return by_path(caller, SYS_readlinkat, folder, path, 1, (uint64_t)(int64_t)folder, A(path), A(buffer), size, 0);
}

EXPORT ssize_t readlink(const char *path, char *buffer, size_t size) { return read_link(CALLER, AT_FDCWD, path, buffer, size); }
EXPORT ssize_t readlinkat(int folder, const char *path, char *buffer, size_t size) { return read_link(CALLER, folder, path, buffer, size); }
EXPORT ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t room) { if (size > room) abort(); return read_link(CALLER, AT_FDCWD, path, buffer, size); }
EXPORT ssize_t __readlinkat_chk(int folder, const char *path, char *buffer, size_t size, size_t room) { if (size > room) abort(); return read_link(CALLER, folder, path, buffer, size); }

/* The view has only links that stay in it: the real path there, without its root. */
static char *real_path(uintptr_t caller, const char *path, char *resolved)
{
    char *(*next)(const char *, char *), self[64], found[PATH_MAX];
    *(void **)&next = dlsym(RTLD_NEXT, "realpath");
    if (is_own(caller) || path == NULL || !may_be_ours(AT_FDCWD, path)) return next(path, resolved);
    int fd = open_file(caller, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
    if (fd < 0) return NULL;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    long length = real(SYS_readlinkat, AT_FDCWD, A(self), A(found), sizeof found - 1, 0, 0);
    close(fd);
    if (length <= 0) { errno = ENOENT; return NULL; }
    found[length] = 0;
    size_t skip = root != NULL && strncmp(found, root, strlen(root)) == 0 ? strlen(root) : 0;
    if (resolved != NULL) return strcpy(resolved, found + skip);
    return strdup(found + skip);
}

EXPORT char *realpath(const char *path, char *resolved) { return real_path(CALLER, path, resolved); }
EXPORT char *__realpath_chk(const char *path, char *resolved, size_t room) { if (room < PATH_MAX) abort(); return real_path(CALLER, path, resolved); }
EXPORT char *canonicalize_file_name(const char *path) { return real_path(CALLER, path, NULL); }

static int stat_file(uintptr_t caller, int folder, const char *path, struct stat *result, int flags)
{
    if (path == NULL || path[0] == 0) {
        return (int)by_descriptor(caller, SYS_newfstatat, (uint64_t)(int64_t)folder, A(path), A(result), (uint32_t)flags, 0, 0);
    }
    return (int)by_path(caller, SYS_newfstatat, folder, path, 1, (uint64_t)(int64_t)folder, A(path), A(result), (uint32_t)flags, 0);
}

static int stat_descriptor(uintptr_t caller, int fd, struct stat *result) { return (int)by_descriptor(caller, SYS_fstat, (uint64_t)(int64_t)fd, A(result), 0, 0, 0, 0); }

EXPORT int stat(const char *path, struct stat *result) { return stat_file(CALLER, AT_FDCWD, path, result, 0); }
EXPORT int lstat(const char *path, struct stat *result) { return stat_file(CALLER, AT_FDCWD, path, result, AT_SYMLINK_NOFOLLOW); }
EXPORT int fstat(int fd, struct stat *result) { return stat_descriptor(CALLER, fd, result); }
EXPORT int fstatat(int folder, const char *path, struct stat *result, int flags) { return stat_file(CALLER, folder, path, result, flags); }
EXPORT int stat64(const char *path, struct stat64 *result) { return stat_file(CALLER, AT_FDCWD, path, (struct stat *)result, 0); }
EXPORT int lstat64(const char *path, struct stat64 *result) { return stat_file(CALLER, AT_FDCWD, path, (struct stat *)result, AT_SYMLINK_NOFOLLOW); }
EXPORT int fstat64(int fd, struct stat64 *result) { return stat_descriptor(CALLER, fd, (struct stat *)result); }
EXPORT int fstatat64(int folder, const char *path, struct stat64 *result, int flags) { return stat_file(CALLER, folder, path, (struct stat *)result, flags); }
/* Programs that were linked before glibc 2.33. */
EXPORT int __xstat(int version, const char *path, struct stat *result) { (void)version; return stat_file(CALLER, AT_FDCWD, path, result, 0); }
EXPORT int __lxstat(int version, const char *path, struct stat *result) { (void)version; return stat_file(CALLER, AT_FDCWD, path, result, AT_SYMLINK_NOFOLLOW); }
EXPORT int __fxstat(int version, int fd, struct stat *result) { (void)version; return stat_descriptor(CALLER, fd, result); }
EXPORT int __fxstatat(int version, int folder, const char *path, struct stat *result, int flags) { (void)version; return stat_file(CALLER, folder, path, result, flags); }
EXPORT int __xstat64(int version, const char *path, struct stat64 *result) { (void)version; return stat_file(CALLER, AT_FDCWD, path, (struct stat *)result, 0); }
EXPORT int __lxstat64(int version, const char *path, struct stat64 *result) { (void)version; return stat_file(CALLER, AT_FDCWD, path, (struct stat *)result, AT_SYMLINK_NOFOLLOW); }
EXPORT int __fxstat64(int version, int fd, struct stat64 *result) { (void)version; return stat_descriptor(CALLER, fd, (struct stat *)result); }
EXPORT int __fxstatat64(int version, int folder, const char *path, struct stat64 *result, int flags) { (void)version; return stat_file(CALLER, folder, path, (struct stat *)result, flags); }

EXPORT int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict result)
{
    if (path == NULL || path[0] == 0) {
        return (int)by_descriptor(CALLER, SYS_statx, (uint64_t)(int64_t)folder, A(path), (uint32_t)flags, mask, A(result), 0);
    }
    return (int)by_path(CALLER, SYS_statx, folder, path, 1, (uint64_t)(int64_t)folder, A(path), (uint32_t)flags, mask, A(result));
}

EXPORT int access(const char *path, int mode) { return (int)by_path(CALLER, SYS_faccessat, AT_FDCWD, path, 1, (uint64_t)(int64_t)AT_FDCWD, A(path), (uint32_t)mode, 0, 0); }
EXPORT int euidaccess(const char *path, int mode) { return (int)by_path(CALLER, SYS_faccessat, AT_FDCWD, path, 1, (uint64_t)(int64_t)AT_FDCWD, A(path), (uint32_t)mode, 0, 0); }
EXPORT int eaccess(const char *path, int mode) { return (int)by_path(CALLER, SYS_faccessat, AT_FDCWD, path, 1, (uint64_t)(int64_t)AT_FDCWD, A(path), (uint32_t)mode, 0, 0); }

EXPORT int faccessat(int folder, const char *path, int mode, int flags)
{
    int (*next)(int, const char *, int, int);
    *(void **)&next = dlsym(RTLD_NEXT, "faccessat");
    if (is_own(CALLER) || !may_be_ours(folder, path)) return next(folder, path, mode, flags);
    return (int)by_path(CALLER, SYS_faccessat, folder, path, 1, (uint64_t)(int64_t)folder, A(path), (uint32_t)mode, 0, 0);
}

EXPORT ssize_t getxattr(const char *path, const char *name, void *value, size_t size) { return by_path(CALLER, SYS_getxattr, AT_FDCWD, path, 0, A(path), A(name), A(value), size, 0); }
EXPORT ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size) { return by_path(CALLER, SYS_lgetxattr, AT_FDCWD, path, 0, A(path), A(name), A(value), size, 0); }
EXPORT ssize_t listxattr(const char *path, char *list, size_t size) { return by_path(CALLER, SYS_listxattr, AT_FDCWD, path, 0, A(path), A(list), size, 0, 0); }
EXPORT ssize_t llistxattr(const char *path, char *list, size_t size) { return by_path(CALLER, SYS_llistxattr, AT_FDCWD, path, 0, A(path), A(list), size, 0, 0); }
EXPORT int chmod(const char *path, mode_t mode) { return (int)by_path(CALLER, SYS_chmod, AT_FDCWD, path, 0, A(path), mode, 0, 0, 0); }
EXPORT int chown(const char *path, uid_t user, gid_t group) { return (int)by_path(CALLER, SYS_chown, AT_FDCWD, path, 0, A(path), user, group, 0, 0); }

static void close_folder(void *folder) { closedir(folder); }

EXPORT int glob(const char *restrict pattern, int flags, int (*error)(const char *, int), glob_t *restrict found)
{
    int (*next)(const char *, int, int (*)(const char *, int), glob_t *);
    *(void **)&next = dlsym(RTLD_NEXT, "glob");
    if (!is_own(CALLER) && !(flags & GLOB_ALTDIRFUNC) && found != NULL && may_be_ours(AT_FDCWD, pattern)) {
        found->gl_opendir = (void *(*)(const char *))opendir;
        found->gl_readdir = (struct dirent *(*)(void *))readdir;
        found->gl_closedir = close_folder;
        found->gl_stat = stat;
        found->gl_lstat = lstat;
        flags |= GLOB_ALTDIRFUNC;
    }
    return next(pattern, flags, error, found);
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
    uintptr_t caller = CALLER;
    va_list list;
    va_start(list, request);
    uint64_t argument = va_arg(list, uint64_t);
    va_end(list);
    if ((request & 0xff00) != 0x3b00) return (int)finish(real(SYS_ioctl, (uint64_t)(int64_t)fd, request, argument, 0, 0, 0));
    if (is_ours(caller) && in_child()) {
        /* Something else's it may be too, which is not asked: the numbers are VFIO's and iommufd's. */
        long result = real(SYS_ioctl, (uint64_t)(int64_t)fd, request, argument, 0, 0, 0);
        return (int)finish(result == -ENOTTY ? -EOWNERDEAD : result);
    }
    return (int)by_descriptor(caller, SYS_ioctl, (uint64_t)(int64_t)fd, request, argument, 0, 0, 0);
}

/*
 * As small as what a register, a queue or a configuration space can be; not the standard streams. What is not ours the C library does: its
 * reads and writes can be cancelled.
 */
static int transfer(uintptr_t caller, long number, int fd, uint64_t buffer, size_t count, uint64_t offset, int64_t *result)
{
    return fd > 2 && (count <= 4096 || (number != SYS_read && number != SYS_write)) && is_ours(caller) && !in_child()
        && ask(number, (uint64_t)(int64_t)fd, buffer, count, offset, 0, 0, result);
}

#define NEXT(name) ({ static __typeof__(&name) next_; if (next_ == NULL) *(void **)&next_ = dlsym(RTLD_NEXT, #name); next_; })
#define TRANSFER(name, number, offset, ...)                                                                      \
    int64_t result_;                                                                                             \
    return transfer(CALLER, number, fd, A(buffer), count, (uint64_t)(offset), &result_) ? finish(result_) : NEXT(name)(__VA_ARGS__)

EXPORT ssize_t read(int fd, void *buffer, size_t count) { TRANSFER(read, SYS_read, 0, fd, buffer, count); }
EXPORT ssize_t __read_chk(int fd, void *buffer, size_t count, size_t room) { if (count > room) abort(); TRANSFER(read, SYS_read, 0, fd, buffer, count); }
EXPORT ssize_t write(int fd, const void *buffer, size_t count) { TRANSFER(write, SYS_write, 0, fd, buffer, count); }
EXPORT ssize_t pread(int fd, void *buffer, size_t count, off_t offset) { TRANSFER(pread, SYS_pread64, offset, fd, buffer, count, offset); }
EXPORT ssize_t pread64(int fd, void *buffer, size_t count, off64_t offset) { TRANSFER(pread64, SYS_pread64, offset, fd, buffer, count, offset); }
EXPORT ssize_t __pread_chk(int fd, void *buffer, size_t count, off_t offset, size_t room) { if (count > room) abort(); TRANSFER(pread, SYS_pread64, offset, fd, buffer, count, offset); }
EXPORT ssize_t __pread64_chk(int fd, void *buffer, size_t count, off64_t offset, size_t room) { if (count > room) abort(); TRANSFER(pread64, SYS_pread64, offset, fd, buffer, count, offset); }
EXPORT ssize_t pwrite(int fd, const void *buffer, size_t count, off_t offset) { TRANSFER(pwrite, SYS_pwrite64, offset, fd, buffer, count, offset); }
EXPORT ssize_t pwrite64(int fd, const void *buffer, size_t count, off64_t offset) { TRANSFER(pwrite64, SYS_pwrite64, offset, fd, buffer, count, offset); }

/* Several buffers are as many calls, up to the first that is not served wholly. */
static int transfer_many(uintptr_t caller, long number, int fd, const struct iovec *parts, int count, int64_t offset, int64_t *done)
{
    int64_t result;
    *done = 0;
    for (int i = 0; i < count; i++) {
        if (!transfer(caller, number, fd, A(parts[i].iov_base), parts[i].iov_len, (uint64_t)(offset + *done), &result)) return i > 0;
        if (result < 0) {
            if (*done == 0) *done = result;
            return 1;
        }
        *done += result;
        if ((size_t)result < parts[i].iov_len) break;
    }
    return count > 0;
}

#define TRANSFER_MANY(name, number, offset, ...)                                                                 \
    int64_t result_;                                                                                             \
    return transfer_many(CALLER, number, fd, parts, count, offset, &result_) ? finish(result_) : NEXT(name)(__VA_ARGS__)

EXPORT ssize_t readv(int fd, const struct iovec *parts, int count) { TRANSFER_MANY(readv, SYS_read, 0, fd, parts, count); }
EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) { TRANSFER_MANY(writev, SYS_write, 0, fd, parts, count); }
EXPORT ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset) { TRANSFER_MANY(preadv, SYS_pread64, offset, fd, parts, count, offset); }
EXPORT ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset) { TRANSFER_MANY(preadv64, SYS_pread64, offset, fd, parts, count, offset); }
EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { TRANSFER_MANY(pwritev, SYS_pwrite64, offset, fd, parts, count, offset); }
EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { TRANSFER_MANY(pwritev64, SYS_pwrite64, offset, fd, parts, count, offset); }

/* mmap of a file, shared (also with validation). */
static void *map_file(uintptr_t caller, void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
    if (fd < 0 || !(flags & MAP_SHARED)) return (void *)finish(real(SYS_mmap, A(address), length, (uint32_t)protection, (uint32_t)flags, (uint64_t)(int64_t)fd, (uint64_t)offset));
    return (void *)by_descriptor(caller, SYS_mmap, A(address), length, (uint32_t)protection, (uint32_t)flags, (uint64_t)(int64_t)fd, (uint64_t)offset);
}

EXPORT void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) { return map_file(CALLER, address, length, protection, flags, fd, offset); }
EXPORT void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) { return map_file(CALLER, address, length, protection, flags, fd, offset); }

/* Calls by number. */
EXPORT long syscall(long number, ...)
{
    uintptr_t caller = CALLER;
    uint64_t a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, uint64_t);
    va_end(list);
    switch (number) {
    case SYS_open: case SYS_stat: case SYS_lstat: case SYS_access: case SYS_readlink: case SYS_chmod: case SYS_chown:
        return by_path(caller, number, AT_FDCWD, (const char *)a[0], 0, a[0], a[1], a[2], a[3], a[4]);
    case SYS_openat: case SYS_readlinkat: case SYS_faccessat: case SYS_openat2:
        return by_path(caller, number, (int)a[0], (const char *)a[1], 1, a[0], a[1], a[2], a[3], a[4]);
    case SYS_newfstatat: case SYS_statx:
        if (a[1] != 0 && *(const char *)a[1] != 0) return by_path(caller, number, (int)a[0], (const char *)a[1], 1, a[0], a[1], a[2], a[3], a[4]);
        return by_descriptor(caller, number, a[0], a[1], a[2], a[3], a[4], a[5]);
    case SYS_ioctl:
        return ioctl((int)a[0], a[1], a[2]);
    case SYS_fstat: case SYS_pread64: case SYS_pwrite64:
        return by_descriptor(caller, number, a[0], a[1], a[2], a[3], a[4], a[5]);
    case SYS_read: case SYS_write: {
        int64_t result;
        return transfer(caller, number, (int)a[0], a[1], a[2], 0, &result) ? finish(result) : finish(real(number, a[0], a[1], a[2], 0, 0, 0));
    }
    case SYS_mmap:
        return (long)map_file(caller, (void *)a[0], a[1], (int)a[2], (int)a[3], (int)a[4], (off64_t)a[5]);
    default:
        return finish(real(number, a[0], a[1], a[2], a[3], a[4], a[5]));
    }
}
