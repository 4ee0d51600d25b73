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
#include <ftw.h>
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
#include <sys/sysmacros.h>
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

static const char *(*library_start)(void);
static int (*library_call)(int, const uint64_t *, int64_t *);
static int (*library_access)(uint64_t, uint64_t *, void *, intptr_t);
static int (*library_idle)(void);
static uintptr_t library_first, library_last;

enum { IDLE, RUNNING, FAILED };
static int state = IDLE;
static volatile int forked;
static volatile int idle_at_fork; /* the parent had nothing of its machine */
static int generation;            /* how many ancestors had a machine of their own */
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
/* SIGBUS, and SIGILL: a processor that does not know MOVDIR64B stops at it before it looks where it goes. */
static const int watched[2] = { SIGBUS, SIGILL };
static struct sigaction program_action[2];
static __thread int busy __attribute__((tls_model("initial-exec")));

static long real(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    long result;
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

struct range { const char *name; uintptr_t first, last; };

static int find_range(struct dl_phdr_info *info, size_t size, void *argument)
{
    struct range *range = argument;
    (void)size;
    if (info->dlpi_name == NULL || strcmp(info->dlpi_name, range->name) != 0) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, end = start + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        if (range->first == 0 || start < range->first) range->first = start;
        if (end > range->last) range->last = end;
    }
    return 1;
}

/* A file with the same bytes that is another file, so that the loader takes it for another library. */
static int copy_file(const char *path)
{
    int from = (int)real(SYS_openat, (uint64_t)(int64_t)AT_FDCWD, A(path), O_RDONLY | O_CLOEXEC, 0, 0, 0);
    int to = (int)real(SYS_memfd_create, A("libioasis"), MFD_CLOEXEC, 0, 0, 0, 0);
    long copied = 1;
    while (from >= 0 && to >= 0 && copied > 0) copied = real(SYS_sendfile, (uint64_t)to, (uint64_t)from, 0, 1 << 26, 0, 0);
    if (from >= 0) real(SYS_close, (uint64_t)from, 0, 0, 0, 0, 0);
    if (to >= 0 && (from < 0 || copied < 0)) {
        real(SYS_close, (uint64_t)to, 0, 0, 0, 0, 0);
        to = -1;
    }
    return to;
}

static const char *load(void)
{
    Dl_info self;
    static char path[PATH_MAX], why[PATH_MAX + 512];
    if (dladdr((void *)load, &self) == 0 || strlen(self.dli_fname) >= sizeof path - 32) return "libioasis-preload.so does not find itself";
    strcpy(path, self.dli_fname);
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, "libioasis.so.0");
    int copy = generation > 0 ? copy_file(path) : -1;
    if (generation > 0 && copy < 0) return "a child cannot have a machine of its own: libioasis.so.0 cannot be copied";
    if (copy >= 0) snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (copy >= 0) real(SYS_close, (uint64_t)copy, 0, 0, 0, 0, 0);
    if (library == NULL) {
        snprintf(why, sizeof why, "%s", dlerror());
        return why;
    }
    *(void **)&library_start = dlsym(library, "ioasis_preload_start");
    *(void **)&library_call = dlsym(library, "ioasis_preload_call");
    *(void **)&library_access = dlsym(library, "ioasis_preload_access");
    *(void **)&library_idle = dlsym(library, "ioasis_preload_idle");
    if (!library_start || !library_call || !library_access || !library_idle) return "libioasis.so.0 is of another version";
    struct link_map *map = NULL;
    if (dlinfo(library, RTLD_DI_LINKMAP, &map) == 0) {
        struct range range = { .name = map->l_name };
        dl_iterate_phdr(find_range, &range);
        library_first = range.first;
        library_last = range.last;
    }
    return NULL;
}

/* ---- registers that the program maps: each access stops the thread, and is made at the device's model ---- */

static const int order[23] = { REG_R15, REG_R14, REG_R13, REG_R12, REG_RBP, REG_RBX, REG_R11, REG_R10, REG_R9, REG_R8, REG_RAX, REG_RCX,
    REG_RDX, REG_RSI, REG_RDI, -1, REG_RIP, -1, REG_EFL, REG_RSP, -1, -1, -1 };

/* The kernel says behind the legacy part how long the whole is (struct _fpx_sw_bytes). */
static intptr_t size_of_vectors(const unsigned char *area)
{
    uint32_t magic, size;
    memcpy(&magic, area + 464, 4);
    memcpy(&size, area + 480, 4);
    return magic == 0x46505853 ? (intptr_t)size : 512;
}

