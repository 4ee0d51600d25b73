/* Turns a network interface on, and becomes a program: up INTERFACE PROGRAM ARGUMENTS... */
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 3) return 2;

  /* Without IPv6, which would send frames of its own as soon as the interface is on. */
  char path[128];
  snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", argv[1]);
  int ipv6 = open(path, O_WRONLY);
  if (ipv6 >= 0 && write(ipv6, "1", 1) != 1) return 3;
  struct ifreq request = { 0 };
  strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
  int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (any < 0 || ioctl(any, SIOCGIFFLAGS, &request) != 0) return 4;
  request.ifr_flags |= IFF_UP;
  if (ioctl(any, SIOCSIFFLAGS, &request) != 0) return 5;
  execv(argv[2], argv + 2);
  return 6;
}
