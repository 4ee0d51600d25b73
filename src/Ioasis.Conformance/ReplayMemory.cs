using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Conformance;

/// <summary>
/// The memory of a case: sparse over the whole 64-bit space (addresses wrap), with faults that can be armed and a journal of what
/// the IOMMU changed. For one thread.
/// </summary>
internal sealed class ReplayMemory : IPhysicalMemory
{
    private const int PageSize = 4096;
    private const ulong PageMask = PageSize - 1;

    private readonly Dictionary<ulong, byte[]> _pages = [];
    private readonly Stack<byte[]> _spare = [];
    private readonly List<ArmFaultOperation> _faults = [];
    private readonly Dictionary<ulong, byte> _before = [];
    private ulong _lastPageNumber = ulong.MaxValue;
    private byte[]? _lastPage;

    /// <summary>Each byte that the IOMMU stored to since <see cref="ForgetStores"/>, with its value before the first store.</summary>
    public IReadOnlyDictionary<ulong, byte> Before => _before;

    /// <summary>Makes the memory all zero and disarms the faults.</summary>
    public void Clear()
    {
        foreach (byte[] page in _pages.Values)
        {
            if (_spare.Count < 1024)
            {
                Array.Clear(page);
                _spare.Push(page);
            }
        }

        _pages.Clear();
        _faults.Clear();
        _before.Clear();
        _lastPageNumber = ulong.MaxValue;
        _lastPage = null;
    }

    /// <summary>Arms a fault on the accesses of the IOMMU.</summary>
    public void Arm(ArmFaultOperation fault) => _faults.Add(fault);

    /// <summary>Removes all armed faults.</summary>
    public void Disarm() => _faults.Clear();

    /// <summary>Starts a new journal.</summary>
    public void ForgetStores() => _before.Clear();

    /// <summary>Software stores bytes: no fault, no journal.</summary>
    public void Poke(ulong address, ReadOnlySpan<byte> source) => Copy(address, source, journal: false);

    /// <summary>Software reads bytes.</summary>
    public void Peek(ulong address, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int offset = (int)(address & PageMask);
            int piece = Math.Min(destination.Length, PageSize - offset);
            if (Find(address) is { } page)
            {
                page.AsSpan(offset, piece).CopyTo(destination);
            }
            else
            {
                destination[..piece].Clear();
            }

            destination = destination[piece..];
            address += (ulong)piece;
        }
    }

    /// <summary>The byte at an address.</summary>
    public byte PeekByte(ulong address) => Find(address) is { } page ? page[address & PageMask] : (byte)0;

    /// <summary>Whether an armed fault hits an access of the IOMMU.</summary>
    public MemoryStatus Check(ulong address, ulong length, bool read, bool write)
    {
        foreach (ArmFaultOperation fault in CollectionsMarshal.AsSpan(_faults))
        {
            // Overlap on a ring: one of the two starts lies in the other range.
            bool overlaps = address - fault.Address < fault.Length || fault.Address - address < length;
            if (overlaps && ((read && fault.OnRead) || (write && fault.OnWrite)))
            {
                return fault.IsCorruption ? MemoryStatus.DataCorruption : MemoryStatus.AccessFault;
            }
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        MemoryStatus status = Check(address.Value, (ulong)destination.Length, read: true, write: false);
        if (status == MemoryStatus.Success)
        {
            Peek(address.Value, destination);
        }

        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        MemoryStatus status = Check(address.Value, (ulong)source.Length, read: false, write: true);
        if (status == MemoryStatus.Success)
        {
            Copy(address.Value, source, journal: true);
        }

        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        MemoryStatus status = Read(address, bytes);
        value = status == MemoryStatus.Success ? BinaryPrimitives.ReadUInt64LittleEndian(bytes) : 0;
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return Write(address, bytes);
    }

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        MemoryStatus status = Read(address, bytes);
        value = status == MemoryStatus.Success ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return Write(address, bytes);
    }

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        observed = 0;
        MemoryStatus status = Check(address.Value, 8, read: true, write: true);
        if (status != MemoryStatus.Success)
        {
            return status;
        }

        Span<byte> bytes = stackalloc byte[8];
        Peek(address.Value, bytes);
        observed = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        if (observed == expected)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, desired);
            Copy(address.Value, bytes, journal: true);
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus CompareExchange32(PhysicalAddress address, uint expected, uint desired, out uint observed)
    {
        observed = 0;
        MemoryStatus status = Check(address.Value, 4, read: true, write: true);
        if (status != MemoryStatus.Success)
        {
            return status;
        }

        Span<byte> bytes = stackalloc byte[4];
        Peek(address.Value, bytes);
        observed = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        if (observed == expected)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, desired);
            Copy(address.Value, bytes, journal: true);
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

    private void Copy(ulong address, ReadOnlySpan<byte> source, bool journal)
    {
        while (!source.IsEmpty)
        {
            Span<byte> place = FindOrAdd(address).AsSpan((int)(address & PageMask));
            int piece = Math.Min(source.Length, place.Length);
            for (int i = 0; journal && i < piece; i++)
            {
                _ = _before.TryAdd(address + (ulong)i, place[i]);
            }

            source[..piece].CopyTo(place);
            source = source[piece..];
            address += (ulong)piece;
        }
    }

    private byte[]? Find(ulong address)
    {
        ulong number = address / PageSize;
        if (number == _lastPageNumber)
        {
            return _lastPage;
        }

        if (!_pages.TryGetValue(number, out byte[]? page))
        {
            return null;
        }

        _lastPageNumber = number;
        _lastPage = page;
        return page;
    }

    private byte[] FindOrAdd(ulong address)
    {
        byte[]? page = Find(address);
        if (page is null)
        {
            page = _spare.TryPop(out byte[]? spare) ? spare : new byte[PageSize];
            _pages.Add(address / PageSize, page);
        }

        return page;
    }
}
