/*
 * ioasis.h - libioasis: an IOMMU, devices behind it, and Linux's VFIO and iommufd, in this process.
 *
 * SPDX-License-Identifier: MIT
 *
 * A platform is a machine: memory, an IOMMU with its driver, devices, and the kernel side of the ABI. A driver talks to it with
 * ioasis_open(), ioasis_ioctl() and so on, which mean what open(2) and ioctl(2) mean on Linux: include <linux/vfio.h> and
 * <linux/iommufd.h> for the structures. Devices do DMA through the IOMMU, into the memory of this process that the driver mapped.
 *
 *     ioasis_platform *platform;
 *     ioasis_device *disk;
 *     int err = ioasis_platform_create(NULL, &platform);
 *     if (!err) err = ioasis_device_add(platform, "dma,addr=00:03.0", &disk);
 *     if (err < 0) fprintf(stderr, "%s\n", ioasis_errmsg());
 *
 * RULES OF ALL CALLS
 *
 *   Returns    0 or more for success, a negative errno value (-EINVAL, ...) for a failure, which changed nothing. errno itself is
 *              left alone. ioasis_errmsg() then has a sentence that names the value and the rule.
 *   Threads    Any call may be made by any thread at any time, at the same time as any other, unless it says otherwise.
 *   Handles    A handle that is null, destroyed or never was one gives -EINVAL, never a crash.
 *   Memory     A pointer to memory that is not there, or not writable where it must be, gives -EFAULT, as a system call does. What
 *              a pointer refers to is used during the call only, unless it says otherwise. Strings are UTF-8.
 *   Structures Those of this header begin with their size: set it to sizeof. A later library takes an older, smaller structure,
 *              and an earlier library takes a larger one whose unknown tail is zero (else -E2BIG). Where a structure is filled in,
 *              bytes beyond what the library knows are left as they are, and size becomes what it filled in.
 *   Output     None: nothing is ever written to stdout or stderr, and no exception ever leaves a call.
 *   Signals    Not to be called from signal handlers. The library uses SIGRTMIN for itself, and installs handlers of SIGSEGV, SIGBUS and SIGFPE
 *              that hand on what is not its own to those that were there before.
 *              A handler that the program puts in their place later gets the program's own faults: the library notices with the next
 *              mapping. Memory that a device may reach must not go, and a thread not begin to block SIGSEGV or SIGBUS, in between.
 *   fork       Platforms belong to the process that made them. In a child of fork() every call gives -EOWNERDEAD and does
 *              nothing, for the threads that the library needs are not there; the child may use execve() or _exit() as it likes, and
 *              what it inherited it need not give back. The parent goes on as if nothing had been; its descriptors, mappings and
 *              devices are its own alone. Descriptors of a platform are not the system's: execve() does not hand them on. A process
 *              that forks before its first call (a daemon's beginning) hands nothing on: parent and child may both use the library.
 *   Loading    Once loaded, the library stays until the process ends: dlclose() does not take it away.
 */
#ifndef IOASIS_H
#define IOASIS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. */
#define IOASIS_VERSION_MAJOR 0
#define IOASIS_VERSION_MINOR 1
#define IOASIS_VERSION_PATCH 0
#define IOASIS_VERSION ((IOASIS_VERSION_MAJOR << 16) | (IOASIS_VERSION_MINOR << 8) | IOASIS_VERSION_PATCH)

/* A machine. */
typedef struct ioasis_platform ioasis_platform;

/* A device of a machine. Goes with its machine. */
typedef struct ioasis_device ioasis_device;

/* No PASID: what calls with a PASID take for a request without one. */
#define IOASIS_NO_PASID UINT32_MAX

/* ------------------------------------------------------------------------------------------------------------ the library */

/*
 * The version of the library that is running, as IOASIS_VERSION. A program that was made with the header of another major version
 * does not fit. Never fails; may be called after fork.
 */
uint32_t ioasis_version(void);

