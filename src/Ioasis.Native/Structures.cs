using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ioasis.Native;

// The structures of ioasis.h, field by field; a test compiles a C program that holds the two against each other.

/// <summary>A structure of ioasis.h that begins with its size.</summary>
internal interface ISizedStructure
{
    /// <summary>Bytes of its first version: less is no such structure.</summary>
    static abstract int MinimumSize { get; }
}

/// <summary><c>struct ioasis_platform_options</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PlatformOptions : ISizedStructure
{
    public uint Size;
    public uint Caching;
    public ulong PinnedLimit;
    public uint FaultCapacity;
    public uint Reserved;
    public nint Machine;
    public nint MachineFile;
    public nint Iommu;

    public static int MinimumSize => 24;
}

/// <summary><c>struct ioasis_stats</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Stats : ISizedStructure
{
    public uint Size;
    public uint Descriptors;
    public uint AddressSpaces;
    public uint Devices;
    public ulong Mappings;
    public ulong PinnedBytes;
    public ulong TableBytes;
    public ulong Faults;
    public ulong FaultsLost;
    public ulong DmaReads;
    public ulong DmaWrites;
    public ulong DmaReadBytes;
    public ulong DmaWriteBytes;
    public ulong DmaRefused;

    public static int MinimumSize => 8;
}

/// <summary><c>struct ioasis_bar</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Bar
{
    public ulong Length;
    public uint Flags;
    public uint Reserved;
}

/// <summary><c>IOASIS_BAR_…</c>.</summary>
[Flags]
internal enum BarFlags : uint
{
    None = 0,
    Is64Bit = 1,
    Prefetchable = 2,
    Io = 4,
    Memory = 8,
    All = 15,
}

/// <summary><c>IOASIS_DEVICE_…</c>.</summary>
[Flags]
internal enum DeviceFlags : uint
{
    None = 0,
    Express = 1,
    Pin = 2,
    Ats = 4,
    PageRequests = 8,
    NoReset = 16,
    All = 31,
}

/// <summary><c>struct ioasis_device_options</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DeviceOptions : ISizedStructure
{
    public uint Size;
    public DeviceFlags Flags;
    public nint Name;
    public nint Address;
    public ushort VendorId;
    public ushort DeviceId;
    public ushort SubsystemVendorId;
    public ushort SubsystemId;
    public uint ClassCode;
    public byte Revision;
    public byte PasidBits;
    public byte MsiVectors;
    public byte MsixBar;
    public ushort MsixVectors;
    public ushort Reserved;
    public uint MsixTable;
    public uint MsixPending;
    public uint Reserved2;
    public BarArray Bars;
    public uint VendorLength;
    public uint Reserved3;

    // Up to the base address registers: what is behind them was added later.
    public static int MinimumSize => Unsafe.SizeOf<DeviceOptions>() - (2 * sizeof(uint));

    [InlineArray(6)]
    internal struct BarArray
    {
        public Bar First;
    }
}

/// <summary><c>struct ioasis_device_ops</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DeviceOps : ISizedStructure
{
    public uint Size;
    public uint Reserved;
    public delegate* unmanaged<nint, nint, uint, ulong, uint, ulong> Read;
    public delegate* unmanaged<nint, nint, uint, ulong, uint, ulong, void> Write;
    public delegate* unmanaged<nint, nint, void> Reset;
    public delegate* unmanaged<nint, void> Destroy;
    public delegate* unmanaged<nint, nint, uint, nint, uint, void> ConfigRead;
    public delegate* unmanaged<nint, nint, uint, nint, uint, void> ConfigWrite;

    public static int MinimumSize => 8;
}

/// <summary><c>struct ioasis_device_info</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DeviceInfo : ISizedStructure
{
    public uint Size;
    public uint Group;
    public uint Requester;
    public uint Segment;
    public uint PasidBits;
    public uint Reserved;
    public fixed byte Name[64];
    public fixed byte Address[32];
    public fixed byte DevicePath[64];
    public fixed byte GroupPath[64];

    public static int MinimumSize => 8;
}

/// <summary><c>IOASIS_REQUEST_…</c>.</summary>
[Flags]
internal enum RequestFlags : uint
{
    None = 0,
    Write = 1,
    Execute = 2,
    Privileged = 4,
    Ats = 8,
    All = 15,
}

