/* Machines from a text and from a file: their devices are found by name and address, their mistakes are told by file, line and rule. */
#include "check.h"

static const char text[] =
    "iommu: { mode: sv39 }\n"
    "functions:\n"
    "  - { id: \"00:01.0\", kind: root-port, bus: 1, acs: on }\n"
    "  - { id: \"01:00.0\", name: disk, pasid-bits: 8, device: edu }\n"
    "  - { id: \"00:02.0\", name: bare, kind: integrated-endpoint }\n"
    "  - { id: \"00:03.0\", kind: pcie-pci-bridge, bus: 2 }\n"
    "  - { id: \"02:01.0\", kind: pci-device, name: left }\n"
    "  - { id: \"02:02.0\", kind: pci-device, name: right }\n";

static ioasis_platform *make(const char *machine, const char *file)
{
    ioasis_platform *platform = NULL;
    struct ioasis_platform_options options = { .size = sizeof options, .machine = machine, .machine_file = file };
    HOLDS(ioasis_platform_create(&options, &platform) == 0);
    return platform;
}

static void refused(const char *machine, int error, const char *words)
{
    ioasis_platform *platform = NULL;
    struct ioasis_platform_options options = { .size = sizeof options, .machine = machine };
    FAILS(ioasis_platform_create(&options, &platform), error, words);
    HOLDS(platform == NULL);
}

static void look(ioasis_platform *platform)
{
    ioasis_device *disk, *bare, *left, *right, *found;
    struct ioasis_device_info info = { .size = sizeof info }, other = { .size = sizeof other };
    HOLDS(ioasis_device_find(platform, "disk", &disk) == 0 && ioasis_device_find(platform, "01:00.0", &found) == 0 && found == disk);
    HOLDS(ioasis_device_find(platform, "bare", &bare) == 0 && ioasis_device_find(platform, "left", &left) == 0);
    HOLDS(ioasis_device_find(platform, "right", &right) == 0);
    FAILS(ioasis_device_find(platform, "00:01.0", &found), ENODEV, "00:01.0");
    HOLDS(ioasis_device_get_info(disk, &info) == 0 && strcmp(info.address, "0000:01:00.0") == 0 && info.pasid_bits == 8);
    uint16_t id = 0;
    HOLDS(ioasis_device_config_read(disk, 2, &id, 2) == 2 && id == 0x11e8);
    /* What is behind one bridge is one group, and comes with the name that the bridge gives it. */
    HOLDS(ioasis_device_get_info(left, &info) == 0 && ioasis_device_get_info(right, &other) == 0);
    HOLDS(info.group == other.group && info.requester == other.requester && info.requester == 0x200);
    struct ioasis_stats stats = { .size = sizeof stats };
    HOLDS(ioasis_platform_stats(platform, &stats) == 0 && stats.devices == 4);
    uint8_t byte = 0;
    FAILS(ioasis_dma_write(bare, IOASIS_NO_PASID, 0x1000, &byte, 1), EFAULT, "bare");
    struct ioasis_fault fault = { .size = sizeof fault };
    HOLDS(ioasis_fault_next(platform, &fault) == 1 && strcmp(fault.device, "bare") == 0);
    HOLDS(ioasis_platform_destroy(platform) == 0);
    FAILS(ioasis_device_get_info(disk, &info), EINVAL, "is no device");
}

int main(void)
{
    look(make(text, NULL));
    char path[] = "/tmp/ioasis-machine-XXXXXX";
    int fd = mkstemp(path);
    HOLDS(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1 && close(fd) == 0);
    look(make(NULL, path));
    unlink(path);

    ioasis_platform *platform;
    struct ioasis_platform_options options = { .size = sizeof options, .machine_file = path };
    FAILS(ioasis_platform_create(&options, &platform), ENOENT, path);
    options.machine = text;
    FAILS(ioasis_platform_create(&options, &platform), EINVAL, "both");
    options = (struct ioasis_platform_options){ .size = sizeof options, .machine = (const char *)16 };
    FAILS(ioasis_platform_create(&options, &platform), EFAULT, "options.machine is at 0x10");
    options = (struct ioasis_platform_options){ .size = sizeof options, .iommu = "toaster" };
    FAILS(ioasis_platform_create(&options, &platform), EINVAL, "toaster");
    options.iommu = "riscv";
    HOLDS(ioasis_platform_create(&options, &platform) == 0 && ioasis_platform_destroy(platform) == 0);
    /* A program that was compiled with the first version of the structure. */
    options = (struct ioasis_platform_options){ .size = 24, .machine = (const char *)16 };
    HOLDS(ioasis_platform_create(&options, &platform) == 0 && ioasis_platform_destroy(platform) == 0);

    refused("", EINVAL, "options.machine: not a mapping");
    refused("functions: []\ncolour: red\n", EINVAL, "options.machine:2: 'colour'");
    refused("functions:\n  - { id: \"00:1.0\", device: toaster }\n", EINVAL, "options.machine:2: 'device': There is no device \"toaster\"");
    refused("functions:\n  - { id: \"00:1.0\", device: \"edu,addr=00:02.0\" }\n", EINVAL, "its other keys");
    refused("functions:\n  - { id: \"00:1.0\", kind: root-port, bus: 1, device: edu }\n", EINVAL, "not for a root-port");
    refused("functions:\n  - { id: \"00:1.0\", name: a }\n  - { id: \"00:2.0\", name: a }\n", EINVAL, "options.machine:");
    refused("functions:\n  - { id: \"00:1.0\" }\n  - { id: \"00:1.0\" }\n", EINVAL, "options.machine: ");
    refused("functions: [\n", EINVAL, "options.machine:");
    refused("functions: &a [ *a ]\n", EINVAL, "alias");
    char *deep = malloc(1 << 20);
    memset(deep, '[', (1 << 20) - 1);
    deep[(1 << 20) - 1] = 0;
    refused(deep, EINVAL, "nested more than 16 deep");
    memset(deep, '#', (1 << 20) - 1);
    refused(deep, EINVAL, "not a mapping");
    puts("ok");
    return 0;
}
