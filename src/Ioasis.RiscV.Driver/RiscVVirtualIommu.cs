using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// What a guest has of an IOMMU: the names of its devices, by which its commands mean them and its faults are reported. Its
/// caches are those under the GSCID of its second stage.
/// </summary>
internal sealed class RiscVVirtualIommu : VirtualIommu
{
    private const int EventSize = 32;
    private const ulong MaxVirtualId = (1ul << 24) - 1;

    private readonly RiscVIommuInstance _iommu;
    private readonly RiscVPagingDomain _parent;
    private readonly IoLock _lock = new();
    private readonly EpochReclaimer _reporters = new(static () => HardwareAccess.Pause(0));

    // Replaced, never changed: invalidators and reporters read it without a lock.
    private GuestDevice[] _devices = [];

    internal RiscVVirtualIommu(RiscVIommuInstance iommu, RiscVPagingDomain parent)
    {
        _iommu = iommu;
        _parent = parent;
    }

    /// <inheritdoc/>
    public override PagingDomain Parent => _parent;

    /// <inheritdoc/>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for a device behind another IOMMU or a name of more than 24 bits;
    /// <see cref="Errno.Exists"/> if the device has a name or the name a device; <see cref="Errno.NoDevice"/> for one that is gone.
    /// </returns>
    public override Errno AddDevice(IommuDevice device, ulong virtualId)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (device.Iommu != _iommu || virtualId > MaxVirtualId)
        {
            return Errno.InvalidArgument;
        }

        if (device.DriverData is not DeviceState state)
        {
            return Errno.NoDevice;
        }

        using (_lock.Acquire())
        {
            if (state.Virtual is not null || Array.Exists(_devices, known => known.VirtualId == virtualId))
            {
                return Errno.Exists;
            }

            Volatile.Write(ref _devices, [.. _devices, new(_iommu, state.Id, (uint)virtualId)]);
            state.Virtual = this;
            return Errno.Success;
        }
    }

    /// <inheritdoc/>
    public override void RemoveDevice(IommuDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        using (_lock.Acquire())
        {
            Volatile.Write(ref _devices, Array.FindAll(_devices, known => known.DeviceId != device.Id.Value));
            if (device.DriverData is DeviceState state && state.Virtual == this)
            {
                state.Virtual = null;
            }
        }

        // An event that is being reported came before; unless it is the event's taker who removes the device.
        if (!_reporters.IsInside)
        {
            _reporters.Synchronize();
        }
    }

    /// <inheritdoc/>
    public override Errno TryAllocateNestedDomain(
        IommuDevice device, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain) =>
        _iommu.TryAllocateNestedDomain(device, _parent, dataType, data, out domain);

    /// <inheritdoc/>
    /// <remarks>
    /// As <see cref="RiscVNestedDomain.Invalidate"/>; IODIR.INVAL_DDT and IODIR.INVAL_PDT mean the device of the name in them,
    /// without a name all of the guest's.
    /// </remarks>
    public override Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count) =>
        GuestCommands.Invalidate(_parent.Bonds, Volatile.Read(ref _devices), dataType, entries, entryLength, ref count);

    /// <inheritdoc/>
    public override bool SupportsEvents(uint type) => type == NestedTranslation.Type;

    /// <summary>A fault of one of the guest's tables: the record as the guest's IOMMU would have written it.</summary>
    internal void Report(IommuDevice device, in FaultRecord record)
    {
        using EpochReclaimer.Scope scope = _reporters.Enter();
        uint? name = null;
        foreach (GuestDevice known in Volatile.Read(ref _devices))
        {
            name = known.DeviceId == device.Id.Value ? known.VirtualId : name;
        }

        if (name is not { } virtualId || Events is not { } sink)
        {
            return;
        }

        const ulong nameMask = 0xff_fffful << FaultRecord.DeviceShift;
        Span<byte> data = stackalloc byte[EventSize];
        data.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(
            data, (record.Header & ~nameMask) | ((ulong)virtualId << FaultRecord.DeviceShift));
        BinaryPrimitives.WriteUInt64LittleEndian(data[16..], record.Iotval);
        BinaryPrimitives.WriteUInt64LittleEndian(data[24..], record.Iotval2);
        sink.OnEvent(NestedTranslation.Type, data);
    }
}
