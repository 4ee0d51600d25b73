using System.Collections.Concurrent;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// An open <c>/dev/ioasid</c>: sets, and any number of IOASIDs in them (S1.1). It knows no device (S1.11): a device's own
/// descriptor asks <see cref="TryGet(KernelProcess, int, uint, out IoasidContext?)"/> for what it shall use. What is made here ends with the descriptor (S1.15).
/// </summary>
internal sealed partial class IoasidFile : OpenFile
{
    // By number: an index, not a search (S1.2), and look-ups take no lock.
    private readonly ConcurrentDictionary<uint, IoasidContext> _contexts = new();
    private readonly ConcurrentDictionary<uint, PasidSet> _sets = new();

    /// <summary>
    /// The one function that turns (descriptor, number) into a referenced IOASID, or says why not (S1.4): devices, virtual
    /// machines and whoever else is told of one by a descriptor use it.
    /// </summary>
    /// <returns>
    /// Success, and the caller owes a put; <see cref="Errno.BadDescriptor"/>; <see cref="Errno.WrongDescriptor"/> if it is no
    /// <c>/dev/ioasid</c>; <see cref="Errno.NoEntry"/> if it has no such IOASID, or that has ended.
    /// </returns>
    public static Errno TryGet(KernelProcess caller, int descriptor, uint number, out IoasidContext? context)
    {
        context = null;
        using FileUse found = caller.Descriptors.Use(descriptor);
        return found.FileOrNull switch
        {
            null => Errno.BadDescriptor,
            IoasidFile file => file.TryGet(number, out context),
            _ => Errno.WrongDescriptor,
        };
    }