static struct sigaction *action_of(int signal)
{
    for (int i = 0; i < 2; i++) if (watched[i] == signal) return &program_action[i];
    return NULL;
}

static int next_action(int signal, const struct sigaction *action, struct sigaction *before)
{
    static int (*next)(int, const struct sigaction *, struct sigaction *);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    return next(signal, action, before);
}

/* BUS_ADRERR and ILL_ILLOPN are one number. */
static void on_access(int signal, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    uint64_t registers[27] = { 0 };
    int before = errno;
    if (info->si_code == BUS_ADRERR && __atomic_load_n(&state, __ATOMIC_ACQUIRE) == RUNNING) {
        for (int i = 0; i < 23; i++) if (order[i] >= 0) registers[i] = (uint64_t)user->uc_mcontext.gregs[order[i]];
        busy++;
        unsigned char *vectors = (unsigned char *)user->uc_mcontext.fpregs;
        int done = library_access(A(info->si_addr), registers, vectors, vectors ? size_of_vectors(vectors) : 0);
        busy--;
        if (done) {
            for (int i = 0; i < 23; i++) if (order[i] >= 0) user->uc_mcontext.gregs[order[i]] = (greg_t)registers[i];
            errno = before;
            return;
        }
    }
    errno = before;
    const struct sigaction *program = action_of(signal);
    if ((program->sa_flags & SA_SIGINFO) && program->sa_sigaction != NULL) program->sa_sigaction(signal, info, context);
    else if (program->sa_handler != SIG_DFL && program->sa_handler != SIG_IGN) program->sa_handler(signal);
    else {
        /* As if nobody had looked: the access is made again. */
        struct sigaction none = { .sa_handler = SIG_DFL };
        next_action(signal, &none, NULL);
    }
}

/* What the program has is known already if it is not the first time. */
static void watch_accesses(int is_first)
{
    struct sigaction ours = { .sa_sigaction = on_access, .sa_flags = SA_SIGINFO | SA_NODEFER }, before;
    for (int i = 0; i < 2; i++) if (next_action(watched[i], &ours, &before) == 0 && is_first) program_action[i] = before;
}

static void forget_accesses(void)
{
    for (int i = 0; i < 2; i++) next_action(watched[i], &program_action[i], NULL);
}

EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    struct sigaction *program = action_of(number);
    if (program == NULL || __atomic_load_n(&state, __ATOMIC_ACQUIRE) != RUNNING) return next_action(number, action, before);
    if (before != NULL) *before = *program;
    if (action != NULL) *program = *action;
    return 0;
}

EXPORT sighandler_t signal(int number, sighandler_t handler)
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART }, before;
    return sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

/* ---- the view of devices: a tree of plain files that `ioasis exec` has written, which takes the place of parts of /sys and /dev ---- */

struct node { const char *path; uint64_t device, inode; unsigned long number, mode; };

static char listing[262144];
static const char *root, *prefixes[1024];
static struct node nodes[1024];
static int prefix_count, node_count, view_folder = -1;

