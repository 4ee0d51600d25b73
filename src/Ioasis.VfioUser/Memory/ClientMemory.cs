using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>Reaches memory of the client that came without descriptor: by messages.</summary>
internal interface IMemoryLink
{
    /// <summary>Reads.</summary>
    Errno Read(ulong address, Span<byte> destination);

    /// <summary>Writes.</summary>
    Errno Write(ulong address, ReadOnlySpan<byte> source);
}

/// <summary>
/// The memory that a client shows to its device: physical memory, for the device's DMA. What came with a descriptor is mapped here and accessed so that
/// a client which takes its memory back by force fails an access and not this process; the rest goes by messages.
/// </summary>
/// <remarks>
/// Accesses of what is mapped take no lock and do not allocate. A region that is removed is waited for: no access to it is under way when
/// <see cref="Remove"/> returns (specification, "VFIO_USER_DMA_UNMAP").
/// </remarks>
internal sealed class ClientMemory : IPhysicalMemory
{
    private const ulong PageMask = 4095;

    private readonly ProcessMemory _process = new();
    private readonly EpochReclaimer _readers = new();
    private readonly Lock _changeLock = new();
    private readonly Lock _exchangeLock = new();
    private Region[] _regions = [];
    private IMemoryLink? _link;
    private DirtyPages? _dirty;

    private sealed record Region(ulong Start, ulong Size, DmaMapFlags Flags, MappedFile? File)
    {
        // Inclusive: a region may end with the address space.
        public ulong Last => Start + (Size - 1);
    }

    /// <summary>Regions now.</summary>
    public int Count => Volatile.Read(ref _regions).Length;

    /// <summary>By what memory without descriptor is reached; null for nothing.</summary>
    public void Use(IMemoryLink? link) => Volatile.Write(ref _link, link);

    /// <summary>Begins, or with null ends, a log of what is written.</summary>
    public DirtyPages? Log
    {
        get => Volatile.Read(ref _dirty);
        set => Volatile.Write(ref _dirty, value);
    }

    /// <summary>Adds a region.</summary>
    /// <param name="address">First byte, a multiple of the page size.</param>
    /// <param name="size">Bytes, a multiple of the page size.</param>
    /// <param name="flags">What the device may do.</param>
    /// <param name="file">The file behind it; null for none. It may be closed afterwards.</param>
    /// <param name="offset">Where in the file.</param>
    /// <param name="most">Regions that there may be.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for a range that is none; <see cref="Errno.Exists"/> if a part of it is there;
    /// <see cref="Errno.NoSpace"/>; the system's error of the mapping.
    /// </returns>
    public Errno Add(ulong address, ulong size, DmaMapFlags flags, SafeFileHandle? file, ulong offset, int most)
    {
        if (size == 0 || ((address | size) & PageMask) != 0 || address + (size - 1) < address || (flags & ~DmaMapFlags.All) != 0)
        {
            return Errno.InvalidArgument;
        }

        lock (_changeLock)
        {
            Region[] before = _regions;
            int place = FindPlace(before, address);
            if ((place > 0 && before[place - 1].Last >= address) || (place < before.Length && before[place].Start <= address + (size - 1)))
            {
                return Errno.Exists;
            }

            if (before.Length >= most)
            {
                return Errno.NoSpace;
            }

            MappedFile? mapped = null;
            Errno error = file is null ? Errno.Success : MappedFile.TryMap(file, offset, size, flags, out mapped);
            if (error == Errno.Success)
            {
                Volatile.Write(ref _regions, [.. before[..place], new(address, size, flags, mapped), .. before[place..]]);
            }

            return error;
        }
    }

    /// <summary>Removes a region, which must be one that was added.</summary>
    /// <returns>Success; <see cref="Errno.NoEntry"/> if there is none.</returns>
    public Errno Remove(ulong address, ulong size)
    {
        lock (_changeLock)
        {
            Region[] before = _regions;
            int place = Array.FindIndex(before, region => region.Start == address && region.Size == size);
            if (place < 0)
            {
                return Errno.NoEntry;
            }

            Replace([.. before[..place], .. before[(place + 1)..]], [before[place]]);
            return Errno.Success;
        }
    }

    /// <summary>Lists the regions, in the order of addresses: each leads to its own address.</summary>
    public List<DeviceMapping> List()
    {
        List<DeviceMapping> mappings = [];
        foreach (Region region in Volatile.Read(ref _regions))
        {
            Primitives.Access access = ((region.Flags & DmaMapFlags.Read) != 0 ? Primitives.Access.Read : 0) | ((region.Flags & DmaMapFlags.Write) != 0 ? Primitives.Access.Write : 0);
            mappings.Add(new(new(region.Start), region.Size, new(region.Start), access));
        }

        return mappings;
    }

