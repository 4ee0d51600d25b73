/*
 * A child of fork() is told so by every call, ends in every way that it likes, and the parent notices nothing; one that was made before
 * the first call is like any other process.
 */
#include "check.h"

static uint8_t memory[4096] __attribute__((aligned(4096)));
static volatile int stop;

static void *work(void *argument)
{
    struct machine *m = argument;
    while (!stop) {
        struct ioasis_stats stats = { .size = sizeof stats };
        HOLDS(ioasis_platform_stats(m->platform, &stats) == 0);
    }
    return NULL;
}

static void *make(void *argument)
{
    (void)argument;
    struct machine m = make_machine();
    HOLDS(map(&m, memory, 0x1000, 4096) == 0 && ioasis_platform_destroy(m.platform) == 0);
    return NULL;
}

/* Several threads of a child are the first that call. */
static void begin_in_a_child(void)
{
    pid_t child = fork();
    HOLDS(child >= 0);
    if (child == 0) {
        pthread_t threads[3];
        for (int i = 0; i < 3; i++) HOLDS(pthread_create(&threads[i], NULL, make, NULL) == 0);
        for (int i = 0; i < 3; i++) HOLDS(pthread_join(threads[i], NULL) == 0);
        pid_t grandchild = fork();
        if (grandchild == 0) _exit(ioasis_close(NULL, 0) == -EOWNERDEAD ? 6 : 7);
        int status;
        HOLDS(waitpid(grandchild, &status, 0) == grandchild && WIFEXITED(status) && WEXITSTATUS(status) == 6);
        exit(5);
    }
    int status;
    HOLDS(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

int main(void)
{
    HOLDS(ioasis_version() == IOASIS_VERSION);
    begin_in_a_child();
    struct machine m = make_machine();
    pthread_t thread;
    HOLDS(map(&m, memory, 0x1000, 4096) == 0);
    HOLDS(pthread_create(&thread, NULL, work, &m) == 0);
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) {
            ioasis_platform *other;
            uint8_t byte = 9;
            if (ioasis_open(m.platform, "/dev/iommu", O_RDWR) != -EOWNERDEAD || ioasis_platform_create(NULL, &other) != -EOWNERDEAD
                || ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x1000, &byte, 1) != -EOWNERDEAD || map(&m, memory, 0x5000, 4096) != -EOWNERDEAD
                || ioasis_platform_destroy(m.platform) != -EOWNERDEAD || strstr(ioasis_errmsg(), "fork") == NULL
                || ioasis_version() != IOASIS_VERSION)
                _exit(3);
            if (i % 3 == 0) exit(5);
            if (i % 3 == 1) execl("/bin/sh", "sh", "-c", "exit 5", (char *)NULL);
            _exit(5);
        }
        int status;
        HOLDS(child > 0 && waitpid(child, &status, 0) == child);
        HOLDS(WIFEXITED(status) && WEXITSTATUS(status) == 5);
        uint8_t byte = (uint8_t)i;
        HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x1000, &byte, 1) == 0 && memory[0] == byte);
    }
    stop = 1;
    HOLDS(pthread_join(thread, NULL) == 0);
    HOLDS(unmap(&m, 0x1000, 4096) == 0);
    HOLDS(ioasis_platform_destroy(m.platform) == 0);
    puts("ok");
    return 0;
}
