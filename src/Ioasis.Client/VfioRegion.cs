using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// A region of a device: its registers, its memory, its configuration space. Reads and writes go through the kernel, each as
/// one access of the type's size; a region that allows it can be mapped instead. Thread-safe.
/// </summary>
public sealed class VfioRegion
{
    private readonly VfioDevice _device;
    private readonly ulong _offset;

    internal VfioRegion(VfioDevice device, in VfioRegionInfo info, ReadOnlySpan<byte> bytes)
    {
        _device = device;
        _offset = info.Offset;
        Index = (int)info.Index;
        Size = info.Size;
        Flags = info.Flags;
        SparseAreas = [];

        // The chain: each header says where the next one is. A kernel's mistake must not hang us.
        uint at = (info.Flags & VfioRegionFlags.Caps) != 0 ? info.CapOffset : 0;
        for (int i = 0; i < 64 && at >= VfioRegionInfo.MinimumSize && at + 8 <= (uint)bytes.Length; i++)
        {
            VfioInfoCapHeader header = MemoryMarshal.Read<VfioInfoCapHeader>(bytes[(int)at..]);
            ReadOnlySpan<byte> body = bytes[((int)at + 8)..];
            HasMsiXTable |= header.Id == VfioRegionInfo.MsiXMappableCapability;
            if (header.Id == VfioRegionInfo.SparseMmapCapability && body.Length >= 8)
            {
                int count = (int)Math.Min(MemoryMarshal.Read<uint>(body), (uint)(body.Length - 8) / 16);
                SparseAreas = MemoryMarshal.Cast<byte, VfioSparseArea>(body.Slice(8, count * 16)).ToArray();
            }

            at = header.Next;
        }
    }

    /// <summary>Its number.</summary>
    public int Index { get; }

    /// <summary>Bytes; 0 if the device has no such region.</summary>
    public ulong Size { get; }

    /// <summary>What can be done with it.</summary>
    public VfioRegionFlags Flags { get; }

    /// <summary>The parts that can be mapped; empty means all of it, if it can be mapped.</summary>
    public IReadOnlyList<VfioSparseArea> SparseAreas { get; }

    /// <summary>Whether what can be mapped includes the MSI-X table.</summary>
    public bool HasMsiXTable { get; }

    /// <summary>Whether <see cref="Map"/> is possible.</summary>
    public bool CanMap => (Flags & VfioRegionFlags.Mmap) != 0;

    /// <summary>Reads a register.</summary>
    /// <param name="offset">Offset in bytes, a multiple of the type's size for one access.</param>
    /// <exception cref="IommuException">The kernel refused, or the region ends before.</exception>
    public T Read<T>(ulong offset)
        where T : unmanaged
    {
        IommuException.ThrowIf(
            ReadErrno(offset, out T value), "pread", $"{_device.Path}, region {Index}, 0x{offset:x}, {Unsafe.SizeOf<T>()} bytes");
        return value;
    }

