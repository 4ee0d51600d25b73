/* What libvfn's examples `regs` and `eventfd` do, by the same calls (Debian has no libvfn): an NVMe controller's registers by a mapping of its base
   address register, an admin queue by DMA, and the completion told by an eventfd on MSI-X; and its `iopf`, which drives a device of its own: the page
   of the data is mapped only when the controller asks for it.   Usage: nvme group|iommufd|pages */
#include "abi.h"

struct page_fault { uint32_t flags, device, pasid, group, access, reserved; uint64_t address; uint32_t length, cookie; };
struct page_response { uint32_t cookie, code; };

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
  int by_group = strcmp(argv[1], "group") == 0, asks = strcmp(argv[1], "pages") == 0, device, owner;
  struct fault_alloc faults = { sizeof faults };
  uint32_t space_id = 0;
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
    space_id = space.id;
    struct attach attach = { sizeof attach, 0, space.id };
    if (asks) {
      OK(ioctl(owner, FAULT_ALLOC, &faults));
      struct hwpt_alloc table = { sizeof table, 4, bind.devid, space.id, .fault = faults.id };
      OK(ioctl(owner, HWPT_ALLOC, &table));
      attach.pt = table.id;
    }
    OK(ioctl(device, ATTACH_PT, &attach));
    struct ioas_map map = { sizeof map, 6, space.id, 0, (uintptr_t)memory, (asks ? 2 : 3) * PAGE, 0 };
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
    if (asks) {
      struct pollfd asked = { faults.fd, POLLIN, 0 };
      struct page_fault fault;
      CHECK(poll(&asked, 1, 60000) == 1 && read(faults.fd, &fault, sizeof fault) == sizeof fault);
      CHECK(fault.address == iova + 2 * PAGE && (fault.access & 2) != 0 && *(uint16_t *)(memory + PAGE + 16 * i + 14) == 0);
      struct ioas_map map = { sizeof map, 7, space_id, 0, (uintptr_t)memory + 2 * PAGE, PAGE, iova + 2 * PAGE };
      OK(ioctl(owner, IOAS_MAP, &map));
      struct page_response response = { fault.cookie, 0 };
      CHECK(write(faults.fd, &response, sizeof response) == sizeof response);
    }
    struct pollfd wait = { interrupt, POLLIN, 0 };
    uint64_t count;
    CHECK(poll(&wait, 1, 60000) == 1 && read(interrupt, &count, 8) == 8 && count == 1);
    volatile uint32_t *entry = (volatile uint32_t *)(memory + PAGE + 16 * i);
    CHECK((entry[3] & 0xffff) == 0x100 + i && entry[3] >> 16 == 1); /* the phase, and success */
    CHECK(*(uint16_t *)(memory + 2 * PAGE) != 0 && memory[2 * PAGE + 4] != 0);
    put32(0x1000 + (4u << (capabilities >> 32 & 15)), i + 1);
    if (asks) {
      struct ioas_unmap unmap = { sizeof unmap, space_id, iova + 2 * PAGE, PAGE };
      OK(ioctl(owner, IOAS_UNMAP, &unmap));
    }
  }
  put32(0x14, get32(0x14) & ~1u);
  await_ready(0);
  printf("20 completions by eventfd%s\n", asks ? ", each after a page was asked for" : "");
  return 0;
}
