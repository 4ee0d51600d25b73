/* A device that sends PASIDs: each has its own address space, by iommufd; a PASID that nobody attached is refused, and said. */
#include "check.h"

/* Of linux/iommufd.h and later linux/vfio.h, which older systems do not have. */
enum { IOAS_ALLOC = 0x3b81, IOAS_MAP = 0x3b85, HWPT_ALLOC = 0x3b89, BIND_IOMMUFD = 0x3b76, ATTACH_IOMMUFD_PT = 0x3b77 };
struct ioas_alloc { uint32_t size, flags, out_ioas_id; };
struct ioas_map { uint32_t size, flags, ioas_id, reserved; uint64_t user_va, length, iova; };
struct hwpt_alloc {
    uint32_t size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len;
    uint64_t data_uptr;
    uint32_t fault_id, reserved2;
};
struct bind { uint32_t argsz, flags; int32_t iommufd; uint32_t out_devid; };
struct attach { uint32_t argsz, flags, pt_id, pasid; };

static uint8_t first[4096] __attribute__((aligned(4096))), second[4096] __attribute__((aligned(4096)));

/* An address space with a page, and a page table of it that is made for PASIDs: beside those no other may be attached. */
static uint32_t make_table(ioasis_platform *platform, int iommu, uint32_t device, void *memory)
{
    struct ioas_alloc space = { .size = sizeof space };
    HOLDS(ioasis_ioctl(platform, iommu, IOAS_ALLOC, &space) == 0);
    struct ioas_map map = { .size = sizeof map, .flags = 7, .ioas_id = space.out_ioas_id, .user_va = (uintptr_t)memory, .length = 4096, .iova = 0x100000 };
    HOLDS(ioasis_ioctl(platform, iommu, IOAS_MAP, &map) == 0);
    struct hwpt_alloc table = { .size = sizeof table, .flags = 8, .dev_id = device, .pt_id = space.out_ioas_id };
    HOLDS(ioasis_ioctl(platform, iommu, HWPT_ALLOC, &table) == 0);
    return table.out_hwpt_id;
}

int main(void)
{
    ioasis_platform *platform;
    ioasis_device *device;
    struct ioasis_device_info info = { .size = sizeof info };
    HOLDS(ioasis_platform_create(NULL, &platform) == 0);
    HOLDS(ioasis_device_add(platform, "dma,pasid-bits=20", &device) == 0);
    HOLDS(ioasis_device_get_info(device, &info) == 0 && info.pasid_bits == 20);
    int iommu = ioasis_open(platform, "/dev/iommu", O_RDWR), fd = ioasis_open(platform, info.device_path, O_RDWR);
    HOLDS(iommu >= 0 && fd >= 0);
    struct bind bind = { .argsz = sizeof bind, .iommufd = iommu };
    HOLDS(ioasis_ioctl(platform, fd, BIND_IOMMUFD, &bind) == 0);
    struct attach attach = { .argsz = 12, .pt_id = make_table(platform, iommu, bind.out_devid, first) };
    HOLDS(ioasis_ioctl(platform, fd, ATTACH_IOMMUFD_PT, &attach) == 0);
    HOLDS(ioasis_dma_write(device, IOASIS_NO_PASID, 0x100000, "one", 3) == 0 && memcmp(first, "one", 3) == 0);
    FAILS(ioasis_dma_write(device, 77, 0x100000, "two", 3), EFAULT, "with PASID 77");
    struct ioasis_fault fault = { .size = sizeof fault };
    HOLDS(ioasis_fault_next(platform, &fault) == 1 && fault.pasid == 77 && (fault.request & IOASIS_REQUEST_WRITE));
    char text[256];
    HOLDS(ioasis_fault_describe(platform, &fault, text, sizeof text) > 0 && strstr(text, "PASID 77") != NULL);

    attach = (struct attach){ .argsz = sizeof attach, .flags = 1, .pt_id = make_table(platform, iommu, bind.out_devid, second), .pasid = 77 };
    HOLDS(ioasis_ioctl(platform, fd, ATTACH_IOMMUFD_PT, &attach) == 0);
    HOLDS(ioasis_dma_write(device, 77, 0x100000, "two", 3) == 0 && memcmp(second, "two", 3) == 0 && memcmp(first, "one", 3) == 0);
    struct ioasis_translation translation = { .size = sizeof translation, .iova = 0x100010, .pasid = 77, .request = IOASIS_REQUEST_WRITE };
    HOLDS(ioasis_translate(device, &translation) == 0 && translation.address == (1ull << 51) + (uintptr_t)second + 0x10);
    HOLDS(ioasis_platform_destroy(platform) == 0);
    puts("ok");
    return 0;
}
