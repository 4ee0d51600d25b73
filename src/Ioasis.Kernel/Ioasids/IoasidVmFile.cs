using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A virtual machine's descriptor: it programs the table by which ENQCMD of the guest gets the host's PASIDs (S1.13), and tells
/// its monitor what the guest lacks (S1.14): exits of ENQCMD, and what the guest's virtual IOMMU asks for.
/// </summary>
internal sealed class IoasidVmFile : IoasidQueueFile<IoasidVmEvent>
{
    // A guest that submits in a loop: what is asked twice stands once.
    private readonly HashSet<uint> _misses = [];

    public IoasidVmFile() => Table = new(OnMiss);

    /// <summary>The table. Empty for good when the descriptor has gone.</summary>
    public VmPasidTable Table { get; }

    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        switch (request)
        {
            case IoasidRequests.VmMap:
                Errno error = SizedArgument.Take(argument, out IoasidVmMap map);
                return error != Errno.Success ? error : map.Flags != 0 ? Errno.NotSupported : Map(caller, map);
            case IoasidRequests.VmUnmap:
                error = SizedArgument.Take(argument, out IoasidVmUnmap unmap);
                return error != Errno.Success ? error
                    : unmap.Flags != 0 ? Errno.NotSupported
                    : Table.Unmap(new(unmap.Guest));
            case IoasidRequests.VmPost:
                error = SizedArgument.Take(argument, out IoasidVmPost post);
                return error != Errno.Success ? error : post.Flags != 0 ? Errno.NotSupported : Post(post);
            default:
                return Errno.NotTypewriter;
        }
    }

    /// <inheritdoc/>
    protected override void Release() => Table.Dispose();

    /// <inheritdoc/>
    protected override void SetLost(ref IoasidVmEvent added, uint lost) => added.Lost = lost;

    /// <inheritdoc/>
    protected override void OnRead(in IoasidVmEvent read)
    {
        if (read.Kind == IoasidVmEventKind.PasidMiss)
        {
            _ = _misses.Remove(read.Guest);
        }
    }

    private Errno Map(KernelProcess caller, in IoasidVmMap map)
    {
        Errno error = IoasidFile.TryGet(caller, map.IoasidFd, map.Ioasid, out IoasidContext? context);
        if (error == Errno.Success)
        {
            error = Table.Map(new(map.Guest), context!.Ioasid);
            context.Ioasid.Put();
        }

        return error;
    }

    private Errno Post(in IoasidVmPost post)
    {
        if (!new GuestPasid(post.Guest).IsValid)
        {
            return Errno.InvalidArgument;
        }

        IoasidVmEvent added = new() { Kind = IoasidVmEventKind.Request, Guest = post.Guest, Code = post.Code, Data = post.Data };
        lock (QueueLock)
        {
            // The one who asks waits for an answer: it is told that there is no room.
            if (!TryAdd(added))
            {
                return Errno.TryAgain;
            }
        }

        Waiters.Wake();
        return Errno.Success;
    }

    // In the thread of the processor that runs the guest.
    private void OnMiss(GuestPasid guest)
    {
        lock (QueueLock)
        {
            if (_misses.Contains(guest.Value)
                || !AddOrLose(new() { Kind = IoasidVmEventKind.PasidMiss, Guest = guest.Value }))
            {
                return;
            }

            _ = _misses.Add(guest.Value);
        }

        Waiters.Wake();
    }
}
