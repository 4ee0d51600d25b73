/* Two base address registers of a virtio disk mapped whole: registers, each access of which has effects, and the memory that has its table of
   interrupts, of which the device could share the rest. Whatever is mapped first, no access goes past the device. */
#include "abi.h"

static int open_device(int *container, int *group) {
  *container = open("/dev/vfio/vfio", O_RDWR);
  OK(*container);
  *group = open("/dev/vfio/0", O_RDWR);
  OK(*group);
  OK(ioctl(*group, GROUP_SET_CONTAINER, container));
  OK(ioctl(*container, SET_IOMMU, 3));
  int device = ioctl(*group, GROUP_GET_DEVICE_FD, "0000:00:01.0");
  OK(device);
  struct region_info config = { sizeof config, .index = 7 };
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &config));
  uint16_t command = 6;
  CHECK(pwrite(device, &command, 2, (off_t)config.offset + 4) == 2);
  return device;
}

static struct region_info region(int device, uint32_t index) {
  struct region_info info = { sizeof info, .index = index };
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &info));
  return info;
}

static volatile uint32_t *map(int device, struct region_info *info) {
  void *at = mmap(0, info->size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)info->offset);
  return at == MAP_FAILED ? 0 : at;
}

/* Word 0 selects which half of the features word 1 shows; bit 32 of them is there always. */
static uint32_t high_features(volatile uint32_t *registers) {
  registers[0] = 1;
  return registers[1];
}

int main(void) {
  int container, group, device = open_device(&container, &group);
  struct region_info common = region(device, 0), table = region(device, 4);
  volatile uint32_t *registers = map(device, &common);
  CHECK(registers && (high_features(registers) & 1));
  volatile uint32_t *entries = map(device, &table);
  CHECK(entries);
  entries[512] = 0x41;
  uint32_t data = 0;
  CHECK(entries[512] == 0x41 && pread(device, &data, 4, (off_t)table.offset + 2048) == 4 && data == 0x41);
  registers[0] = 0;
  CHECK(high_features(registers) & 1);
  munmap((void *)registers, common.size);
  munmap((void *)entries, table.size);
  close(device);
  close(group);
  close(container);

  device = open_device(&container, &group);
  entries = map(device, &table);
  CHECK(entries);
  entries[512] = 0x42;
  CHECK(pread(device, &data, 4, (off_t)table.offset + 2048) == 4 && data == 0x42);
  registers = map(device, &common);
  CHECK(registers ? (high_features(registers) & 1) : errno == EBUSY);
  puts("mapped");
  return 0;
}