/*
 * What the last call of this thread that failed has to say: a sentence without a full stop or a line end, which names the call, the
 * value and the rule. Empty if none has failed. Valid until the next call of this thread that fails or asks; never null; never fails.
 */
const char *ioasis_errmsg(void);

/* ------------------------------------------------------------------------------------------------------------- platforms */

/* What an IOMMU caches (ioasis_platform_options.caching). */
enum {
    IOASIS_CACHING_REALISTIC = 0, /* as hardware does: limited, with replacement */
    IOASIS_CACHING_NONE = 1,      /* nothing: every DMA walks the tables */
    IOASIS_CACHING_HOSTILE = 2    /* all that the specification allows, for as long as it allows: finds missing invalidations */
};

/* How a platform is made. All zero but for size means the same as no options. */
struct ioasis_platform_options {
    uint32_t size;          /* sizeof(struct ioasis_platform_options) */
    uint32_t caching;       /* IOASIS_CACHING_... */
    uint64_t pinned_limit;  /* bytes that may be mapped for devices at a time (RLIMIT_MEMLOCK); 0 for no limit */
    uint32_t fault_capacity; /* fault records kept until they are read; 0 for 65536 */
    uint32_t reserved;      /* 0 */
    const char *machine;    /* the text of a machine file, which says what IOMMUs and devices there are; null for none */
    const char *machine_file; /* the path of one; null for none, and then there is one IOMMU and no device */
    const char *iommu;      /* the kind of IOMMUs of which nothing else is said, as `ioasis exec --iommu` takes it; null for "riscv" */
};

/*
 * Makes a machine: as its file says, or with one IOMMU and no devices. The file's form is in docs/how-to.md (`ioasis groups
 * --print-example` prints one). Each function of it that is no bridge is a device for ioasis_device_find(), by its name or its address:
 * with the model that its key "device" names, or one without registers, for ioasis_dma_read() and its like.
 *
 * options  null for the defaults
 * platform gets the handle; ioasis_platform_destroy() gives it back
 *
 * -EINVAL  an option is out of range; or the machine's text is wrong, and ioasis_errmsg() names file, line and rule
 * -E2BIG   options has an unknown part that is not zero
 * -ENOENT  there is no file machine_file (-EACCES, -EIO and the like: it cannot be read)
 * -ENOSYS  the system forbids a process to read its own memory by process_vm_readv(2)
 */
int ioasis_platform_create(const struct ioasis_platform_options *options, ioasis_platform **platform);

/*
 * Ends a machine: closes its descriptors as the end of a process does, takes back its mappings, and frees it with its devices. Calls
 * that wait on it in other threads end with -EINTR, -EBADF or -EINVAL, and the call waits until no other is under way; no callback of its
 * devices runs afterwards, but for destroy, before the call returns. Must not be called by a callback of a device of the platform.
 *
 * -EINVAL  platform is no handle
 * -EDEADLK called by a callback
 */
int ioasis_platform_destroy(ioasis_platform *platform);

/* Numbers of a platform. All count from its beginning, unless "now" says otherwise. */
struct ioasis_stats {
    uint32_t size;            /* sizeof(struct ioasis_stats) */
    uint32_t descriptors;     /* open now */
    uint32_t address_spaces;  /* now */
    uint32_t devices;         /* now */
    uint64_t mappings;        /* now, those included whose invalidation is pending */
    uint64_t pinned_bytes;    /* now */
    uint64_t table_bytes;     /* page tables and queues now */
    uint64_t faults;          /* refused requests that were reported */
    uint64_t faults_lost;     /* of those, records that nobody can read any more */
    uint64_t dma_reads;       /* accesses by ioasis_dma_read() and by devices of this library made in C */
    uint64_t dma_writes;
    uint64_t dma_read_bytes;  /* of those, the bytes of the ones that succeeded */
    uint64_t dma_write_bytes;
    uint64_t dma_refused;     /* of those, the ones that did not succeed */
};

