using System.Buffers.Binary;
using System.Collections.Concurrent;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.MockIommu;

/// <summary>What the mock keeps of a device.</summary>
internal sealed class MockDeviceState
{
    private const uint InCache = 0xbaddad;

    /// <summary>Words that stand for the device's cache.</summary>
    public uint[] Cache { get; } = [InCache, InCache, InCache, InCache];

    /// <summary>The next switch of the PASID that plays tricks fails.</summary>
    public bool NextSwitchFails { get; set; }
}

/// <summary>The IOMMU of the kernel's own tests: it remembers what it is told.</summary>
/// <param name="dirtyTracking">Whether it can tell what devices wrote.</param>
internal sealed class MockIommuInstance(bool dirtyTracking) : IommuInstance
{
    private const uint InfoType = 0xfeed_beef;
    private const uint InfoRegister = 0xdead_beef;
    private const uint TrickyPasid = 1024;

    private readonly ConcurrentDictionary<MockVirtualIommu, byte> _guests = new();

    /// <inheritdoc/>
    public override string Name => dirtyTracking ? "mock" : "mock without dirty tracking";

    /// <inheritdoc/>
    public override IommuCapabilities Capabilities { get; } = new()
    {
        PasidBits = 20, DirtyTracking = dirtyTracking, Nesting = true, NestedPasids = true, PageRequests = true,
    };

    /// <inheritdoc/>
    public override Errno TryAllocatePagingDomain(IommuDevice device, in PagingDomainOptions options, out PagingDomain? domain)
    {
        // The second word of what the user wants is the kind of table; the mock has one that serves as both.
        domain = null;
        if (options.DataType != 0
            && (options.Data.Length < 2 * sizeof(uint) || BinaryPrimitives.ReadUInt32LittleEndian(options.Data.Span[sizeof(uint)..]) > 1))
        {
            return Errno.InvalidArgument;
        }

        domain = new MockPagingDomain(options);
        return Errno.Success;
    }

    /// <inheritdoc/>
    public override bool TakesPagingData(uint type) => type == MockNestedDomain.DataType;

    /// <inheritdoc/>
    public override Errno TryAllocateNestedDomain(
        IommuDevice device, PagingDomain parent, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain) =>
        MockNestedDomain.TryMake(parent, null, dataType, data, out domain);

    /// <inheritdoc/>
    public override Errno TryAllocateVirtualIommu(
        IommuDevice device, PagingDomain parent, uint type, Span<byte> data, out VirtualIommu? made)
    {
        made = null;
        if (type != MockVirtualIommu.Type)
        {
            return Errno.NotSupported;
        }

        MockVirtualIommu guest = new(parent);
        _guests[guest] = 0;
        made = guest;
        return Errno.Success;
    }

    /// <inheritdoc/>
    public override Errno GetHardwareInfo(out uint type, Span<byte> data, out int needed)
    {
        type = InfoType;
        needed = 2 * sizeof(uint);
        Span<byte> whole = stackalloc byte[2 * sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(whole[sizeof(uint)..], InfoRegister);
        whole[..Math.Min(needed, data.Length)].CopyTo(data);
        return Errno.Success;
    }

    /// <summary>Has the guest of a device told of an event.</summary>
    public Errno Report(IommuDevice device) =>
        _guests.Keys.Any(guest => guest.TryReport(device)) ? Errno.Success : Errno.NoEntry;

    /// <inheritdoc/>
    protected internal override Errno ProbeDevice(IommuDevice device)
    {
        device.DriverData = new MockDeviceState();
        return Errno.Success;
    }

    /// <inheritdoc/>
    protected internal override void ReleaseDevice(IommuDevice device)
    {
    }

    /// <inheritdoc/>
    protected internal override Errno SetDomain(IommuDevice device, Pasid pasid, Domain next, Domain current)
    {
        if (next is MockNestedDomain { Guest: { } guest } && !guest.Knows(device))
        {
            return Errno.NoEntry;
        }

        // The second switch of this PASID fails, so that whoever switches has to go back.
        if (pasid.Value == TrickyPasid && device.DriverData is MockDeviceState state)
        {
            bool fails = state.NextSwitchFails && next.Kind != DomainKind.Blocked;
            state.NextSwitchFails = !state.NextSwitchFails && next.Kind != DomainKind.Blocked;
            return fails ? Errno.OutOfMemory : Errno.Success;
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    protected internal override IReadOnlyList<ReservedRegion> GetReservedRegions(IommuDevice device) => [];

    /// <inheritdoc/>
    protected internal override Errno SendPageResponse(PageRequestGroup group, PageResponseCode code) => Errno.Success;
}
