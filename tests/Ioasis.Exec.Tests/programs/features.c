/* What descriptors and memory do on Linux, one word each: features NAME. */
#define _GNU_SOURCE
#include "edu.h"
#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define NODE "/dev/vfio/devices/vfio0"
#define IOVA 0x100000

static struct edu e;

static void test_dup(void) {
  edu_open_cdev(&e, NODE);
  char *memory = new_pages(PAGE);
  OK(edu_map(&e, memory, IOVA, PAGE));
  int second = dup(e.fd), third = fcntl(e.iommu, F_DUPFD_CLOEXEC, 100);
  CHECK(third >= 100);
  close(e.fd);
  close(e.iommu);
  e.fd = second;
  e.iommu = third;
  edu_roundtrip(&e, IOVA, memory, "by the second descriptor");
  close(second);
  close(third);
  edu_open_cdev(&e, NODE); /* all was let go */
}

static void test_fork(void) {
  edu_open_cdev(&e, NODE);
  char *memory = new_pages(PAGE);
  OK(edu_map(&e, memory, IOVA, PAGE));
  int pid = fork();
  if (pid == 0) {
    /* The child's memory is its own: the device still has the parent's. */
    strcpy(memory, "the child's");
    reg_write(&e, 0x04, 0x12345678);
    CHECK(reg_read(&e, 0x04) == ~0x12345678u);
    char *mine = new_pages(PAGE);
    OK(edu_map(&e, mine, IOVA + PAGE, PAGE));
    edu_roundtrip(&e, IOVA + PAGE, mine, "memory of the child");
    OK(edu_unmap(&e, IOVA + PAGE, PAGE));
    exit(5);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 5);
  CHECK(memory[0] == 0);
  edu_roundtrip(&e, IOVA, memory, "memory of the parent");
}

static void test_pass(void) {
  int pair[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  char space[CMSG_SPACE(2 * sizeof(int))] = {0}, byte = 1;
  struct iovec part = { &byte, 1 };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space };
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  int pid = fork();
  if (pid == 0) {
    edu_open_cdev(&e, NODE);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(head), (int[]){ e.fd, e.iommu }, 2 * sizeof(int));
    CHECK(sendmsg(pair[0], &message, 0) == 1);
    CHECK(write(pair[0], &e.ioas, 4) == 4);
    exit(0);
  }
  CHECK(recvmsg(pair[1], &message, 0) == 1);
  int fds[2];
  memcpy(fds, CMSG_DATA(head), sizeof fds);
  e.fd = fds[0];
  e.iommu = fds[1];
  CHECK(read(pair[1], &e.ioas, 4) == 4);
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  edu_start(&e);
  char *memory = new_pages(PAGE);
  OK(edu_map(&e, memory, IOVA, PAGE));
  edu_roundtrip(&e, IOVA, memory, "by what another process opened");
}

static void test_memory(void) {
  edu_open_cdev(&e, NODE);
  char stack[3 * PAGE];
  char *aligned = (char *)(((uintptr_t)stack + PAGE - 1) & ~(PAGE - 1));
  OK(edu_map(&e, aligned, IOVA, PAGE));
  edu_roundtrip(&e, IOVA, aligned, "the stack");
  OK(edu_unmap(&e, IOVA, PAGE));
  char *shared = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  OK(edu_map(&e, shared, IOVA, PAGE));
  edu_roundtrip(&e, IOVA, shared, "shared memory");
  OK(edu_unmap(&e, IOVA, PAGE));
  int memfd = memfd_create("m", MFD_CLOEXEC);
  OK(memfd);
  OK(ftruncate(memfd, 4 * PAGE));
  char *file = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  CHECK(file != MAP_FAILED);
  OK(edu_map(&e, file, IOVA, 4 * PAGE));
  edu_roundtrip(&e, IOVA, file, "a memfd by address");
  OK(edu_unmap(&e, IOVA, 4 * PAGE));
  struct ioas_map_file map = { sizeof map, 7, e.ioas, memfd, PAGE, 2 * PAGE, IOVA };
  OK(ioctl(e.iommu, IOAS_MAP_FILE, &map));
  CHECK(map.fd == memfd);
  edu_roundtrip(&e, IOVA, file + PAGE, "a memfd by descriptor");
  map.fd = 1;
  map.iova = IOVA + 16 * PAGE;
  FAILS(ioctl(e.iommu, IOAS_MAP_FILE, &map), EINVAL);
  map.fd = 999;
  FAILS(ioctl(e.iommu, IOAS_MAP_FILE, &map), EBADF);
  char *whole = new_pages(1ul << 30);
  OK(edu_map(&e, whole, 1ul << 30, 1ul << 30));
  OK(edu_unmap(&e, 1ul << 30, 1ul << 30));
  /* What is not there, or not for writing. */
  FAILS(edu_map(&e, (void *)0x1000, IOVA + 64 * PAGE, PAGE), EFAULT);
  char *constant = mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  FAILS(edu_map(&e, constant, IOVA + 64 * PAGE, PAGE), EFAULT);
  struct ioas_map last = { sizeof last, 7, e.ioas, 0, (uintptr_t)(whole + (1ul << 30) - PAGE), 2 * PAGE, IOVA + 64 * PAGE };
  OK(munmap(whole + (1ul << 30) - PAGE, PAGE));
  FAILS(ioctl(e.iommu, IOAS_MAP, &last), EFAULT);
}

