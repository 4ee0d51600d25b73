/*
 * A device and its driver in one program. The device adds up memory: its driver writes an address to register 0 and a length to
 * register 8, and reads the sum from register 16. The driver is what it would be on Linux, but for the ioasis_ before each call.
 *
 *     cc tiny_device.c $(pkg-config --cflags --libs ioasis) && ./a.out
 */
#include <ioasis.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the device ---- */

struct adder { uint64_t address, sum; };

static uint64_t adder_read(void *context, ioasis_device *device, uint32_t bar, uint64_t offset, uint32_t length)
{
    struct adder *adder = context;
    (void)device; (void)bar; (void)length;
    return offset == 0 ? adder->address : offset == 16 ? adder->sum : 0;
}

static void adder_write(void *context, ioasis_device *device, uint32_t bar, uint64_t offset, uint32_t length, uint64_t value)
{
    struct adder *adder = context;
    uint8_t byte;
    (void)bar; (void)length;
    if (offset == 0) adder->address = value;
    if (offset != 8) return;
    for (adder->sum = 0; value-- > 0; adder->sum += byte)
        if (ioasis_dma_read(device, IOASIS_NO_PASID, adder->address++, &byte, 1) < 0) { adder->sum = UINT64_MAX; break; }
    ioasis_device_signal(device, 0);
}

static const struct ioasis_device_ops adder_ops = { .size = sizeof adder_ops, .read = adder_read, .write = adder_write };

/* ---- its driver ---- */

#define CHECK(call) check((call), #call)

static long long check(long long result, const char *call)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", call, ioasis_errmsg());
        exit(1);
    }
    return result;
}

int main(void)
{
    static uint8_t memory[8192] __attribute__((aligned(4096)));
    static struct adder state;
    ioasis_platform *platform;
    ioasis_device *device;
    CHECK(ioasis_platform_create(NULL, &platform));

    struct ioasis_device_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = "adder";
    options.vendor_id = 0x1234;
    options.device_id = 0x0001;
    options.msi_vectors = 1;
    options.bars[0].length = 4096;
    CHECK(ioasis_device_create(platform, &options, &adder_ops, &state, &device));
    struct ioasis_device_info info = { .size = sizeof info };
    CHECK(ioasis_device_get_info(device, &info));

    int container = CHECK(ioasis_open(platform, "/dev/vfio/vfio", O_RDWR));
    int group = CHECK(ioasis_open(platform, info.group_path, O_RDWR));
    CHECK(ioasis_ioctl(platform, group, VFIO_GROUP_SET_CONTAINER, &container));
    CHECK(ioasis_ioctl(platform, container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU));
    int fd = CHECK(ioasis_ioctl(platform, group, VFIO_GROUP_GET_DEVICE_FD, info.name));

    /* An interrupt, and the right to do DMA: bit 2 of the command register. */
    int event = CHECK(ioasis_eventfd(platform, 0, 0));
    struct { struct vfio_irq_set set; int fd; } irq = {
        { .argsz = sizeof irq, .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, .index = VFIO_PCI_MSI_IRQ_INDEX, .count = 1 }, event };
    CHECK(ioasis_ioctl(platform, fd, VFIO_DEVICE_SET_IRQS, &irq));
    struct vfio_region_info config = { .argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX }, bar = { .argsz = sizeof bar, .index = 0 };
    CHECK(ioasis_ioctl(platform, fd, VFIO_DEVICE_GET_REGION_INFO, &config));
    CHECK(ioasis_ioctl(platform, fd, VFIO_DEVICE_GET_REGION_INFO, &bar));
    uint16_t command = 2 | 4;
    CHECK(ioasis_pwrite(platform, fd, &command, sizeof command, config.offset + 4));

    struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map, .flags = VFIO_DMA_MAP_FLAG_READ,
        .vaddr = (uintptr_t)memory, .iova = 0x10000, .size = 4096 };
    CHECK(ioasis_ioctl(platform, container, VFIO_IOMMU_MAP_DMA, &map));
    for (int i = 0; i < 100; i++) memory[i] = (uint8_t)i;

    uint64_t address = 0x10000, length = 100, sum = 0, count = 0;
    CHECK(ioasis_pwrite(platform, fd, &address, 8, bar.offset + 0));
    CHECK(ioasis_pwrite(platform, fd, &length, 8, bar.offset + 8));
    CHECK(ioasis_read(platform, event, &count, 8));
    CHECK(ioasis_pread(platform, fd, &sum, 8, bar.offset + 16));
    printf("sum %llu after %llu interrupt\n", (unsigned long long)sum, (unsigned long long)count);
    if (sum != 4950 || count != 1) return 1;

    /* Unmapped: the same again is a fault, and no byte is read. */
    struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof unmap, .iova = 0x10000, .size = 4096 };
    CHECK(ioasis_ioctl(platform, container, VFIO_IOMMU_UNMAP_DMA, &unmap));
    CHECK(ioasis_pwrite(platform, fd, &address, 8, bar.offset + 0));
    CHECK(ioasis_pwrite(platform, fd, &length, 8, bar.offset + 8));
    CHECK(ioasis_pread(platform, fd, &sum, 8, bar.offset + 16));
    struct ioasis_fault fault = { .size = sizeof fault };
    char text[256];
    if (sum != UINT64_MAX || CHECK(ioasis_fault_next(platform, &fault)) != 1 || fault.iova != 0x10000) return 1;
    CHECK(ioasis_fault_describe(platform, &fault, text, sizeof text));
    printf("%s\n", text);

    CHECK(ioasis_platform_destroy(platform));
    puts("ok");
    return 0;
}