static int open_view(void)
{
    int fd = (int)real(SYS_openat, (uint64_t)(int64_t)AT_FDCWD, A(root), O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
    /* Out of the way of the numbers that the program expects. */
    int high = fd < 0 ? fd : (int)real(SYS_fcntl, (uint64_t)fd, F_DUPFD_CLOEXEC, 700, 0, 0, 0);
    if (high < 0) return fd;
    real(SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0);
    return high;
}

/* Prefixes, an empty line, then for each node its path, number and mode. */
__attribute__((constructor)) static void read_view(void)
{
    char path[PATH_MAX];
    struct stat file;
    root = getenv("IOASIS_VIEW");
    if (root == NULL || snprintf(path, sizeof path, "%s/.view", root) >= (int)sizeof path) { root = NULL; return; }
    int fd = (int)real(SYS_openat, (uint64_t)(int64_t)AT_FDCWD, A(path), O_RDONLY | O_CLOEXEC, 0, 0, 0);
    long length = fd < 0 ? fd : real(SYS_read, (uint64_t)fd, A(listing), sizeof listing - 1, 0, 0, 0);
    if (fd >= 0) real(SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0);
    view_folder = length > 0 ? open_view() : -1;
    if (view_folder < 0) { root = NULL; return; }
    root = strdup(root);
    char *line = listing, *end;
    for (; (end = strchr(line, '\n')) != NULL && end != line && prefix_count < 1024; line = end + 1) {
        *end = 0;
        prefixes[prefix_count++] = line;
    }
    for (line++; end != NULL && (end = strchr(line, '\n')) != NULL && node_count < 1024; line = end + 1) {
        struct node *node = &nodes[node_count];
        char *number = strchr(line, ' '), *mode;
        *end = 0;
        if (number == NULL) continue;
        *number = 0;
        node->path = line;
        node->number = strtoul(number + 1, &mode, 10);
        node->mode = strtoul(mode, NULL, 10);
        snprintf(path, sizeof path, "%s%s", root, line);
        if (real(SYS_newfstatat, (uint64_t)(int64_t)AT_FDCWD, A(path), A(&file), AT_SYMLINK_NOFOLLOW, 0, 0) != 0) continue;
        node->device = file.st_dev;
        node->inode = file.st_ino;
        node_count++;
    }
}

static const struct node *node_of(uint64_t device, uint64_t inode)
{
    for (int i = 0; i < node_count; i++) if (nodes[i].inode == inode && nodes[i].device == device) return &nodes[i];
    return NULL;
}

static int is_below(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(path, prefix, length) == 0 && (path[length] == 0 || path[length] == '/');
}

static int has_prefix(const char *path)
{
    for (int i = 0; i < prefix_count; i++) if (is_below(path, prefixes[i])) return 1;
    return 0;
}

/* Appends a path's parts, each with one slash before it, without those that mean nothing. */
static size_t append(char *below, size_t used, const char *path)
{
    while (*path != 0) {
        size_t length = strcspn(path, "/");
        if (length > 0 && !(length == 1 && *path == '.')) {
            if (used + length + 3 >= PATH_MAX) return 0;
            below[used++] = '/';
            memcpy(below + used, path, length);
            used += length;
        }
        path += length;
        if (*path == '/') path++;
    }
    below[used] = 0;
    return used;
}

/* Takes out ".." with what is before it. */
static void collapse(char *below)
{
    char copy[PATH_MAX], *part, *rest = copy;
    size_t used = 0;
    strcpy(copy, below);
    below[0] = 0;
    while ((part = strsep(&rest, "/")) != NULL) {
        if (*part == 0) continue;
        if (strcmp(part, "..") == 0) {
            while (used > 0 && below[--used] != '/');
            below[used] = 0;
        } else {
            used += (size_t)sprintf(below + used, "/%s", part);
        }
    }
}

/* The path of a call if it is below a prefix of the view. */
static int find(int folder, const char *path, char *below)
{
    size_t used = 0;
    if (root == NULL || path == NULL || *path == 0) return 0;
    if (*path == '/') {
        if (strncmp(path, "/sys/", 5) != 0 && strncmp(path, "/dev/", 5) != 0 && strstr(path, "//") == NULL && strstr(path, "/.") == NULL) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        long length = folder == AT_FDCWD ? real(SYS_getcwd, A(below), PATH_MAX, 0, 0, 0, 0) - 1
            : real(SYS_readlinkat, (uint64_t)(int64_t)AT_FDCWD, A(link), A(below), PATH_MAX - 1, 0, 0);
        if (length <= 0 || below[0] != '/') return 0;
        below[length] = 0;
        if (is_below(below, root)) memmove(below, below + strlen(root), (size_t)length + 1 - strlen(root));
        else if (strncmp(below, "/sys", 4) != 0 && strncmp(below, "/dev", 4) != 0 && strstr(path, "..") == NULL) return 0;
        used = strcmp(below, "/") == 0 ? 0 : strlen(below);
    }
    if (append(below, used, path) == 0) return 0;
    if (!has_prefix(below)) {
        if (strstr(below, "..") == NULL) return 0;
        collapse(below);
        if (!has_prefix(below)) return 0;
    }
    size_t length = strlen(path);
    if (path[length - 1] == '/' || (length > 1 && strcmp(path + length - 2, "/.") == 0)) strcat(below, "/");
    return 1;
}

/* Opens below the view; links do not lead out of it. */
static long open_below(const char *below, uint64_t flags)
{
    struct { uint64_t flags, mode, resolve; } how = { flags, 0, 0x10 };
    long fd = real(SYS_openat2, (uint64_t)view_folder, A(below), A(&how), sizeof how, 0, 0);
    if (fd == -EBADF) {
        /* The program has closed what it did not open. */
        view_folder = open_view();
        fd = real(SYS_openat2, (uint64_t)view_folder, A(below), A(&how), sizeof how, 0, 0);
    }
    return fd;
}

static void show_node(struct stat *file)
{
    const struct node *node = node_of(file->st_dev, file->st_ino);
    if (node == NULL) return;
    file->st_mode = (mode_t)node->mode;
    file->st_rdev = node->number;
    file->st_size = 0;
    file->st_blocks = 0;
}

/* ---- which calls are ours ---- */

/* A child of a process that has nothing of its machine at that moment may have one of its own: with another copy of the library, for the threads
   of the first one's runtime are not in the child. */
static void before_fork(void)
{
    if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != RUNNING || forked || busy) return;
    int before = errno;
    busy++;
    idle_at_fork = library_idle();
    busy--;
    errno = before;
}