/*
 * Reads the numbers of a platform. They are not of one moment while others use it.
 *
 * stats    size set; gets the rest
 *
 * -EINVAL  platform is no handle, or size is less than 8
 */
int ioasis_platform_stats(ioasis_platform *platform, struct ioasis_stats *stats);

/*
 * Completes what is due: deferred invalidations, faults on their way. Calls of a platform do this for themselves; a program that
 * makes none for long, and wants the time limits of lazy invalidation kept, does it from a timer.
 */
int ioasis_platform_poll(ioasis_platform *platform);

/* ---------------------------------------------------------------------------------------------------------- system calls */

/*
 * Opens a device node: "/dev/iommu", "/dev/ioasid", "/dev/vfio/vfio", "/dev/vfio/GROUP" or "/dev/vfio/devices/vfioN" (open(2)).
 * The descriptor is the platform's, not the system's: its number means something only to the calls below.
 *
 * flags    as open(2); O_RDWR, perhaps with O_CLOEXEC and O_NONBLOCK
 *
 * -ENOENT  there is no such node
 * -EBUSY   the group is open already, or one of its devices
 */
int ioasis_open(ioasis_platform *platform, const char *path, int flags);

/*
 * Closes a descriptor (close(2)). The last of an open file undoes what was done through it.
 *
 * -EBADF   there is no such descriptor
 */
int ioasis_close(ioasis_platform *platform, int fd);

/* Makes another descriptor of the same open file (dup(2)). */
int ioasis_dup(ioasis_platform *platform, int fd);

/*
 * An ioctl (ioctl(2)). For requests that take a number, or nothing, argument is the number: (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU.
 * Addresses inside structures are this process's own. Descriptors inside structures are the platform's, as ioasis_eventfd() and
 * ioasis_open() give them: an eventfd of the system is none.
 *
 * Returns what the request returns, or its error with Linux's number; -ENOTTY for an unknown one.
 */
int ioasis_ioctl(ioasis_platform *platform, int fd, unsigned long request, void *argument);

/*
 * Read and write: fault and event queues, event counters; with an offset: the regions of a device, where VFIO_DEVICE_GET_REGION_INFO
 * says (read(2), write(2), pread(2), pwrite(2)). Blocks as those do, unless the descriptor is non-blocking: -EAGAIN.
 */
ssize_t ioasis_read(ioasis_platform *platform, int fd, void *buffer, size_t count);
ssize_t ioasis_write(ioasis_platform *platform, int fd, const void *buffer, size_t count);
ssize_t ioasis_pread(ioasis_platform *platform, int fd, void *buffer, size_t count, uint64_t offset);
ssize_t ioasis_pwrite(ioasis_platform *platform, int fd, const void *buffer, size_t count, uint64_t offset);

/*
 * Maps a part of a descriptor, shared (mmap(2) with MAP_SHARED and no address): the memory of a device, or a memory file.
 *
 * protection PROT_READ, PROT_WRITE, both or PROT_NONE
 * address    gets where it is; it stays until ioasis_munmap(), whatever becomes of the descriptor
 *
 * -ENODEV  the descriptor cannot be mapped
 * -EINVAL  length is 0, offset is no multiple of 4096, or nothing there can be mapped
 */
int ioasis_mmap(ioasis_platform *platform, int fd, uint64_t offset, size_t length, int protection, void **address);

/*
 * Takes back a whole mapping (munmap(2)).
 *
 * -EINVAL  there is no mapping of this address and length
 */
int ioasis_munmap(ioasis_platform *platform, void *address, size_t length);

/*
 * Waits for descriptors of the platform (poll(2)).
 *
 * timeout  milliseconds; 0 does not wait, less waits for ever
 *
 * Returns how many have something, 0 when the time is over.
 */
int ioasis_poll(ioasis_platform *platform, struct pollfd *fds, nfds_t count, int timeout);

/* Makes an event counter of the platform (eventfd(2)), with EFD_SEMAPHORE, EFD_NONBLOCK and EFD_CLOEXEC. */
int ioasis_eventfd(ioasis_platform *platform, unsigned int initial, int flags);

