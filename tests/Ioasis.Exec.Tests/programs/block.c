/* A driver of Intel's Data Streaming Accelerator, with its registers mapped: a copy by a descriptor of 64 bytes that is stored at once (MOVDIR64B). */
#include "abi.h"

static volatile uint8_t *registers;

static void write32(uint32_t at, uint32_t value) { *(volatile uint32_t *)(registers + at) = value; }

static void command(uint32_t number) {
  write32(0xa0, number << 20);
  uint32_t status;
  while ((status = *(volatile uint32_t *)(registers + 0xa8)) >> 31)
    ;
  CHECK(status == 0);
}

static void *map_bar(int device, uint32_t index, uint64_t *size) {
  struct region_info info = { sizeof info, .index = index };
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &info));
  void *at = mmap(0, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)info.offset);
  CHECK(at != MAP_FAILED);
  *size = info.size;
  return at;
}

static void store_block(void *to, const void *from) {
  /* movdir64b 8(%rdx), %rax: assemblers of today do not all know it */
  __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x42, 0x08" : : "a"(to), "d"((const char *)from - 8) : "memory");
}

int main(void) {
  int container = open("/dev/vfio/vfio", O_RDWR), group = open("/dev/vfio/0", O_RDWR);
  OK(container);
  OK(group);
  OK(ioctl(group, GROUP_SET_CONTAINER, &container));
  OK(ioctl(container, SET_IOMMU, 3));
  int device = ioctl(group, GROUP_GET_DEVICE_FD, "0000:00:01.0");
  OK(device);
  struct region_info config = { sizeof config, .index = 7 };
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &config));
  uint16_t master = 6;
  CHECK(pwrite(device, &master, 2, (off_t)config.offset + 4) == 2);
  char *memory = new_pages(4 * PAGE);
  struct map_dma map = { sizeof map, 3, (uintptr_t)memory, 0x10000, 4 * PAGE };
  OK(ioctl(container, IOMMU_MAP_DMA, &map));

  uint64_t size, portals;
  registers = map_bar(device, 0, &size);
  char *portal = map_bar(device, 2, &portals);
  CHECK(size == 0x10000 && portals == 8 * 4 * PAGE);
  CHECK(*(volatile uint32_t *)registers == 0x100);
  uint32_t groups = *(volatile uint16_t *)(registers + 0x60) * 0x100, queues = *(volatile uint16_t *)(registers + 0x62) * 0x100;
  command(5);
  write32(queues, 8);
  write32(queues + 8, 0x11);
  write32(groups, 1);
  write32(groups + 32, 1);
  command(1);
  command(6);

  strcpy(memory, "stored at once");
  struct { uint32_t pasid, flags; uint64_t record, from, to; uint32_t length, handle; uint64_t rest[3]; } descriptor __attribute__((aligned(64))) =
    { 0, 0x0300000c, 0x12000, 0x10000, 0x11000, 64, 0, { 0 } };
  CHECK(sizeof descriptor == 64);
  volatile uint8_t *status = (uint8_t *)memory + 2 * PAGE;
  for (int i = 0; i < 3; i++) {
    *status = 0;
    memory[PAGE] = 0;
    store_block(portal + 64 * i, &descriptor);
    while (*status == 0)
      ;
    CHECK(*status == 1 && strcmp(memory + PAGE, "stored at once") == 0);
  }
  puts("copied");
  return 0;
}
