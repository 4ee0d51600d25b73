/* Twenty drivers with one mistake each; "the mistake" marks the line that a report has to name. */
#define _GNU_SOURCE
#include "edu.h"
#include <sys/mman.h>

static struct edu e;
static char *memory;

static void by_group(void) { edu_open_group(&e, "0000:00:01.0", "/dev/vfio/0"); memory = new_pages(4 * PAGE); }
static void by_cdev(void) { edu_open_cdev(&e, "/dev/vfio/devices/vfio0"); memory = new_pages(4 * PAGE); }

static int map_for(void *at, uint64_t iova, size_t size, int reads, int writes) {
  if (e.container) {
    struct map_dma map = { sizeof map, reads | writes << 1, (uintptr_t)at, iova, size };
    return ioctl(e.container, IOMMU_MAP_DMA, &map);
  }
  struct ioas_map map = { sizeof map, 1 | writes << 1 | reads << 2, e.ioas, 0, (uintptr_t)at, size, iova };
  return ioctl(e.iommu, IOAS_MAP, &map);
}

static void written_after_unmap(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  OK(edu_unmap(&e, 0x10000, PAGE)); /* the mistake */
  edu_copy(&e, 0x40000, 0x10000, 64, 1);
}

static void read_after_unmap(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  OK(edu_unmap(&e, 0x10000, PAGE)); /* the mistake */
  edu_copy(&e, 0x10000, 0x40000, 64, 0);
}

static void used_after_another_map(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  OK(edu_unmap(&e, 0x10000, PAGE)); /* the mistake */
  OK(edu_map(&e, memory, 0x20000, PAGE));
  edu_copy(&e, 0x40000, 0x10010, 64, 1);
  OK(edu_unmap(&e, 0x20000, PAGE));
}

static void never_mapped_write(void) { by_cdev(); edu_copy(&e, 0x40000, 0x10000, 64, 1); }

static void never_mapped_read(void) { by_group(); edu_copy(&e, 0x10000, 0x40000, 64, 0); }

static void upper_half_lost(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x500010000, PAGE));
  edu_copy(&e, 0x40000, (uint32_t)0x500010000, 64, 1);
  OK(edu_unmap(&e, 0x500010000, PAGE));
}

static void a_page_too_far(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE)); /* the mistake */
  edu_copy(&e, 0x40000, 0x11000, 64, 1);
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void across_the_end(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, 2 * PAGE)); /* the mistake */
  edu_copy(&e, 0x40000, 0x11ff0, 64, 1);
  OK(edu_unmap(&e, 0x10000, 2 * PAGE));
}

static void read_past_the_end(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE)); /* the mistake */
  edu_copy(&e, 0x10fe0, 0x40000, 64, 0);
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void against_the_direction(void) {
  by_cdev();
  OK(map_for(memory, 0x10000, PAGE, 1, 0)); /* the mistake */
  edu_copy(&e, 0x40000, 0x10000, 64, 1);
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void against_the_direction_by_group(void) {
  by_group();
  OK(map_for(memory, 0x10000, PAGE, 1, 0)); /* the mistake */
  edu_copy(&e, 0x40000, 0x10000, 64, 1);
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void freed_and_written(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE)); /* the mistake */
  OK(munmap(memory, PAGE));
  edu_copy(&e, 0x40000, 0x10000, 64, 1);
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void freed_and_read(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, 2 * PAGE)); /* the mistake */
  OK(munmap(memory + PAGE, PAGE));
  edu_copy(&e, 0x11000, 0x40000, 64, 0);
  OK(edu_unmap(&e, 0x10000, 2 * PAGE));
}

static void replaced(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE)); /* the mistake */
  CHECK(mmap(memory, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory);
  edu_copy(&e, 0x40000, 0x10000, 64, 1);
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void left_mapped(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE)); /* the mistake */
  edu_roundtrip(&e, 0x10000, memory, "used");
}

static void left_mapped_by_group(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  OK(edu_map(&e, memory + PAGE, 0x20000, PAGE)); /* the mistake */
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void mapped_over_another(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, 2 * PAGE));
  FAILS(edu_map(&e, memory + 2 * PAGE, 0x11000, PAGE), EEXIST); /* the mistake */
  OK(edu_unmap(&e, 0x10000, 2 * PAGE));
}

static void the_same_memory_twice(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, 2 * PAGE));
  OK(edu_map(&e, memory + PAGE, 0x20000, 2 * PAGE)); /* the mistake */
  OK(edu_unmap(&e, 0x10000, 2 * PAGE));
  OK(edu_unmap(&e, 0x20000, 2 * PAGE));
}

static void unmapped_elsewhere(void) {
  by_cdev();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  FAILS(edu_unmap(&e, 0x20000, PAGE), ENOENT); /* the mistake */
  OK(edu_unmap(&e, 0x10000, PAGE));
}

static void unmapped_twice(void) {
  by_group();
  OK(edu_map(&e, memory, 0x10000, PAGE));
  OK(edu_unmap(&e, 0x10000, PAGE));
  OK(edu_unmap(&e, 0x10000, PAGE)); /* the mistake */
}

#define CASE(name) if (strcmp(argv[1], #name) == 0) { name(); return 0; }

int main(int argc, char **argv) {
  CHECK(argc == 2);
  CASE(written_after_unmap) CASE(read_after_unmap) CASE(used_after_another_map) CASE(never_mapped_write) CASE(never_mapped_read)
  CASE(upper_half_lost) CASE(a_page_too_far) CASE(across_the_end) CASE(read_past_the_end) CASE(against_the_direction)
  CASE(against_the_direction_by_group) CASE(freed_and_written) CASE(freed_and_read) CASE(replaced) CASE(left_mapped)
  CASE(left_mapped_by_group) CASE(mapped_over_another) CASE(the_same_memory_twice) CASE(unmapped_elsewhere) CASE(unmapped_twice)
  return 3;
}
