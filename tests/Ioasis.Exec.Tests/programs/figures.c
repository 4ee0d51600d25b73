/* What calls cost: nanoseconds each, beside a call that nobody looks at. figures [ROUNDS] */
#include "edu.h"
#include <sys/syscall.h>
#include <time.h>

/* A place of its own for the compiler: else it sees that nothing is done with the memory. */
static void *volatile block;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

#define MEASURE(name, count, call) do { double begin_ = now(); for (long i_ = 0; i_ < (count); i_++) { call; } \
  printf("%-28s %12.0f\n", name, (now() - begin_) / (count)); } while (0)

int main(int argc, char **argv) {
  long rounds = argc > 1 ? atol(argv[1]) : 20000;
  struct edu e;
  edu_open_cdev(&e, "/dev/vfio/devices/vfio0");
  int container = open("/dev/vfio/vfio", O_RDWR), null = open("/dev/null", O_RDWR);
  char *page = new_pages(PAGE), *huge = new_pages(1ul << 30);
  uint32_t value;
  puts("call                                   ns");
  MEASURE("getpid", rounds * 10, syscall(SYS_getpid));
  MEASURE("ioctl of another file", rounds * 10, ioctl(null, 0x5401, &value));
  MEASURE("open and close another file", rounds, close(open("/dev/null", O_RDWR)));
  MEASURE("VFIO_GET_API_VERSION", rounds, ioctl(container, GET_API_VERSION));
  MEASURE("read a register", rounds, pread(e.fd, &value, 4, e.bar));
  MEASURE("map and unmap 4 KiB", rounds / 2, OK(edu_map(&e, page, 0x10000, PAGE)); OK(edu_unmap(&e, 0x10000, PAGE)));
  MEASURE("map and unmap 1 GiB", rounds / 20, OK(edu_map(&e, huge, 1ul << 30, 1ul << 30)); OK(edu_unmap(&e, 1ul << 30, 1ul << 30)));
  /* What takes memory away is looked at: while no device has any, and while one has some. */
  for (int mapped = 0; mapped < 2; mapped++) {
    if (mapped) OK(edu_map(&e, page, 0x10000, PAGE));
    const char *const *name = (const char *const[][3]){ { "mmap and munmap", "malloc and free 64 KiB", "madvise, 16 pages written" },
      { "the same, memory mapped", "the same, memory mapped", "the same, memory mapped" } }[mapped];
    MEASURE(name[0], rounds, munmap(new_pages(PAGE), PAGE));
    MEASURE(name[1], rounds * 10, block = malloc(65536); *(volatile char *)block = 1; free(block));
    MEASURE(name[2], rounds / 4, memset(huge, 1, 16 * PAGE); OK(madvise(huge, 16 * PAGE, MADV_DONTNEED)));
  }
  return 0;
}