/*
 * Makes memory that belongs to a descriptor (memfd_create(2) and ftruncate(2)), for ioasis_mmap() and IOMMU_IOAS_MAP_FILE.
 *
 * length   bytes, not 0; zeros
 */
int ioasis_memfd(ioasis_platform *platform, const char *name, uint64_t length);

/* --------------------------------------------------------------------------------------------------------------- devices */

/* Base address registers of a device in C (ioasis_device_options.bars). */
struct ioasis_bar {
    uint64_t length;  /* bytes, a power of two from 16 on; 0: there is no such register */
    uint32_t flags;   /* IOASIS_BAR_... */
    uint32_t reserved; /* 0 */
};

enum {
    IOASIS_BAR_64 = 1,           /* a 64-bit address: it takes the next register too, whose length is 0 */
    IOASIS_BAR_PREFETCHABLE = 2, /* reads have no side effects */
    IOASIS_BAR_IO = 4,           /* in I/O space */
    IOASIS_BAR_MEMORY = 8        /* plain memory: the library keeps the bytes, read and write are not called, drivers may map it */
};

enum {
    IOASIS_DEVICE_EXPRESS = 1,   /* a PCI Express endpoint: 4096 bytes of configuration space, else 256 */
    IOASIS_DEVICE_PIN = 2,       /* it has a wired interrupt */
    IOASIS_DEVICE_ATS = 4,       /* the ATS capability; needs EXPRESS */
    IOASIS_DEVICE_PRI = 8,       /* the page request capability; needs ATS */
    IOASIS_DEVICE_NO_RESET = 16  /* software cannot reset it by itself */
};

/* What a device in C is. */
struct ioasis_device_options {
    uint32_t size;            /* sizeof(struct ioasis_device_options) */
    uint32_t flags;           /* IOASIS_DEVICE_... */
    const char *name;         /* unique on the platform; null for one made of its address */
    const char *address;      /* "[DDDD:]BB:DD.F" in hexadecimal digits; null for the next free one of bus 0 */
    uint16_t vendor_id;
    uint16_t device_id;
    uint16_t subsystem_vendor_id;
    uint16_t subsystem_id;
    uint32_t class_code;      /* class in bits 23:16, subclass in 15:8, interface in 7:0 */
    uint8_t revision;
    uint8_t pasid_bits;       /* bits of PASID that it can send, 0 to 20; needs EXPRESS unless 0 */
    uint8_t msi_vectors;      /* 0 for no MSI, else 1, 2, 4, 8, 16 or 32 */
    uint8_t msix_bar;         /* the register with the tables of MSI-X */
    uint16_t msix_vectors;    /* 0 for no MSI-X, to 2048 */
    uint16_t reserved;        /* 0 */
    uint32_t msix_table;      /* offset of the table in that register, a multiple of 8 */
    uint32_t msix_pending;    /* offset of the pending bits, a multiple of 8 */
    uint32_t reserved2;       /* 0 */
    struct ioasis_bar bars[6];
    uint32_t vendor_length;   /* bytes of a vendor-specific capability (ID 9), its three of header included, 4 to 96; 0 for none. The
                                 others are zeros, unless config_read says more */
    uint32_t reserved3;       /* 0 */
};

/*
 * What a device in C does. Any function may be null: reads then give 0, writes are dropped. They are called by the thread that made
 * the access, several at a time if several threads make accesses; they may call anything of this library but
 * ioasis_platform_destroy() and ioasis_device_remove(), and must not throw, longjmp or end the thread.
 */
struct ioasis_device_ops {
    uint32_t size;      /* sizeof(struct ioasis_device_ops) */
    uint32_t reserved;  /* 0 */

    /* A register is read: length is 1, 2, 4 or 8, offset a multiple of it. Bits above the length do not count. */
    uint64_t (*read)(void *context, ioasis_device *device, uint32_t bar, uint64_t offset, uint32_t length);

