/* What libvfn's examples `regs` and `eventfd` do, by the same calls (Debian has no libvfn): an NVMe controller's registers by a mapping of its base
   address register, an admin queue by DMA, and the completion told by an eventfd on MSI-X.   Usage: nvme group|iommufd */
#include "abi.h"

static volatile uint8_t *registers;
static uint32_t get32(uint32_t at) { return *(volatile uint32_t *)(registers + at); }
static void put32(uint32_t at, uint32_t value) { *(volatile uint32_t *)(registers + at) = value; }

static uint64_t get64(uint32_t at) { return get32(at) | (uint64_t)get32(at + 4) << 32; }
static void put64(uint32_t at, uint64_t value) { put32(at, value); put32(at + 4, value >> 32); }

static void await_ready(uint32_t ready) {
  for (int i = 0; (get32(0x1c) & 1) != ready; i++) { CHECK(i < 100000); usleep(50); }
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  int by_group = strcmp(argv[1], "group") == 0, device, owner;
  char *memory = new_pages(3 * PAGE);
  uint64_t iova = 0x100000;
  if (by_group) {
    int group = open("/dev/vfio/0", O_RDWR);
    owner = open("/dev/vfio/vfio", O_RDWR);
    OK(ioctl(group, GROUP_SET_CONTAINER, &owner));
    OK(ioctl(owner, SET_IOMMU, 3));
    device = ioctl(group, GROUP_GET_DEVICE_FD, "0000:00:01.0");
    OK(device);
    struct map_dma map = { sizeof map, 3, (uintptr_t)memory, iova, 3 * PAGE };
    OK(ioctl(owner, IOMMU_MAP_DMA, &map));
  } else {
    owner = open("/dev/iommu", O_RDWR);
    device = open("/dev/vfio/devices/vfio0", O_RDWR);
    struct bind bind = { sizeof bind, 0, owner };
    struct ioas_alloc space = { sizeof space };
    OK(ioctl(device, BIND_IOMMUFD, &bind));
    OK(ioctl(owner, IOAS_ALLOC, &space));
    struct attach attach = { sizeof attach, 0, space.id };
    OK(ioctl(device, ATTACH_PT, &attach));
    struct ioas_map map = { sizeof map, 6, space.id, 0, (uintptr_t)memory, 3 * PAGE, 0 };
    OK(ioctl(owner, IOAS_MAP, &map));
    iova = map.iova;
  }

  struct region_info bar = { sizeof bar, .index = 0 }, config = { sizeof config, .index = 7 };
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &bar));
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &config));
  uint16_t master = 6;
  CHECK(pwrite(device, &master, 2, (off_t)config.offset + 4) == 2);
  registers = mmap(0, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)bar.offset);
  CHECK(registers != MAP_FAILED);

  /* regs */
  uint64_t capabilities = get64(0);
  printf("version %u.%u, %u entries, stride %u\n", get32(8) >> 16, get32(8) >> 8 & 0xff, (unsigned)(capabilities & 0xffff) + 1,
    4u << (capabilities >> 32 & 15));
  CHECK((capabilities & 0xffff) >= 1 && (capabilities >> 37 & 1) == 1);

  /* eventfd */
  int interrupt = eventfd(0, EFD_CLOEXEC);
  struct irq_set irqs = { sizeof irqs, 0x24, 2, 0, 1, { interrupt } };
  OK(ioctl(device, DEVICE_SET_IRQS, &irqs));
  put32(0x14, get32(0x14) & ~1u);
  await_ready(0);
  put32(0x24, 31 << 16 | 31);
  put64(0x28, iova);
  put64(0x30, iova + PAGE);
  put32(0x14, 4 << 20 | 6 << 16 | 1);
  await_ready(1);
  for (uint32_t i = 0; i < 20; i++) {
    uint32_t *command = (uint32_t *)(memory + 64 * i);
    memset(command, 0, 64);
    memset(memory + 2 * PAGE, 0, PAGE);
    command[0] = 6 | (0x100 + i) << 16; /* Identify */
    memcpy(command + 6, &(uint64_t){ iova + 2 * PAGE }, 8);
    command[10] = 1; /* the controller */
    __sync_synchronize();
    put32(0x1000, i + 1);
    struct pollfd wait = { interrupt, POLLIN, 0 };
    uint64_t count;
    CHECK(poll(&wait, 1, 60000) == 1 && read(interrupt, &count, 8) == 8 && count == 1);
    volatile uint32_t *entry = (volatile uint32_t *)(memory + PAGE + 16 * i);
    CHECK((entry[3] & 0xffff) == 0x100 + i && entry[3] >> 16 == 1); /* the phase, and success */
    CHECK(*(uint16_t *)(memory + 2 * PAGE) != 0 && memory[2 * PAGE + 4] != 0);
    put32(0x1000 + (4u << (capabilities >> 32 & 15)), i + 1);
  }
  put32(0x14, get32(0x14) & ~1u);
  await_ready(0);
  puts("20 completions by eventfd");
  return 0;
}
