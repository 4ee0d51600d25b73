using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A virtual machine's descriptor: it programs the table by which ENQCMD of the guest gets the host's PASIDs (S1.13), and tells
/// its monitor what the guest lacks (S1.14): exits of ENQCMD, and what the guest's virtual IOMMU asks for.
/// </summary>
internal sealed class IoasidVmFile : OpenFile
{
    // A guest that submits in a loop fills no memory of the host: what is asked twice stands once, and the rest is counted.
    private const int QueueLimit = 1024;

    private readonly Lock _lock = new();
    private readonly Queue<IoasidVmEvent> _events = new();
    private readonly HashSet<uint> _misses = [];
    private uint _lost;

    public IoasidVmFile() => Table = new(OnMiss);

    /// <summary>The table. Empty for good when the descriptor has gone.</summary>
    public VmPasidTable Table { get; }

    /// <inheritdoc/>
    public override WaitQueue Waiters { get; } = new();

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

    /// <summary>Reads whole events, as many as fit; 0 bytes if there is none. A buffer that none fits is EINVAL.</summary>
    public override Errno Read(Span<byte> destination, out int count)
    {
        count = 0;
        int size = Unsafe.SizeOf<IoasidVmEvent>();
        if (destination.Length < size)
        {
            return Errno.InvalidArgument;
        }

        lock (_lock)
        {
            while (destination.Length - count >= size && _events.TryDequeue(out IoasidVmEvent next))
            {
                if (next.Kind == IoasidVmEventKind.PasidMiss)
                {
                    _ = _misses.Remove(next.Guest);
                }

                MemoryMarshal.Write(destination[count..], next);
                count += size;
            }
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public override PollEvents Poll()
    {
        lock (_lock)
        {
            return _events.Count > 0 ? PollEvents.In : PollEvents.None;
        }
    }

    /// <inheritdoc/>
    protected override void Release() => Table.Dispose();

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
        lock (_lock)
        {
            // The one who asks waits for an answer: it is told that there is no room.
            if (_events.Count >= QueueLimit)
            {
                return Errno.TryAgain;
            }

            Add(added);
        }

        Waiters.Wake();
        return Errno.Success;
    }

    // In the thread of the processor that runs the guest.
    private void OnMiss(GuestPasid guest)
    {
        lock (_lock)
        {
            if (_misses.Contains(guest.Value))
            {
                return;
            }

            if (_events.Count >= QueueLimit)
            {
                _lost += _lost < uint.MaxValue ? 1u : 0;
                return;
            }

            _ = _misses.Add(guest.Value);
            Add(new() { Kind = IoasidVmEventKind.PasidMiss, Guest = guest.Value });
        }

        Waiters.Wake();
    }

    private void Add(IoasidVmEvent added)
    {
        added.Lost = _lost;
        _lost = 0;
        _events.Enqueue(added);
    }
}