    /* A register is written. */
    void (*write)(void *context, ioasis_device *device, uint32_t bar, uint64_t offset, uint32_t length, uint64_t value);

    /* The device is reset: by a client, and when the first opens it and the last closes it. Memory registers are zero already. */
    void (*reset)(void *context, ioasis_device *device);

    /* The device is gone: nothing is called with this context any more. */
    void (*destroy)(void *context);

    /*
     * The configuration space is read: bytes has what the library keeps there, length bytes from offset on, and may be changed. The
     * library goes by its own, whatever is read: base addresses, bus mastering, interrupts, reset.
     */
    void (*config_read)(void *context, ioasis_device *device, uint32_t offset, void *bytes, uint32_t length);

    /* The configuration space was written. The library has taken what it keeps; nothing keeps the rest unless the device does. */
    void (*config_write)(void *context, ioasis_device *device, uint32_t offset, const void *bytes, uint32_t length);
};

/*
 * Adds a device whose behaviour is the caller's: registers by callbacks, DMA by ioasis_dma_read() and ioasis_dma_write(), interrupts
 * by ioasis_device_signal() and ioasis_device_set_line(). It is bound to vfio-pci from the beginning.
 *
 * context  handed to every callback
 * device   gets the handle. Callbacks get it too, and may come before this call returns if another thread opens the device; if the
 *          call fails, none comes, not even destroy
 *
 * -EINVAL  the options do not fit together
 * -EEXIST  the name or the address is taken
 * -ENOSPC  there are no addresses left for its registers
 */
int ioasis_device_create(ioasis_platform *platform, const struct ioasis_device_options *options,
                         const struct ioasis_device_ops *ops, void *context, ioasis_device **device);

/*
 * Adds a device that the library has, from a text "KIND[,key=value]...": "edu,addr=00:04.0"; the kinds and their keys are those of
 * `ioasis exec --device`. One more kind, "dma", is a device without registers, for ioasis_dma_read() and its like; "pasid-bits=20"
 * lets it send PASIDs. Keys of all kinds: addr ("[DDDD:]BB:DD.F"; else the next free one of bus 0), name (else its address), group (the
 * number of a group to share), iommu (the number of the IOMMU before it, from 0).
 *
 * device   gets the handle; may be null
 *
 * -EINVAL  there is no such kind or key, or a value is wrong
 * -EEXIST  the name or the address is taken
 */
int ioasis_device_add(ioasis_platform *platform, const char *text, ioasis_device **device);

/*
 * Finds a device by its name or its address "DDDD:BB:DD.F".
 *
 * -ENODEV  there is none
 */
int ioasis_device_find(ioasis_platform *platform, const char *name, ioasis_device **device);

/*
 * Takes a device away, and frees its handle.
 *
 * -EBUSY   a client has it open: the client was asked to let it go (VFIO_PCI_REQ_ERR_IRQ); try again
 * -EDEADLK called by a callback of the device
 */
int ioasis_device_remove(ioasis_device *device);

/* What a device is to a driver. */
struct ioasis_device_info {
    uint32_t size;        /* sizeof(struct ioasis_device_info) */
    uint32_t group;       /* number of its IOMMU group */
    uint32_t requester;   /* requester ID: bus in 15:8, device in 7:3, function in 2:0 */
    uint32_t segment;
    uint32_t pasid_bits;  /* bits of PASID that it can send */
    uint32_t reserved;
    char name[64];        /* for VFIO_GROUP_GET_DEVICE_FD; its address if it was given no name */
    char address[32];     /* "0000:00:03.0" */
    char device_path[64]; /* "/dev/vfio/devices/vfio0" */
    char group_path[64];  /* "/dev/vfio/3" */
};

/* Reads what a device is. size is set; gets the rest. */
int ioasis_device_get_info(ioasis_device *device, struct ioasis_device_info *info);