static void note_fork(void) { forked = 1; }

static void begin_anew(void)
{
    pthread_mutex_init(&start_lock, NULL);
    generation++;
    forked = 0;
    busy = 0;
    __atomic_store_n(&state, IDLE, __ATOMIC_RELEASE);
}

static int start(void)
{
    if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != IDLE) return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == RUNNING;
    pthread_mutex_lock(&start_lock);
    if (state == IDLE) {
        busy++;
        const char *problem = load();
        /* Before the library has its own handler, which has to see its faults first. */
        if (problem == NULL) watch_accesses(generation == 0);
        if (problem == NULL && (problem = library_start()) != NULL) forget_accesses();
        busy--;
        if (problem != NULL) {
            fprintf(stderr, "ioasis: %s\n", problem);
        } else if (generation == 0) {
            pthread_atfork(before_fork, NULL, note_fork);
        }
        __atomic_store_n(&state, problem == NULL ? RUNNING : FAILED, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&start_lock);
    return state == RUNNING;
}

static int remove_entry(const char *path, const struct stat *file, int kind, struct FTW *place)
{
    (void)file; (void)kind; (void)place;
    return remove(path);
}

/* The view was made for the process that `ioasis exec` became: it goes with it. */
__attribute__((destructor)) static void end(void)
{
    char own[64];
    snprintf(own, sizeof own, "/ioasis-%d-", (int)getpid());
    if (root != NULL && strstr(root, own) != NULL) nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
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

/* A child of fork of a process that has the machine: the machine is its parent's. */
static int in_child(void) { return forked; }

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

#define NEXT(name) ({ static __typeof__(&name) next_; if (next_ == NULL) *(void **)&next_ = dlsym(RTLD_NEXT, #name); next_; })

#define MODE(flags, last) ({ unsigned mode_ = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list list_; va_start(list_, last); mode_ = va_arg(list_, unsigned); va_end(list_); } mode_; })

static int open_file(uintptr_t caller, int folder, const char *path, int flags, unsigned mode)
{
    const int kept = O_ACCMODE | O_TRUNC | O_APPEND | O_NONBLOCK | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_PATH | O_CLOEXEC;
    char below[PATH_MAX];
    struct stat file;
    int64_t result;
    if (is_own(caller) || !find(folder, path, below)) {
        return (int)finish(real(SYS_openat, (uint64_t)(int64_t)folder, A(path), (uint32_t)flags, mode, 0, 0));
    }
    long found = open_below(below, O_PATH | O_CLOEXEC | (uint64_t)(flags & O_NOFOLLOW));
    if (found < 0) return (int)finish(found);
    int is_there = real(SYS_newfstatat, (uint64_t)found, A(""), A(&file), AT_EMPTY_PATH, 0, 0) == 0;
    real(SYS_close, (uint64_t)found, 0, 0, 0, 0, 0);
    const struct node *node = is_there ? node_of(file.st_dev, file.st_ino) : NULL;
    if (node == NULL || (flags & O_PATH)) return (int)finish(open_below(below, (uint64_t)(flags & kept)));
    if (flags & O_DIRECTORY) return (int)finish(-ENOTDIR);
    if (in_child() && !idle_at_fork) return (int)finish(-EOWNERDEAD);
    if (in_child()) begin_anew();
    if (!start()) return (int)finish(-ENODEV);
    return (int)finish(ask(SYS_openat, (uint64_t)(int64_t)AT_FDCWD, A(node->path), (uint32_t)flags, mode, 0, 0, &result) ? result : -ENODEV);
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
    char below[PATH_MAX];
    if (is_own(caller) || !find(AT_FDCWD, path, below)) return next(path, mode);
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
    char below[PATH_MAX];
    if (is_own(caller) || !find(AT_FDCWD, path, below)) return next(path);
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
    char self[64], below[PATH_MAX];
    if (is_own(caller) || !find(AT_FDCWD, path, below)) return next(path, entries, wants, compare);
    int fd = open_file(caller, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int count = next(self, entries, wants, compare), before = errno;
    close(fd);
    errno = before;
    return count;
}
__asm__(".globl scandir64\n.set scandir64, scandir");

/* Links of /proc to descriptors say what Linux would say. */
static ssize_t read_link(uintptr_t caller, int folder, const char *path, char *buffer, size_t size)
{
    int64_t result;
    char below[PATH_MAX];
    if (!is_own(caller) && root != NULL && path != NULL && strncmp(path, "/proc/", 6) == 0) {
        if (is_ours(caller) && !in_child() && ask(SYS_readlinkat, (uint64_t)(int64_t)folder, A(path), A(buffer), size, 0, 0, &result)) return finish(result);
        long length = real(SYS_readlinkat, (uint64_t)(int64_t)folder, A(path), A(below), sizeof below - 1, 0, 0);
        below[length > 0 ? length : 0] = 0;
        if (length > 0 && is_below(below, root)) {
            size_t left = strlen(below + strlen(root));
            memcpy(buffer, below + strlen(root), left < size ? left : size);
            return (ssize_t)(left < size ? left : size);
        }
    } else if (!is_own(caller) && find(folder, path, below)) {
        long found = open_below(below, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (found < 0) return finish(found);
        long length = real(SYS_readlinkat, (uint64_t)found, A(""), A(buffer), size, 0, 0);
        real(SYS_close, (uint64_t)found, 0, 0, 0, 0, 0);
        return finish(length == -ENOENT ? -EINVAL : length);
    }
    return finish(real(SYS_readlinkat, (uint64_t)(int64_t)folder, A(path), A(buffer), size, 0, 0));
}

EXPORT ssize_t readlink(const char *path, char *buffer, size_t size) { return read_link(CALLER, AT_FDCWD, path, buffer, size); }
EXPORT ssize_t readlinkat(int folder, const char *path, char *buffer, size_t size) { return read_link(CALLER, folder, path, buffer, size); }
EXPORT ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t room) { if (size > room) abort(); return read_link(CALLER, AT_FDCWD, path, buffer, size); }
EXPORT ssize_t __readlinkat_chk(int folder, const char *path, char *buffer, size_t size, size_t room) { if (size > room) abort(); return read_link(CALLER, folder, path, buffer, size); }

/* The view has only links that stay in it: the real path there, without its root. */
static char *real_path(uintptr_t caller, const char *path, char *resolved)
{
    char *(*next)(const char *, char *), self[64], found[PATH_MAX];
    char below[PATH_MAX];
    *(void **)&next = dlsym(RTLD_NEXT, "realpath");
    if (is_own(caller) || !find(AT_FDCWD, path, below)) return next(path, resolved);
    int fd = open_file(caller, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
    if (fd < 0) return NULL;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    long length = real(SYS_readlinkat, (uint64_t)(int64_t)AT_FDCWD, A(self), A(found), sizeof found - 1, 0, 0);
    close(fd);
    if (length <= 0) { errno = ENOENT; return NULL; }
    found[length] = 0;
    size_t skip = is_below(found, root) ? strlen(root) : 0;
    if (resolved != NULL) return strcpy(resolved, found + skip);
    return strdup(found + skip);
}

EXPORT char *realpath(const char *path, char *resolved) { return real_path(CALLER, path, resolved); }
EXPORT char *__realpath_chk(const char *path, char *resolved, size_t room) { if (room < PATH_MAX) abort(); return real_path(CALLER, path, resolved); }
EXPORT char *canonicalize_file_name(const char *path) { return real_path(CALLER, path, NULL); }

static int stat_descriptor(uintptr_t caller, int fd, struct stat *result)
{
    int64_t answer;
    if (is_ours(caller) && !in_child() && ask(SYS_fstat, (uint64_t)(int64_t)fd, A(result), 0, 0, 0, 0, &answer)) return (int)finish(answer);
    int status = (int)finish(real(SYS_fstat, (uint64_t)(int64_t)fd, A(result), 0, 0, 0, 0));
    if (status == 0 && root != NULL && !is_own(caller)) show_node(result);
    return status;
}

static int stat_file(uintptr_t caller, int folder, const char *path, struct stat *result, int flags)
{
    char below[PATH_MAX];
    if ((path == NULL || path[0] == 0) && (flags & AT_EMPTY_PATH) && folder >= 0) return stat_descriptor(caller, folder, result);
    if (is_own(caller) || !find(folder, path, below)) {
        return (int)finish(real(SYS_newfstatat, (uint64_t)(int64_t)folder, A(path), A(result), (uint32_t)flags, 0, 0));
    }
    long found = open_below(below, O_PATH | O_CLOEXEC | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0));
    if (found < 0) return (int)finish(found);
    long status = real(SYS_newfstatat, (uint64_t)found, A(""), A(result), AT_EMPTY_PATH, 0, 0);
    real(SYS_close, (uint64_t)found, 0, 0, 0, 0, 0);
    if (status == 0) show_node(result);
    return (int)finish(status);
}

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
    char below[PATH_MAX];
    struct stat file;
    int64_t answer;
    long found = -1, status;
    int is_empty = path == NULL || path[0] == 0;
    if (is_own(CALLER) || (!is_empty && !find(folder, path, below))) {
        return (int)finish(real(SYS_statx, (uint64_t)(int64_t)folder, A(path), (uint32_t)flags, mask, A(result), 0));
    }
    if (is_empty) {
        if (is_ours(CALLER) && !in_child() && ask(SYS_statx, (uint64_t)(int64_t)folder, A(path), (uint32_t)flags, mask, A(result), 0, &answer)) return (int)finish(answer);
        status = real(SYS_statx, (uint64_t)(int64_t)folder, A(path), (uint32_t)flags, mask, A(result), 0);
        if (status != 0 || root == NULL || real(SYS_fstat, (uint64_t)(int64_t)folder, A(&file), 0, 0, 0, 0) != 0) return (int)finish(status);
    } else {
        found = open_below(below, O_PATH | O_CLOEXEC | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0));
        if (found < 0) return (int)finish(found);
        status = real(SYS_statx, (uint64_t)found, A(""), AT_EMPTY_PATH, mask, A(result), 0);
        if (status == 0) status = real(SYS_newfstatat, (uint64_t)found, A(""), A(&file), AT_EMPTY_PATH, 0, 0);
        real(SYS_close, (uint64_t)found, 0, 0, 0, 0, 0);
        if (status != 0) return (int)finish(status);
    }
    if (node_of(file.st_dev, file.st_ino) != NULL) {
        show_node(&file);
        result->stx_mode = (uint16_t)file.st_mode;
        result->stx_size = 0;
        result->stx_blocks = 0;
        result->stx_rdev_major = major(file.st_rdev);
        result->stx_rdev_minor = minor(file.st_rdev);
    }
    return 0;
}

