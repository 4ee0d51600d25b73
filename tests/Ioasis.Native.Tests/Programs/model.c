/* A device in C: its callbacks, memory registers that a driver maps, a wired interrupt, reset, the end; and the edu device beside it. */
#include "check.h"

static int resets, destroyed;
static uint64_t last;

static uint64_t model_read(void *context, ioasis_device *device, uint32_t bar, uint64_t offset, uint32_t length)
{
    ioasis_platform **platform = context;
    HOLDS(ioasis_platform_destroy(*platform) == -EDEADLK && ioasis_device_remove(device) == -EDEADLK);
    return 0x1122334455667788ull + (bar << 16) + offset + length * 0;
}

static void model_write(void *context, ioasis_device *device, uint32_t bar, uint64_t offset, uint32_t length, uint64_t value)
{
    (void)context; (void)bar; (void)length;
    last = value;
    if (offset == 8) HOLDS(ioasis_device_set_line(device, value != 0) == 0);
}

static void model_reset(void *context, ioasis_device *device) { (void)context; (void)device; resets++; }
static void model_destroy(void *context) { (void)context; destroyed++; }

int main(void)
{
    static ioasis_platform *platform;
    ioasis_device *device, *edu;
    struct ioasis_device_ops ops = { .size = sizeof ops, .read = model_read, .write = model_write, .reset = model_reset, .destroy = model_destroy };
    struct ioasis_device_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = IOASIS_DEVICE_EXPRESS | IOASIS_DEVICE_PIN;
    options.vendor_id = 0xabcd;
    options.class_code = 0x010802;
    options.address = "0000:02:00.0";
    options.bars[0].length = 4096;
    options.bars[0].flags = IOASIS_BAR_64;
    options.bars[2].length = 8192;
    options.bars[2].flags = IOASIS_BAR_MEMORY | IOASIS_BAR_PREFETCHABLE;
    HOLDS(ioasis_platform_create(NULL, &platform) == 0);
    HOLDS(ioasis_device_create(platform, &options, &ops, &platform, &device) == 0);
    HOLDS(ioasis_device_add(platform, "edu,addr=00:04.0", &edu) == 0);
    struct ioasis_device_info info = { .size = sizeof info };
    HOLDS(ioasis_device_get_info(device, &info) == 0 && strcmp(info.address, "0000:02:00.0") == 0 && info.requester == 0x200);

    int container = ioasis_open(platform, "/dev/vfio/vfio", O_RDWR), group = ioasis_open(platform, info.group_path, O_RDWR);
    HOLDS(container >= 0 && group >= 0 && ioasis_ioctl(platform, group, VFIO_GROUP_SET_CONTAINER, &container) == 0);
    HOLDS(ioasis_ioctl(platform, container, VFIO_CHECK_EXTENSION, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) == 1);
    HOLDS(ioasis_ioctl(platform, container, VFIO_GET_API_VERSION, NULL) == VFIO_API_VERSION);
    HOLDS(ioasis_ioctl(platform, container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) == 0);
    FAILS(ioasis_ioctl(platform, group, VFIO_GROUP_GET_DEVICE_FD, "0000:09:00.0"), ENODEV, "VFIO_GROUP_GET_DEVICE_FD");
    int fd = ioasis_ioctl(platform, group, VFIO_GROUP_GET_DEVICE_FD, info.name);
    HOLDS(fd >= 0 && resets > 0);
    FAILS(ioasis_device_remove(device), EBUSY, "open");

    struct vfio_region_info bar0 = { .argsz = sizeof bar0, .index = 0 }, bar2 = { .argsz = sizeof bar2, .index = 2 };
    HOLDS(ioasis_ioctl(platform, fd, VFIO_DEVICE_GET_REGION_INFO, &bar0) == 0 && bar0.size == 4096);
    HOLDS(ioasis_ioctl(platform, fd, VFIO_DEVICE_GET_REGION_INFO, &bar2) == 0 && (bar2.flags & VFIO_REGION_INFO_FLAG_MMAP));
    uint64_t wide;
    uint32_t word;
    uint8_t byte = 3;
    HOLDS(ioasis_pread(platform, fd, &wide, 8, bar0.offset + 16) == 8 && wide == 0x1122334455667798ull);
    HOLDS(ioasis_pread(platform, fd, &word, 4, bar0.offset) == 4 && word == 0x55667788);
    HOLDS(ioasis_pwrite(platform, fd, &byte, 1, bar0.offset) == 1 && last == 3);
    FAILS(ioasis_pread(platform, fd, &word, 4, bar0.offset + 4096), EINVAL, "descriptor");

    uint8_t *mapped;
    HOLDS(ioasis_mmap(platform, fd, bar2.offset + 4096, 4096, PROT_READ | PROT_WRITE, (void **)&mapped) == 0);
    mapped[12] = 99;
    HOLDS(ioasis_pread(platform, fd, &byte, 1, bar2.offset + 4096 + 12) == 1 && byte == 99);
    HOLDS(ioasis_munmap(platform, mapped, 4096) == 0);

    /* The wire: signalled, masked until the driver unmasks it, and again while it is asserted. */
    int event = ioasis_eventfd(platform, 0, EFD_NONBLOCK);
    struct { struct vfio_irq_set set; int fd; } irq = { { .argsz = sizeof irq, .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = VFIO_PCI_INTX_IRQ_INDEX, .count = 1 }, event };
    HOLDS(ioasis_ioctl(platform, fd, VFIO_DEVICE_SET_IRQS, &irq) == 0);
    uint64_t on = 1, count = 0;
    HOLDS(ioasis_pwrite(platform, fd, &on, 8, bar0.offset + 8) == 8);
    HOLDS(ioasis_read(platform, event, &count, 8) == 8 && count == 1);
    struct vfio_irq_set again = { .argsz = sizeof again, .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, .index = VFIO_PCI_INTX_IRQ_INDEX, .count = 1 };
    HOLDS(ioasis_ioctl(platform, fd, VFIO_DEVICE_SET_IRQS, &again) == 0 && ioasis_read(platform, event, &count, 8) == 8);

    int before = resets;
    HOLDS(ioasis_ioctl(platform, fd, VFIO_DEVICE_RESET, NULL) == 0 && resets == before + 1);
    HOLDS(ioasis_close(platform, fd) == 0 && ioasis_close(platform, group) == 0 && ioasis_close(platform, container) == 0);
    HOLDS(destroyed == 0 && ioasis_device_remove(device) == 0 && destroyed == 1);

    HOLDS(ioasis_device_create(platform, &options, &ops, &platform, &device) == 0);
    HOLDS(ioasis_platform_destroy(platform) == 0 && destroyed == 2);
    puts("ok");
    return 0;
}