/*
 * Sends a message-signalled interrupt: the driver's eventfd of this vector counts one.
 *
 * -EAGAIN  the driver has enabled no such interrupt, or has not made the device a bus master: the message is lost
 * -ENODEV  the device has no interrupts
 */
int ioasis_device_signal(ioasis_device *device, uint32_t vector);

/*
 * Asserts (not 0) or releases (0) the wired interrupt.
 *
 * -ENODEV  the device has none
 */
int ioasis_device_set_line(ioasis_device *device, int asserted);

/*
 * Reads and writes the device's own configuration space, as software on the bus does.
 *
 * Returns the bytes, or -EFAULT beyond the end of the space, -ENODEV if it has none.
 */
ssize_t ioasis_device_config_read(ioasis_device *device, uint32_t offset, void *buffer, size_t count);
ssize_t ioasis_device_config_write(ioasis_device *device, uint32_t offset, const void *buffer, size_t count);

/* ------------------------------------------------------------------------------------------------------------------- DMA */

/*
 * Reads or writes memory as the device: each page is translated by the IOMMU, with its faults and interrupts. All or nothing is not
 * promised: what comes before the page that failed was transferred.
 *
 * pasid    the PASID of the request, below 2^20, or IOASIS_NO_PASID
 * iova     any alignment
 *
 * -EFAULT  the IOMMU refused it; ioasis_fault_next() has the record (also: buffer is not memory of this process)
 * -EIO     the IOMMU aborted it: its tables are broken, or memory is gone
 * -EPERM   the driver has not made the device a bus master (bit 2 of the command register); devices with registers only
 * -EINVAL  pasid is neither, or iova and count reach beyond 2^64
 */
int ioasis_dma_read(ioasis_device *device, uint32_t pasid, uint64_t iova, void *buffer, size_t count);
int ioasis_dma_write(ioasis_device *device, uint32_t pasid, uint64_t iova, const void *buffer, size_t count);

/* Bits of ioasis_translation.request. */
enum {
    IOASIS_REQUEST_WRITE = 1,      /* the access writes */
    IOASIS_REQUEST_EXECUTE = 2,    /* it reads to execute */
    IOASIS_REQUEST_PRIVILEGED = 4, /* in privileged mode; with a PASID only */
    IOASIS_REQUEST_ATS = 8         /* a PCIe ATS translation request, which gives no fault for a page that is missing */
};

/* Bits of ioasis_translation.permissions, for ATS requests. */
enum {
    IOASIS_PERMIT_READ = 1,
    IOASIS_PERMIT_WRITE = 2,
    IOASIS_PERMIT_EXECUTE = 4
};

/* A request and its translation. */
struct ioasis_translation {
    uint32_t size;        /* sizeof(struct ioasis_translation) */
    uint32_t request;     /* in: IOASIS_REQUEST_... */
    uint64_t iova;        /* in */
    uint32_t pasid;       /* in: the PASID, or IOASIS_NO_PASID */
    uint32_t permissions; /* out: IOASIS_PERMIT_... */
    uint64_t address;     /* out: physical address of the byte; memory of this process is at 2^51 + its address */
    uint32_t size_log2;   /* out: log2 of the bytes around it that translate alike */
    uint32_t reserved;    /* 0 */
};

/*
 * Translates as the device, without touching memory. Errors as ioasis_dma_read().
 */
int ioasis_translate(ioasis_device *device, struct ioasis_translation *translation);

/* ---------------------------------------------------------------------------------------------------------------- faults */

/* Reasons of a fault, whatever kind of IOMMU reports it. */
enum {
    IOASIS_FAULT_OTHER = 0,       /* see the IOMMU's own cause */
    IOASIS_FAULT_NOT_MAPPED = 1,  /* nothing is mapped there, or not for this access */
    IOASIS_FAULT_BLOCKED = 2,     /* the device, or its PASID, is attached to nothing */
    IOASIS_FAULT_NOT_ALLOWED = 3, /* the device may not make this kind of request */
    IOASIS_FAULT_BAD_TABLE = 4,   /* a table cannot be read, or holds what it must not */
    IOASIS_FAULT_MEMORY = 5       /* the memory behind the address cannot be accessed */
};

