/* Random calls of our kind from four threads: hostile SEED CALLS [FORKS]. Wild pointers, sizes and descriptors, closes in the middle, memory that
   is replaced while it is mapped and a device uses it, children that are killed. Nothing that it does may harm anybody but itself. */
#define _GNU_SOURCE
#include "edu.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define FDS 64
#define AREA (64 * PAGE)

static int fds[FDS];
static char *area;
static long calls;
static unsigned seed;

static uint64_t next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static void *wild(uint64_t *state) {
  switch (next(state) % 8) {
    case 0: return 0;
    case 1: return (void *)(next(state) & 0x7fffffffffff);
    case 2: return (void *)next(state);
    case 3: return area + AREA - next(state) % 64; /* over the end */
    default: return area + next(state) % (AREA - 4096);
  }
}

static const char *const paths[] = { "/dev/vfio/vfio", "/dev/vfio/0", "/dev/iommu", "/dev/vfio/devices/vfio0", "/dev/ioasid",
  "/sys/bus/pci/devices/0000:00:01.0/vendor", "/sys/bus/pci/devices", "/dev/vfio/../vfio/0", "/dev/null" };

static void *run(void *argument) {
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + (uintptr_t)argument * 77 + 1;
  for (long i = 0; i < calls; i++) {
    int *slot = &fds[next(&state) % FDS];
    int fd = next(&state) % 16 ? *slot : (int)(next(&state) % 2000) + 3; /* not the standard streams */
    uint32_t *p = (uint32_t *)(area + (next(&state) % (AREA - 4096) & ~7ul));
    switch (next(&state) % 24) {
      case 0: case 1: {
        int opened = open(paths[next(&state) % (sizeof paths / sizeof *paths)], next(&state) % 4 ? O_RDWR : (int)next(&state) & 0x3ffff & ~0x40);
        if (opened > 2) { int old = __atomic_exchange_n(slot, opened, __ATOMIC_SEQ_CST); if (old > 2) close(old); }
        break;
      }
      case 2: if (fd > 2 && fd == *slot) { *slot = -1; close(fd); } break;
      case 3: { int copy = dup(fd); if (copy > 2) { int old = __atomic_exchange_n(slot, copy, __ATOMIC_SEQ_CST); if (old > 2) close(old); } break; }
      case 4: pread(fd, wild(&state), next(&state) % 9000, next(&state) >> (next(&state) % 64)); break;
      case 5: pwrite(fd, wild(&state), next(&state) % 9000, next(&state) >> (next(&state) % 64)); break;
      case 6: { struct stat s; fstat(fd, next(&state) % 2 ? &s : wild(&state)); break; }
      case 7: mmap(0, next(&state) % 3 * PAGE, PROT_READ, MAP_SHARED, fd, next(&state) & 0xf0000001000); break;
      case 8: { char *at = area + (next(&state) % 32 + 16) * PAGE;
        switch (next(&state) % 8) { /* no holes: another thread would fault there */
          case 0: madvise(at, next(&state) % 3 * PAGE, next(&state) % 2 ? MADV_DONTNEED : MADV_REMOVE); break;
          case 1: mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | 4, area + (next(&state) % 32 + 16) * PAGE); break; /* MREMAP_DONTUNMAP */
          case 2: munmap(wild(&state), 0); break;
          case 3: syscall(SYS_brk, wild(&state)); break;
        }
        mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break; }
      case 9: { int event = eventfd(0, EFD_NONBLOCK); int old = __atomic_exchange_n(slot, event, __ATOMIC_SEQ_CST); if (old > 2) close(old); break; }
      case 10: syscall(SYS_openat, (int)next(&state), wild(&state), next(&state), 0); break;
      case 11: ioctl(fd, GROUP_GET_DEVICE_FD, next(&state) % 2 ? "0000:00:01.0" : (char *)wild(&state)); break;
      case 12: p[0] = fds[next(&state) % FDS]; ioctl(fd, GROUP_SET_CONTAINER, p); break;
      case 13: ioctl(fd, SET_IOMMU, next(&state) % 9); break;
      case 14: { struct map_dma m = { sizeof m, 3, (uintptr_t)wild(&state), (next(&state) % 64) * PAGE, (next(&state) % 8) * PAGE }; ioctl(fd, IOMMU_MAP_DMA, &m); break; }
      case 15: { struct unmap_dma m = { sizeof m, 0, (next(&state) % 64) * PAGE, (next(&state) % 64) * PAGE }; ioctl(fd, IOMMU_UNMAP_DMA, &m); break; }
      case 16: { struct bind b = { sizeof b, 0, fds[next(&state) % FDS] }; ioctl(fd, BIND_IOMMUFD, &b); break; }
      case 17: { struct ioas_alloc a = { sizeof a }; ioctl(fd, IOAS_ALLOC, &a); struct attach t = { sizeof t, 0, a.id }; ioctl(fds[next(&state) % FDS], ATTACH_PT, &t); break; }
      case 18: { struct ioas_map m = { sizeof m, 7, next(&state) % 8, 0, (uintptr_t)wild(&state), (next(&state) % 8) * PAGE, (next(&state) % 64) * PAGE }; ioctl(fd, IOAS_MAP, &m); break; }
      case 19: { struct irq_set s = { 24, 0x24, next(&state) % 5, 0, 1, { fds[next(&state) % FDS] } }; ioctl(fd, DEVICE_SET_IRQS, &s); break; }
      case 20: { uint32_t v = next(&state) % 2 ? next(&state) : 0x10000; pwrite(fd, &v, 4, next(&state) % 0xa0); v = 7; if (next(&state) % 4 == 0) pwrite(fd, &v, 4, 0x98); break; }
      case 21: { uint16_t v = 6; pwrite(fd, &v, 2, (7ul << 40) + 4); break; }
      default:
        for (int n = 0; n < 10; n++) p[n] = next(&state) >> (next(&state) % 32 + 32);
        p[0] = next(&state) % 4 ? next(&state) % 80 : next(&state);
        ioctl(fd, CALL(next(&state) % 256), next(&state) % 4 ? (void *)p : wild(&state));
    }
  }
  return 0;
}

