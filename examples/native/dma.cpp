// Maps memory for a device, has the device write it, takes it back, and reads the fault of the next write. In C++17, without more than
// ioasis.h and the system's vfio.h.
#include <ioasis.h>

#include <fcntl.h>
#include <linux/vfio.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

long long check(long long result)
{
    if (result < 0) throw std::runtime_error(ioasis_errmsg());
    return result;
}

struct Destroy { void operator()(ioasis_platform *platform) const { ioasis_platform_destroy(platform); } };
using Platform = std::unique_ptr<ioasis_platform, Destroy>;

Platform make_platform()
{
    ioasis_platform *platform = nullptr;
    check(ioasis_platform_create(nullptr, &platform));
    return Platform(platform);
}

} // namespace

int main()
try {
    Platform platform = make_platform();
    ioasis_device *device = nullptr;
    check(ioasis_device_add(platform.get(), "dma,addr=00:03.0,name=disk", &device));
    ioasis_device_info info{};
    info.size = sizeof info;
    check(ioasis_device_get_info(device, &info));

    int container = static_cast<int>(check(ioasis_open(platform.get(), "/dev/vfio/vfio", O_RDWR)));
    int group = static_cast<int>(check(ioasis_open(platform.get(), info.group_path, O_RDWR)));
    check(ioasis_ioctl(platform.get(), group, VFIO_GROUP_SET_CONTAINER, &container));
    check(ioasis_ioctl(platform.get(), container, VFIO_SET_IOMMU, reinterpret_cast<void *>(VFIO_TYPE1v2_IOMMU)));

    std::unique_ptr<char, decltype(&std::free)> buffer(static_cast<char *>(std::aligned_alloc(4096, 4096)), &std::free);
    vfio_iommu_type1_dma_map map{};
    map.argsz = sizeof map;
    map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    map.vaddr = reinterpret_cast<std::uintptr_t>(buffer.get());
    map.iova = 0x100000;
    map.size = 4096;
    check(ioasis_ioctl(platform.get(), container, VFIO_IOMMU_MAP_DMA, &map));
    const std::string text = "written by the device";
    check(ioasis_dma_write(device, IOASIS_NO_PASID, 0x100010, text.c_str(), text.size() + 1));
    if (text != buffer.get() + 0x10) return 1;

    vfio_iommu_type1_dma_unmap unmap{};
    unmap.argsz = sizeof unmap;
    unmap.iova = 0x100000;
    unmap.size = 4096;
    check(ioasis_ioctl(platform.get(), container, VFIO_IOMMU_UNMAP_DMA, &unmap));
    if (ioasis_dma_write(device, IOASIS_NO_PASID, 0x100010, "x", 1) >= 0) return 1;
    std::printf("%s\n", ioasis_errmsg());
    ioasis_fault fault{};
    fault.size = sizeof fault;
    char sentence[256];
    if (check(ioasis_fault_next(platform.get(), &fault)) != 1) return 1;
    check(ioasis_fault_describe(platform.get(), &fault, sentence, sizeof sentence));
    std::printf("%s\nok\n", sentence);
    return fault.iova == 0x100010 && (fault.request & IOASIS_REQUEST_WRITE) != 0 ? 0 : 1;
} catch (const std::exception &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