/* Calls that look whether a path is there, and change or tell nothing else of it. */
static int touch(uintptr_t caller, int folder, const char *path, int64_t outcome, long *result)
{
    char below[PATH_MAX];
    if (is_own(caller) || !find(folder, path, below)) return 0;
    long found = open_below(below, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (found >= 0) real(SYS_close, (uint64_t)found, 0, 0, 0, 0, 0);
    *result = finish(found < 0 ? found : outcome);
    return 1;
}

#define TOUCH(name, outcome, ...) \
    long result_;                 \
    return touch(CALLER, AT_FDCWD, path, outcome, &result_) ? (__typeof__(name(__VA_ARGS__)))result_ : NEXT(name)(__VA_ARGS__)

static int check_access(uintptr_t caller, int folder, const char *path, int mode, long *result)
{
    char below[PATH_MAX];
    if (is_own(caller) || !find(folder, path, below)) return 0;
    long found = open_below(below, O_PATH | O_CLOEXEC);
    *result = finish(found < 0 ? found : real(439, (uint64_t)found, A(""), (uint32_t)mode, AT_EMPTY_PATH, 0, 0));
    if (found >= 0) real(SYS_close, (uint64_t)found, 0, 0, 0, 0, 0);
    return 1;
}

#define ACCESS(name, folder, ...) \
    long result_;                 \
    return check_access(CALLER, folder, path, mode, &result_) ? (int)result_ : NEXT(name)(__VA_ARGS__)

EXPORT int access(const char *path, int mode) { ACCESS(access, AT_FDCWD, path, mode); }
EXPORT int euidaccess(const char *path, int mode) { ACCESS(euidaccess, AT_FDCWD, path, mode); }
EXPORT int eaccess(const char *path, int mode) { ACCESS(eaccess, AT_FDCWD, path, mode); }
EXPORT int faccessat(int folder, const char *path, int mode, int flags) { ACCESS(faccessat, folder, folder, path, mode, flags); }
EXPORT ssize_t getxattr(const char *path, const char *name, void *value, size_t size) { TOUCH(getxattr, -EOPNOTSUPP, path, name, value, size); }
EXPORT ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size) { TOUCH(lgetxattr, -EOPNOTSUPP, path, name, value, size); }
EXPORT ssize_t listxattr(const char *path, char *list, size_t size) { TOUCH(listxattr, -EOPNOTSUPP, path, list, size); }
EXPORT ssize_t llistxattr(const char *path, char *list, size_t size) { TOUCH(llistxattr, -EOPNOTSUPP, path, list, size); }
EXPORT int chmod(const char *path, mode_t mode) { TOUCH(chmod, 0, path, mode); }
EXPORT int chown(const char *path, uid_t user, gid_t group) { TOUCH(chown, 0, path, user, group); }
EXPORT int lchown(const char *path, uid_t user, gid_t group) { TOUCH(lchown, 0, path, user, group); }

