using System.Buffers.Binary;
using System.Globalization;
using Ioasis.Core;
using Ioasis.Kernel;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.MockIommu;

/// <summary>
/// IOMMU_TEST_CMD, by which the kernel's own tests of iommufd make mock devices and look behind the ABI (numbers and layout: Linux
/// <c>drivers/iommu/iommufd/iommufd_test.h</c>).
/// </summary>
internal sealed partial class MockExtension : IommufdExtension
{
    private const uint Command = ((uint)';' << 8) | 0xa0;
    private const int CommandSize = 72;

    // Groups of the mock are not those of other devices.
    private const int FirstGroup = 1 << 20;

    private readonly IommuSubsystem _subsystem = new();
    private readonly MockIommuInstance _iommu = new(dirtyTracking: true);
    private readonly MockIommuInstance _plain = new(dirtyTracking: false);
    private int _next;

    private enum Operation : uint
    {
        AddReserved = 1,
        MockDomain = 2,
        CheckMap = 3,
        CheckReferences = 4,
        CreateAccess = 5,
        UnpinAccess = 6,
        PinAccess = 7,
        CopyByAccess = 8,
        SetMemoryLimit = 9,
        Replace = 10,
        ReplaceAccess = 11,
        MockDomainFlags = 12,
        Dirty = 13,
        CheckCached = 14,
        TriggerPageRequest = 15,
        CheckDeviceCache = 16,
        TriggerEvent = 17,
        AttachPasid = 18,
        ReplacePasid = 19,
        DetachPasid = 20,
        CheckPasid = 21,
        ExportMemory = 22,
        RevokeMemory = 23,
    }

    /// <summary>The memory of the machine, for looks behind the ABI.</summary>
    public IPhysicalMemory? Memory { get; set; }

    /// <summary>Mock devices that there are.</summary>
    public int DeviceCount => _subsystem.Devices.Count();

    /// <inheritdoc/>
    public override Errno Ioctl(IommufdContext context, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        if (request != Command)
        {
            return Errno.NotTypewriter;
        }

        if (argument.Length < CommandSize)
        {
            return Errno.BadAddress;
        }

        if (Word(argument, 0) < CommandSize - sizeof(uint))
        {
            return Errno.InvalidArgument;
        }

        return (Operation)Word(argument, 4) switch
        {
            Operation.AddReserved => AddReserved(context, argument),
            Operation.MockDomain => AddDevice(context, argument, 0),
            Operation.MockDomainFlags => AddDevice(context, argument, Word(argument, 28)),
            Operation.CheckMap => CheckMap(context, argument),
            Operation.CheckReferences => CheckReferences(context, argument),
            Operation.SetMemoryLimit => Errno.Success,
            Operation.Replace => Replace(context, argument),
            Operation.Dirty => SetDirty(context, argument),
            Operation.CheckCached => CheckCached(context, Word(argument, 8), Word(argument, 16), Word(argument, 20)),
            Operation.CheckDeviceCache => CheckDeviceCache(context, Word(argument, 8), Word(argument, 16), Word(argument, 20)),
            Operation.TriggerPageRequest => RequestPage(context, argument),
            Operation.TriggerEvent => context.UseDevice(
                Word(argument, 16), static device => ((MockIommuInstance)device.Iommu).Report(device)),
            Operation.AttachPasid or Operation.ReplacePasid => SwitchPasid(context, argument),
            Operation.DetachPasid => context.UseObject<MockDevice>(Word(argument, 8), DetachPasid(Word(argument, 16))),
            Operation.CheckPasid => CheckPasid(context, Word(argument, 8), Word(argument, 16), Word(argument, 20)),
            Operation.CreateAccess => CreateAccess(context, argument),
            Operation.ReplaceAccess => UseAccess(context, argument, Word(argument, 16), static (access, id) => access.Way.Replace(id)),
            Operation.PinAccess => PinAccess(context, argument),
            Operation.UnpinAccess => UseAccess(context, argument, Word(argument, 16), static (access, id) => access.Unpin(id)),
            Operation.CopyByAccess => CopyByAccess(context, argument),
            Operation.ExportMemory => ExportMemory(context, Word(argument, 16), out result),
            Operation.RevokeMemory => context.SetRevoked((int)Word(argument, 16), Word(argument, 20) != 0),
            _ => Errno.NotSupported,
        };
    }

    /// <inheritdoc/>
    public override ExtensionDescriptors FindDescriptors(uint request, ReadOnlySpan<byte> argument) =>
        request != Command || argument.Length < CommandSize ? default : (Operation)Word(argument, 4) switch
        {
            Operation.CreateAccess => new(Out: 16),
            Operation.ReplaceAccess or Operation.PinAccess or Operation.UnpinAccess or Operation.CopyByAccess => new(In: 8),
            Operation.ExportMemory => new(IsResult: true),
            Operation.RevokeMemory => new(In: 16),
            _ => default,
        };

