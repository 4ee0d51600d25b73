/* A configuration space that a device in C answers for: registers of its own in a vendor's capability, and bytes that the library has. */
#include "check.h"
#include <stddef.h>

struct model { uint32_t place, scratch, writes; uint8_t revision; };

/* The part of an access that falls on a register of four bytes; 0 if none does. */
static uint32_t overlap(uint32_t offset, uint32_t length, uint32_t at, uint32_t *in_access, uint32_t *in_register)
{
    uint32_t first = offset > at ? offset : at, end = offset + length < at + 4 ? offset + length : at + 4;
    *in_access = first - offset;
    *in_register = first - at;
    return end > first ? end - first : 0;
}

static void config_read(void *context, ioasis_device *device, uint32_t offset, void *bytes, uint32_t length)
{
    struct model *m = context;
    uint32_t from, to, count = overlap(offset, length, m->place + 4, &from, &to);
    if (count) memcpy((char *)bytes + from, (char *)&m->scratch + to, count);
    if (offset <= 8 && offset + length > 8) ((uint8_t *)bytes)[8 - offset] = m->revision;
    HOLDS(ioasis_device_signal(device, 0) < 0);
}

static void config_write(void *context, ioasis_device *device, uint32_t offset, const void *bytes, uint32_t length)
{
    struct model *m = context;
    uint32_t from, to, count = overlap(offset, length, m->place + 4, &from, &to);
    if (count) memcpy((char *)&m->scratch + to, (const char *)bytes + from, count);
    m->writes++;
    (void)device;
}

static uint32_t find_capability(ioasis_device *device, uint8_t id)
{
    uint8_t at = 0, head[2];
    HOLDS(ioasis_device_config_read(device, 0x34, &at, 1) == 1);
    while (at && ioasis_device_config_read(device, at, head, 2) == 2 && head[0] != id) at = head[1];
    return at;
}

int main(void)
{
    static struct model model = { .revision = 7 };
    ioasis_platform *platform;
    ioasis_device *device, *plain;
    struct ioasis_device_ops ops = { .size = sizeof ops, .config_read = config_read, .config_write = config_write };
    struct ioasis_device_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = IOASIS_DEVICE_EXPRESS;
    options.vendor_id = 0xabcd;
    options.device_id = 0x1234;
    options.revision = 3;
    options.msi_vectors = 1;
    options.bars[0].length = 4096;
    HOLDS(ioasis_platform_create(NULL, &platform) == 0);
    options.vendor_length = 3;
    FAILS(ioasis_device_create(platform, &options, &ops, &model, &device), EINVAL, "options.vendor_length");
    options.vendor_length = 12;
    HOLDS(ioasis_device_create(platform, &options, &ops, &model, &device) == 0);

    /* The library's own capability, and the device's register in it. */
    uint8_t head[3], byte;
    uint32_t word, at = find_capability(device, 9);
    HOLDS(at && ioasis_device_config_read(device, at, head, 3) == 3 && head[2] == 12);
    model.place = at;
    word = 0xcafe1234;
    HOLDS(ioasis_device_config_write(device, at + 4, &word, 4) == 4 && model.scratch == 0xcafe1234 && model.writes == 1);
    byte = 0x77;
    HOLDS(ioasis_device_config_write(device, at + 6, &byte, 1) == 1 && model.scratch == 0xca771234);

    /* Through VFIO, as a driver reads it; the identity is the library's, the revision the device's. */
    struct ioasis_device_info info = { .size = sizeof info };
    HOLDS(ioasis_device_get_info(device, &info) == 0);
    int container = ioasis_open(platform, "/dev/vfio/vfio", O_RDWR), group = ioasis_open(platform, info.group_path, O_RDWR);
    HOLDS(ioasis_ioctl(platform, group, VFIO_GROUP_SET_CONTAINER, &container) == 0);
    HOLDS(ioasis_ioctl(platform, container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) == 0);
    int fd = ioasis_ioctl(platform, group, VFIO_GROUP_GET_DEVICE_FD, info.name);
    struct vfio_region_info config = { .argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX };
    HOLDS(fd >= 0 && ioasis_ioctl(platform, fd, VFIO_DEVICE_GET_REGION_INFO, &config) == 0);
    HOLDS(ioasis_pread(platform, fd, &word, 4, config.offset) == 4 && word == 0x1234abcd);
    HOLDS(ioasis_pread(platform, fd, &word, 4, config.offset + at + 4) == 4 && word == 0xca771234);
    HOLDS(ioasis_pread(platform, fd, &byte, 1, config.offset + 8) == 1 && byte == 7);

    /* What the library keeps it goes by: bus mastering is on after the write, whatever the device thinks of it. */
    uint16_t command = 6;
    HOLDS(ioasis_pwrite(platform, fd, &command, 2, config.offset + 4) == 2 && model.writes >= 3);
    HOLDS(ioasis_pread(platform, fd, &command, 2, config.offset + 4) == 2 && (command & 6) == 6);
    HOLDS(ioasis_close(platform, fd) == 0 && ioasis_close(platform, group) == 0 && ioasis_close(platform, container) == 0);

    /* A caller that knows neither the functions nor the capability, for it was compiled before there were any. */
    ops.size = offsetof(struct ioasis_device_ops, config_read);
    options.size = offsetof(struct ioasis_device_options, vendor_length);
    HOLDS(ioasis_device_create(platform, &options, &ops, &model, &plain) == 0);
    HOLDS(find_capability(plain, 9) == 0 && ioasis_device_config_read(plain, 8, &byte, 1) == 1 && byte == 3);
    HOLDS(ioasis_platform_destroy(platform) == 0);
    puts("ok");
    return 0;
}