static void close_folder(void *folder) { closedir(folder); }

EXPORT int glob(const char *restrict pattern, int flags, int (*error)(const char *, int), glob_t *restrict found)
{
    int (*next)(const char *, int, int (*)(const char *, int), glob_t *);
    *(void **)&next = dlsym(RTLD_NEXT, "glob");
    char below[PATH_MAX];
    if (!is_own(CALLER) && !(flags & GLOB_ALTDIRFUNC) && found != NULL && (find(AT_FDCWD, pattern, below) || strncmp(pattern, "/sys/", 5) == 0 || strncmp(pattern, "/dev/", 5) == 0)) {
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

/*
 * What takes memory away: devices may have it. The C library's own calls (of free, of a thread's end) do not come here.
 */
static void take(uintptr_t caller, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    int64_t result;
    if (is_ours(caller) && !in_child()) ask(number, a, b, c, d, e, f, &result);
}

EXPORT int munmap(void *address, size_t length)
{
    take(CALLER, SYS_munmap, A(address), length, 0, 0, 0, 0);
    return (int)finish(real(SYS_munmap, A(address), length, 0, 0, 0, 0));
}

EXPORT int madvise(void *address, size_t length, int advice)
{
    take(CALLER, SYS_madvise, A(address), length, (uint64_t)(int64_t)advice, 0, 0, 0);
    return (int)finish(real(SYS_madvise, A(address), length, (uint64_t)(int64_t)advice, 0, 0, 0));
}

EXPORT void *mremap(void *address, size_t old_length, size_t length, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    void *target = (flags & (MREMAP_FIXED | 4)) ? va_arg(list, void *) : NULL; /* 4: MREMAP_DONTUNMAP */
    va_end(list);
    take(CALLER, SYS_mremap, A(address), old_length, length, (uint64_t)flags, A(target), 0);
    return (void *)finish(real(SYS_mremap, A(address), old_length, length, (uint64_t)flags, A(target), 0));
}

EXPORT int brk(void *address)
{
    take(CALLER, SYS_brk, A(address), 0, 0, 0, 0, 0);
    return NEXT(brk)(address);
}

EXPORT int shmdt(const void *address)
{
    take(CALLER, SYS_shmdt, A(address), 0, 0, 0, 0, 0);
    return (int)finish(real(SYS_shmdt, A(address), 0, 0, 0, 0, 0));
}

/* mmap of a file, shared (also with validation). */
static void *map_file(uintptr_t caller, void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
    int shared = fd >= 0 && !(flags & MAP_ANONYMOUS) && (flags & MAP_SHARED);
    if (!shared && (flags & MAP_FIXED)) take(caller, SYS_mmap, A(address), length, (uint32_t)protection, (uint32_t)flags, (uint64_t)(int64_t)fd, (uint64_t)offset);
    if (fd < 0 || !(flags & MAP_SHARED)) return (void *)finish(real(SYS_mmap, A(address), length, (uint32_t)protection, (uint32_t)flags, (uint64_t)(int64_t)fd, (uint64_t)offset));
    return (void *)by_descriptor(caller, SYS_mmap, A(address), length, (uint32_t)protection, (uint32_t)flags, (uint64_t)(int64_t)fd, (uint64_t)offset);
}

EXPORT void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) { return map_file(CALLER, address, length, protection, flags, fd, offset); }
EXPORT void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) { return map_file(CALLER, address, length, protection, flags, fd, offset); }

