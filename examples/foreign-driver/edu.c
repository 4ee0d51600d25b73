/* A user-space driver of QEMU's "edu" device over VFIO, as one would write it for a real machine: it has a buffer copied by the device's
   DMA engine, waits for its interrupt, and unmaps. It knows nothing of Ioasis.   Usage: edu 0000:00:03.0 */
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int device;
static uint64_t bar;

static void fail(const char *what) { perror(what); exit(1); }

static void store(uint64_t at, uint32_t value) {
  if (pwrite(device, &value, 4, bar + at) != 4) fail("register");
}

static uint32_t load(uint64_t at) {
  uint32_t value;
  if (pread(device, &value, 4, bar + at) != 4) fail("register");
  return value;
}

static void copy(uint64_t from, uint64_t to, uint32_t bytes, uint32_t command, int interrupt) {
  uint64_t count;
  struct pollfd wait = { interrupt, POLLIN, 0 };
  store(0x80, from);
  store(0x88, to);
  store(0x90, bytes);
  store(0x98, command | 5);
  if (poll(&wait, 1, 5000) != 1 || read(interrupt, &count, 8) != 8) fail("interrupt");
  store(0x64, load(0x24));
}

int main(int argc, char **argv) {
  char path[PATH_MAX], link[PATH_MAX] = { 0 };
  if (argc != 2) return 2;
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", argv[1]);
  if (readlink(path, link, sizeof link - 1) < 0) fail(path);
  snprintf(path, sizeof path, "/dev/vfio/%s", strrchr(link, '/') + 1);

  int container = open("/dev/vfio/vfio", O_RDWR), group = open(path, O_RDWR);
  if (container < 0 || group < 0) fail(path);
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) || ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) fail("container");
  device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[1]);
  if (device < 0) fail("device");

  struct vfio_region_info config = { .argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX };
  struct vfio_region_info registers = { .argsz = sizeof registers, .index = VFIO_PCI_BAR0_REGION_INDEX };
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &registers)) fail("regions");
  bar = registers.offset;
  uint16_t command = 6; /* memory space, bus master */
  if (pwrite(device, &command, 2, config.offset + 4) != 2) fail("command register");

  struct { struct vfio_irq_set head; int32_t descriptor; } irq = {
    { sizeof irq, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSI_IRQ_INDEX, 0, 1 }, eventfd(0, 0) };
  if (ioctl(device, VFIO_DEVICE_SET_IRQS, &irq)) fail("interrupts");

  char *buffer = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct vfio_iommu_type1_dma_map map = { sizeof map, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, (uintptr_t)buffer, 0x100000, 4096 };
  if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map)) fail("map");
  strcpy(buffer, "hello");
  copy(0x100000, 0x40000, 4096, 0, irq.descriptor);        /* memory to the device */
  memset(buffer, 0, 4096);
  copy(0x40000, 0x100000, 4096, 2, irq.descriptor);        /* and back */
  printf("edu %x says %s\n", load(0), buffer);

  struct vfio_iommu_type1_dma_unmap unmap = { sizeof unmap, 0, 0x100000, 4096 };
  if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap)) fail("unmap");
  return strcmp(buffer, "hello") != 0;
}