    /// <inheritdoc/>
    public override unsafe Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        return request switch
        {
            IoasidRequests.SetCreate => Run<IoasidSetCreate>(caller, argument, &SetCreateCall),
            IoasidRequests.SetAdjust => Run<IoasidSetAdjust>(caller, argument, &SetAdjustCall),
            IoasidRequests.SetDestroy => Run<IoasidSetDestroy>(caller, argument, &SetDestroyCall),
            IoasidRequests.SetInfo => Run<IoasidSetInfo>(caller, argument, &SetInfoCall),
            IoasidRequests.Alloc => Run<IoasidAlloc>(caller, argument, &AllocCall),
            IoasidRequests.Free => Run<IoasidFree>(caller, argument, &FreeCall),
            IoasidRequests.Bind => Run<IoasidBind>(caller, argument, &BindCall),
            IoasidRequests.Unbind => Run<IoasidUnbind>(caller, argument, &UnbindCall),
            IoasidRequests.MapGuest => Run<IoasidMapGuest>(caller, argument, &MapGuestCall),
            IoasidRequests.Find => Run<IoasidFind>(caller, argument, &FindCall),
            IoasidRequests.VmCreate => VmCreate(caller, argument, out result),
            IoasidRequests.SetEvents => SetEvents(caller, argument, out result),
            _ => Errno.NotTypewriter,
        };
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        foreach (PasidSet set in _sets.Values)
        {
            _ = End(set, PasidSetDisposition.Destroy);
        }
    }

    private Errno TryGet(uint number, out IoasidContext? context)
    {
        if (!_contexts.TryGetValue(number, out context) || !context.Ioasid.TryGet())
        {
            context = null;
            return Errno.NoEntry;
        }

        return Errno.Success;
    }

    // The size rule before, the answer after.
    private unsafe Errno Run<T>(KernelProcess caller, Span<byte> argument, delegate*<IoasidFile, KernelProcess, ref T, Errno> call)
        where T : unmanaged, ISizedArgument
    {
        Errno error = SizedArgument.Take(argument, out T value);
        if (error == Errno.Success)
        {
            error = call(this, caller, ref value);
        }

        if (error == Errno.Success)
        {
            SizedArgument.Give(argument, value);
        }

        return error;
    }

    private static Errno SetCreateCall(IoasidFile file, KernelProcess caller, ref IoasidSetCreate argument)
    {
        if (argument.Flags != 0)
        {
            return Errno.NotSupported;
        }

        Errno error = caller.Kernel.Pasids.TryCreateSet(
            new() { Quota = argument.Quota, Account = caller.Kernel.PasidAccount }, out PasidSet? set);
        if (error == Errno.Success)
        {
            file._sets[set!.Id.Value] = set;
            argument.OutSetId = set.Id.Value;
        }

        return error;
    }

    private static Errno SetAdjustCall(IoasidFile file, KernelProcess caller, ref IoasidSetAdjust argument) =>
        argument.Flags != 0 ? Errno.NotSupported
        : file._sets.TryGetValue(argument.SetId, out PasidSet? set) ? set.AdjustQuota(argument.Quota)
        : Errno.NoEntry;

    private static Errno SetDestroyCall(IoasidFile file, KernelProcess caller, ref IoasidSetDestroy argument)
    {
        if ((argument.Flags & ~IoasidSetDestroyFlags.Keep) != 0)
        {
            return Errno.NotSupported;
        }

        bool keep = argument.Flags == IoasidSetDestroyFlags.Keep;
        PasidSet? set;
        bool found = keep
            ? file._sets.TryGetValue(argument.SetId, out set)
            : file._sets.TryRemove(argument.SetId, out set);
        return found ? file.End(set!, keep ? PasidSetDisposition.Keep : PasidSetDisposition.Destroy) : Errno.NoEntry;
    }

    private static Errno SetInfoCall(IoasidFile file, KernelProcess caller, ref IoasidSetInfo argument)
    {
        if (argument.Flags != 0 || argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        if (!file._sets.TryGetValue(argument.SetId, out PasidSet? set))
        {
            return Errno.NoEntry;
        }

        PasidSetStatistics statistics = set.Statistics;
        argument.OutQuota = statistics.Quota;
        argument.OutCount = statistics.Count;
        argument.OutParked = statistics.Parked;
        argument.OutPeak = statistics.Peak;
        argument.OutAllocations = (ulong)statistics.Allocations;
        argument.OutRefusals = (ulong)statistics.QuotaRefusals;
        return Errno.Success;
    }

    private static Errno VmCreate(KernelProcess caller, Span<byte> argument, out int descriptor)
    {
        descriptor = 0;
        Errno error = SizedArgument.Take(argument, out IoasidVmCreate create);
        if (error != Errno.Success || create.Flags != 0)
        {
            return error != Errno.Success ? error : Errno.NotSupported;
        }

        return caller.AddFile(new IoasidVmFile(), out descriptor);
    }

    private Errno SetEvents(KernelProcess caller, Span<byte> argument, out int descriptor)
    {
        descriptor = 0;
        Errno error = SizedArgument.Take(argument, out IoasidSetEvents events);
        if (error != Errno.Success || events.Flags != 0)
        {
            return error != Errno.Success ? error : Errno.NotSupported;
        }

        if (!_sets.TryGetValue(events.SetId, out PasidSet? set))
        {
            return Errno.NoEntry;
        }

        // Before it has a number by which another thread could close it: the close ends the subscription.
        IoasidEventsFile file = new(set);
        file.Begin();
        return caller.AddFile(file, out descriptor);
    }

    // Ends the IOASIDs of a set; then nobody finds them here, and their memory is wiped (S1.7).
    private Errno End(PasidSet set, PasidSetDisposition disposition)
    {
        // What the core has ended, not what was there before: another thread may have allocated in between.
        Errno error = set.FreeAll(disposition, out IReadOnlyList<Ioasid> ended);
        foreach (Ioasid ioasid in ended)
        {
            // By its number here, for what it had in the core is gone with its life; and only if the number is still its own: who took
            // the place of another has seen to that (Put).
            if (!ioasid.IsLive
                && _contexts.TryGetValue(ioasid.Pasid.Value, out IoasidContext? context) && context.Ioasid == ioasid)
            {
                Forget(context);
            }
        }

        return error;
    }

    // Makes an IOASID known by its number. Lives of one number come one after the other, but the threads that make them known may
    // not: what is dead never takes the place of what lives, and gives way to it wholly.
    private void Put(IoasidContext context)
    {
        uint number = context.Ioasid.Pasid.Value;
        while (!_contexts.TryAdd(number, context))
        {
            if (!_contexts.TryGetValue(number, out IoasidContext? other))
            {
                continue;
            }

            if (other.Ioasid.IsLive)
            {
                break;
            }

            Forget(other);
        }

        if (!context.Ioasid.IsLive)
        {
            // Its set was freed in between, and did not find it here.
            Forget(context);
        }
    }

    private void Forget(IoasidContext context)
    {
        _ = _contexts.TryRemove(new(context.Ioasid.Pasid.Value, context));
        context.Wipe();
    }
}
