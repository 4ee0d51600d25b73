using System.Diagnostics;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A piece of a client's memory that areas map, in one address space or, after a copy, in several. It is pinned while some
/// domain holds it and pinned only once (Linux: <c>iopt_pages</c>); without a domain it is an address that nobody touches.
/// </summary>
/// <remarks>
/// Objects are recycled by <see cref="ClientMemoryPool"/>. Areas of several address spaces may share one, so it has a lock; while only
/// one refers to it, that one's address space has a lock already, under which all calls are made.
/// </remarks>
internal sealed class ClientMemory
{
    private readonly IoLock _lock = new();

    // Most memory is one run: only what follows the first needs the list.
    private readonly List<Run> _moreRuns = [];
    private Run _firstRun;
    private int _runCount;
    private IUserMemory _memory = null!;
    private MemoryOwner _owner = null!;
    private OpenFile? _file;
    private bool _byProcess;
    private bool _isRevoked;
    private int _pins;
    private int _references;

    /// <summary>First byte, an address of the client, or of whoever has the file.</summary>
    public ulong UserAddress { get; private set; }

    /// <summary>What an automatic IOVA keeps the alignment of: the address, or of a file the place in it.</summary>
    public ulong Placement => UserAddress - PlacementSkew;

    /// <summary>How far <see cref="Placement"/> is below the address.</summary>
    public ulong PlacementSkew { get; set; }

    /// <summary>Whether it belongs to a file, not to a process.</summary>
    public bool IsFile => _file is not null;

    /// <summary>Bytes.</summary>
    public ulong Length { get; private set; }

    /// <summary>Whether devices may write.</summary>
    public bool Writable { get; private set; }

    /// <summary>The memory of a device that this is a part of, or null. Nobody pays for it, and <see cref="UserAddress"/> is physical.</summary>
    public DmaBufferFile? Device { get; private set; }

    /// <summary>Whether the device has taken it back. It stays so: who wants the memory again maps it again.</summary>
    public bool IsRevoked
    {
        get => Volatile.Read(ref _isRevoked);
        set => Volatile.Write(ref _isRevoked, value);
    }

    private long Pages => Device is null ? (long)((Length + 0xfff) >> 12) : 0;

    /// <summary>Makes the object stand for other memory, with one reference.</summary>
    /// <param name="owner">Whose memory, and who pays for it.</param>
    /// <param name="byProcess">Whether the process pays, or the user.</param>
    /// <param name="file">The file whose memory it is instead; it is held.</param>
    /// <param name="userAddress">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="writable">Whether devices may write.</param>
    public void Reset(MemoryOwner owner, bool byProcess, OpenFile? file, ulong userAddress, ulong length, bool writable)
    {
        Debug.Assert(_pins == 0 && _references == 0 && _runCount == 0, "recycled while in use");
        _owner = owner;
        _byProcess = byProcess;
        _file = file;
        _memory = (file as MemoryFile)?.Memory ?? owner.Memory;
        Device = file as DmaBufferFile;
        IsRevoked = false;
        UserAddress = userAddress;
        PlacementSkew = 0;
        Length = length;
        Writable = writable;
        Volatile.Write(ref _references, 1);
    }

    /// <summary>The client has the same pages at another address now.</summary>
    public void Move(ulong userAddress)
    {
        using (_lock.Acquire())
        {
            UserAddress = userAddress;
        }
    }

    /// <summary>Adds a reference to an object that has one.</summary>
    public void Reference() => Interlocked.Increment(ref _references);

    /// <summary>Drops a reference.</summary>
    /// <returns>Whether it was the last.</returns>
    public bool Unreference() => Interlocked.Decrement(ref _references) == 0;

    /// <summary>Nobody refers to the memory any more: what it holds is let go.</summary>
    public void Forget()
    {
        _file?.Dereference();
        _file = null;
        Device = null;
        _owner = null!;
        _memory = null!;
    }

    /// <summary>Has another process pay.</summary>
    /// <returns>Whether its limit allowed it; otherwise nothing has changed.</returns>
    public bool TryMoveTo(MemoryOwner owner) => TryMoveTo(owner, owner.LimitPages);

    /// <summary>Has the process pay that did before, whatever its limit is.</summary>
    public void MoveBack(MemoryOwner owner) => _ = TryMoveTo(owner, long.MaxValue);

    private bool TryMoveTo(MemoryOwner owner, long limitPages)
    {
        using (_lock.Acquire())
        {
            PinAccount from = _owner.Account(_byProcess);
            PinAccount to = owner.Account(_byProcess);
            if (_pins > 0 && Device is null)
            {
                if (from != to)
                {
                    if (!to.TryCharge(Pages, limitPages))
                    {
                        return false;
                    }

                    from.Uncharge(Pages);
                }

                _ = owner.Pinned.TryCharge(Pages, long.MaxValue);
                _owner.Pinned.Uncharge(Pages);
            }

            _owner = owner;
            return true;
        }
    }

