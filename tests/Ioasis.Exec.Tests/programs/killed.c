/* A child is killed in the middle of whatever call it makes; once its end is known, the group, the device and the container are free. */
#include "edu.h"

static void work(void) {
  struct edu e;
  edu_open_group(&e, "0000:00:01.0", "/dev/vfio/0");
  char *memory = new_pages(1024 * PAGE);
  static char registers[1 << 20];
  for (;;) {
    OK(edu_map(&e, memory, 0x100000, 1024 * PAGE));
    OK(pread(e.fd, registers, sizeof registers, e.bar));
    OK(edu_unmap(&e, 0x100000, 1024 * PAGE));
  }
}

int main(void) {
  for (int i = 0; i < 40; i++) {
    pid_t child = fork();
    OK(child);
    if (!child)
      work();
    usleep(1000 * (i % 20) + 5000);
    OK(kill(child, SIGKILL));
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct edu e;
    edu_open_group(&e, "0000:00:01.0", "/dev/vfio/0");
    close(e.fd);
    close(e.group);
    close(e.container);
  }
  puts("free");
  return 0;
}
