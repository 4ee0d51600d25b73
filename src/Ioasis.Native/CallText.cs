using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Native;

/// <summary>Sentences about system calls that failed: which value broke which rule, as far as the call's own words tell.</summary>
internal static class CallText
{
    private const ulong PageMask = 4095;

    /// <summary>A call on a descriptor.</summary>
    public static string OfDescriptor(int descriptor, int error) => (Errno)error switch
    {
        Errno.BadDescriptor => $"descriptor {descriptor} is not open on this platform",
        Errno.IllegalSeek => $"descriptor {descriptor} has no places: read and write it without an offset",
        Errno.TryAgain => $"descriptor {descriptor} has nothing now, and is non-blocking",
        Errno.BadAddress => $"the memory given for descriptor {descriptor} is not there, or the place is beyond the end",
        Errno.NoDevice => $"descriptor {descriptor} cannot be mapped, or its device is gone",
        Errno.Interrupted => $"the wait on descriptor {descriptor} was interrupted: the platform ends",
        Errno.TooManyOpenFiles => "no descriptor is free",
        _ => $"descriptor {descriptor}: {Rule(error)}",
    };

    /// <summary>An ioctl.</summary>
    public static string OfIoctl(int descriptor, uint request, int error, ReadOnlySpan<byte> argument)
    {
        string name = RequestNames.NameOf(request);
        string why = (Errno)error switch
        {
            Errno.BadDescriptor when argument.IsEmpty => $"descriptor {descriptor} is not open on this platform",
            Errno.NotTypewriter => $"descriptor {descriptor} has no request 0x{request:x}",
            _ => Of(request, (Errno)error, argument) ?? $"descriptor {descriptor}: {Rule(error)}",
        };
        return $"{name}: {why}";
    }

    private static string? Of(uint request, Errno error, ReadOnlySpan<byte> argument)
    {
        if (argument.Length < 4)
        {
            return error == Errno.BadAddress ? "the argument is not memory of this process" : null;
        }

        uint size = MemoryMarshal.Read<uint>(argument);
        switch (request)
        {
            case IommufdRequests.IoasMap when TryRead(argument, out IommuIoasMap map):
                return OfMap(error, size, map.Iova, map.UserVa, map.Length, map.IoasId, (map.Flags & IoasMapFlags.FixedIova) != 0);
            case IommufdRequests.IoasUnmap when TryRead(argument, out IommuIoasUnmap unmap):
                return OfUnmap(error, unmap.Iova, unmap.Length, unmap.IoasId);
            case VfioRequests.IommuMapDma when argument.Length >= 32:
                return OfMap(error, size, Word(argument, 16), Word(argument, 8), Word(argument, 24), null, true);
            case VfioRequests.IommuUnmapDma when argument.Length >= 24:
                return OfUnmap(error, Word(argument, 8), Word(argument, 16), null);
            case IommufdRequests.Destroy when TryRead(argument, out IommuDestroy destroy):
                return error switch
                {
                    Errno.NoEntry => $"there is no object {destroy.Id}",
                    Errno.Busy => $"object {destroy.Id} is in use",
                    _ => null,
                };
            default:
                return error switch
                {
                    Errno.ArgumentTooBig => $"the structure's size is {size}, and what is beyond the known part is not zero",
                    Errno.InvalidArgument when size < 8 => $"the structure's size is {size}: its first field must be its size",
                    _ => null,
                };
        }
    }

    private static string? OfMap(Errno error, uint size, ulong iova, ulong address, ulong length, uint? space, bool isFixed)
    {
        string where = string.Create(CultureInfo.InvariantCulture, $"[0x{iova:x}, +0x{length:x})");
        return error switch
        {
            Errno.InvalidArgument when length == 0 => "length is 0",
            Errno.InvalidArgument when (length & PageMask) != 0 => $"length 0x{length:x} is no multiple of 4096",
            Errno.InvalidArgument when isFixed && (iova & PageMask) != 0 => $"iova 0x{iova:x} is no multiple of 4096",
            Errno.InvalidArgument when ((iova ^ address) & PageMask) != 0 => $"iova 0x{iova:x} and address 0x{address:x} differ in their place in a page",
            Errno.Overflow or Errno.InvalidArgument when isFixed && iova + (length - 1) < iova => $"{where} reaches beyond 2^64",
            Errno.Overflow => $"0x{address:x} + 0x{length:x} reaches beyond the address space",
            Errno.InvalidArgument when isFixed => $"{where} is not in the ranges that the devices can use (IOMMU_IOAS_IOVA_RANGES), or a flag is unknown (size {size})",
            Errno.Exists or Errno.AddressInUse => $"{where} overlaps what is mapped already",
            Errno.BadAddress => $"memory [0x{address:x}, +0x{length:x}) is not there, or not writable",
            Errno.NoEntry => $"there is no address space {space}",
            Errno.NoSpace => $"no free range of 0x{length:x} bytes is left",
            Errno.OutOfMemory => $"0x{length:x} bytes more than may be pinned (pinned_limit)",
            _ => null,
        };
    }

    private static string? OfUnmap(Errno error, ulong iova, ulong length, uint? space) => error switch
    {
        Errno.NoEntry when space is not null =>
            $"nothing is mapped in [0x{iova:x}, +0x{length:x}), or the range cuts a mapping, or there is no address space {space}",
        Errno.NoEntry => $"nothing is mapped in [0x{iova:x}, +0x{length:x}), or the range cuts a mapping",
        Errno.InvalidArgument when length == 0 => "length is 0",
        Errno.InvalidArgument => $"[0x{iova:x}, +0x{length:x}) is not made of whole pages, reaches beyond 2^64 or cuts a mapping",
        _ => null,
    };

    private static string Rule(int error) => (Errno)error switch
    {
        Errno.InvalidArgument => "a value is not one that the call takes",
        Errno.BadAddress => "the argument, or what it points to, is not memory of this process",
        Errno.NoEntry => "there is no such object",
        Errno.Busy => "it is in use",
        Errno.Exists => "it is there already",
        Errno.NotSupported => "the IOMMU or the device cannot do that",
        Errno.OutOfMemory => "memory or the limit of pinned memory is used up",
        Errno.NoDevice => "the device is gone or not bound",
        Errno.NotPermitted => "not allowed in this state",
        _ => "the system call's error",
    };

    private static ulong Word(ReadOnlySpan<byte> argument, int offset) => MemoryMarshal.Read<ulong>(argument[offset..]);

    private static bool TryRead<T>(ReadOnlySpan<byte> argument, out T value)
        where T : unmanaged
    {
        value = default;
        return MemoryMarshal.TryRead(argument, out value);
    }
}