/*
 * Runtimes of other languages ask for the C library's functions by name (ctypes, .NET, Java), of that library itself: what they find there
 * and we stand before is ours.
 */
static void *(*next_dlsym)(void *, const char *);

__attribute__((noinline)) static void find_dlsym(void)
{
    void *found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    *(void **)&next_dlsym = found != NULL ? found : dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
}

__attribute__((noinline)) static void *find_symbol(void *handle, const char *name)
{
    static void *self, *library;
    static uintptr_t first, last;
    void *found = next_dlsym(handle, name), *ours;
    if (self == NULL) {
        Dl_info info;
        if (dladdr((void *)load, &info) == 0) return found;
        struct range mine = { .name = info.dli_fname };
        dl_iterate_phdr(find_range, &mine);
        first = mine.first;
        last = mine.last;
        library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        self = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    }
    if (found == NULL || self == NULL || library == NULL) return found;
    ours = next_dlsym(self, name);
    return A(ours) >= first && A(ours) < last && next_dlsym(library, name) == found ? ours : found;
}

EXPORT void *dlsym(void *restrict handle, const char *restrict name)
{
    if (next_dlsym == NULL) find_dlsym();
    /* "Next" is relative to who calls: by a jump, that is still who asks here. */
    if (handle == RTLD_NEXT || handle == RTLD_DEFAULT || root == NULL || is_own(CALLER)) return next_dlsym(handle, name);
    return find_symbol(handle, name);
}

