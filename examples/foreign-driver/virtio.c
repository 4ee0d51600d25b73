/* A user-space driver of virtio-blk and virtio-net over VFIO, as one would write it for a real machine: it writes a sector and reads it
   again, or sends a frame from one card to another. It knows nothing of Ioasis.
   Usage: virtio 0000:00:01.0   (a disk)   or   virtio 0000:00:01.0 0000:00:02.0   (two cards with a cable between them) */
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define ENTRIES 8
#define IOVA 0x10000000ull

struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct available { uint16_t flags, index, ring[ENTRIES], event; };
struct used { uint16_t flags, index; struct { uint32_t id, length; } ring[ENTRIES]; uint16_t event; };
struct queue { struct descriptor table[ENTRIES]; struct available available; struct used used; uint16_t seen; int interrupt; uint64_t bell; } __attribute__((aligned(16)));

/* What one device sees, from IOVA on. */
struct shared { struct queue queues[2]; uint8_t header[16], status[16], data[4096]; };

struct card { int device, group; uint64_t common, notify, own; uint32_t multiplier; struct shared *memory; uint64_t iova; };

static int container = -1;

static void fail(const char *what) { perror(what); exit(1); }

static void store(struct card *card, uint64_t at, uint64_t value, int size) {
  if (pwrite(card->device, &value, size, at) != size) fail("register");
}

static uint64_t load(struct card *card, uint64_t at, int size) {
  uint64_t value = 0;
  if (pread(card->device, &value, size, at) != size) fail("register");
  return value;
}

static uint64_t region(struct card *card, int index) {
  struct vfio_region_info info = { .argsz = sizeof info, .index = index };
  if (ioctl(card->device, VFIO_DEVICE_GET_REGION_INFO, &info)) fail("region");
  return info.offset;
}