    /// <summary>Who pays.</summary>
    public MemoryOwner Owner => _owner;

    // Whoever sees one reference has that one, and nobody gets another but from it.
    private bool IsShared => Volatile.Read(ref _references) > 1;

    /// <summary>Pins the memory, or counts one more user if it is pinned. All or nothing.</summary>
    /// <returns>Success, <see cref="Errno.BadAddress"/>, <see cref="Errno.OutOfMemory"/> over the limit.</returns>
    public Errno Pin()
    {
        if (!IsShared)
        {
            return PinLocked();
        }

        using (_lock.Acquire())
        {
            return PinLocked();
        }
    }

    /// <summary>Takes one user away; the last unpins.</summary>
    public void Unpin()
    {
        if (!IsShared)
        {
            UnpinLocked();
            return;
        }

        using (_lock.Acquire())
        {
            UnpinLocked();
        }
    }

    /// <summary>Copies from the memory or to it, as its process would, whether it is pinned or not. Not that of a device.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="writes">Whether to write.</param>
    /// <param name="data">Where to, or what; within the memory.</param>
    public Errno Copy(ulong offset, bool writes, Span<byte> data) =>
        writes ? _memory.Write(UserAddress + offset, data) : _memory.Read(UserAddress + offset, data);

    private Errno PinLocked()
    {
        if (_pins > 0)
        {
            _pins++;
            return Errno.Success;
        }

        if (Device is not null)
        {
            AddRun(0, new(UserAddress), Length);
            _pins = 1;
            return Errno.Success;
        }

        if (!_owner.Account(_byProcess).TryCharge(Pages, _owner.LimitPages))
        {
            return Errno.OutOfMemory;
        }

        _ = _owner.Pinned.TryCharge(Pages, long.MaxValue);
        for (ulong done = 0; done < Length;)
        {
            Errno error = Injection.Hit(InjectionKind.Pin);
            PhysicalAddress address = default;
            ulong bytes = 0;
            if (error == Errno.Success)
            {
                error = _memory.Pin(UserAddress + done, Length - done, Writable, out address, out bytes);
            }

            if (error != Errno.Success)
            {
                Release();
                return error;
            }

            AddRun(done, address, bytes);
            done += bytes;
        }

        _pins = 1;
        return Errno.Success;
    }

    private void UnpinLocked()
    {
        Debug.Assert(_pins > 0, "not pinned");
        if (--_pins == 0)
        {
            Release();
        }
    }

    /// <summary>The contiguous physical memory from an offset on. Only while pinned by the caller.</summary>
    /// <param name="offset">Below <see cref="Length"/>.</param>
    /// <param name="wanted">Bytes wanted.</param>
    /// <param name="address">Where it is.</param>
    /// <returns>Bytes that are contiguous there, 1 to <paramref name="wanted"/>.</returns>
    public ulong Locate(ulong offset, ulong wanted, out PhysicalAddress address)
    {
        Run run = _firstRun;
        if (_runCount > 1 && offset >= run.Length)
        {
            run = FindInMore(offset);
        }

        ulong skip = offset - run.Offset;
        address = run.Address + skip;
        return Math.Min(wanted, run.Length - skip);
    }

    // The first run ends before the offset.
    private Run FindInMore(ulong offset)
    {
        int low = 0;
        int high = _moreRuns.Count - 1;
        while (low < high)
        {
            int middle = (low + high + 1) >>> 1;
            if (_moreRuns[middle].Offset <= offset)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        return _moreRuns[low];
    }

    private void AddRun(ulong offset, PhysicalAddress address, ulong length)
    {
        Span<Run> last = _runCount == 0 ? []
            : _runCount == 1 ? new(ref _firstRun)
            : CollectionsMarshal.AsSpan(_moreRuns)[^1..];
        if (!last.IsEmpty && last[0].Address + last[0].Length == address)
        {
            last[0] = last[0] with { Length = last[0].Length + length };
            return;
        }

        if (_runCount++ == 0)
        {
            _firstRun = new(offset, address, length);
        }
        else
        {
            _moreRuns.Add(new(offset, address, length));
        }
    }

    private void Release()
    {
        if (Device is null && _runCount > 0)
        {
            _memory.Unpin(_firstRun.Address, _firstRun.Length);
            for (int i = 1; i < _runCount; i++)
            {
                _memory.Unpin(_moreRuns[i - 1].Address, _moreRuns[i - 1].Length);
            }
        }

        if (_runCount > 1)
        {
            _moreRuns.Clear();
        }

        _runCount = 0;
        _owner.Account(_byProcess).Uncharge(Pages);
        _owner.Pinned.Uncharge(Pages);
    }

    private readonly record struct Run(ulong Offset, PhysicalAddress Address, ulong Length);
}
