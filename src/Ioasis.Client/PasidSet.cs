using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>Which PASID <see cref="PasidSet.AllocateErrno"/> gets.</summary>
public readonly record struct PasidOptions()
{
    /// <summary>The lowest that suits.</summary>
    public Pasid First { get; init; } = new(1);

    /// <summary>The highest that suits: what the devices can send.</summary>
    public Pasid Last { get; init; } = new(Pasid.MaxValue);

    /// <summary>Whether it must be <see cref="First"/>.</summary>
    public bool Fixed { get; init; }

    /// <summary>Whether it is the lowest free one, instead of one that was not freed lately.</summary>
    public bool LowestFirst { get; init; }

    /// <summary>Its private number, such as a guest's; or null.</summary>
    public GuestPasid? Guest { get; init; }
}

/// <summary>The counts of a set.</summary>
/// <param name="Quota">Reserved.</param>
/// <param name="Count">Live.</param>
/// <param name="Parked">Freed and still held by somebody; they count against the quota.</param>
/// <param name="Peak">The most in use at one time.</param>
/// <param name="Allocations">Allocations that succeeded.</param>
/// <param name="Refusals">Allocations that the quota refused.</param>
public readonly record struct PasidSetInfo(
    uint Quota, uint Count, uint Parked, uint Peak, ulong Allocations, ulong Refusals);

/// <summary>What is known of a PASID.</summary>
/// <param name="Pasid">The number.</param>
/// <param name="SetId">Its set.</param>
/// <param name="Guest">Its private number, or null.</param>
/// <param name="Active">Whether a device or a table uses it.</param>
/// <param name="Users">How many do.</param>
public readonly record struct PasidInfo(Pasid Pasid, PasidSetId SetId, GuestPasid? Guest, bool Active, uint Users);

/// <summary>A set of PASIDs with a reserved number of them: of a virtual machine, of a tenant. Thread-safe.</summary>
public sealed class PasidSet : IDisposable
{
    private readonly KernelDescriptor _descriptor;
    private readonly SetHandle _handle;

    internal PasidSet(KernelDescriptor descriptor, uint id, uint quota)
    {
        _descriptor = descriptor;
        _handle = new(descriptor, id);
        Id = new(id);
        Quota = quota;
    }

    /// <summary>The set's number.</summary>
    public PasidSetId Id { get; }

    /// <summary>How many PASIDs are reserved.</summary>
    public uint Quota { get; private set; }

    /// <summary>Allocates a PASID.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public PasidHandle Allocate(in PasidOptions options)
    {
        Errno error = AllocateErrno(options, out PasidHandle? pasid);
        IommuException.ThrowIf(error, "IOASID_ALLOC", $"set {Id}, {options}");
        return pasid!;
    }

    /// <summary>Allocates any PASID.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public PasidHandle Allocate() => Allocate(new());

    /// <summary>Allocates a PASID.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoSpace"/> over the quota (S0.3) or in a range without a free one; <see cref="Errno.Exists"/> if
    /// the fixed or the private number is taken; what else the kernel answered.
    /// </returns>
    public Errno AllocateErrno(in PasidOptions options, out PasidHandle? pasid)
    {
        IoasidAlloc argument = new()
        {
            Flags = (options.Fixed ? IoasidAllocFlags.Fixed : 0)
                | (options.LowestFirst ? IoasidAllocFlags.LowestFirst : 0)
                | (options.Guest is null ? 0 : IoasidAllocFlags.GuestValid),
            SetId = Id.Value,
            First = options.First.Value,
            Last = options.Fixed ? 0 : options.Last.Value,
            Guest = options.Guest?.Value ?? 0,
        };
        Errno error = _descriptor.Call(ref argument);
        pasid = error == Errno.Success ? new(_descriptor, argument.OutIoasid) : null;
        return error;
    }

    /// <summary>Changes how many PASIDs are reserved.</summary>
    /// <returns>Success; <see cref="Errno.Busy"/> below what is in use; <see cref="Errno.NoSpace"/>.</returns>
    public Errno AdjustQuotaErrno(uint quota)
    {
        IoasidSetAdjust argument = new() { SetId = Id.Value, Quota = quota };
        Errno error = _descriptor.Call(ref argument);
        Quota = error == Errno.Success ? quota : Quota;
        return error;
    }

    /// <summary>Reads the counts.</summary>
    public Errno GetInfoErrno(out PasidSetInfo info)
    {
        IoasidSetInfo argument = new() { SetId = Id.Value };
        Errno error = _descriptor.Call(ref argument);
        info = new(
            argument.OutQuota, argument.OutCount, argument.OutParked, argument.OutPeak, argument.OutAllocations, argument.OutRefusals);
        return error;
    }

    /// <summary>Finds a PASID of the set by its private number.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/>.</returns>
    public Errno FindErrno(GuestPasid guest, out PasidInfo info)
    {
        IoasidFind argument = new() { Flags = IoasidFindFlags.Guest, SetId = Id.Value, Id = guest.Value };
        Errno error = _descriptor.Call(ref argument);
        info = PasidHandle.InfoOf(argument);
        return error;
    }

    /// <summary>Makes a descriptor that tells what happens to the set's PASIDs from now on, by whomever.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public PasidSetEvents Subscribe()
    {
        IommuException.ThrowIf(SubscribeErrno(out PasidSetEvents? events), "IOASID_SET_EVENTS", $"set {Id}");
        return events!;
    }

    /// <summary>Makes a descriptor that tells what happens to the set's PASIDs from now on, by whomever.</summary>
    /// <returns>Success; <see cref="Errno.NoEntry"/> if the set is gone; <see cref="Errno.TooManyOpenFiles"/>.</returns>
    public Errno SubscribeErrno(out PasidSetEvents? events)
    {
        Errno error = _descriptor.MakeErrno(new IoasidSetEvents { SetId = Id.Value }, out KernelDescriptor? made);
        events = made is null ? null : new(made);
        return error;
    }

    /// <summary>Frees every PASID of the set; the set and its quota stay.</summary>
    /// <returns>Success; <see cref="Errno.TimedOut"/> if a device does not let go in time: its PASID stays taken.</returns>
    public Errno ClearErrno()
    {
        IoasidSetDestroy argument = new() { Flags = IoasidSetDestroyFlags.Keep, SetId = Id.Value };
        return _descriptor.Call(ref argument);
    }

    /// <summary>Frees every PASID of the set, and the set.</summary>
    public void Dispose() => _handle.Dispose();

    private sealed class SetHandle(KernelDescriptor descriptor, uint id) : DependentHandle(descriptor, id)
    {
        private protected override void Release(KernelDescriptor from, uint number)
        {
            IoasidSetDestroy argument = new() { SetId = number };
            _ = from.CallHeld(ref argument);
        }
    }
}