static void open_card(struct card *card, const char *name, uint64_t iova, int kind, uint64_t wanted) {
  char path[PATH_MAX], link[PATH_MAX] = { 0 };
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", name);
  if (readlink(path, link, sizeof link - 1) < 0) fail(path);
  snprintf(path, sizeof path, "/dev/vfio/%s", strrchr(link, '/') + 1);
  int isFirst = container < 0;
  if (isFirst) container = open("/dev/vfio/vfio", O_RDWR);
  card->group = open(path, O_RDWR);
  if (container < 0 || card->group < 0) fail(path);
  if (ioctl(card->group, VFIO_GROUP_SET_CONTAINER, &container)) fail("group");
  if (isFirst && ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) fail("container");
  card->device = ioctl(card->group, VFIO_GROUP_GET_DEVICE_FD, name);
  if (card->device < 0) fail("device");

  card->iova = iova;
  card->memory = mmap(0, 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct vfio_iommu_type1_dma_map map = { sizeof map, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, (uintptr_t)card->memory, iova, 0x4000 };
  if (card->memory == MAP_FAILED || ioctl(container, VFIO_IOMMU_MAP_DMA, &map)) fail("map");

  uint64_t config = region(card, VFIO_PCI_CONFIG_REGION_INDEX);
  if (load(card, config, 4) != (uint32_t)((0x1040 + kind) << 16 | 0x1af4)) { fprintf(stderr, "%s is another device\n", name); exit(1); }
  store(card, config + 4, 6, 2); /* memory space, bus master */
  for (uint64_t at = load(card, config + 0x34, 1); at; at = load(card, config + at + 1, 1)) {
    if (load(card, config + at, 1) != 9) continue;
    uint64_t type = load(card, config + at + 3, 1);
    if (type != 1 && type != 2 && type != 4) continue;
    uint64_t place = region(card, load(card, config + at + 4, 1)) + load(card, config + at + 8, 4);
    if (type == 1) card->common = place;
    if (type == 2) { card->notify = place; card->multiplier = load(card, config + at + 16, 4); }
    if (type == 4) card->own = place;
  }

  store(card, card->common + 20, 0, 1);
  while (load(card, card->common + 20, 1)) usleep(100);
  store(card, card->common + 20, 3, 1);
  wanted |= 3ull << 32; /* version 1, DMA through the IOMMU */
  for (int half = 0; half < 2; half++) {
    store(card, card->common, half, 4);
    if ((uint32_t)(wanted >> 32 * half) & ~load(card, card->common + 4, 4)) { fprintf(stderr, "a feature is missing\n"); exit(1); }
    store(card, card->common + 8, half, 4);
    store(card, card->common + 12, (uint32_t)(wanted >> 32 * half), 4);
  }
  store(card, card->common + 20, 11, 1);
  if (!(load(card, card->common + 20, 1) & 8)) { fprintf(stderr, "no agreement on features\n"); exit(1); }
}

static void open_queues(struct card *card, int count) {
  char room[sizeof(struct vfio_irq_set) + 2 * sizeof(int)];
  struct vfio_irq_set *set = (struct vfio_irq_set *)room;
  *set = (struct vfio_irq_set){ sizeof(struct vfio_irq_set) + count * sizeof(int), VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                                VFIO_PCI_MSIX_IRQ_INDEX, 0, count };
  for (int i = 0; i < count; i++) {
    card->memory->queues[i].interrupt = eventfd(0, 0);
    memcpy(set->data + i * sizeof(int), &card->memory->queues[i].interrupt, sizeof(int));
  }
  if (ioctl(card->device, VFIO_DEVICE_SET_IRQS, set)) fail("interrupts");
  for (int i = 0; i < count; i++) {
    uint64_t place = card->iova + offsetof(struct shared, queues[i]);
    store(card, card->common + 22, i, 2);
    store(card, card->common + 24, ENTRIES, 2);
    store(card, card->common + 26, i, 2);
    card->memory->queues[i].bell = card->notify + load(card, card->common + 30, 2) * card->multiplier;
    store(card, card->common + 32, place + offsetof(struct queue, table), 8);
    store(card, card->common + 40, place + offsetof(struct queue, available), 8);
    store(card, card->common + 48, place + offsetof(struct queue, used), 8);
    store(card, card->common + 28, 1, 2);
  }
  store(card, card->common + 20, 15, 1);
}

/* Gives the device one buffer of up to three pieces that follow each other in the table. */
static void give(struct card *card, int number, int pieces) {
  struct queue *queue = &card->memory->queues[number];
  queue->available.ring[queue->available.index % ENTRIES] = 0;
  for (int i = 0; i < pieces; i++) {
    queue->table[i].flags |= i < pieces - 1 ? 1 : 0;
    queue->table[i].next = i + 1;
  }
  __atomic_store_n(&queue->available.index, (uint16_t)(queue->available.index + 1), __ATOMIC_SEQ_CST);
  store(card, queue->bell, number, 2);
}

static uint32_t take(struct card *card, int number) {
  struct queue *queue = &card->memory->queues[number];
  uint64_t count;
  while (__atomic_load_n(&queue->used.index, __ATOMIC_SEQ_CST) == queue->seen) {
    struct pollfd wait = { queue->interrupt, POLLIN, 0 };
    if (poll(&wait, 1, 60000) != 1 || read(queue->interrupt, &count, 8) != 8) fail("interrupt");
  }
  return queue->used.ring[queue->seen++ % ENTRIES].length;
}

static void piece(struct card *card, int number, int at, void *where, uint32_t length, int writable) {
  card->memory->queues[number].table[at] =
      (struct descriptor){ card->iova + ((uint8_t *)where - (uint8_t *)card->memory), length, writable ? 2 : 0, 0 };
}

static int request(struct card *disk, uint32_t type, uint64_t sector) {
  struct shared *memory = disk->memory;
  memset(memory->header, 0, sizeof memory->header);
  memcpy(memory->header, &type, 4);
  memcpy(memory->header + 8, &sector, 8);
  memory->status[0] = 0xff;
  piece(disk, 0, 0, memory->header, 16, 0);
  piece(disk, 0, 1, memory->data, sizeof memory->data, type == 0);
  piece(disk, 0, 2, memory->status, 1, 1);
  give(disk, 0, 3);
  take(disk, 0);
  return memory->status[0];
}

static int use_disk(const char *name) {
  static struct card disk;
  open_card(&disk, name, IOVA, 2, 0);
  open_queues(&disk, 1);
  uint64_t sectors = load(&disk, disk.own, 8);
  for (uint64_t sector = 0; sector + 8 <= sectors; sector += sectors / 16 & ~7ull) {
    for (unsigned i = 0; i < sizeof disk.memory->data; i++) disk.memory->data[i] = (uint8_t)(sector + i * 7);
    if (request(&disk, 1, sector)) return 3;
    memset(disk.memory->data, 0, sizeof disk.memory->data);
    if (request(&disk, 0, sector)) return 4;
    for (unsigned i = 0; i < sizeof disk.memory->data; i++)
      if (disk.memory->data[i] != (uint8_t)(sector + i * 7)) return 5;
  }
  store(&disk, disk.common + 20, 0, 1);
  printf("virtio-blk %llu sectors\n", (unsigned long long)sectors);
  return 0;
}

static int use_cards(char **names) {
  static struct card cards[2];
  for (int i = 0; i < 2; i++) {
    open_card(&cards[i], names[i], IOVA * (i + 1), 1, 0);
    open_queues(&cards[i], 2);
  }
  for (int frame = 0; frame < 100; frame++) {
    struct card *from = &cards[frame % 2], *to = &cards[(frame + 1) % 2];
    uint32_t length = 60 + frame * 14;
    piece(to, 0, 0, to->memory->data, sizeof to->memory->data, 1);
    give(to, 0, 1);
    memset(from->memory->data, 0, 12);
    memset(from->memory->data + 12, 0xff, 6);
    for (uint32_t i = 6; i < length; i++) from->memory->data[12 + i] = (uint8_t)(frame + i);
    piece(from, 1, 0, from->memory->data, 12 + length, 0);
    give(from, 1, 1);
    take(from, 1);
    if (take(to, 0) != 12 + length || memcmp(from->memory->data + 12, to->memory->data + 12, length)) return 6;
  }
  for (int i = 0; i < 2; i++) store(&cards[i], cards[i].common + 20, 0, 1);
  printf("virtio-net 100 frames\n");
  return 0;
}

int main(int argc, char **argv) { return argc == 2 ? use_disk(argv[1]) : argc == 3 ? use_cards(argv + 1) : 2; }
