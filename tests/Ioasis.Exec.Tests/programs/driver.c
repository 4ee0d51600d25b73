/* The whole way by both interfaces: open, map, DMA, interrupt, unmap, fault. */
#include "edu.h"

static void drive(struct edu *e) {
  char *memory = new_pages(2 * PAGE);
  OK(edu_map(e, memory, 0x10000, 2 * PAGE));
  FAILS(edu_map(e, memory, 0x10000, PAGE), EEXIST);
  edu_roundtrip(e, 0x10000, memory, "through the device and back");
  reg_write(e, 0x20, 0x80);
  reg_write(e, 0x08, 5);
  struct pollfd wait = { e->interrupt, POLLIN };
  CHECK(poll(&wait, 1, 10000) == 1);
  uint64_t count;
  CHECK(read(e->interrupt, &count, 8) == 8);
  CHECK(reg_read(e, 0x08) == 120);
  reg_write(e, 0x64, 1);
  OK(edu_unmap(e, 0x10000, 2 * PAGE));
  strcpy(memory, "untouched");
  edu_copy(e, 0x40000, 0x10000, 64, 1);
  CHECK(strcmp(memory, "untouched") == 0);
}

int main(void) {
  struct edu e;
  edu_open_group(&e, "0000:00:01.0", "/dev/vfio/0");
  drive(&e);
  FAILS(open("/dev/vfio/0", O_RDWR), EBUSY);
  close(e.fd);
  close(e.group);
  close(e.container);
  edu_open_cdev(&e, "/dev/vfio/devices/vfio0");
  drive(&e);
  puts("done");
  return 7;
}
