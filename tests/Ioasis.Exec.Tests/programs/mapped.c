/* Registers by mapping: each kind of access that compilers make of them, beside the same on ordinary memory. */
#define _GNU_SOURCE
#include "edu.h"
#include <pthread.h>
#include <time.h>

static volatile uint32_t *registers;
static char *base;

static void map_registers(struct edu *e) {
  struct region_info info = { sizeof info, .index = 0 };
  OK(ioctl(e->fd, DEVICE_GET_REGION_INFO, &info));
  CHECK(info.flags == 7 && info.size == 1 << 20);
  FAILS(mmap(0, 2 << 20, PROT_READ, MAP_SHARED, e->fd, info.offset) == MAP_FAILED ? -1 : 0, EINVAL);
  registers = mmap(0, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, info.offset);
  CHECK(registers != MAP_FAILED);
  base = (char *)registers;
}

/* The register at 0x80 keeps what is written, 4 or 8 bytes. */
#define SAME(code, type, start, operand) do { \
  type here_ = (type)(start), left_ = (type)(operand), right_ = left_; uint64_t flags_, other_; \
  *(volatile uint64_t *)(base + 0x80) = (start); \
  __asm__ volatile("xor %%eax, %%eax\n" code "\npushfq\npop %1" : "+m"(here_), "=&r"(flags_), "+&c"(left_) :: "rax", "cc", "memory"); \
  __asm__ volatile("xor %%eax, %%eax\n" code "\npushfq\npop %1" : "+m"(*(type *)(base + 0x80)), "=&r"(other_), "+&c"(right_) :: "rax", "cc", "memory"); \
  if (here_ != *(volatile type *)(base + 0x80) || left_ != right_ || (flags_ & 0x8d5 & ~(ignored_)) != (other_ & 0x8d5 & ~(ignored_))) { \
    fprintf(stderr, "%s of %llx, %llx: memory %llx register %llx flags %llx, here %llx %llx %llx\n", code, (unsigned long long)(start), \
      (unsigned long long)(operand), (unsigned long long)*(volatile type *)(base + 0x80), (unsigned long long)right_, (unsigned long long)other_, \
      (unsigned long long)here_, (unsigned long long)left_, (unsigned long long)flags_); exit(1); } } while (0)

static void instructions(void) {
  static const uint64_t values[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x1234567890abcdef };
  const int count = sizeof values / sizeof *values;
  for (int i = 0; i < count * count; i++) {
    uint64_t a = values[i / count], b = values[i % count], ignored_ = 0;
    uint32_t a4 = a, b4 = b;
    SAME("addl %2, %0", uint32_t, a4, b4);
    SAME("addq %2, %0", uint64_t, a, b);
    SAME("subl %2, %0", uint32_t, a4, b4);
    SAME("subq %0, %2", uint64_t, a, b);
    SAME("cmpl $5, %0", uint32_t, a4, b4);
    SAME("cmpq %2, %0", uint64_t, a, b);
    SAME("cmpl %0, %2", uint32_t, a4, b4);
    SAME("stc\nadcl %2, %0", uint32_t, a4, b4);
    SAME("stc\nsbbq %2, %0", uint64_t, a, b);
    SAME("xchgl %2, %0", uint32_t, a4, b4);
    SAME("movl %0, %2", uint32_t, a4, b4);
    SAME("movslq %0, %2", uint64_t, a, b);
    SAME("movq $-7, %0", uint64_t, a, b);
    ignored_ = 0x10; /* AF is undefined */
    SAME("orl %2, %0", uint32_t, a4, b4);
    SAME("andl $0x80, %0", uint32_t, a4, b4);
    SAME("xorq %0, %2", uint64_t, a, b);
    SAME("testl $0x80000000, %0", uint32_t, a4, b4);
    SAME("testq %2, %0", uint64_t, a, b);
  }
}

/* The registers 0x80 and 0x88 beside each other keep 16 bytes; what moves vectors and strings does the same here as in ordinary memory. */
#define VECTOR(code, bytes, ...) do { \
  _Alignas(64) uint8_t here_[64], register_[64], before_[64]; uint64_t start_[2] = { 0x1122334455667788, 0x99aabbccddeeff00 }; \
  memset(before_, 0x5a, 64); memcpy(here_, before_, 64); memcpy(register_, before_, 64); \
  _Alignas(64) uint64_t memory_[8] = { start_[0], start_[1] }; \
  for (int turn_ = 0; turn_ < 2; turn_++) { \
    char *at_ = turn_ ? base + 0x80 : (char *)memory_; uint8_t *result_ = turn_ ? register_ : here_; \
    if (turn_) { *(volatile uint64_t *)at_ = start_[0]; *(volatile uint64_t *)(at_ + 8) = start_[1]; } \
    __asm__ volatile(code :: "r"(result_), "r"(at_), "r"(before_) : "memory", __VA_ARGS__); } \
  if (memcmp(here_, register_, bytes) || ((volatile uint64_t *)(base + 0x80))[0] != memory_[0] || ((volatile uint64_t *)(base + 0x80))[1] != memory_[1]) { \
    fprintf(stderr, "%s: differs\n", code); exit(1); } } while (0)

