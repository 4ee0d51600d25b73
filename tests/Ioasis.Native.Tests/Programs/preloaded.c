/* The ways of the C library to files and descriptors, each to the view and to a device; what a child of fork has of them. */
#define _GNU_SOURCE
#include "edu.h"
#include <dirent.h>
#include <glob.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define DEVICE "/sys/bus/pci/devices/0000:00:01.0"

static void look_at_paths(void) {
  char text[64], path[PATH_MAX];
  FILE *stream = fopen(DEVICE "/vendor", "r");
  CHECK(stream != NULL && fgets(text, sizeof text, stream) != NULL && strcmp(text, "0x1234\n") == 0);
  fclose(stream);
  CHECK(fopen(DEVICE "/none", "r") == NULL && errno == ENOENT);

  DIR *folder = opendir("/sys/bus/pci/devices");
  struct dirent *entry;
  int found = 0;
  CHECK(folder != NULL);
  while ((entry = readdir(folder)) != NULL) found += strcmp(entry->d_name, "0000:00:01.0") == 0;
  closedir(folder);
  CHECK(found == 1);
  struct dirent **entries;
  CHECK(scandir("/sys/kernel/iommu_groups", &entries, NULL, alphasort) == 3 && strcmp(entries[2]->d_name, "0") == 0);
  glob_t names;
  CHECK(glob("/sys/bus/pci/devices/*/class", 0, NULL, &names) == 0 && names.gl_pathc == 1);
  CHECK(strcmp(names.gl_pathv[0], DEVICE "/class") == 0);

  CHECK(realpath(DEVICE "/iommu_group", path) == path && strcmp(path, "/sys/kernel/iommu_groups/0") == 0);
  CHECK(readlink(DEVICE "/driver", path, sizeof path) > 0 && strncmp(path, "../../../bus/pci/drivers/vfio-pci", 33) == 0);
  CHECK(access("/dev/vfio/vfio", R_OK | W_OK) == 0 && access("/dev/vfio/99", F_OK) == -1 && errno == ENOENT);
  struct stat node;
  CHECK(stat("/dev/iommu", &node) == 0 && S_ISCHR(node.st_mode) && major(node.st_rdev) == 10);
  CHECK(lstat(DEVICE, &node) == 0 && S_ISLNK(node.st_mode));
  struct statx more;
  CHECK(statx(AT_FDCWD, "/dev/vfio/devices/vfio0", 0, STATX_BASIC_STATS, &more) == 0 && S_ISCHR(more.stx_mode));

  /* Detours to the same place, and what only looks like it. */
  int fd = open("/sys/./bus//pci/../pci/devices/0000:00:01.0/device", O_RDONLY), at = open("/sys/bus/pci", O_PATH | O_DIRECTORY);
  CHECK(fd >= 0 && read(fd, text, sizeof text) == 7 && memcmp(text, "0x11e8\n", 7) == 0);
  close(fd);
  CHECK(at >= 0 && (fd = openat(at, "devices/0000:00:01.0/vendor", O_RDONLY)) >= 0);
  close(fd);
  close(at);
  fd = (int)syscall(SYS_openat, AT_FDCWD, DEVICE "/vendor", O_RDONLY, 0);
  CHECK(fd >= 0 && syscall(SYS_read, fd, text, 64L) == 7);
  close(fd);
  CHECK(open("/dev/null", O_RDWR) >= 0 && access("/sys/kernel", X_OK) == 0 && open("/dev/iommuu", O_RDWR) == -1 && errno == ENOENT);
}

int main(void) {
  look_at_paths();

  /* Looking is not having: a child that opens devices first has a machine of its own. */
  struct edu e;
  int early = fork(), outcome;
  if (early == 0) {
    edu_open_group(&e, "0000:00:01.0", "/dev/vfio/0");
    exit(0);
  }
  CHECK(waitpid(early, &outcome, 0) == early && WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0);
  edu_open_cdev(&e, "/dev/vfio/devices/vfio0");

  /* Several buffers at once: the vendor and the device. */
  uint16_t ids[2] = { 0 };
  struct iovec parts[2] = { { &ids[0], 2 }, { &ids[1], 2 } };
  CHECK(preadv(e.fd, parts, 2, (off_t)e.config) == 4 && ids[0] == 0x1234 && ids[1] == 0x11e8);
  uint16_t command = 6;
  struct iovec part = { &command, 2 };
  CHECK(pwritev(e.fd, &part, 1, (off_t)e.config + 4) == 2);
  char link[64] = { 0 }, self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", e.fd);
  CHECK(readlink(self, link, sizeof link - 1) > 0 && strcmp(link, "/dev/vfio/devices/vfio0") == 0);
  struct stat device;
  CHECK(fstat(e.fd, &device) == 0 && S_ISCHR(device.st_mode));
  struct region_info info = { sizeof info, .index = 0 };
  CHECK(syscall(SYS_ioctl, e.fd, DEVICE_GET_REGION_INFO, &info) == 0 && info.size == 1 << 20);

  /* A child has the files, not the machine; the parent goes on. */
  char *memory = new_pages(PAGE);
  OK(edu_map(&e, memory, 0x10000, PAGE));
  int child = fork(), status;
  if (child == 0) {
    if (access(DEVICE "/vendor", R_OK) != 0 || access("/dev/null", W_OK) != 0) _exit(2);
    if (ioctl(e.fd, DEVICE_GET_REGION_INFO, &info) != -1 || errno != EOWNERDEAD) _exit(3);
    if (edu_map(&e, memory, 0x20000, PAGE) != -1 || errno != EOWNERDEAD) _exit(4);
    if (open("/dev/iommu", O_RDWR) != -1 || errno != EOWNERDEAD) _exit(6);
    execlp("cat", "cat", DEVICE "/vendor", (char *)NULL);
    _exit(5);
  }
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  edu_roundtrip(&e, 0x10000, memory, "after the child");
  OK(edu_unmap(&e, 0x10000, PAGE));
  puts("ok");
  return 0;
}