/* A refused request, as the IOMMU's driver reports it. */
struct ioasis_fault {
    uint32_t size;      /* sizeof(struct ioasis_fault) */
    uint32_t reason;    /* IOASIS_FAULT_... */
    uint64_t iova;
    uint32_t requester; /* requester ID */
    uint32_t segment;
    uint32_t pasid;     /* or IOASIS_NO_PASID */
    uint32_t request;   /* IOASIS_REQUEST_WRITE, _EXECUTE, _PRIVILEGED */
    uint32_t cause;     /* the IOMMU's own number of the cause */
    uint32_t reserved;
    uint64_t detail;    /* more of its own, or 0 */
    char device[64];    /* name of the device, empty if the IOMMU knows none */
};

/*
 * Takes the oldest fault record. What was done before this call is in it.
 *
 * Returns 1 with a record, 0 if there is none.
 */
int ioasis_fault_next(ioasis_platform *platform, struct ioasis_fault *fault);

/*
 * Says in a sentence what a fault means: who wanted what, where, and why it was refused.
 *
 * text     gets it with a zero at the end, cut to length; may be null if length is 0
 *
 * Returns the bytes of the whole sentence without the zero, as snprintf(3).
 */
int ioasis_fault_describe(ioasis_platform *platform, const struct ioasis_fault *fault, char *text, size_t length);

/* -------------------------------------------------------------------------------------------------------------- mistakes */

/* Flags of ioasis_sanitize(). */
enum {
    IOASIS_SANITIZE_FATAL = 1 /* after the first access of a device that is wrong, the next call ends the process with SIGABRT and the reports */
};

/* Flags of ioasis_mistake_count(). */
enum {
    IOASIS_MISTAKES_AT_END = 1 /* the program is done: what is mapped still was left so, and is a mistake */
};

/*
 * Looks for mistakes with DMA from now on: accesses of devices after an unmap, past an end, against the direction, of what was never
 * mapped, of memory that is gone, by page tables of the program's that it changed without IOMMU_HWPT_INVALIDATE; maps of what is mapped,
 * unmaps of nothing, mappings that are left (docs/sanitize.md). Call it before the first ioasis_open().
 *
 * flags    0 or IOASIS_SANITIZE_FATAL
 *
 * -EINVAL  unknown flags
 * -EBUSY   descriptors are open, or it was called already
 */
int ioasis_sanitize(ioasis_platform *platform, uint32_t flags);

/*
 * Says that the program frees memory or gives it to another use: an access to what of it is mapped still is a mistake from now on, and told
 * with the place of this call. For allocators, which keep what is freed; memory that is unmapped (munmap(2)) is found without.
 *
 * length   bytes; 0 for none
 *
 * -EINVAL  the range goes beyond the end of memory, or ioasis_sanitize() was not called
 */
int ioasis_memory_freed(ioasis_platform *platform, const void *memory, size_t length);

/*
 * Counts the mistakes that were found so far; the same one again counts once.
 *
 * flags    0 or IOASIS_MISTAKES_AT_END
 *
 * -EINVAL  unknown flags, or ioasis_sanitize() was not called
 */
int ioasis_mistake_count(ioasis_platform *platform, uint32_t flags);

/*
 * Says what a mistake was, in several lines: device, access and IOVA, the mapping that it is about, and from where that was mapped and
 * unmapped (files and offsets for addr2line(1); names of functions that are exported).
 *
 * index    below what ioasis_mistake_count() returned last; the worst comes first
 * text     as for ioasis_fault_describe()
 *
 * Returns the bytes of the whole text without the zero.
 * -ENOENT  there is no mistake of that number
 * -EINVAL  ioasis_sanitize() was not called
 */
int ioasis_mistake_describe(ioasis_platform *platform, uint32_t index, char *text, size_t length);

#ifdef __cplusplus
}
#endif

#endif
