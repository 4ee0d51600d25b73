/* A driver of QEMU's educational device over VFIO: 70 lines that know nothing of what is behind. */
#pragma once
#include "abi.h"

struct edu { int fd, container, group, iommu; uint32_t ioas; uint64_t bar, config; int interrupt; };

static inline uint64_t region_offset(int device, uint32_t index) {
  struct region_info info = { sizeof info, .index = index };
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &info));
  return info.offset;
}

static inline uint32_t reg_read(struct edu *e, uint64_t at) {
  uint32_t value;
  CHECK(pread(e->fd, &value, 4, e->bar + at) == 4);
  return value;
}

static inline void reg_write(struct edu *e, uint64_t at, uint32_t value) {
  CHECK(pwrite(e->fd, &value, 4, e->bar + at) == 4);
}

static inline void edu_start(struct edu *e) {
  e->bar = region_offset(e->fd, 0);
  e->config = region_offset(e->fd, 7);
  uint16_t command;
  CHECK(pread(e->fd, &command, 2, e->config + 4) == 2);
  command |= 6;
  CHECK(pwrite(e->fd, &command, 2, e->config + 4) == 2);
  e->interrupt = eventfd(0, EFD_CLOEXEC);
  OK(e->interrupt);
  struct irq_set set = { sizeof set, 0x24, 1, 0, 1, { e->interrupt } };
  OK(ioctl(e->fd, DEVICE_SET_IRQS, &set));
  CHECK(reg_read(e, 0) == 0x010000ed);
}

static inline void edu_open_group(struct edu *e, const char *name, const char *group) {
  memset(e, 0, sizeof *e);
  e->container = open("/dev/vfio/vfio", O_RDWR);
  OK(e->container);
  CHECK(ioctl(e->container, GET_API_VERSION) == 0);
  CHECK(ioctl(e->container, CHECK_EXTENSION, 3) == 1);
  e->group = open(group, O_RDWR);
  OK(e->group);
  struct group_status status = { sizeof status };
  OK(ioctl(e->group, GROUP_GET_STATUS, &status));
  CHECK(status.flags == 1);
  OK(ioctl(e->group, GROUP_SET_CONTAINER, &e->container));
  OK(ioctl(e->container, SET_IOMMU, 3));
  e->fd = ioctl(e->group, GROUP_GET_DEVICE_FD, name);
  OK(e->fd);
  edu_start(e);
}

static inline void edu_open_cdev(struct edu *e, const char *node) {
  memset(e, 0, sizeof *e);
  e->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
  OK(e->iommu);
  e->fd = open(node, O_RDWR | O_CLOEXEC);
  OK(e->fd);
  struct bind bind = { sizeof bind, 0, e->iommu };
  OK(ioctl(e->fd, BIND_IOMMUFD, &bind));
  CHECK(bind.iommufd == e->iommu && bind.devid != 0);
  struct ioas_alloc alloc = { sizeof alloc };
  OK(ioctl(e->iommu, IOAS_ALLOC, &alloc));
  e->ioas = alloc.id;
  struct attach attach = { sizeof attach, 0, e->ioas };
  OK(ioctl(e->fd, ATTACH_PT, &attach));
  edu_start(e);
}

static inline int edu_map(struct edu *e, void *at, uint64_t iova, size_t size) {
  if (e->container) {
    struct map_dma map = { sizeof map, 3, (uintptr_t)at, iova, size };
    return ioctl(e->container, IOMMU_MAP_DMA, &map);
  }
  struct ioas_map map = { sizeof map, 7, e->ioas, 0, (uintptr_t)at, size, iova };
  return ioctl(e->iommu, IOAS_MAP, &map);
}

static inline int edu_unmap(struct edu *e, uint64_t iova, size_t size) {
  if (e->container) {
    struct unmap_dma unmap = { sizeof unmap, 0, iova, size };
    return ioctl(e->container, IOMMU_UNMAP_DMA, &unmap);
  }
  struct ioas_unmap unmap = { sizeof unmap, e->ioas, iova, size };
  return ioctl(e->iommu, IOAS_UNMAP, &unmap);
}

/* Has the device copy, and waits for its interrupt. */
static inline void edu_copy(struct edu *e, uint64_t from, uint64_t to, uint32_t bytes, int to_memory) {
  reg_write(e, 0x80, from);
  reg_write(e, 0x84, 0);
  reg_write(e, 0x88, to);
  reg_write(e, 0x8c, 0);
  reg_write(e, 0x90, bytes);
  reg_write(e, 0x98, to_memory ? 7 : 5);
  struct pollfd wait = { e->interrupt, POLLIN };
  CHECK(poll(&wait, 1, 10000) == 1);
  uint64_t count;
  CHECK(read(e->interrupt, &count, 8) == 8 && count == 1);
  CHECK(reg_read(e, 0x24) == 0x100);
  reg_write(e, 0x64, 0x100);
}

/* Memory through the device and back. */
static inline void edu_roundtrip(struct edu *e, uint64_t iova, char *memory, const char *text) {
  strcpy(memory, text);
  edu_copy(e, iova, 0x40000, 64, 0);
  memset(memory, 0, 64);
  edu_copy(e, 0x40000, iova, 64, 1);
  CHECK(strcmp(memory, text) == 0);
}
