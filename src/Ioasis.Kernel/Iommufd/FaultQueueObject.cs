using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// Page requests on their way to a program, and their answers back (Linux: <c>iommufd_fault</c>). A group that was read waits
/// under a cookie for its answer; one whose device is detached meanwhile is forgotten here, for the core has answered it.
/// </summary>
internal sealed class FaultQueueObject(IommufdFile owner) : KernelObject, IEventQueue, IPageRequestHandler
{
    private readonly IoLock _lock = new();
    private readonly LinkedList<PageRequestGroup> _unread = [];
    private readonly Dictionary<uint, PageRequestGroup> _unanswered = [];

    // Numbers that were given back, so that the lowest free one is next.
    private readonly PriorityQueue<uint, uint> _freeCookies = new();
    private uint _nextCookie = 1;

    /// <inheritdoc/>
    public WaitQueue Waiters { get; } = new();

    /// <inheritdoc/>
    public bool CanRead
    {
        get
        {
            using (_lock.Acquire())
            {
                return _unread.Count > 0;
            }
        }
    }

    /// <summary>Groups that were not answered yet, read or not.</summary>
    internal int Outstanding
    {
        get
        {
            using (_lock.Acquire())
            {
                return _unread.Count + _unanswered.Count;
            }
        }
    }

    /// <inheritdoc/>
    public void OnPageRequests(PageRequestGroup group)
    {
        using (_lock.Acquire())
        {
            _ = _unread.AddLast(group);
        }

        Waiters.Wake();
    }

    /// <inheritdoc/>
    public void OnCanceled(PageRequestGroup group)
    {
        using (_lock.Acquire())
        {
            if (_unread.Remove(group))
            {
                return;
            }

            foreach ((uint cookie, PageRequestGroup waiting) in _unanswered)
            {
                if (ReferenceEquals(waiting, group))
                {
                    Forget(cookie);
                    return;
                }
            }
        }
    }

    /// <summary>Gives whole groups, as many as fit; <see cref="Errno.InvalidArgument"/> if the first does not.</summary>
    public Errno Read(Span<byte> destination, out int count)
    {
        count = 0;
        int size = Unsafe.SizeOf<IommuHwptPgfault>();
        if (destination.Length % size != 0)
        {
            return Errno.IllegalSeek;
        }

        Span<IommuHwptPgfault> room = MemoryMarshal.Cast<byte, IommuHwptPgfault>(destination);
        using (_lock.Acquire())
        {
            while (_unread.First is { } first)
            {
                if (first.Value.Requests.Length > room.Length)
                {
                    return count == 0 ? Errno.InvalidArgument : Errno.Success;
                }

                if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
                {
                    return count == 0 ? Errno.OutOfMemory : Errno.Success;
                }

                PageRequestGroup group = first.Value;
                _unread.Remove(first);
                uint cookie = TakeCookie();
                _unanswered.Add(cookie, group);
                Describe(group, cookie, room);
                int pages = group.Requests.Length;
                room = room[pages..];
                count += pages * size;
            }
        }

        return Errno.Success;
    }

    /// <summary>Takes answers, until one is wrong: it is told only if it is the first.</summary>
    public Errno Write(ReadOnlySpan<byte> source, out int count)
    {
        count = 0;
        int size = Unsafe.SizeOf<IommuHwptPageResponse>();
        if (source.Length % size != 0)
        {
            return Errno.IllegalSeek;
        }

        foreach (IommuHwptPageResponse response in MemoryMarshal.Cast<byte, IommuHwptPageResponse>(source))
        {
            PageRequestGroup? group = null;
            if (response.Code is IommuPageResponseCode.Success or IommuPageResponseCode.Invalid)
            {
                using (_lock.Acquire())
                {
                    if (_unanswered.TryGetValue(response.Cookie, out group))
                    {
                        Forget(response.Cookie);
                    }
                }
            }

            if (group is null)
            {
                return count == 0 ? Errno.InvalidArgument : Errno.Success;
            }

            // The core may have answered it in the meantime, because of a detach: then this answer is late, not wrong.
            _ = group.Respond(
                response.Code == IommuPageResponseCode.Success ? PageResponseCode.Success : PageResponseCode.InvalidRequest);
            count += size;
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public override void Destroy()
    {
        // No table uses the queue any more, so no group comes, and those of detached devices are answered. What is left here
        // belongs to nobody else.
        List<PageRequestGroup> left;
        using (_lock.Acquire())
        {
            left = [.. _unread, .. _unanswered.Values];
            _unread.Clear();
            _unanswered.Clear();
        }

        foreach (PageRequestGroup group in left)
        {
            _ = group.Respond(PageResponseCode.InvalidRequest);
        }
    }

    private void Describe(PageRequestGroup group, uint cookie, Span<IommuHwptPgfault> room)
    {
        uint device = owner.FindDeviceId(group.Device);
        ReadOnlySpan<PageRequest> requests = group.Requests;
        for (int i = 0; i < requests.Length; i++)
        {
            PageRequest request = requests[i];
            room[i] = new()
            {
                Flags = (group.HasPasid ? PageFaultFlags.PasidValid : 0) | (i == requests.Length - 1 ? PageFaultFlags.LastPage : 0),
                DeviceId = device,
                Pasid = group.Pasid.Value,
                GroupIndex = (uint)group.Index,
                Permissions = ((request.Access & Access.Read) != 0 ? PageFaultPermissions.Read : 0)
                    | ((request.Access & Access.Write) != 0 ? PageFaultPermissions.Write : 0)
                    | ((request.Access & Access.Execute) != 0 ? PageFaultPermissions.Execute : 0)
                    | (request.IsPrivileged ? PageFaultPermissions.Privileged : 0),
                Address = request.Address.Value,
                Cookie = cookie,
            };
        }
    }

    private uint TakeCookie() => _freeCookies.TryDequeue(out uint cookie, out _) ? cookie : _nextCookie++;

    private void Forget(uint cookie)
    {
        _ = _unanswered.Remove(cookie);
        _freeCookies.Enqueue(cookie, cookie);
    }
}
