/* Mistakes of callers: each is an error with its number and its words, and none ends the program. */
#include "check.h"

static uint8_t memory[8192] __attribute__((aligned(4096)));

int main(void)
{
    ioasis_platform *platform = NULL, *dead;
    ioasis_device *device;
    void *nothing = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *constant = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t byte = 1;
    errno = 77;

    HOLDS(ioasis_version() == IOASIS_VERSION);
    HOLDS(ioasis_errmsg()[0] == 0);

    /* Handles. */
    FAILS(ioasis_platform_create(NULL, NULL), EFAULT, "platform is null");
    FAILS(ioasis_platform_create(NULL, nothing), EFAULT, "no such memory");
    FAILS(ioasis_open(NULL, "/dev/iommu", O_RDWR), EINVAL, "platform is null");
    FAILS(ioasis_open((ioasis_platform *)memory, "/dev/iommu", O_RDWR), EINVAL, "is no platform");
    FAILS(ioasis_dma_read(NULL, IOASIS_NO_PASID, 0, &byte, 1), EINVAL, "device is null");
    HOLDS(ioasis_platform_create(NULL, &platform) == 0);
    FAILS(ioasis_dma_read((ioasis_device *)platform, IOASIS_NO_PASID, 0, &byte, 1), EINVAL, "is no device");

    /* Structures. */
    struct { struct ioasis_platform_options options; uint32_t more[4]; } options;
    memset(&options, 0, sizeof options);
    FAILS(ioasis_platform_create(&options.options, &dead), EINVAL, "options.size is 0");
    options.options.size = sizeof options;
    HOLDS(ioasis_platform_create(&options.options, &dead) == 0);
    HOLDS(ioasis_platform_destroy(dead) == 0);
    FAILS(ioasis_platform_destroy(dead), EINVAL, "destroyed");
    options.more[2] = 5;
    FAILS(ioasis_platform_create(&options.options, &dead), E2BIG, "is 5");
    options.options.size = sizeof options.options;
    options.options.caching = 9;
    FAILS(ioasis_platform_create(&options.options, &dead), EINVAL, "options.caching is 9");
    struct { uint32_t size, descriptors; uint8_t beyond[8]; } little = { .size = 8, .beyond = { 1, 2, 3, 4, 5, 6, 7, 8 } };
    HOLDS(ioasis_platform_stats(platform, (struct ioasis_stats *)&little) == 0 && little.size == 8 && little.beyond[0] == 1);
    struct { struct ioasis_stats stats; uint8_t beyond[8]; } large = { .stats = { .size = sizeof large }, .beyond = { 9 } };
    HOLDS(ioasis_platform_stats(platform, &large.stats) == 0 && large.stats.size == sizeof large.stats && large.beyond[0] == 9);

    /* Paths, descriptors, requests. */
    FAILS(ioasis_open(platform, "/dev/null", O_RDWR), ENOENT, "/dev/null");
    FAILS(ioasis_open(platform, NULL, O_RDWR), EFAULT, "path is null");
    FAILS(ioasis_open(platform, nothing, O_RDWR), EFAULT, "no such memory");
    FAILS(ioasis_close(platform, 99), EBADF, "descriptor 99");
    FAILS(ioasis_dup(platform, -1), EBADF, "descriptor -1");
    FAILS(ioasis_ioctl(platform, 99, VFIO_GET_API_VERSION, NULL), EBADF, "VFIO_GET_API_VERSION");
    FAILS(ioasis_read(platform, 99, nothing, 8), EBADF, "descriptor 99");
    FAILS(ioasis_write(platform, 99, nothing, 8), EBADF, "descriptor 99");
    int event = ioasis_eventfd(platform, 3, EFD_NONBLOCK);
    uint64_t count = 0;
    HOLDS(event >= 0);
    FAILS(ioasis_eventfd(platform, 0, 0x40), EINVAL, "0x40");
    FAILS(ioasis_read(platform, event, &count, 7), EINVAL, "descriptor");
    HOLDS(ioasis_read(platform, event, &count, 8) == 8 && count == 3);
    FAILS(ioasis_read(platform, event, &count, 8), EAGAIN, "non-blocking");
    FAILS(ioasis_write(platform, event, nothing, 8), EFAULT, "not there");
    FAILS(ioasis_pread(platform, event, &count, 8, 0), ESPIPE, "no places");
    struct pollfd fds[2] = { { .fd = event, .events = POLLIN }, { .fd = 99, .events = POLLIN } };
    HOLDS(ioasis_poll(platform, fds, 1, 0) == 0);
    HOLDS(ioasis_poll(platform, fds, 2, 0) == 1 && fds[1].revents == POLLNVAL);
    FAILS(ioasis_poll(platform, nothing, 1, 0), EFAULT, "fds");

    /* Devices. */
    FAILS(ioasis_device_add(platform, "toaster", &device), EINVAL, "toaster");
    FAILS(ioasis_device_add(platform, "dma,colour=red", &device), EINVAL, "colour");
    FAILS(ioasis_device_add(platform, "dma,addr=00:20.0", &device), EINVAL, "00:20.0");
    HOLDS(ioasis_device_add(platform, "dma,addr=00:04.0,name=one", NULL) == 0);
    FAILS(ioasis_device_add(platform, "dma,addr=00:04.0", &device), EEXIST, "0000:00:04.0");
    FAILS(ioasis_device_add(platform, "dma,name=one", &device), EEXIST, "one");
    FAILS(ioasis_device_find(platform, "two", &device), ENODEV, "two");
    HOLDS(ioasis_device_find(platform, "0000:00:04.0", &device) == 0);
    FAILS(ioasis_device_signal(device, 0), ENODEV, "one");
    FAILS(ioasis_device_config_read(device, 0, &byte, 1), ENODEV, "configuration");
    FAILS(ioasis_dma_write(device, 1u << 20, 0, &byte, 1), EINVAL, "1048576");
    FAILS(ioasis_dma_write(device, IOASIS_NO_PASID, UINT64_MAX, memory, 2), EINVAL, "2^64");
    FAILS(ioasis_dma_write(device, IOASIS_NO_PASID, 0x1000, nothing, 1), EFAULT, "buffer");
    FAILS(ioasis_dma_write(device, IOASIS_NO_PASID, 0x1000, &byte, 1), EFAULT, "refused");
    struct ioasis_fault fault = { .size = sizeof fault };
    FAILS(ioasis_fault_next(platform, nothing), EFAULT, "fault");
    HOLDS(ioasis_fault_next(platform, &fault) == 1 && fault.iova == 0x1000 && strcmp(fault.device, "one") == 0);
    HOLDS(fault.reason == IOASIS_FAULT_BLOCKED && fault.pasid == IOASIS_NO_PASID && (fault.request & IOASIS_REQUEST_WRITE));
    HOLDS(ioasis_fault_next(platform, &fault) == 0);
    char text[512], cut[8];
    int length = ioasis_fault_describe(platform, &fault, text, sizeof text);
    HOLDS(length == (int)strlen(text) && strstr(text, "0x1000") != NULL && strstr(text, "one") != NULL);
    HOLDS(ioasis_fault_describe(platform, &fault, cut, sizeof cut) == length && memcmp(cut, text, 7) == 0 && cut[7] == 0);
    HOLDS(ioasis_fault_describe(platform, &fault, NULL, 0) == length);
    HOLDS(ioasis_device_remove(device) == 0);
    FAILS(ioasis_device_remove(device), EINVAL, "removed");

    struct ioasis_device_options what;
    struct ioasis_device_ops ops = { .size = sizeof ops };
    memset(&what, 0, sizeof what);
    what.size = sizeof what;
    what.bars[0].length = 100;
    FAILS(ioasis_device_create(platform, &what, &ops, NULL, &device), EINVAL, "bars[0].length is 0x64");
    what.bars[0].length = 4096;
    what.msi_vectors = 3;
    FAILS(ioasis_device_create(platform, &what, &ops, NULL, &device), EINVAL, "msi_vectors is 3");
    what.msi_vectors = 0;
    what.msix_vectors = 2;
    what.msix_bar = 1;
    FAILS(ioasis_device_create(platform, &what, &ops, NULL, &device), EINVAL, "msix_bar is 1");
    what.msix_vectors = 0;
    what.name = nothing;
    FAILS(ioasis_device_create(platform, &what, &ops, NULL, &device), EFAULT, "options.name");
    what.name = "a-name-of-more-than-sixty-three-bytes-which-no-field-of-the-interface-holds";
    FAILS(ioasis_device_create(platform, &what, &ops, NULL, &device), EINVAL, "63 bytes");
    what.name = NULL;
    what.address = "nowhere";
    FAILS(ioasis_device_create(platform, &what, &ops, NULL, &device), EINVAL, "nowhere");
    what.address = NULL;
    FAILS(ioasis_device_create(platform, &what, NULL, NULL, &device), EFAULT, "ops is null");
    HOLDS(ioasis_device_create(platform, &what, &ops, NULL, &device) == 0);
    FAILS(ioasis_dma_read(device, IOASIS_NO_PASID, 0, &byte, 1), EPERM, "bus master");
    uint16_t command = 4, vendor;
    HOLDS(ioasis_device_config_write(device, 4, &command, 2) == 2 && ioasis_device_config_read(device, 0, &vendor, 2) == 2);
    FAILS(ioasis_device_config_read(device, 255, &vendor, 2), EFAULT, "0x100");
    HOLDS(ioasis_platform_destroy(platform) == 0);
    FAILS(ioasis_device_signal(device, 0), EINVAL, "is no device");

    /* Maps, and structures that are half there or cannot be written. */
    struct machine m = make_machine();
    FAILS(map(&m, memory, 0x1001, 4096), EINVAL, "0x1001");
    FAILS(map(&m, memory, 0x1000, 0), EINVAL, "length is 0");
    FAILS(map(&m, nothing, 0x1000, 4096), EFAULT, "not there");
    HOLDS(map(&m, memory, 0x1000, 4096) == 0);
    FAILS(map(&m, memory, 0x1000, 4096), EEXIST, "overlaps");
    FAILS(ioasis_ioctl(m.platform, m.container, VFIO_IOMMU_MAP_DMA, NULL), EFAULT, "VFIO_IOMMU_MAP_DMA");
    FAILS(ioasis_ioctl(m.platform, m.container, VFIO_IOMMU_MAP_DMA, nothing), EFAULT, "VFIO_IOMMU_MAP_DMA");
    FAILS(ioasis_ioctl(m.platform, m.container, 0x3bff, &m), ENOTTY, "0x3bff");
    struct vfio_iommu_type1_dma_map *edge = (void *)(constant + 4096 - sizeof *edge), *beyond = (void *)(constant + 4096 - 16);
    munmap(constant + 4096, 4096);
    *edge = (struct vfio_iommu_type1_dma_map){ .argsz = sizeof *edge, .flags = 3, .vaddr = (uintptr_t)memory, .iova = 0x8000, .size = 4096 };
    HOLDS(ioasis_ioctl(m.platform, m.container, VFIO_IOMMU_MAP_DMA, edge) == 0);
    beyond->argsz = sizeof *beyond;
    FAILS(ioasis_ioctl(m.platform, m.container, VFIO_IOMMU_MAP_DMA, beyond), EFAULT, "VFIO_IOMMU_MAP_DMA");
    *edge = (struct vfio_iommu_type1_dma_map){ .argsz = sizeof *edge, .flags = 3, .vaddr = (uintptr_t)memory, .iova = 0xa000, .size = 4096 };
    mprotect(constant, 4096, PROT_READ);
    HOLDS(ioasis_ioctl(m.platform, m.container, VFIO_IOMMU_MAP_DMA, edge) == 0);
    HOLDS(ioasis_dma_write(m.device, IOASIS_NO_PASID, 0xa005, &byte, 1) == 0 && memory[5] == 1);
    struct ioasis_translation translation = { .size = sizeof translation, .iova = 0xa123, .pasid = IOASIS_NO_PASID };
    HOLDS(ioasis_translate(m.device, &translation) == 0);
    HOLDS(translation.address == (1ull << 51) + (uintptr_t)memory + 0x123 && translation.size_log2 >= 12);

    /* Memory files, and what is mapped when the platform goes. */
    void *mapped;
    int file = ioasis_memfd(m.platform, "buffer", 8192);
    HOLDS(file >= 0 && ioasis_mmap(m.platform, file, 0, 8192, PROT_READ | PROT_WRITE, &mapped) == 0);
    FAILS(ioasis_mmap(m.platform, file, 1, 4096, PROT_READ, &mapped), EINVAL, "0x1");
    FAILS(ioasis_mmap(m.platform, m.container, 0, 4096, PROT_READ, &mapped), ENODEV, "cannot be mapped");
    FAILS(ioasis_munmap(m.platform, memory, 4096), EINVAL, "no mapping");
    memset(mapped, 7, 8192);
    HOLDS(ioasis_munmap(m.platform, mapped, 8192) == 0);
    struct ioasis_stats stats = { .size = sizeof stats };
    HOLDS(ioasis_platform_stats(m.platform, &stats) == 0);
    HOLDS(stats.mappings == 3 && stats.pinned_bytes >= 4096 && stats.dma_writes == 1 && stats.dma_write_bytes == 1 && stats.devices == 1);
    HOLDS(ioasis_platform_destroy(m.platform) == 0);
    HOLDS(errno == 77);
    puts("ok");
    return 0;
}
