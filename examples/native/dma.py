#!/usr/bin/env python3
"""Maps memory for a device, has the device write it, unmaps it, and reads the fault of the next write: ctypes and nothing else.

    LD_LIBRARY_PATH=DIR python3 dma.py
"""
import ctypes as c
import mmap
import os
import struct

lib = c.CDLL("libioasis.so")
lib.ioasis_errmsg.restype = c.c_char_p
lib.ioasis_ioctl.argtypes = [c.c_void_p, c.c_int, c.c_ulong, c.c_void_p]
lib.ioasis_dma_write.argtypes = [c.c_void_p, c.c_uint32, c.c_uint64, c.c_void_p, c.c_size_t]
NO_PASID = 0xFFFFFFFF


class Info(c.Structure):
    _fields_ = [("size", c.c_uint32), ("group", c.c_uint32), ("requester", c.c_uint32), ("segment", c.c_uint32),
                ("pasid_bits", c.c_uint32), ("reserved", c.c_uint32), ("name", c.c_char * 64), ("address", c.c_char * 32),
                ("device_path", c.c_char * 64), ("group_path", c.c_char * 64)]


class Fault(c.Structure):
    _fields_ = [("size", c.c_uint32), ("reason", c.c_uint32), ("iova", c.c_uint64), ("requester", c.c_uint32),
                ("segment", c.c_uint32), ("pasid", c.c_uint32), ("request", c.c_uint32), ("cause", c.c_uint32),
                ("reserved", c.c_uint32), ("detail", c.c_uint64), ("device", c.c_char * 64)]


def check(result):
    if result < 0:
        raise OSError(-result, lib.ioasis_errmsg().decode())
    return result


def ioctl(fd, request, data):
    """data: bytes of the structure; returns them as the call left them."""
    buffer = c.create_string_buffer(data, len(data))
    check(lib.ioasis_ioctl(platform, fd, request, buffer))
    return buffer.raw


platform, device = c.c_void_p(), c.c_void_p()
check(lib.ioasis_platform_create(None, c.byref(platform)))
check(lib.ioasis_device_add(platform, b"dma,addr=00:05.0", c.byref(device)))
info = Info(size=c.sizeof(Info))
check(lib.ioasis_device_get_info(device, c.byref(info)))

iommu = check(lib.ioasis_open(platform, b"/dev/iommu", os.O_RDWR))
fd = check(lib.ioasis_open(platform, info.device_path, os.O_RDWR))
ioctl(fd, 0x3B76, struct.pack("IIiI", 16, 0, iommu, 0))                     # VFIO_DEVICE_BIND_IOMMUFD
ioas = struct.unpack("III", ioctl(iommu, 0x3B81, struct.pack("III", 12, 0, 0)))[2]  # IOMMU_IOAS_ALLOC
ioctl(fd, 0x3B77, struct.pack("III", 12, 0, ioas))                          # VFIO_DEVICE_ATTACH_IOMMUFD_PT

memory = mmap.mmap(-1, 8192)
address = c.addressof(c.c_char.from_buffer(memory))
ioctl(iommu, 0x3B85, struct.pack("IIIIQQQ", 40, 7, ioas, 0, address, 8192, 0x20000))  # IOMMU_IOAS_MAP
check(lib.ioasis_dma_write(device, NO_PASID, 0x20FFC, b"across the pages", 16))
assert memory[0xFFC:0xFFC + 16] == b"across the pages"

try:
    ioctl(iommu, 0x3B86, struct.pack("IIQQ", 24, ioas, 0x20000, 4096))       # IOMMU_IOAS_UNMAP, of a half
    raise SystemExit("half a mapping went away")
except OSError as error:
    print(error.strerror)

ioctl(iommu, 0x3B86, struct.pack("IIQQ", 24, ioas, 0x20000, 8192))
assert lib.ioasis_dma_write(device, NO_PASID, 0x20000, b"x", 1) < 0
fault = Fault(size=c.sizeof(Fault))
assert check(lib.ioasis_fault_next(platform, c.byref(fault))) == 1 and fault.iova == 0x20000
text = c.create_string_buffer(256)
check(lib.ioasis_fault_describe(platform, c.byref(fault), text, c.c_size_t(256)))
print(text.value.decode())
check(lib.ioasis_platform_destroy(platform))
print("ok")
