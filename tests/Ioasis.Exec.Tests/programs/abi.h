/* What a driver needs of VFIO and iommufd, as numbers and structures: headers of older systems have not all of it. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL(n) (0x3b00 | (n))
enum {
  GET_API_VERSION = CALL(100), CHECK_EXTENSION, SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_UNSET_CONTAINER,
  GROUP_GET_DEVICE_FD, DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_IRQ_INFO, DEVICE_SET_IRQS, DEVICE_RESET,
  IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA,
  DEVICE_IOEVENTFD = CALL(116), DEVICE_FEATURE = CALL(117), BIND_IOMMUFD = CALL(118), ATTACH_PT = CALL(119), DETACH_PT = CALL(120),
  IOMMU_DESTROY = CALL(0x80), IOAS_ALLOC = CALL(0x81), IOAS_MAP = CALL(0x85), IOAS_UNMAP = CALL(0x86), HWPT_ALLOC = CALL(0x89),
  FAULT_ALLOC = CALL(0x8e), IOAS_MAP_FILE = CALL(0x8f),
};

struct map_dma { uint32_t argsz, flags; uint64_t vaddr, iova, size; };
struct unmap_dma { uint32_t argsz, flags; uint64_t iova, size; };
struct group_status { uint32_t argsz, flags; };
struct device_info { uint32_t argsz, flags, regions, irqs, cap_offset, pad; };
struct region_info { uint32_t argsz, flags, index, cap_offset; uint64_t size, offset; };
struct irq_set { uint32_t argsz, flags, index, start, count; int32_t data[1]; };
struct ioeventfd { uint32_t argsz, flags; uint64_t offset, data; int32_t fd; uint32_t pad; };
struct bind { uint32_t argsz, flags; int32_t iommufd; uint32_t devid; };
struct attach { uint32_t argsz, flags, pt; };
struct ioas_alloc { uint32_t size, flags, id; };
struct ioas_map { uint32_t size, flags, id, pad; uint64_t va, length, iova; };
struct ioas_map_file { uint32_t size, flags, id; int32_t fd; uint64_t start, length, iova; };
struct ioas_unmap { uint32_t size, id; uint64_t iova, length; };
struct hwpt_alloc { uint32_t size, flags, device, pt, id, reserved, data_type, data_length; uint64_t data; uint32_t fault, reserved2; };
struct fault_alloc { uint32_t size, flags, id; int32_t fd; };
struct destroy { uint32_t size, id; };

#define CHECK(what) do { if (!(what)) { fprintf(stderr, "%s:%d: %s (errno %d, %s)\n", __FILE__, __LINE__, #what, errno, strerror(errno)); exit(1); } } while (0)
#define OK(call) do { if ((long)(call) < 0) { fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, strerror(errno)); exit(1); } } while (0)
#define FAILS(call, error) do { errno = 0; long result_ = (long)(call); if (result_ != -1 || errno != (error)) { fprintf(stderr, "%s:%d: %s gave %ld, %s\n", __FILE__, __LINE__, #call, result_, strerror(errno)); exit(1); } } while (0)

#define PAGE 4096ul

static inline void *new_pages(size_t size) {
  void *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}
