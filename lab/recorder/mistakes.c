// Makes one mistake with DMA after the other, on purpose, with the test device edu behind vfio-pci (type 1, group): so that the
// kernel logs faults whose causes are known. Run by the workload `mistakes` in a guest; every mistake is a line on standard output:
//
//   mistake NAME IOVA
//
// and every access that is right is checked. usage: mistakes GROUP BDF
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// edu (QEMU, docs/specs/edu.rst): source, destination and length of a DMA, and the command that begins it; memory of its own.
enum { SOURCE = 0x80, DESTINATION = 0x88, LENGTH = 0x90, COMMAND = 0x98, OWN_MEMORY = 0x40000, RUN = 1, TO_MEMORY = 2 };
// PCI: the command register with its bits for memory and bus mastering.
enum { PCI_COMMAND = 4, PCI_MEMORY_AND_MASTER = 6 };

static int container, device;
static struct vfio_region_info registers = { .argsz = sizeof registers, .index = VFIO_PCI_BAR0_REGION_INDEX };

static void fail(const char *what)
{
	printf("mistakes: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void put(unsigned at, uint64_t value)
{
	if (pwrite(device, &value, 8, registers.offset + at) != 8)
		fail("a write of a register");
}

static uint64_t get(unsigned at)
{
	uint64_t value;
	if (pread(device, &value, 8, registers.offset + at) != 8)
		fail("a read of a register");
	return value;
}

static void dma(uint64_t source, uint64_t destination, uint64_t command)
{
	put(SOURCE, source);
	put(DESTINATION, destination);
	put(LENGTH, 64);
	put(COMMAND, RUN | command);
	while (get(COMMAND) & RUN)
		usleep(1000);
}

static void device_reads(uint64_t iova) { dma(iova, OWN_MEMORY, 0); }
static void device_writes(uint64_t iova) { dma(OWN_MEMORY, iova, TO_MEMORY); }

static void map(void *memory, uint64_t iova, uint64_t size, unsigned flags)
{
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map, .flags = flags, .vaddr = (uintptr_t)memory, .iova = iova, .size = size };
	if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		fail("VFIO_IOMMU_MAP_DMA");
}

static void unmap(uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof unmap, .iova = iova, .size = size };
	if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) || unmap.size != size)
		fail("VFIO_IOMMU_UNMAP_DMA");
}

static void open_device(const char *group_number, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "/dev/vfio/%s", group_number);
	int group = open(path, O_RDWR);
	container = open("/dev/vfio/vfio", O_RDWR);
	if (group < 0 || container < 0)
		fail(path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) || ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		fail("the container");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
	if (device < 0)
		fail(name);
	struct vfio_region_info config = { .argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX };
	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &registers) || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config))
		fail("VFIO_DEVICE_GET_REGION_INFO");
	uint16_t on = PCI_MEMORY_AND_MASTER;
	if (pwrite(device, &on, 2, config.offset + PCI_COMMAND) != 2)
		fail("a write of configuration space");
}

static void *pages(unsigned count)
{
	void *memory = mmap(0, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	return memory;
}

// A line, and time for the log to be a while behind what was mapped and unmapped before: the clocks of the kernel's log and of its
// trace may differ by some tenths of a second on an emulated processor; and of faults the kernel logs ten in five seconds.
static void about_to(const char *mistake, uint64_t iova)
{
	printf("mistake %s 0x%llx\n", mistake, (unsigned long long)iova);
	fflush(stdout);
	sleep(6);
}

int main(int count, char **arguments)
{
	const unsigned both = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	const uint64_t kept = 0x10000000, read_only = 0x20000000, given_back = 0x30000000, nowhere = 0x50000000;
	if (count != 3)
		return 2;
	setvbuf(stdout, 0, _IOLBF, 0);
	open_device(arguments[1], arguments[2]);

	char *memory = pages(2), *constant = pages(1), *lent = pages(1);
	map(memory, kept, 8192, both);
	map(constant, read_only, 4096, VFIO_DMA_MAP_FLAG_READ);
	map(lent, given_back, 4096, both);
	memset(memory, 0x5a, 64);
	memset(constant, 0x77, 64);

	// All of it works: what is read from one place is written to another.
	device_reads(kept);
	device_writes(kept + 4096);
	if (memcmp(memory, memory + 4096, 64))
		fail("a right DMA did not arrive");
	device_writes(given_back);
	if (memcmp(memory, lent, 64))
		fail("a right DMA to the second buffer did not arrive");

	about_to("never-mapped", nowhere);
	device_reads(nowhere);

	about_to("past-end", kept + 8192 + 256);
	device_writes(kept + 8192 + 256);

	// Before anything else uses the page: QEMU's IOMMUs refuse the write too if they have the page cached, but do not report it.
	about_to("direction", read_only + 64);
	device_writes(read_only + 64);
	if (constant[64] != 0)
		fail("a write to what is for reading arrived");
	device_reads(read_only);
	device_writes(kept + 64);
	if (memcmp(constant, memory + 64, 64))
		fail("a right read of what is for reading did not arrive");

	unmap(given_back, 4096);
	about_to("after-unmap", given_back + 128);
	device_writes(given_back + 128);
	if (lent[128] != 0)
		fail("a write to what is unmapped arrived");

	sleep(2);
	puts("mistakes: all made");
	return 0;
}
