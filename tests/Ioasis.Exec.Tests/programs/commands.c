/* A process that gives Intel's Data Streaming Accelerator commands by ENQCMD: into a shared queue, with the PASID that the device is attached
   with, whatever the command says; a full queue and a disabled one have it sent again. */
#include "abi.h"
#include <setjmp.h>
#include <signal.h>

static volatile uint8_t *registers;
static sigjmp_buf out;

static void write32(uint32_t at, uint32_t value) { *(volatile uint32_t *)(registers + at) = value; }

static void command(uint32_t number, uint32_t operand) {
  write32(0xa0, number << 20 | operand);
  uint32_t status;
  while ((status = *(volatile uint32_t *)(registers + 0xa8)) >> 31)
    ;
  CHECK(status == 0);
}

static void *map_bar(int device, uint32_t index) {
  struct region_info info = { sizeof info, .index = index };
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &info));
  void *at = mmap(0, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)info.offset);
  CHECK(at != MAP_FAILED);
  return at;
}

/* Whether it is to be sent again. */
static int enqueue(void *to, const void *from) {
  uint8_t again;
  /* enqcmd 8(%rdx), %rax: assemblers of today do not all know it */
  __asm__ volatile(".byte 0xf2, 0x0f, 0x38, 0xf8, 0x42, 0x08; setz %0" : "=q"(again) : "a"(to), "d"((const char *)from - 8) : "memory", "cc");
  return again;
}

static void refused(int signal) { (void)signal; siglongjmp(out, 1); }

int main(void) {
  int iommu = open("/dev/iommu", O_RDWR), device = open("/dev/vfio/devices/vfio0", O_RDWR);
  struct bind bind = { sizeof bind, 0, iommu };
  struct ioas_alloc space = { sizeof space }, other = { sizeof other };
  OK(ioctl(device, BIND_IOMMUFD, &bind));
  OK(ioctl(iommu, IOAS_ALLOC, &space));
  OK(ioctl(iommu, IOAS_ALLOC, &other));
  struct region_info config = { sizeof config, .index = 7 };
  OK(ioctl(device, DEVICE_GET_REGION_INFO, &config));
  uint16_t master = 6;
  CHECK(pwrite(device, &master, 2, (off_t)config.offset + 4) == 2);
  char *memory = new_pages(4 * PAGE);
  struct ioas_map map = { sizeof map, 7, other.id, 0, (uintptr_t)memory, 4 * PAGE, 0x10000 };
  OK(ioctl(iommu, IOAS_MAP, &map));
  /* Tables for a device that uses PASIDs. */
  struct { uint32_t size, flags, device, on, id, reserved, type, length; uint64_t data; uint32_t fault, reserved2; } table =
    { 48, 8, bind.devid, space.id, 0, 0, 0, 0, 0, 0, 0 }, others = { 48, 8, bind.devid, other.id, 0, 0, 0, 0, 0, 0, 0 };
  OK(ioctl(iommu, CALL(0x89), &table));
  OK(ioctl(iommu, CALL(0x89), &others));
  struct attach plain = { sizeof plain, 0, table.id };
  OK(ioctl(device, ATTACH_PT, &plain));

  /* One shared queue, enabled, with PASIDs: the accelerator takes 8 commands at once. */
  registers = map_bar(device, 0);
  char *portal = map_bar(device, 2);
  uint32_t groups = *(volatile uint16_t *)(registers + 0x60) * 0x100, queues = *(volatile uint16_t *)(registers + 0x62) * 0x100;

  command(5, 0);
  write32(queues, 8);
  write32(queues + 4, 8);
  write32(queues + 8, 1u << 28 | 0x10); /* PASIDs, priority 1, shared */
  write32(groups, 1);
  write32(groups + 32, 1);
  command(1, 0);

  struct { uint32_t pasid, flags; uint64_t record, from, to; uint32_t length, handle; uint64_t rest[3]; } descriptor __attribute__((aligned(64))) =
    { 0x12345, 0x0300000c, 0x12000, 0x10000, 0x11000, 64, 0, { 0 } };
  CHECK(sizeof descriptor == 64);

  /* Without a PASID the instruction is refused, as it is to a process that has none. */
  signal(SIGBUS, refused);
  signal(SIGILL, refused);
  signal(SIGSEGV, refused);
  if (sigsetjmp(out, 1) == 0) {
    enqueue(portal, &descriptor);
    CHECK(!"refused");
  }

  struct { uint32_t argsz, flags, id, pasid; } attach = { 16, 1, others.id, 77 };
  OK(ioctl(device, ATTACH_PT, &attach));
  CHECK(enqueue(portal, &descriptor) == 1); /* the queue is not enabled */
  command(6, 0);

  strcpy(memory, "with a PASID");
  volatile uint8_t *status = (uint8_t *)memory + 2 * PAGE;
  for (int i = 0; i < 3; i++) {
    *status = 0;
    memory[PAGE] = 0;
    while (enqueue(portal + 64 * i, &descriptor))
      ;
    while (*status == 0)
      ;
    CHECK(*status == 1 && strcmp(memory + PAGE, "with a PASID") == 0);
  }
  puts("enqueued");
  return 0;
}
