/* What ioasis_sanitize() finds of a driver and a device in one program, and that it accuses nobody else. */
#include "check.h"
#include <sys/mman.h>

static uint8_t pages[3 * 4096] __attribute__((aligned(4096)));

static char text[8192];

__attribute__((noinline, visibility("default"))) void map_the_ring(struct machine *m)
{
    HOLDS(map(m, pages, 0x10000, 4096) == 0);
}

__attribute__((noinline, visibility("default"))) void free_the_ring(struct machine *m)
{
    HOLDS(ioasis_memory_freed(m->platform, pages + 64, 128) == 0);
}

__attribute__((noinline, visibility("default"))) void unmap_the_ring(struct machine *m)
{
    HOLDS(unmap(m, 0x10000, 4096) == 0);
}

static struct machine make_sanitized(void)
{
    struct machine m;
    struct ioasis_device_info info = { .size = sizeof info };
    HOLDS(ioasis_platform_create(NULL, &m.platform) == 0);
    FAILS(ioasis_mistake_count(m.platform, 0), EINVAL, "ioasis_sanitize() was not called");
    FAILS(ioasis_memory_freed(m.platform, pages, 1), EINVAL, "ioasis_sanitize() was not called");
    FAILS(ioasis_sanitize(m.platform, 6), EINVAL, "0x6");
    HOLDS(ioasis_sanitize(m.platform, 0) == 0);
    FAILS(ioasis_sanitize(m.platform, 0), EBUSY, "already");
    HOLDS(ioasis_device_add(m.platform, "dma,addr=00:03.0,name=disk", &m.device) == 0);
    HOLDS(ioasis_device_get_info(m.device, &info) == 0);
    HOLDS((m.container = ioasis_open(m.platform, "/dev/vfio/vfio", O_RDWR)) >= 0);
    HOLDS((m.group = ioasis_open(m.platform, info.group_path, O_RDWR)) >= 0);
    HOLDS(ioasis_ioctl(m.platform, m.group, VFIO_GROUP_SET_CONTAINER, &m.container) == 0);
    HOLDS(ioasis_ioctl(m.platform, m.container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) == 0);
    return m;
}

/* The only mistake of a platform, with these words. */
static void expect(struct machine *m, const char *first, const char *second)
{
    HOLDS(ioasis_mistake_count(m->platform, IOASIS_MISTAKES_AT_END) == 1);
    int length = ioasis_mistake_describe(m->platform, 0, text, sizeof text);
    HOLDS(length > 0 && strlen(text) == (size_t)length);
    if (strstr(text, first) == NULL || strstr(text, second) == NULL) {
        printf("neither '%s' nor '%s' may be missing in: %s\n", first, second, text);
        exit(1);
    }
    FAILS(ioasis_mistake_describe(m->platform, 1, text, sizeof text), ENOENT, "index 1");
    HOLDS(ioasis_platform_destroy(m->platform) == 0);
}

int main(void)
{
    uint8_t byte = 1;
    struct machine m = make_sanitized();
    map_the_ring(&m);
    HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x10000, "careful", 7) == 0 && memcmp(pages, "careful", 7) == 0);
    int twin = ioasis_dup(m.platform, m.container);
    HOLDS(twin >= 0 && ioasis_close(m.platform, m.container) == 0);
    m.container = twin;
    unmap_the_ring(&m);
    HOLDS(ioasis_mistake_count(m.platform, IOASIS_MISTAKES_AT_END) == 0);
    HOLDS(ioasis_platform_destroy(m.platform) == 0);

    m = make_sanitized();
    map_the_ring(&m);
    unmap_the_ring(&m);
    HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x10000, &byte, 1) == -EFAULT);
    HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x10000, &byte, 1) == -EFAULT);
    /* The program's own look at faults takes nothing away. */
    struct ioasis_fault fault = { .size = sizeof fault };
    HOLDS(ioasis_fault_next(m.platform, &fault) == 1);
    HOLDS(ioasis_mistake_count(m.platform, 0) == 1);
    HOLDS(ioasis_mistake_describe(m.platform, 0, text, sizeof text) > 0);
    HOLDS(strstr(text, "map_the_ring") != NULL && strstr(text, "unmap_the_ring") != NULL);
    expect(&m, "DMA after unmap: write of 0x10000 by 0000:00:03.0 (2 times)", "map_the_ring (mistakes");

    m = make_sanitized();
    HOLDS(ioasis_dma_read(m.device, IOASIS_NO_PASID, 0x50000, &byte, 1) == -EFAULT);
    expect(&m, "DMA that was never mapped: read of 0x50000", "0000:00:03.0");

    m = make_sanitized();
    map_the_ring(&m);
    HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x11008, &byte, 1) == -EFAULT);
    unmap_the_ring(&m);
    expect(&m, "DMA past the end", "8 bytes behind the mapping");

    m = make_sanitized();
    map_the_ring(&m);
    FAILS(map(&m, pages + 4096, 0x10000, 4096), EEXIST, "");
    unmap_the_ring(&m);
    expect(&m, "overlapping map", "map_the_ring");

    m = make_sanitized();
    map_the_ring(&m);
    unmap_the_ring(&m);
    unmap(&m, 0x10000, 4096);
    expect(&m, "unmap of nothing", "unmap_the_ring");

    m = make_sanitized();
    map_the_ring(&m);
    expect(&m, "left mapped: [0x10000, +0x1000]", "map_the_ring");

    /* What an allocator keeps: the program tells of it. Beside it the device may go on. */
    m = make_sanitized();
    FAILS(ioasis_memory_freed(m.platform, pages, SIZE_MAX), EINVAL, "beyond the end");
    map_the_ring(&m);
    free_the_ring(&m);
    HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x10000, &byte, 1) == 0);
    HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x10000 + 192, &byte, 1) == 0);
    HOLDS(ioasis_mistake_count(m.platform, 0) == 0);
    HOLDS(ioasis_dma_read(m.device, IOASIS_NO_PASID, 0x10000, text, 100) == 0);
    unmap_the_ring(&m);
    expect(&m, "DMA into freed memory: read of 0x10040", "free_the_ring (mistakes");

    /* What is gone is found without. (Nothing is put in its place, so that no other thread gets the address.) */
    m = make_sanitized();
    void *gone = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HOLDS(gone != MAP_FAILED && map(&m, gone, 0x10000, 8192) == 0);
    HOLDS(mmap((char *)gone + 4096, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (char *)gone + 4096);
    HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0x10ff0, text, 64) == -EIO);
    HOLDS(unmap(&m, 0x10000, 8192) == 0);
    expect(&m, "DMA into freed memory: write of 0x11000", "0000:00:03.0");

    /* A mistake that is fatal: the process ends with the next call. */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "mistakes", "fatal", NULL);
        _exit(9);
    }
    int status;
    HOLDS(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    puts("ok");
    return 0;
}

/* Runs before main() in the child that main() starts. */
__attribute__((constructor)) static void fatal(int count, char **arguments)
{
    if (count != 2 || strcmp(arguments[1], "fatal") != 0) return;
    ioasis_platform *platform;
    ioasis_device *device;
    uint8_t byte = 1;
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(8);
    HOLDS(ioasis_platform_create(NULL, &platform) == 0 && ioasis_sanitize(platform, IOASIS_SANITIZE_FATAL) == 0);
    HOLDS(ioasis_device_add(platform, "dma", &device) == 0);
    HOLDS(ioasis_dma_write(device, IOASIS_NO_PASID, 0x50000, &byte, 1) == -EFAULT);
    ioasis_mistake_count(platform, 0);
    _exit(7);
}