/* Calls by number. */
EXPORT long syscall(long number, ...)
{
    uintptr_t caller = CALLER;
    uint64_t a[6];
    char below[PATH_MAX];
    long answer;
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, uint64_t);
    va_end(list);
    if (is_own(caller)) return finish(real(number, a[0], a[1], a[2], a[3], a[4], a[5]));
    switch (number) {
    case SYS_open:
        return open_file(caller, AT_FDCWD, (const char *)a[0], (int)a[1], (unsigned)a[2]);
    case SYS_openat:
        return open_file(caller, (int)a[0], (const char *)a[1], (int)a[2], (unsigned)a[3]);
    case SYS_openat2:
        if (is_own(caller) || a[2] == 0 || a[3] < 24) return finish(real(number, a[0], a[1], a[2], a[3], 0, 0));
        if (find((int)a[0], (const char *)a[1], below)) return open_file(caller, (int)a[0], (const char *)a[1], *(const int *)a[2], 0);
        return finish(real(number, a[0], a[1], a[2], a[3], 0, 0));
    case SYS_stat:
        return stat_file(caller, AT_FDCWD, (const char *)a[0], (struct stat *)a[1], 0);
    case SYS_lstat:
        return stat_file(caller, AT_FDCWD, (const char *)a[0], (struct stat *)a[1], AT_SYMLINK_NOFOLLOW);
    case SYS_newfstatat:
        return stat_file(caller, (int)a[0], (const char *)a[1], (struct stat *)a[2], (int)a[3]);
    case SYS_fstat:
        return stat_descriptor(caller, (int)a[0], (struct stat *)a[1]);
    case SYS_statx:
        return statx((int)a[0], (const char *)a[1], (int)a[2], (unsigned)a[3], (struct statx *)a[4]);
    case SYS_access:
        if (check_access(caller, AT_FDCWD, (const char *)a[0], (int)a[1], &answer)) return answer;
        return finish(real(number, a[0], a[1], 0, 0, 0, 0));
    case SYS_faccessat: case 439:
        if (check_access(caller, (int)a[0], (const char *)a[1], (int)a[2], &answer)) return answer;
        return finish(real(number, a[0], a[1], a[2], a[3], 0, 0));
    case SYS_readlink:
        return read_link(caller, AT_FDCWD, (const char *)a[0], (char *)a[1], a[2]);
    case SYS_readlinkat:
        return read_link(caller, (int)a[0], (const char *)a[1], (char *)a[2], a[3]);
    case SYS_ioctl:
        return ioctl((int)a[0], a[1], a[2]);
    case SYS_pread64: case SYS_pwrite64:
        return by_descriptor(caller, number, a[0], a[1], a[2], a[3], a[4], a[5]);
    case SYS_read: case SYS_write: {
        int64_t result;
        return transfer(caller, number, (int)a[0], a[1], a[2], 0, &result) ? finish(result) : finish(real(number, a[0], a[1], a[2], 0, 0, 0));
    }
    case SYS_munmap: case SYS_madvise: case SYS_mremap: case SYS_brk: case SYS_shmdt:
        take(caller, number, a[0], a[1], a[2], a[3], a[4], a[5]);
        return finish(real(number, a[0], a[1], a[2], a[3], a[4], a[5]));
    case SYS_mmap:
        return (long)map_file(caller, (void *)a[0], a[1], (int)a[2], (int)a[3], (int)a[4], (off64_t)a[5]);
    default:
        return finish(real(number, a[0], a[1], a[2], a[3], a[4], a[5]));
    }
}