    /// <summary>Reads a register.</summary>
    /// <returns>Success; <see cref="Errno.IoError"/> while the registers are disabled; what the kernel answered.</returns>
    public Errno ReadErrno<T>(ulong offset, out T value)
        where T : unmanaged
    {
        value = default;
        return ReadErrno(offset, MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    /// <summary>Reads bytes.</summary>
    /// <returns>Success; <see cref="Errno.OutOfRange"/> if the region ends before; what the kernel answered.</returns>
    public Errno ReadErrno(ulong offset, Span<byte> destination)
    {
        if (!Holds(offset, (uint)destination.Length))
        {
            return Errno.OutOfRange;
        }

        KernelDescriptor descriptor = _device.Descriptor;
        using HandleHold held = new(descriptor);
        while (!destination.IsEmpty)
        {
            nint count = descriptor.Kernel.Read(descriptor.Number, destination, _offset + offset);
            if (count <= 0)
            {
                return count < 0 ? (Errno)(-(int)count) : Errno.OutOfRange;
            }

            destination = destination[(int)count..];
            offset += (ulong)count;
        }

        return Errno.Success;
    }

    /// <summary>Writes a register.</summary>
    /// <param name="offset">Offset in bytes, a multiple of the type's size for one access.</param>
    /// <param name="value">The value.</param>
    /// <exception cref="IommuException">The kernel refused, or the region ends before.</exception>
    public void Write<T>(ulong offset, T value)
        where T : unmanaged =>
        IommuException.ThrowIf(
            WriteErrno(offset, value), "pwrite", $"{_device.Path}, region {Index}, 0x{offset:x}, {value}");

    /// <summary>Writes a register.</summary>
    /// <returns>Success; <see cref="Errno.IoError"/> while the registers are disabled; what the kernel answered.</returns>
    public Errno WriteErrno<T>(ulong offset, T value)
        where T : unmanaged =>
        WriteErrno(offset, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Writes bytes.</summary>
    /// <returns>Success; <see cref="Errno.OutOfRange"/> if the region ends before; what the kernel answered.</returns>
    public Errno WriteErrno(ulong offset, ReadOnlySpan<byte> source)
    {
        if (!Holds(offset, (uint)source.Length))
        {
            return Errno.OutOfRange;
        }

        KernelDescriptor descriptor = _device.Descriptor;
        using HandleHold held = new(descriptor);
        while (!source.IsEmpty)
        {
            nint count = descriptor.Kernel.Write(descriptor.Number, source, _offset + offset);
            if (count <= 0)
            {
                return count < 0 ? (Errno)(-(int)count) : Errno.OutOfRange;
            }

            source = source[(int)count..];
            offset += (ulong)count;
        }

        return Errno.Success;
    }

    /// <summary>Maps a part of the region into the process.</summary>
    /// <param name="offset">Offset, a multiple of the page size.</param>
    /// <param name="length">Bytes, also 2 GiB and more.</param>
    /// <param name="protection">What the mapping allows.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioMapping Map(
        ulong offset, ulong length, MemoryProtection protection = MemoryProtection.Read | MemoryProtection.Write)
    {
        IommuException.ThrowIf(
            MapErrno(offset, length, protection, out VfioMapping? mapping),
            "mmap",
            $"{_device.Path}, region {Index}, 0x{offset:x}, {length} bytes, {protection}");
        return mapping!;
    }

    /// <summary>Maps a part of the region into the process.</summary>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if it cannot be mapped; what the kernel answered.</returns>
    public Errno MapErrno(ulong offset, ulong length, MemoryProtection protection, out VfioMapping? mapping)
    {
        mapping = null;
        if (length == 0 || !Holds(offset, length))
        {
            return Errno.InvalidArgument;
        }

        KernelDescriptor descriptor = _device.Descriptor;
        using HandleHold held = new(descriptor);
        int result = descriptor.Kernel.Map(descriptor.Number, _offset + offset, (nuint)length, protection, out nint address);
        if (result < 0)
        {
            return (Errno)(-result);
        }

        mapping = new(descriptor.Kernel, address, length);
        return Errno.Success;
    }

    /// <summary>Has a register written with a value whenever a counter is, by the kernel itself.</summary>
    /// <param name="offset">Offset in bytes, in a base address register.</param>
    /// <param name="value">What is written: 1, 2 or 4 bytes, as far as the kernel allows also 8.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioDoorbell AddDoorbell<T>(ulong offset, T value)
        where T : unmanaged
    {
        IommuException.ThrowIf(
            AddDoorbellErrno(offset, value, out VfioDoorbell? doorbell),
            "VFIO_DEVICE_IOEVENTFD",
            $"{_device.Path}, region {Index}, 0x{offset:x}, {value}");
        return doorbell!;
    }

    /// <summary>Has a register written with a value whenever a counter is, by the kernel itself.</summary>
    /// <param name="offset">Offset in bytes, in a base address register.</param>
    /// <param name="value">What is written: 1, 2 or 4 bytes, as far as the kernel allows also 8.</param>
    /// <param name="doorbell">The counter.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for a size, a region or a place that cannot be; <see cref="Errno.Exists"/>
    /// if the same write has a counter; <see cref="Errno.NoSpace"/> beyond 1,000; what else the kernel answered.
    /// </returns>
    public Errno AddDoorbellErrno<T>(ulong offset, T value, out VfioDoorbell? doorbell)
        where T : unmanaged
    {
        doorbell = null;
        if (!Holds(offset, (uint)Unsafe.SizeOf<T>()) || Unsafe.SizeOf<T>() > sizeof(ulong))
        {
            return Errno.InvalidArgument;
        }

        ulong data = 0;
        MemoryMarshal.Write(MemoryMarshal.AsBytes(new Span<ulong>(ref data)), value);
        return VfioDoorbell.MakeErrno(_device, _offset + offset, Unsafe.SizeOf<T>(), data, out doorbell);
    }

    private bool Holds(ulong offset, ulong length) => offset <= Size && length <= Size - offset;
}
