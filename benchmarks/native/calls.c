/*
 * What calls of libioasis cost, beside getpid(2) in the same run: the least of several rounds.
 *
 *     ./native && cc -O2 benchmarks/native/calls.c -Iartifacts/native -Lartifacts/native -lioasis -o calls && LD_LIBRARY_PATH=artifacts/native ./calls
 */
#include <ioasis.h>

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static ioasis_platform *platform;
static ioasis_device *device;
static int container, group;
static char *memory;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void need(long result)
{
    if (result < 0) { fprintf(stderr, "%s\n", ioasis_errmsg()); exit(1); }
}

static void map_unmap(uint64_t size)
{
    struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map, .flags = 3, .vaddr = (uintptr_t)memory, .iova = 1ull << 32, .size = size };
    struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof unmap, .iova = 1ull << 32, .size = size };
    need(ioasis_ioctl(platform, container, VFIO_IOMMU_MAP_DMA, &map));
    need(ioasis_ioctl(platform, container, VFIO_IOMMU_UNMAP_DMA, &unmap));
}

static void get_pid(void) { syscall(SYS_getpid); }
static void unknown(void) { ioasis_ioctl(platform, container, 0x3bff, &container); }
static void version(void) { ioasis_ioctl(platform, container, VFIO_GET_API_VERSION, NULL); }
static void status(void) { struct vfio_group_status s = { .argsz = sizeof s }; need(ioasis_ioctl(platform, group, VFIO_GROUP_GET_STATUS, &s)); }
static void status_heap(void) { struct vfio_group_status *s = (void *)memory; s->argsz = sizeof *s; need(ioasis_ioctl(platform, group, VFIO_GROUP_GET_STATUS, s)); }
static void map_4k(void) { map_unmap(4096); }
static void map_1g(void) { map_unmap(1ull << 30); }
static void dma_8(void) { uint64_t value = 1; need(ioasis_dma_write(device, IOASIS_NO_PASID, 0x1000, &value, 8)); }
static void dma_4k(void) { need(ioasis_dma_write(device, IOASIS_NO_PASID, 0x1000, memory + 8192, 4096)); }
static void start(void) { ioasis_platform *p; need(ioasis_platform_create(NULL, &p)); need(ioasis_platform_destroy(p)); }

static void measure(const char *what, void (*call)(void), int count)
{
    double least = 1e18;
    for (int round = 0; round < 7; round++) {
        double began = now();
        for (int i = 0; i < count; i++) call();
        double each = (now() - began) / count;
        if (each < least) least = each;
    }
    printf("%-44s %12.0f ns\n", what, least);
}

int main(void)
{
    double began = now();
    need(ioasis_platform_create(NULL, &platform));
    printf("%-44s %12.0f ns\n", "first platform, runtime included", now() - began);
    need(ioasis_device_add(platform, "dma", &device));
    struct ioasis_device_info info = { .size = sizeof info };
    need(ioasis_device_get_info(device, &info));
    need(container = ioasis_open(platform, "/dev/vfio/vfio", O_RDWR));
    need(group = ioasis_open(platform, info.group_path, O_RDWR));
    need(ioasis_ioctl(platform, group, VFIO_GROUP_SET_CONTAINER, &container));
    need(ioasis_ioctl(platform, container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU));
    memory = mmap(NULL, 1ull << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    memset(memory, 1, 16384);
    struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map, .flags = 3, .vaddr = (uintptr_t)memory, .iova = 0x1000, .size = 4096 };
    need(ioasis_ioctl(platform, container, VFIO_IOMMU_MAP_DMA, &map));

    measure("getpid(2)", get_pid, 200000);
    measure("an unknown ioctl", unknown, 200000);
    measure("VFIO_GET_API_VERSION", version, 200000);
    measure("VFIO_GROUP_GET_STATUS, structure on the stack", status, 100000);
    measure("VFIO_GROUP_GET_STATUS, structure elsewhere", status_heap, 100000);
    measure("map + unmap of 4 KiB", map_4k, 20000);
    measure("map + unmap of 1 GiB", map_1g, 200);
    measure("DMA write of 8 bytes", dma_8, 50000);
    measure("DMA write of 4 KiB", dma_4k, 20000);
    measure("another platform made and destroyed", start, 20);
    return 0;
}