    /// <summary>Removes all of them.</summary>
    public void Clear()
    {
        lock (_changeLock)
        {
            Replace([], _regions);
        }
    }

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        for (ulong at = address.Value; !destination.IsEmpty;)
        {
            int piece = destination.Length;
            Access access = default;
            using (_readers.Enter())
            {
                if (Find(at, DmaMapFlags.Read, ref piece, ref access) && access.Host != 0)
                {
                    access.Error = _process.Read(access.Host, destination[..piece]);
                }
            }

            if (access.ByMessage)
            {
                access.Error = Volatile.Read(ref _link)?.Read(at, destination[..piece]) ?? Errno.BadAddress;
            }

            if (access.Error != Errno.Success)
            {
                return MemoryStatus.AccessFault;
            }

            destination = destination[piece..];
            at += (ulong)piece;
            if (at == 0 && !destination.IsEmpty)
            {
                // Behind the last address there is nothing.
                return MemoryStatus.AccessFault;
            }
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        for (ulong at = address.Value; !source.IsEmpty;)
        {
            int piece = source.Length;
            Access access = default;
            using (_readers.Enter())
            {
                if (Find(at, DmaMapFlags.Write, ref piece, ref access) && access.Host != 0)
                {
                    access.Error = _process.Write(access.Host, source[..piece]);
                }

                // Before the region can go: who takes it back asks for the log.
                if (access.Error == Errno.Success)
                {
                    Volatile.Read(ref _dirty)?.Mark(at, (ulong)piece);
                }
            }

            if (access.ByMessage)
            {
                access.Error = Volatile.Read(ref _link)?.Write(at, source[..piece]) ?? Errno.BadAddress;
            }

            if (access.Error != Errno.Success)
            {
                return MemoryStatus.AccessFault;
            }

            source = source[piece..];
            at += (ulong)piece;
            if (at == 0 && !source.IsEmpty)
            {
                // Behind the last address there is nothing.
                return MemoryStatus.AccessFault;
            }
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        value = 0;
        return (address.Value & 7) != 0 ? MemoryStatus.AccessFault : Read(address, MemoryMarshal.AsBytes(new Span<ulong>(ref value)));
    }

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value) =>
        (address.Value & 7) != 0 ? MemoryStatus.AccessFault : Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value)));

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        value = 0;
        return (address.Value & 3) != 0 ? MemoryStatus.AccessFault : Read(address, MemoryMarshal.AsBytes(new Span<uint>(ref value)));
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value) =>
        (address.Value & 3) != 0 ? MemoryStatus.AccessFault : Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));

    /// <inheritdoc/>
    /// <remarks>Where neither the processor nor the protocol can do it at once, it excludes others of its kind only.</remarks>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        observed = 0;
        if ((address.Value & 7) != 0)
        {
            return MemoryStatus.AccessFault;
        }

        int piece = sizeof(ulong);
        Access access = default;
        using (_readers.Enter())
        {
            if (Find(address.Value, DmaMapFlags.All, ref piece, ref access) && access.Host != 0
                && ProcessMemory.TryCompareExchange(access.Host, expected, desired, out observed))
            {
                Volatile.Read(ref _dirty)?.Mark(address.Value, sizeof(ulong));
                return MemoryStatus.Success;
            }
        }

        if (access.Error != Errno.Success)
        {
            return MemoryStatus.AccessFault;
        }

        lock (_exchangeLock)
        {
            MemoryStatus status = Read64(address, out observed);
            return status == MemoryStatus.Success && observed == expected ? Write64(address, desired) : status;
        }
    }

    /// <inheritdoc/>
    /// <remarks>None: the memory may go at any time.</remarks>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

    // How one piece of an access ends, or by what it is made.
    private ref struct Access
    {
        public ulong Host;
        public bool ByMessage;
        public Errno Error;
    }

    // The place at which a region that begins at an address stands or would stand.
    private static int FindPlace(Region[] regions, ulong address)
    {
        int low = 0;
        int high = regions.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (regions[middle].Start < address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    // Inside of the epoch. Cuts the piece at the end of the region.
    private bool Find(ulong address, DmaMapFlags needed, ref int piece, ref Access access)
    {
        Region[] regions = Volatile.Read(ref _regions);
        int place = FindPlace(regions, address);
        Region? region = place < regions.Length && regions[place].Start == address ? regions[place] : place > 0 ? regions[place - 1] : null;
        if (region is null || address > region.Last || (region.Flags & needed) != needed)
        {
            access.Error = Errno.BadAddress;
            return false;
        }

        piece = (int)Math.Min((ulong)piece - 1, region.Last - address) + 1;
        access.ByMessage = region.File is null;
        access.Host = region.File is { } file ? file.Address + (address - region.Start) : 0;
        return true;
    }

    private void Replace(Region[] regions, Region[] gone)
    {
        Volatile.Write(ref _regions, regions);
        _readers.Synchronize();
        foreach (Region region in gone)
        {
            region.File?.Dispose();
        }
    }
}