    private static uint Word(ReadOnlySpan<byte> argument, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(argument[offset..]);

    private static ulong Long(ReadOnlySpan<byte> argument, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(argument[offset..]);

    private static void Put(Span<byte> argument, int offset, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(argument[offset..], value);

    private static Errno AddReserved(IommufdContext context, ReadOnlySpan<byte> argument) =>
        AddressRange.TryFromLength(Long(argument, 16), Long(argument, 24), out AddressRange range)
            ? context.Reserve(Word(argument, 8), range)
            : Errno.InvalidArgument;

    private Errno AddDevice(IommufdContext context, Span<byte> argument, uint flags)
    {
        const uint NoDirty = 1;
        const uint Pasids = 4;
        if ((flags & ~(NoDirty | Pasids)) != 0)
        {
            return Errno.InvalidArgument;
        }

        int number = Interlocked.Increment(ref _next);
        MockIommuInstance iommu = (flags & NoDirty) != 0 ? _plain : _iommu;
        Errno error = _subsystem.TryAddDevice(
            iommu,
            new((uint)number),
            "mock" + number.ToString(CultureInfo.InvariantCulture),
            FirstGroup + number,
            new() { PasidBits = (flags & Pasids) != 0 ? 20 : 0, Ats = true, PageRequests = true },
            out IommuDevice? device);
        if (error != Errno.Success)
        {
            return error;
        }

        error = context.Bind(device!, out IommufdDevice? bound);
        if (error != Errno.Success)
        {
            _subsystem.RemoveDevice(device!);
            return error;
        }

        MockDevice made = new(_subsystem, device!, bound!);
        uint table = Word(argument, 8);
        error = bound!.Attach(ref table);
        error = error == Errno.Success ? context.Add(made) : error;
        if (error != Errno.Success)
        {
            made.Remove();
            return error;
        }

        Put(argument, 16, made.Id);
        Put(argument, 20, table);
        Put(argument, 24, bound.Id);
        return Errno.Success;
    }

    private static Errno Replace(IommufdContext context, Span<byte> argument)
    {
        uint table = Word(argument, 16);
        Errno error = context.UseObject<MockDevice>(Word(argument, 8), device => device.Bound.Attach(ref table));
        if (error == Errno.Success)
        {
            Put(argument, 16, table);
        }

        return error;
    }

    private static Errno SwitchPasid(IommufdContext context, Span<byte> argument)
    {
        uint pasid = Word(argument, 16);
        uint table = Word(argument, 20);
        bool replaces = (Operation)Word(argument, 4) == Operation.ReplacePasid;
        Errno error = context.UseObject<MockDevice>(
            Word(argument, 8),
            device => (replaces, device.HasPasid(pasid)) switch
            {
                (true, false) => Errno.InvalidArgument,
                (false, true) => Errno.Busy,
                _ => device.Bound.AttachPasid(pasid, ref table),
            });
        if (error == Errno.Success)
        {
            Put(argument, 20, table);
        }

        return error;
    }

    // What has a PASID that is attached to nothing is for the device's own table, which a guest fills.
    private static Errno RequestPage(IommufdContext context, ReadOnlySpan<byte> argument)
    {
        uint pasid = Word(argument, 20);
        int group = (int)Word(argument, 24);
        Access access = ((Word(argument, 28) & 1) != 0 ? Access.Read : 0) | ((Word(argument, 28) & 2) != 0 ? Access.Write : 0);
        Iova address = new(Long(argument, 32) & ~(SystemPage - 1));
        return pasid > Pasid.MaxValue
            ? Errno.InvalidArgument
            : context.UseDevice(Word(argument, 16), device =>
            {
                bool isAttached = pasid != 0 && device.Group.GetPasidDomain(new(pasid)).Kind != DomainKind.Blocked;
                PageRequestRouter router = device.Iommu.PageRequests;
                router.Add(device, isAttached ? new(pasid) : Pasid.None, pasid != 0, group, new(address, access), isLast: true);
                while (router.TryRun())
                {
                }

                return Errno.Success;
            });
    }

    private static Func<MockDevice, Errno> DetachPasid(uint pasid) => device => device.Bound.DetachPasid(pasid);

    private static Errno CheckPasid(IommufdContext context, uint id, uint pasid, uint table)
    {
        Domain? expected = null;
        Errno error = table == 0 ? Errno.Success : context.UseDomain(table, domain => Keep(domain, out expected));
        return error != Errno.Success
            ? error
            : context.UseObject<MockDevice>(
                id,
                device => device.Device.Group.GetPasidDomain(new(pasid)) == (expected ?? BlockedDomain.Instance)
                    ? Errno.Success
                    : Errno.InvalidArgument);
    }

    private static Errno Keep(Domain domain, out Domain? kept)
    {
        kept = domain;
        return Errno.Success;
    }
}

/// <summary>A mock device among the objects of a descriptor.</summary>
internal sealed class MockDevice(IommuSubsystem subsystem, IommuDevice device, IommufdDevice bound) : IommufdExtensionObject
{
    /// <summary>The device.</summary>
    public IommuDevice Device => device;

    /// <summary>The device as the descriptor has it.</summary>
    public IommufdDevice Bound => bound;

    /// <summary>Whether a PASID is attached.</summary>
    public bool HasPasid(uint pasid) => pasid <= Pasid.MaxValue && device.Group.GetPasidDomain(new(pasid)).Kind != DomainKind.Blocked;

    /// <summary>Takes the device away.</summary>
    public void Remove()
    {
        bound.Unbind();
        subsystem.RemoveDevice(device);
    }

    /// <inheritdoc/>
    protected internal override void Destroy() => Remove();
}