/// <summary><c>struct ioasis_translation</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Translation : ISizedStructure
{
    public uint Size;
    public RequestFlags Request;
    public ulong Iova;
    public uint Pasid;
    public uint Permissions;
    public ulong Address;
    public uint SizeLog2;
    public uint Reserved;

    public static int MinimumSize => 40;
}

/// <summary><c>struct ioasis_fault</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Fault : ISizedStructure
{
    public uint Size;
    public uint Reason;
    public ulong Iova;
    public uint Requester;
    public uint Segment;
    public uint Pasid;
    public RequestFlags Request;
    public uint Cause;
    public uint Reserved;
    public ulong Detail;
    public fixed byte Device[64];

    public static int MinimumSize => 48;
}

/// <summary>The rule of sized structures: an unknown tail must be zero, a missing one is; what is filled in never reaches beyond.</summary>
internal static unsafe class SizedStructure
{
    /// <summary>Reads a structure of the caller's.</summary>
    /// <param name="address">Where it is.</param>
    /// <param name="name">Its name in ioasis.h.</param>
    /// <param name="value">The structure; its size as the caller knows it.</param>
    /// <returns>Null, or what is wrong with it.</returns>
    public static Failure? Take<T>(nint address, string name, out T value)
        where T : unmanaged, ISizedStructure
    {
        value = default;
        if (CallerMemory.CountAccessible(address, sizeof(uint), writable: false) < sizeof(uint))
        {
            return Failure.BadAddress(name, address);
        }

        uint size = Unsafe.ReadUnaligned<uint>((void*)address);
        int known = sizeof(T);
        if (size < (uint)T.MinimumSize)
        {
            return new(Primitives.Errno.InvalidArgument, $"{name}.size is {size}: it must be at least {T.MinimumSize}; this library knows {known}");
        }

        // As far as a page: more is no structure that any version has.
        if (size > 4096)
        {
            return new(Primitives.Errno.ArgumentTooBig, $"{name}.size is {size}: no version of it has more than 4096");
        }

        if (CallerMemory.CountAccessible(address, size, writable: false) < size)
        {
            return Failure.BadAddress(name, address);
        }

        ReadOnlySpan<byte> bytes = new((void*)address, (int)size);
        if (size > known && bytes[known..].IndexOfAnyExcept((byte)0) is >= 0 and int at)
        {
            return new(
                Primitives.Errno.ArgumentTooBig,
                $"{name}.size is {size}, and byte {known + at} is {bytes[known + at]}: this library knows {known} bytes, the rest must be zero");
        }

        bytes[..(int)Math.Min(size, (uint)known)].CopyTo(MemoryMarshal.AsBytes(new Span<T>(ref value)));
        return null;
    }

    /// <summary>Fills in a structure of the caller's, which <see cref="Take"/> or <see cref="Check"/> was content with.</summary>
    public static Failure? Give<T>(nint address, string name, uint size, ref T value)
        where T : unmanaged, ISizedStructure
    {
        uint bytes = Math.Min(size, (uint)sizeof(T));
        Unsafe.As<T, uint>(ref value) = bytes;
        ReadOnlySpan<byte> source = MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value))[..(int)bytes];
        if (CallerMemory.CountAccessible(address, bytes, writable: true) < bytes)
        {
            return Failure.BadAddress(name, address);
        }

        source.CopyTo(new Span<byte>((void*)address, source.Length));
        return null;
    }

    /// <summary>Checks a structure that is only filled in.</summary>
    public static Failure? Check<T>(nint address, string name, out uint size)
        where T : unmanaged, ISizedStructure
    {
        size = 0;
        if (CallerMemory.CountAccessible(address, sizeof(uint), writable: true) < sizeof(uint))
        {
            return Failure.BadAddress(name, address);
        }

        size = Unsafe.ReadUnaligned<uint>((void*)address);
        return size < (uint)T.MinimumSize
            ? new(Primitives.Errno.InvalidArgument, $"{name}.size is {size}: it must be at least {T.MinimumSize}; this library knows {sizeof(T)}")
            : null;
    }

    /// <summary>Puts a text into a field, cut to it, with a zero at the end.</summary>
    public static void PutText(Span<byte> field, string text)
    {
        field.Clear();
        _ = System.Text.Unicode.Utf8.FromUtf16(text, field[..^1], out _, out _);
    }
}
