/* What the programs of these tests share. Each prints the first claim that does not hold, and ends with 1. */
#include <ioasis.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOLDS(claim)                                                                            \
    do {                                                                                        \
        if (!(claim)) {                                                                         \
            printf("%s:%d: %s (%s)\n", __FILE__, __LINE__, #claim, ioasis_errmsg());           \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

/* A call fails with this number, and its sentence names this. */
#define FAILS(call, error, words)                                                               \
    do {                                                                                        \
        long long result = (call);                                                              \
        if (result != -(error) || strstr(ioasis_errmsg(), words) == NULL) {                     \
            printf("%s:%d: %s gave %lld: %s\n", __FILE__, __LINE__, #call, result, ioasis_errmsg()); \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

/* A platform with a device "disk" in a container. */
struct machine {
    ioasis_platform *platform;
    ioasis_device *device;
    int container, group;
};

static inline struct machine make_machine(void)
{
    struct machine m;
    struct ioasis_device_info info = { .size = sizeof info };
    HOLDS(ioasis_platform_create(NULL, &m.platform) == 0);
    HOLDS(ioasis_device_add(m.platform, "dma,addr=00:03.0,name=disk", &m.device) == 0);
    HOLDS(ioasis_device_get_info(m.device, &info) == 0);
    HOLDS((m.container = ioasis_open(m.platform, "/dev/vfio/vfio", O_RDWR)) >= 0);
    HOLDS((m.group = ioasis_open(m.platform, info.group_path, O_RDWR)) >= 0);
    HOLDS(ioasis_ioctl(m.platform, m.group, VFIO_GROUP_SET_CONTAINER, &m.container) == 0);
    HOLDS(ioasis_ioctl(m.platform, m.container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) == 0);
    return m;
}

static inline int map(struct machine *m, void *memory, uint64_t iova, uint64_t size)
{
    struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map, .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .vaddr = (uintptr_t)memory, .iova = iova, .size = size };
    return ioasis_ioctl(m->platform, m->container, VFIO_IOMMU_MAP_DMA, &map);
}

static inline int unmap(struct machine *m, uint64_t iova, uint64_t size)
{
    struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof unmap, .iova = iova, .size = size };
    return ioasis_ioctl(m->platform, m->container, VFIO_IOMMU_UNMAP_DMA, &unmap);
}
