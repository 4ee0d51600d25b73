/* Threads that map, do DMA, unmap, wait and make mistakes at once; each keeps its own message; an end of the platform wakes who waits. */
#include "check.h"

enum { THREADS = 4, ROUNDS = 3000 };
static uint8_t memory[THREADS][4096] __attribute__((aligned(4096)));
static struct machine shared;
static int event;

static void *work(void *argument)
{
    uint64_t index = (uintptr_t)argument, iova = 0x100000 * (index + 1);
    char words[32];
    snprintf(words, sizeof words, "descriptor %d", (int)(1000 + index));
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t value = i << 8 | index, back = 0;
        HOLDS(map(&shared, memory[index], iova, 4096) == 0);
        HOLDS(ioasis_dma_write(shared.device, IOASIS_NO_PASID, iova + 8, &value, 8) == 0);
        HOLDS(ioasis_dma_read(shared.device, IOASIS_NO_PASID, iova + 8, &back, 8) == 0 && back == value);
        HOLDS(ioasis_close(shared.platform, (int)(1000 + index)) == -EBADF && strstr(ioasis_errmsg(), words) != NULL);
        int fd = ioasis_open(shared.platform, "/dev/iommu", O_RDWR);
        HOLDS(fd >= 0 && unmap(&shared, iova, 4096) == 0 && ioasis_close(shared.platform, fd) == 0);
        HOLDS(ioasis_dma_write(shared.device, IOASIS_NO_PASID, iova, &value, 8) == -EFAULT);
    }
    return NULL;
}

static void *waiter(void *argument)
{
    uint64_t count;
    (void)argument;
    ssize_t result = ioasis_read(shared.platform, event, &count, 8);
    HOLDS(result == -EINTR || result == -EBADF || result == -EINVAL);
    return NULL;
}

static void *poller(void *argument)
{
    struct pollfd fd = { .fd = event, .events = POLLIN };
    (void)argument;
    int result = ioasis_poll(shared.platform, &fd, 1, -1);
    HOLDS(result == -EINTR || result == -EINVAL || (result == 1 && fd.revents == POLLNVAL));
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    shared = make_machine();
    for (uintptr_t i = 0; i < THREADS; i++) HOLDS(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++) HOLDS(pthread_join(threads[i], NULL) == 0);
    struct ioasis_stats stats = { .size = sizeof stats };
    HOLDS(ioasis_platform_stats(shared.platform, &stats) == 0);
    HOLDS(stats.mappings == 0 && stats.pinned_bytes == 0 && stats.descriptors == 2);
    HOLDS(stats.dma_refused == THREADS * ROUNDS && stats.dma_writes == 2 * THREADS * ROUNDS && stats.dma_read_bytes == 8ull * THREADS * ROUNDS);
    HOLDS(stats.faults == THREADS * ROUNDS);

    HOLDS((event = ioasis_eventfd(shared.platform, 0, 0)) >= 0);
    HOLDS(pthread_create(&threads[0], NULL, waiter, NULL) == 0 && pthread_create(&threads[1], NULL, poller, NULL) == 0);
    usleep(50000);
    HOLDS(ioasis_platform_destroy(shared.platform) == 0);
    HOLDS(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);

    /* Platforms that come and go, with calls on the way. */
    for (int i = 0; i < 20; i++) {
        struct machine m = make_machine();
        HOLDS(map(&m, memory[0], 0x1000, 4096) == 0);
        HOLDS(ioasis_platform_destroy(m.platform) == 0);
    }
    puts("ok");
    return 0;
}
