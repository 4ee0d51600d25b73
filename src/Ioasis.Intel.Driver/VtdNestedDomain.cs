using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>
/// A guest's first stage on a second stage of the host: a page table in the guest's memory, which the hardware reaches through the parent
/// (section 3.8). Each PASID of a device can have one of its own. What the guest says is in Linux's layouts.
/// </summary>
internal sealed class VtdNestedDomain : NestedDomain
{
    // struct iommu_hwpt_vtd_s1, struct iommu_hwpt_vtd_s1_invalidate (include/uapi/linux/iommufd.h): a test compares these with the structures.
    internal const uint DataType = 1;
    internal const uint InvalidateType = 0;
    internal const int DataSize = 24;
    internal const int TableOffset = 8;
    internal const int WidthOffset = 16;
    internal const int DataReservedOffset = 20;
    internal const int EntrySize = 24;
    internal const int PagesOffset = 8;
    internal const int EntryFlagsOffset = 16;
    internal const int EntryReservedOffset = 20;

    private const ulong SupervisorFlag = 1;
    private const ulong ExtendedAccessedFlag = 2;
    private const ulong WriteProtectFlag = 4;
    private const uint LeafFlag = 1;

    private readonly VtdPagingDomain _parent;
    private readonly ulong _flags;
    private readonly ulong _table;
    private readonly uint _width;
    private readonly IoLock _lock = new();

    // Replaced, never changed: invalidators read it without a lock.
    private GuestAttachment[] _attached = [];

    private VtdNestedDomain(VtdPagingDomain parent, ulong flags, ulong table, uint width)
    {
        _parent = parent;
        _flags = flags;
        _table = table;
        _width = width;
    }

    /// <inheritdoc/>
    public override PagingDomain Parent => _parent;

    internal VtdPagingDomain SecondStage => _parent;

    /// <summary>
    /// Makes a domain from what the guest wants. Whether the hardware can walk it turns out when it is attached, as on Linux; flags that are
    /// not known, the lowest bits of the address and the reserved field are not looked at there either.
    /// </summary>
    internal static Errno TryCreate(VtdPagingDomain parent, ReadOnlySpan<byte> data, out VtdNestedDomain? domain, out string? wrong)
    {
        domain = null;
        wrong = data.Length != DataSize ? $"the length of the data, which is {DataSize} bytes" : null;
        if (wrong is not null)
        {
            return Errno.InvalidArgument;
        }

        ulong flags = BinaryPrimitives.ReadUInt64LittleEndian(data);
        ulong table = BinaryPrimitives.ReadUInt64LittleEndian(data[TableOffset..]) & ~0xffful;
        domain = new(parent, flags, table, BinaryPrimitives.ReadUInt32LittleEndian(data[WidthOffset..]));
        return Errno.Success;
    }

    /// <summary>What an IOMMU lacks to walk the guest's table, in words; null if nothing.</summary>
    internal string? MissingFrom(Capability capability, ExtendedCapability extended) =>
        _width is not (48 or 57) ? "addr_width: 48 or 57"
        : _width == 57 && !capability.FirstStage5Level ? "addr_width: 57, without first-stage tables of 5 levels (CAP_REG.FS5LP)"
        : (_flags & SupervisorFlag) != 0 && !extended.Has(ExtendedCapability.SupervisorRequestBit) ? "SRE, without ECAP_REG.SRS"
        : (_flags & ExtendedAccessedFlag) != 0 && !extended.Has(ExtendedCapability.ExtendedAccessedBit) ? "EAFE, without ECAP_REG.EAFS"
        : null;

    /// <summary>What a PASID-table entry that leads to both tables has (section 9.6).</summary>
    internal ContextTarget TargetFor(Bond bond, AtsBond? ats, GuestAttachment guest)
    {
        ContextTarget second = _parent.TargetFor(bond, ats);
        const int shift = PasidTableEntry.Word0TranslationTypeShift;
        return second with
        {
            Type = PasidTranslationType.Nested,
            Word0 = (second.Word0 & ~(7ul << shift)) | ((ulong)PasidTranslationType.Nested << shift),
            Word2 = _table
                | (_width == 57 ? 1ul << PasidTableEntry.Word2PagingModeShift : 0)
                | ((_flags & SupervisorFlag) != 0 ? PasidTableEntry.Word2SupervisorBit : 0)
                | ((_flags & WriteProtectFlag) != 0 ? PasidTableEntry.Word2WriteProtectBit : 0)
                | ((_flags & ExtendedAccessedFlag) != 0 ? PasidTableEntry.Word2ExtendedAccessedBit : 0),
            Guest = guest,
        };
    }