/* What stands at the second page after the call is not what the device has; the pages beside it still are. */
static void replaced(char *memory, const char *what) {
  if (mmap(memory + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) CHECK(!"mmap");
  strcpy(memory + PAGE, what);
  edu_copy(&e, 0x40000, IOVA + PAGE, 64, 1);
  if (strcmp(memory + PAGE, what) != 0) { fprintf(stderr, "%s: the device wrote to what came later\n", what); exit(1); }
  edu_roundtrip(&e, IOVA, memory, "the page before");
  edu_roundtrip(&e, IOVA + 2 * PAGE, memory + 2 * PAGE, "the page behind");
  /* Mapped once more, the new page is the device's, and only where it was mapped. */
  OK(edu_map(&e, memory + PAGE, IOVA + 64 * PAGE, PAGE));
  edu_roundtrip(&e, IOVA + 64 * PAGE, memory + PAGE, "the new page");
  OK(edu_unmap(&e, IOVA + 64 * PAGE, PAGE));
  OK(edu_unmap(&e, IOVA, 3 * PAGE));
  OK(munmap(memory, 3 * PAGE));
}

static char *given(int flags) {
  char *memory = mmap(0, 3 * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  OK(edu_map(&e, memory, IOVA, 3 * PAGE));
  edu_roundtrip(&e, IOVA + PAGE, memory + PAGE, "before");
  return memory;
}

static void test_taken(void) {
  edu_open_cdev(&e, NODE);
  char *memory = given(MAP_PRIVATE), *to = new_pages(4 * PAGE);
  OK(munmap(memory + PAGE, PAGE));
  edu_copy(&e, 0x40000, IOVA + PAGE, 64, 1); /* lands nowhere */
  replaced(memory, "munmap");
  replaced(given(MAP_PRIVATE), "mmap");
  memory = given(MAP_PRIVATE);
  CHECK(mremap(memory + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
  edu_copy(&e, 0x40000, IOVA + PAGE, 64, 1);
  replaced(memory, "mremap");
  memory = given(MAP_PRIVATE);
  CHECK(mremap(to, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory + PAGE) == memory + PAGE);
  strcpy(memory + PAGE, "moved there");
  edu_copy(&e, 0x40000, IOVA + PAGE, 64, 1);
  CHECK(strcmp(memory + PAGE, "moved there") == 0);
  replaced(memory, "mremap to it");
  memory = given(MAP_PRIVATE);
  OK(madvise(memory + PAGE, PAGE, MADV_DONTNEED));
  CHECK(memory[PAGE] == 0);
  edu_copy(&e, 0x40000, IOVA + PAGE, 64, 1);
  CHECK(memory[PAGE] == 0);
  replaced(memory, "madvise");
  /* Dropped pages of shared memory come back, and are the same. */
  memory = given(MAP_SHARED);
  OK(madvise(memory + PAGE, PAGE, MADV_DONTNEED));
  edu_roundtrip(&e, IOVA + PAGE, memory + PAGE, "shared memory");
  OK(madvise(memory + PAGE, PAGE, MADV_REMOVE));
  CHECK(memory[PAGE] == 0);
  edu_copy(&e, 0x40000, IOVA + PAGE, 64, 1);
  CHECK(memory[PAGE] == 0);
  replaced(memory, "madvise of shared memory");
  /* A call that fails, or takes pages beside, changes nothing. */
  memory = given(MAP_PRIVATE);
  FAILS(munmap(memory + PAGE + 1, PAGE), EINVAL);
  FAILS(mmap(memory + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, 999, 0) == MAP_FAILED ? -1 : 0, EBADF);
  FAILS(mmap(memory + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000, -1, 0) == MAP_FAILED ? -1 : 0, EEXIST);
  OK(munmap(new_pages(PAGE), PAGE));
  edu_roundtrip(&e, IOVA + PAGE, memory + PAGE, "as it was");
  OK(edu_unmap(&e, IOVA, 3 * PAGE));
  /* Growing in place keeps the pages; so does the heap below its new end. */
  memory = new_pages(8 * PAGE);
  OK(munmap(memory + 4 * PAGE, 4 * PAGE));
  OK(edu_map(&e, memory, IOVA, 4 * PAGE));
  CHECK(mremap(memory, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE) == memory);
  edu_roundtrip(&e, IOVA, memory, "grown");
  OK(edu_unmap(&e, IOVA, 4 * PAGE));
  char *heap = (char *)(((uintptr_t)sbrk(0) + PAGE - 1) & ~(PAGE - 1));
  OK(brk(heap + 2 * PAGE));
  OK(edu_map(&e, heap, IOVA, 2 * PAGE));
  edu_roundtrip(&e, IOVA + PAGE, heap + PAGE, "the heap");
  OK(brk(heap + PAGE));
  OK(brk(heap + 2 * PAGE));
  edu_copy(&e, 0x40000, IOVA + PAGE, 64, 1);
  CHECK(heap[PAGE] == 0);
  edu_roundtrip(&e, IOVA, heap, "below");
  OK(edu_unmap(&e, IOVA, 2 * PAGE));
  /* Many times over, with what was replaced still mapped. */
  memory = new_pages(PAGE);
  for (int i = 0; i < 300; i++) {
    OK(edu_map(&e, memory, IOVA + (uint64_t)i * PAGE, PAGE));
    if (mmap(memory, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) CHECK(!"mmap");
  }
  OK(edu_unmap(&e, IOVA, 300 * PAGE));
}

static void test_epoll(void) {
  edu_open_cdev(&e, NODE);
  int set = epoll_create1(0);
  struct epoll_event event = { EPOLLIN, { .fd = e.interrupt } };
  OK(epoll_ctl(set, EPOLL_CTL_ADD, e.interrupt, &event));
  FAILS(epoll_ctl(set, EPOLL_CTL_ADD, e.fd, &event), EPERM);
  reg_write(&e, 0x60, 4);
  struct epoll_event got;
  CHECK(epoll_wait(set, &got, 1, 10000) == 1 && got.data.fd == e.interrupt);
  /* A queue of faults waits, and is not ready. */
  struct fault_alloc queue = { sizeof queue };
  OK(ioctl(e.iommu, FAULT_ALLOC, &queue));
  CHECK(queue.fd >= 0 && queue.id != 0);
  struct pollfd wait = { queue.fd, POLLIN | POLLOUT };
  CHECK(poll(&wait, 1, 0) == 1 && wait.revents == POLLOUT);
  event.data.fd = queue.fd;
  OK(epoll_ctl(set, EPOLL_CTL_ADD, queue.fd, &event));
  char wrong[16] = {0};
  FAILS(write(queue.fd, wrong, 1), ESPIPE);
  struct destroy destroy = { sizeof destroy, queue.id };
  FAILS(ioctl(e.iommu, IOMMU_DESTROY, &destroy), EBUSY);
  close(queue.fd);
  OK(ioctl(e.iommu, IOMMU_DESTROY, &destroy));
}

static void test_ioeventfd(void) {
  edu_open_cdev(&e, NODE);
  int doorbell = eventfd(0, 0);
  struct ioeventfd call = { sizeof call, 4, e.bar + 0x04, 0x00ff00ff, doorbell };
  OK(ioctl(e.fd, DEVICE_IOEVENTFD, &call));
  CHECK(call.fd == doorbell);
  uint64_t one = 1;
  CHECK(write(doorbell, &one, 8) == 8);
  for (int i = 0; i < 1000 && reg_read(&e, 0x04) != ~0x00ff00ffu; i++) usleep(1000);
  CHECK(reg_read(&e, 0x04) == ~0x00ff00ffu);
  FAILS(ioctl(e.fd, DEVICE_IOEVENTFD, &call), EEXIST);
  call.fd = -1;
  OK(ioctl(e.fd, DEVICE_IOEVENTFD, &call));
}

static void test_descriptors(void) {
  edu_open_group(&e, "0000:00:01.0", "/dev/vfio/0");
  char name[32], target[64] = {0};
  snprintf(name, sizeof name, "/proc/self/fd/%d", e.container);
  CHECK(readlink(name, target, sizeof target) > 0 && strcmp(target, "/dev/vfio/vfio") == 0);
  struct stat status;
  OK(fstat(e.container, &status));
  CHECK(S_ISCHR(status.st_mode) && major(status.st_rdev) == 10 && minor(status.st_rdev) == 196);
  OK(stat("/dev/vfio/0", &status));
  CHECK(S_ISCHR(status.st_mode));
  OK(access("/dev/vfio/vfio", R_OK | W_OK));
  FAILS(open("/dev/vfio/1", O_RDWR), ENOENT);
  FAILS(open("/dev/vfio/vfio/x", O_RDWR), ENOTDIR);
  CHECK((fcntl(e.container, F_GETFD) & FD_CLOEXEC) == 0 && (fcntl(e.fd, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((fcntl(e.container, F_GETFL) & O_ACCMODE) == O_RDWR);
  FAILS(mmap(0, PAGE, PROT_READ, MAP_SHARED, e.container, 0) == MAP_FAILED ? -1 : 0, ENODEV);
  FAILS(mmap(0, PAGE, PROT_READ, MAP_SHARED, e.fd, e.config) == MAP_FAILED ? -1 : 0, EINVAL);
  FAILS(ioctl(e.container, CALL(255)), ENOTTY);
  /* By position as by place. */
  CHECK(lseek(e.fd, e.config, SEEK_SET) == (off_t)e.config);
  uint32_t ids;
  CHECK(read(e.fd, &ids, 4) == 4 && ids == 0x11e81234);
  CHECK(lseek(e.fd, 0, SEEK_CUR) == (off_t)e.config + 4);
  unsigned char all[256];
  void *volatile nowhere = (void *)8;
  CHECK(pread(e.fd, all, sizeof all, e.config) == sizeof all && all[0] == 0x34);
  FAILS(pread(e.fd, nowhere, 4, e.config), EFAULT);
  FAILS(ioctl(e.fd, DEVICE_GET_INFO, 8), EFAULT);
  struct device_info info = { 1 };
  FAILS(ioctl(e.fd, DEVICE_GET_INFO, &info), EINVAL);
  struct irq_set set = { sizeof set, 0x24, 1, 0, 1, { 1 } };
  FAILS(ioctl(e.fd, DEVICE_SET_IRQS, &set), EINVAL);
  set.data[0] = 999;
  FAILS(ioctl(e.fd, DEVICE_SET_IRQS, &set), EBADF);
  int wrong = 1;
  FAILS(ioctl(e.group, GROUP_UNSET_CONTAINER), EBUSY);
  close(e.fd);
  OK(ioctl(e.group, GROUP_UNSET_CONTAINER));
  FAILS(ioctl(e.group, GROUP_SET_CONTAINER, &wrong), EBADFD);
}

static void test_sysfs(void) {
  const char *device = "/sys/bus/pci/devices/0000:00:01.0";
  char path[PATH_MAX], text[64] = {0};
  CHECK(realpath("/sys/bus/pci/devices/0000:00:01.0", path) && strcmp(path, "/sys/devices/pci0000:00/0000:00:01.0") == 0);
  CHECK(realpath("/sys/bus/pci/devices/0000:00:01.0/iommu_group", path) && strcmp(path, "/sys/kernel/iommu_groups/0") == 0);
  CHECK(realpath("/sys/bus/pci/devices/0000:00:01.0/driver", path) && strcmp(path, "/sys/bus/pci/drivers/vfio-pci") == 0);
  DIR *bus = opendir("/sys/bus/pci/devices");
  CHECK(bus);
  int count = 0;
  for (struct dirent *entry; (entry = readdir(bus));) count += entry->d_name[0] != '.';
  CHECK(count == 1);
  int folder = openat(dirfd(bus), "0000:00:01.0", O_RDONLY | O_DIRECTORY);
  OK(folder);
  int file = openat(folder, "vendor", O_RDONLY);
  OK(file);
  CHECK(read(file, text, sizeof text) == 7 && strcmp(text, "0x1234\n") == 0);
  struct stat status;
  OK(fstatat(folder, "../0000:00:01.0/iommu_group/devices", &status, 0));
  CHECK(S_ISDIR(status.st_mode));
  OK(stat("/sys//bus/./pci/devices/../devices/0000:00:01.0/resource", &status));
  OK(chdir("/sys/bus"));
  OK(access("pci/devices/0000:00:01.0/config", R_OK));
  FAILS(access("pci/devices/0000:00:02.0", R_OK), ENOENT);
  OK(access("/sys/kernel/mm", R_OK));
  CHECK(access(device, R_OK | X_OK) == 0);
}

static void test_exec(void) {
  edu_open_cdev(&e, NODE);
  char *memory = new_pages(PAGE), number[16], iommu[16];
  OK(edu_map(&e, memory, IOVA, PAGE));
  fcntl(e.fd, F_SETFD, 0);
  fcntl(e.iommu, F_SETFD, 0);
  snprintf(number, sizeof number, "%d", e.fd);
  snprintf(iommu, sizeof iommu, "%d", e.iommu);
  setenv("IOAS", (char[]){ '0' + e.ioas, 0 }, 1);
  execl("/proc/self/exe", "features", "executed", number, iommu, (char *)0);
  CHECK(!"exec");
}

/* The descriptors are there; the memory that was mapped is not this program's. */
static void test_executed(char **argv) {
  e.fd = atoi(argv[2]);
  e.iommu = atoi(argv[3]);
  e.ioas = atoi(getenv("IOAS"));
  edu_start(&e);
  char *memory = new_pages(PAGE);
  FAILS(edu_map(&e, memory, IOVA, PAGE), EEXIST);
  OK(edu_map(&e, memory, IOVA + PAGE, PAGE));
  edu_roundtrip(&e, IOVA + PAGE, memory, "after an exec");
  OK(edu_unmap(&e, IOVA, PAGE));
}

static void *worker(void *argument) {
  long number = (long)argument;
  char *memory = new_pages(PAGE);
  for (int i = 0; i < 200; i++) {
    uint64_t iova = IOVA + (uint64_t)number * 16 * PAGE;
    OK(edu_map(&e, memory, iova, PAGE));
    OK(edu_unmap(&e, iova, PAGE));
  }
  return memory;
}

static void test_threads(void) {
  edu_open_cdev(&e, NODE);
  pthread_t threads[4];
  for (long i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], 0, worker, (void *)i) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], 0) == 0);
}

/* Dies with everything open and mapped, in the middle of a transfer. */
static void test_killed(void) {
  edu_open_cdev(&e, NODE);
  char *memory = new_pages(64 * PAGE);
  OK(edu_map(&e, memory, IOVA, 64 * PAGE));
  int pid = fork();
  if (pid == 0)
    for (;;) edu_map(&e, memory, IOVA + 64 * PAGE, 64 * PAGE), edu_unmap(&e, IOVA + 64 * PAGE, 64 * PAGE);
  usleep(20000);
  kill(pid, SIGKILL);
  reg_write(&e, 0x80, IOVA);
  reg_write(&e, 0x90, PAGE);
  raise(SIGKILL);
}

int main(int argc, char **argv) {
  CHECK(argc > 1);
#define TEST(name) if (strcmp(argv[1], #name) == 0) { test_##name(); puts(#name); return 0; }
  TEST(dup) TEST(fork) TEST(pass) TEST(memory) TEST(taken) TEST(epoll) TEST(ioeventfd) TEST(descriptors) TEST(sysfs) TEST(exec) TEST(threads) TEST(killed)
  if (strcmp(argv[1], "executed") == 0) { test_executed(argv); puts("exec"); return 0; }
  return 2;
}
