/*
 * A program with handlers of its own for SIGSEGV and SIGBUS gets its own faults and none of a device's DMA, whether it had them before the
 * library or put them in its place later; one without any ends by its faults as ever.
 */
#define _GNU_SOURCE
#include "check.h"

#include <signal.h>
#include <sys/resource.h>

static volatile sig_atomic_t early, late;
static void *volatile seen;

static void mend(siginfo_t *info)
{
    seen = info->si_addr;
    mprotect((void *)((uintptr_t)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

static void on_early(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    early++;
    mend(info);
}

static void on_late(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    late++;
    mend(info);
}

static void handle(void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };
    HOLDS(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
}

static uint8_t *page(int protection)
{
    uint8_t *memory = mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HOLDS(memory != MAP_FAILED);
    return memory;
}

/* Memory that a device may reach is taken away, and the device tries: short and long accesses. */
static void dma_to_nothing(struct machine *m, uint64_t iova)
{
    static uint8_t buffer[4096];
    uint8_t *memory = page(PROT_READ | PROT_WRITE);
    HOLDS(map(m, memory, iova, 4096) == 0);
    HOLDS(ioasis_dma_write(m->device, IOASIS_NO_PASID, iova, "abc", 3) == 0 && memcmp(memory, "abc", 3) == 0);
    HOLDS(mprotect(memory, 4096, PROT_NONE) == 0);
    HOLDS(ioasis_dma_write(m->device, IOASIS_NO_PASID, iova, buffer, 8) < 0);
    HOLDS(ioasis_dma_read(m->device, IOASIS_NO_PASID, iova, buffer, 8) < 0);
    HOLDS(ioasis_dma_write(m->device, IOASIS_NO_PASID, iova, buffer, 4096) < 0);
    HOLDS(ioasis_dma_read(m->device, IOASIS_NO_PASID, iova, buffer, 4096) < 0);
    HOLDS(mprotect(memory, 4096, PROT_READ | PROT_WRITE) == 0);
    HOLDS(ioasis_dma_read(m->device, IOASIS_NO_PASID, iova, buffer, 3) == 0 && memcmp(buffer, "abc", 3) == 0);
    HOLDS(unmap(m, iova, 4096) == 0 && munmap(memory, 4096) == 0);
}

static void *elsewhere(void *argument)
{
    dma_to_nothing(argument, 0x40000);
    return NULL;
}

/* The mask of a thread that the program made is its own affair. */
static void *in_quiet(void *argument)
{
    sigset_t all;
    sigfillset(&all);
    HOLDS(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
    dma_to_nothing(argument, 0x50000);
    return NULL;
}

static void ends_by(int expected)
{
    pid_t child = fork();
    HOLDS(child >= 0);
    if (child == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        struct machine m = make_machine();
        dma_to_nothing(&m, 0x1000);
        if (expected == SIGBUS) {
            int file = memfd_create("empty", 0);
            volatile uint8_t *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            memory[0] = 1;
        } else {
            page(PROT_NONE)[1] = 1;
        }

        _exit(0);
    }
    int status;
    HOLDS(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == expected);
}

static void own_fault(volatile sig_atomic_t *count)
{
    int before = *count;
    volatile uint8_t *memory = page(PROT_NONE);
    memory[100] = 7;
    HOLDS(*count == before + 1 && seen == memory + 100 && memory[100] == 7);
}

int main(void)
{
    pthread_t thread;
    ends_by(SIGSEGV);
    ends_by(SIGBUS);
    handle(on_early, 0);
    struct machine m = make_machine();
    dma_to_nothing(&m, 0x1000);
    HOLDS(pthread_create(&thread, NULL, elsewhere, &m) == 0 && pthread_join(thread, NULL) == 0);
    HOLDS(pthread_create(&thread, NULL, in_quiet, &m) == 0 && pthread_join(thread, NULL) == 0);
    HOLDS(early == 0);
    for (int i = 0; i < 3; i++) {
        own_fault(&early);
        dma_to_nothing(&m, 0x1000);
        HOLDS(early == i + 1);
    }

    /* Handlers that hand on nothing: the library notices with the next mapping. */
    handle(on_late, SA_NODEFER);
    dma_to_nothing(&m, 0x1000);
    HOLDS(late == 0);
    own_fault(&late);
    HOLDS(pthread_create(&thread, NULL, elsewhere, &m) == 0 && pthread_join(thread, NULL) == 0);
    HOLDS(late == 1 && early == 3 && ioasis_platform_destroy(m.platform) == 0);
    puts("ok");
    return 0;
}