static void put(int fd, uint64_t bar, uint64_t at, uint32_t value) { pwrite(fd, &value, 4, bar + at); }

/* Has the device copy, as far as nobody else plays with its registers. */
static void copy(int fd, uint64_t bar, uint64_t from, uint64_t to, uint32_t bytes, int to_memory) {
  put(fd, bar, 0x80, from);
  put(fd, bar, 0x84, 0);
  put(fd, bar, 0x88, to);
  put(fd, bar, 0x8c, 0);
  put(fd, bar, 0x90, bytes);
  put(fd, bar, 0x98, to_memory ? 3 : 1);
  uint32_t busy = 1;
  for (int i = 0; i < 100000 && busy & 1; i++) pread(fd, &busy, 4, bar + 0x98);
}

/* Real DMA: to a page that nobody takes away, of which it says how often it came through the device whole, and to the area, pages of which
   are replaced meanwhile, by this thread too. */
static long drive(uint64_t *state, char *mine, int copies) {
  long whole = 0;
  int iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC), fd = open("/dev/vfio/devices/vfio0", O_RDWR | O_CLOEXEC);
  struct bind bind = { sizeof bind, 0, iommu };
  struct ioas_alloc alloc = { sizeof alloc };
  if (iommu > 2 && fd > 2 && !ioctl(fd, BIND_IOMMUFD, &bind) && !ioctl(iommu, IOAS_ALLOC, &alloc)) {
    struct attach attach = { sizeof attach, 0, alloc.id };
    struct region_info bar = { sizeof bar, .index = 0 }, config = { sizeof config, .index = 7 };
    struct ioas_map map = { sizeof map, 7, alloc.id, 0, (uintptr_t)mine, PAGE, 1 << 24 };
    uint16_t command = 6;
    if (!ioctl(fd, ATTACH_PT, &attach) && !ioctl(fd, DEVICE_GET_REGION_INFO, &bar) && !ioctl(fd, DEVICE_GET_REGION_INFO, &config)
      && !ioctl(iommu, IOAS_MAP, &map) && pwrite(fd, &command, 2, config.offset + 4) == 2) {
      for (int i = 0; i < AREA / PAGE; i++) {
        struct ioas_map page = { sizeof page, 7, alloc.id, 0, (uintptr_t)area + i * PAGE, PAGE, i * PAGE };
        ioctl(iommu, IOAS_MAP, &page);
      }
      for (int i = 0; i < copies; i++) {
        uint64_t stamp = next(state);
        if (i % 4 == 0) {
          memcpy(mine, &stamp, 8);
          copy(fd, bar.offset, 1 << 24, 0x40000, 8, 0);
          memset(mine, 0, 8);
          copy(fd, bar.offset, 0x40000, 1 << 24, 8, 1);
          whole += memcmp(mine, &stamp, 8) == 0;
        } else {
          if (i % 4 == 1)
            mmap(area + (next(state) % 32 + 16) * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
          uint64_t at = next(state) % AREA;
          copy(fd, bar.offset, stamp & 1 ? 0x40000 : at, stamp & 1 ? at : 0x40000, stamp >> 8 & 0xfff, stamp & 1);
        }
      }
    }
  }
  if (iommu > 2) close(iommu);
  if (fd > 2) close(fd);
  return whole;
}

static int over;

static void *drive_on(void *mine) {
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 99;
  while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
    drive(&state, mine, 16);
    usleep(2000); /* the others have the device too */
  }
  return 0;
}

static void attack(void) {
  area = new_pages(AREA + 16 * PAGE);
  mprotect(area + AREA, 16 * PAGE, PROT_NONE); /* what is beyond is not there */
  memset(fds, -1, sizeof fds);

  /* Once before there is anybody who disturbs it, as soon as nobody has the device any more. */
  uint64_t state = seed + 1;
  char *mine = new_pages(PAGE);
  long whole = drive(&state, mine, 64);
  for (int i = 0; i < 1000 && whole == 0; i++) { usleep(10000); whole = drive(&state, mine, 64); }
  if (whole != 16) { printf("%ld of 16 copies came through\n", whole); exit(3); }

  pthread_t threads[4], driver;
  pthread_create(&driver, 0, drive_on, mine);
  for (long i = 0; i < 4; i++) pthread_create(&threads[i], 0, run, (void *)i);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
  __atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
  pthread_join(driver, 0);
}

int main(int argc, char **argv) {
  signal(SIGXFSZ, SIG_IGN);
  seed = atoi(argv[1]);
  calls = atol(argv[2]) / 4;
  int forks = argc > 3 ? atoi(argv[3]) : 0;
  for (int i = 0; i < forks; i++) {
    int pid = fork();
    if (pid == 0) { seed += 1000 + i; attack(); _exit(0); }
    usleep(1000 + seed * 7919u * (i + 1) % 30000);
    kill(pid, SIGKILL);
    waitpid(pid, 0, 0);
  }
  attack();
  puts("survived");
  return 0;
}
