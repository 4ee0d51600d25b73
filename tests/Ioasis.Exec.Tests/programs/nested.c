/* A program with a first stage of its own, as a virtual machine monitor has one: what it changes it has to have forgotten. Arguments: vtd or riscv, and what to do wrong. */
#include "edu.h"

enum { HWPT_INVALIDATE = CALL(0x8d) };
struct hwpt_invalidate { uint32_t size, hwpt; uint64_t data; uint32_t data_type, entry_length, entries, reserved; };

#define START 0x100000ul /* of the guest's memory, in the second stage */
#define PLACE 0x5000ul

static struct edu e;
static uint64_t *memory;
static int is_vtd;

static uint64_t table(int page) { return is_vtd ? (START + page * PAGE) | 0x67 : ((START + page * PAGE) >> 2) | 1; }
static uint64_t leaf(int page) { return is_vtd ? (START + page * PAGE) | 0x67 : ((START + page * PAGE) >> 2) | 0xd7; }

static volatile uint64_t *last_entry(void) { return memory + (is_vtd ? 3 : 2) * 512 + (PLACE >> 12); }

static uint32_t allocate(uint32_t flags, uint32_t on, uint32_t type, void *data, uint32_t length, uint32_t device) {
  struct hwpt_alloc alloc = { sizeof alloc, flags, device, on, .data_type = type, .data_length = length, .data = (uintptr_t)data };
  OK(ioctl(e.iommu, HWPT_ALLOC, &alloc));
  return alloc.id;
}

static void invalidate(uint32_t hwpt, uint64_t iova) {
  uint64_t vtd[3] = { iova, 1, 0 };
  uint64_t riscv[2] = { 1 | 7ul << 12 | 1ul << 32 | 1ul << 10, (iova >> 12) << 10 };
  struct hwpt_invalidate call = { sizeof call, hwpt, is_vtd ? (uintptr_t)vtd : (uintptr_t)riscv, is_vtd ? 0 : 0x80000001, is_vtd ? 24 : 16, 1 };
  OK(ioctl(e.iommu, HWPT_INVALIDATE, &call));
  CHECK(call.entries == 1);
}

static void map_the_guest(void) {
  struct ioas_map map = { sizeof map, 7, e.ioas, 0, (uintptr_t)memory, 16 * PAGE, START };
  OK(ioctl(e.iommu, IOAS_MAP, &map));
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  is_vtd = strcmp(argv[1], "vtd") == 0;
  memory = new_pages(16 * PAGE);
  e.iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
  OK(e.iommu);
  e.fd = open("/dev/vfio/devices/vfio0", O_RDWR | O_CLOEXEC);
  OK(e.fd);
  struct bind bind = { sizeof bind, 0, e.iommu };
  OK(ioctl(e.fd, BIND_IOMMUFD, &bind));
  struct ioas_alloc alloc = { sizeof alloc };
  OK(ioctl(e.iommu, IOAS_ALLOC, &alloc));
  e.ioas = alloc.id;
  map_the_guest();

  int levels = is_vtd ? 4 : 3;
  for (int level = 0; level < levels - 1; level++) memory[level * 512 + ((PLACE >> (12 + 9 * (levels - 1 - level))) & 511)] = table(level + 1);
  *last_entry() = leaf(8);
  uint64_t vtd[3] = { 0, START, 48 };
  uint64_t riscv[4] = { 0, 7ul << 12, 8ul << 60 | START >> 12 };
  uint32_t parent = allocate(1, e.ioas, 0, NULL, 0, bind.devid);
  uint32_t nested = allocate(0, parent, is_vtd ? 1 : 0x80000001, is_vtd ? (void *)vtd : (void *)riscv, is_vtd ? 24 : 32, bind.devid);
  struct attach attach = { sizeof attach, 0, nested };
  OK(ioctl(e.fd, ATTACH_PT, &attach));
  edu_start(&e);

  edu_copy(&e, 0x40000, PLACE, 64, 1);
  if (strcmp(argv[2], "moved") == 0) {
    *last_entry() = leaf(9);
  } else if (strcmp(argv[2], "taken") == 0) {
    *last_entry() = 0;
  } else if (strcmp(argv[2], "other") == 0) {
    *last_entry() = leaf(9);
    invalidate(nested, PLACE + PAGE);
  } else {
    *last_entry() = leaf(9);
    invalidate(nested, PLACE);
  }
  edu_copy(&e, 0x40000, PLACE, 64, 1);

  attach.pt = parent;
  OK(ioctl(e.fd, ATTACH_PT, &attach));
  struct destroy destroy = { sizeof destroy, nested };
  OK(ioctl(e.iommu, IOMMU_DESTROY, &destroy));
  struct ioas_unmap unmap = { sizeof unmap, e.ioas, START, 16 * PAGE };
  OK(ioctl(e.iommu, IOAS_UNMAP, &unmap));
  puts("nested");
  return 0;
}
