/* Ten drivers without a mistake, that do what looks like one at first sight. */
#define _GNU_SOURCE
#include "edu.h"
#include <sys/mman.h>

static struct edu e;
static char *memory;

static void by_group(void) { edu_open_group(&e, "0000:00:01.0", "/dev/vfio/0"); memory = new_pages(4 * PAGE); }
static void by_cdev(void) { edu_open_cdev(&e, "/dev/vfio/devices/vfio0"); memory = new_pages(4 * PAGE); }

static void roundtrip_by_cdev(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  edu_roundtrip(&e, 0x10000, memory, "cdev");
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void roundtrip_by_group(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  edu_roundtrip(&e, 0x10000, memory, "group");
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void mapped_again(void) {
  by_cdev();
  for (int i = 0; i < 5; i++) {
    OK(edu_map(&e, memory + (i & 1) * PAGE, 0x10000, PAGE));
    edu_roundtrip(&e, 0x10000, memory + (i & 1) * PAGE, "again");
    OK(edu_unmap(&e, 0x10000, PAGE));
  }
}

static void neighbours(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  OK(edu_map(&e, memory + PAGE, 0x11000, PAGE));
  edu_copy(&e, 0x40000, 0x10fe0, 64, 1);
  OK(edu_unmap(&e, 0x10000, 2 * PAGE));
}

static void only_read(void) {
  by_cdev();
  struct ioas_map map = { sizeof map, 5, e.ioas, 0, (uintptr_t)memory, PAGE, 0x10000 };
  OK(ioctl(e.iommu, IOAS_MAP, &map));
  edu_copy(&e, 0x10000, 0x40000, 64, 0);
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void freed_afterwards(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  edu_roundtrip(&e, 0x10000, memory, "then freed");
  OK(edu_unmap(&e, 0x10000, PAGE));
  OK(munmap(memory, 4 * PAGE));
}

static void all_at_once(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  OK(edu_map(&e, memory + PAGE, 0x30000, PAGE));
  struct ioas_unmap unmap = { sizeof unmap, e.ioas, 0, UINT64_MAX };
  OK(ioctl(e.iommu, IOAS_UNMAP, &unmap));
  unmap.iova = 0;
  unmap.length = UINT64_MAX;
  ioctl(e.iommu, IOAS_UNMAP, &unmap); /* whatever is left: nothing */
}

static void shared_by_two_spaces(void) {
  by_cdev();
  struct ioas_alloc alloc = { sizeof alloc };
  OK(ioctl(e.iommu, IOAS_ALLOC, &alloc));
  OK(edu_map(&e, memory, 0x10000, PAGE));
  uint32_t first = e.ioas;
  e.ioas = alloc.id;
  OK(edu_map(&e, memory, 0x10000, PAGE));
  OK(edu_unmap(&e, 0x10000, PAGE));
  e.ioas = first;
  edu_roundtrip(&e, 0x10000, memory, "first space");
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void in_a_child(void) {
  int pid = fork(), status;
  if (pid == 0) { roundtrip_by_group(); _exit(0); }
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void nothing_at_all(void) { by_group(); }

int main(void) {
  void (*cases[])(void) = { roundtrip_by_cdev, roundtrip_by_group, mapped_again, neighbours, only_read, freed_afterwards, all_at_once, shared_by_two_spaces, in_a_child, nothing_at_all };
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    fflush(stdout);
    int pid = fork(), status;
    if (pid == 0) { cases[i](); exit(0); }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  puts("careful");
  return 0;
}