static void vectors(void) {
  VECTOR("movdqu (%2), %%xmm3\nmovdqu (%1), %%xmm3\nmovdqu %%xmm3, (%0)", 16, "xmm3");
  VECTOR("movdqu (%2), %%xmm9\nmovups (%1), %%xmm9\nmovups %%xmm9, (%0)", 16, "xmm9");
  VECTOR("movdqu (%2), %%xmm3\nmovsd (%1), %%xmm3\nmovdqu %%xmm3, (%0)", 16, "xmm3");
  VECTOR("movdqu (%2), %%xmm3\nmovss (%1), %%xmm3\nmovdqu %%xmm3, (%0)", 16, "xmm3");
  VECTOR("movdqu (%2), %%xmm3\nmovhps (%1), %%xmm3\nmovdqu %%xmm3, (%0)", 16, "xmm3");
  VECTOR("movdqu (%2), %%xmm3\nmovlps (%1), %%xmm3\nmovdqu %%xmm3, (%0)", 16, "xmm3");
  VECTOR("movdqu (%2), %%xmm3\nmovdqu %%xmm3, (%1)", 16, "xmm3");
  VECTOR("movdqu (%2), %%xmm3\nmovntdq %%xmm3, (%1)", 16, "xmm3");
  VECTOR("movdqu (%2), %%xmm12\nmovhps %%xmm12, (%1)", 16, "xmm12");
  VECTOR("movdqu (%2), %%xmm3\nmovq %%xmm3, 8(%1)", 16, "xmm3");
  VECTOR("movq %1, %%rsi\nmovq %0, %%rdi\nmov $2, %%ecx\nrep movsq", 16, "rsi", "rdi", "rcx");
  VECTOR("lea 8(%2), %%rsi\nlea 8(%1), %%rdi\nmov $2, %%ecx\nstd\nrep movsq\ncld", 16, "rsi", "rdi", "rcx");
  VECTOR("movq %1, %%rdi\nmov $0x01020304, %%eax\nmov $2, %%ecx\nrep stosq\nmov %%edi, %%eax\nsub %k1, %%eax\nmov %%eax, (%0)", 16, "rdi", "rax", "rcx");
  VECTOR("movq %1, %%rsi\nlodsl\nmovq %%rax, (%0)", 16, "rsi", "rax");
  if (__builtin_cpu_supports("avx2")) {
    VECTOR("vmovdqu (%2), %%ymm3\nvmovdqu (%1), %%xmm3\nvmovdqu %%ymm3, (%0)", 32, "xmm3");
    /* What is behind 0x8f is not kept: two quarters of the register are there, the rest reads as the device says. */
    VECTOR("vmovdqu (%2), %%ymm5\nvmovdqu %%ymm5, (%1)\nvmovdqu %%ymm5, (%0)", 32, "xmm5");
  }
  if (__builtin_cpu_supports("avx512vl")) {
    VECTOR("vmovdqu64 (%2), %%ymm20\nvmovdqu64 (%1), %%xmm20\nvmovdqu64 %%ymm20, (%0)", 32, "cc");
    VECTOR("vmovdqu64 (%2), %%xmm20\nvmovdqu64 %%xmm20, (%1)", 16, "cc");
  }
}

static void *toggle(void *argument) {
  for (int i = 0; i < 500; i++) {
    uint32_t value = registers[0];
    CHECK(value == 0x010000ed);
  }
  return argument;
}

static int signals;
static void on_signal(int number) { (void)number; signals++; }

int main(int argc, char **argv) {
  struct edu e;
  edu_open_cdev(&e, "/dev/vfio/devices/vfio0");
  map_registers(&e);
  CHECK(registers[0] == 0x010000ed);
  registers[1] = 0x12345678;
  CHECK(registers[1] == ~0x12345678u && reg_read(&e, 4) == ~0x12345678u);
  CHECK(*(volatile uint8_t *)base == 0xff); /* only whole words */
  instructions();
  vectors();

  /* A driver by mapping. */
  char *memory = new_pages(PAGE);
  OK(edu_map(&e, memory, 0x10000, PAGE));
  strcpy(memory, "by mapped registers");
  uint64_t counted;
  for (int back = 0; back < 2; back++) {
    *(volatile uint64_t *)(base + 0x80) = back ? 0x40000 : 0x10000;
    *(volatile uint64_t *)(base + 0x88) = back ? 0x10000 : 0x40000;
    *(volatile uint64_t *)(base + 0x90) = 64;
    *(volatile uint64_t *)(base + 0x98) = back ? 7 : 5;
    CHECK(read(e.interrupt, &counted, 8) == 8);
    registers[0x64 / 4] = registers[0x24 / 4];
    if (!back) memset(memory, 0, 64);
  }
  CHECK(strcmp(memory, "by mapped registers") == 0);
  FAILS(edu_map(&e, (void *)base, 0x20000, PAGE), EFAULT); /* no pages to pin */

  /* Threads and children that come later, and signals, as ever. */
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], 0, toggle, 0) == 0);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], 0) == 0);
  /* By preload the machine is the parent's alone. */
  int here = getenv("IOASIS_DEVICES") != NULL, pid = fork(), status;
  if (pid == 0) { if (!here) toggle(0); _exit(6); }
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 6);
  signal(SIGUSR1, on_signal);
  for (int i = 0; i < 10; i++) raise(SIGUSR1);
  CHECK(signals == 10);
  pid = fork();
  if (pid == 0) { raise(SIGSTOP); _exit(4); }
  CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
  kill(pid, SIGCONT);
  CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 4);
  pid = fork();
  if (pid == 0) { execlp("sh", "sh", "-c", "exit 9", (char *)0); _exit(1); }
  CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 9);

  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  toggle(0);
  clock_gettime(CLOCK_MONOTONIC, &end);
  if (argc > 1) printf("%ld ns an access\n", ((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec) / 500);

  /* A mapping keeps the device open; what is not a device's faults as ever. */
  close(e.fd);
  close(e.iommu);
  CHECK(registers[0] == 0x010000ed);
  FAILS(open("/dev/vfio/0", O_RDWR), EBUSY);
  OK(munmap((void *)base, 1 << 20));
  int group = open("/dev/vfio/0", O_RDWR);
  OK(group);
  puts("mapped");
  fflush(stdout);
  *(volatile int *)8 = 1;
}