    /// <summary>A PASID of a device will use the domain: what the guest invalidates concerns it from now on.</summary>
    internal void Add(GuestAttachment attachment)
    {
        using (_lock.Acquire())
        {
            Volatile.Write(ref _attached, [.. _attached, attachment]);
        }

        Interlocked.MemoryBarrier();
    }

    /// <summary>It uses it no more, and nothing of it is cached.</summary>
    internal void Remove(GuestAttachment attachment)
    {
        using (_lock.Acquire())
        {
            Volatile.Write(ref _attached, Array.FindAll(_attached, a => a != attachment));
        }
    }

    /// <inheritdoc/>
    /// <remarks>
    /// The errors are Linux's for VT-d: EOPNOTSUPP for a flag that is not known, EINVAL for entries of another length and for a range that is not
    /// whole pages.
    /// </remarks>
    public override Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count)
    {
        uint wanted = count;
        count = 0;
        if (dataType != InvalidateType)
        {
            return Errno.InvalidArgument;
        }

        if (wanted > 0 && (entryLength != EntrySize || (ulong)entries.Length < wanted * (ulong)entryLength))
        {
            return Errno.InvalidArgument;
        }

        for (uint i = 0; i < wanted; i++)
        {
            Errno error = Invalidate(entries.Slice((int)(i * (uint)entryLength), entryLength));
            if (error != Errno.Success)
            {
                count = error == Errno.IoError ? 0 : i;
                return error;
            }
        }

        count = wanted;
        return Errno.Success;
    }

    private Errno Invalidate(ReadOnlySpan<byte> entry)
    {
        ulong address = BinaryPrimitives.ReadUInt64LittleEndian(entry);
        ulong pages = BinaryPrimitives.ReadUInt64LittleEndian(entry[PagesOffset..]);
        uint flags = BinaryPrimitives.ReadUInt32LittleEndian(entry[EntryFlagsOffset..]);
        if ((flags & ~LeafFlag) != 0 || BinaryPrimitives.ReadUInt32LittleEndian(entry[EntryReservedOffset..]) != 0)
        {
            return Errno.NotSupported;
        }

        if ((address & 0xfff) != 0 || (pages == ulong.MaxValue && address != 0))
        {
            return Errno.InvalidArgument;
        }

        // More than there are, or none, says nothing certain: then everything goes.
        ulong most = (ulong.MaxValue - address) >> 12;
        AddressRange? range = pages == 0 || pages > most ? null : new(address, address + (pages << 12) - 1);
        Interlocked.MemoryBarrier();
        Errno result = Errno.Success;
        foreach (GuestAttachment attachment in Volatile.Read(ref _attached))
        {
            Errno error = attachment.Invalidate(range, (flags & LeafFlag) != 0);
            result = error == Errno.Success ? result : error;
        }

        return result;
    }
}

/// <summary>A device, or a PASID of it, that is attached to a nested domain.</summary>
internal sealed class GuestAttachment(VtdNestedDomain domain, Bond bond, DeviceState device, Pasid pasid)
{
    public VtdNestedDomain Domain { get; } = domain;

    /// <summary>Has the IOMMU, then the device, forget a range of the guest's addresses, or all of them.</summary>
    public Errno Invalidate(AddressRange? range, bool leavesOnly)
    {
        Span<QueueDescriptor> descriptors = stackalloc QueueDescriptor[InvalidationPlan.MaxDescriptors];
        int count = InvalidationPlan.BuildForGuest(range, leavesOnly, bond, pasid.Value, descriptors);
        Errno error = bond.Iommu.Queue.SubmitAndWait(descriptors[..count]);
        error = error == Errno.NoDevice ? Errno.Success : error;
        return error == Errno.Success && device.HasAts
            ? DeviceInvalidation.Invalidate(
                bond.Iommu, device, pasid, range is { } part ? PcieInvalidation.PayloadFor(part) : PcieInvalidation.Everything)
            : error;
    }
}
