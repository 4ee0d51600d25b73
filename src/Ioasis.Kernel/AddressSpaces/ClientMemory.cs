using System.Diagnostics;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A piece of a client's memory that areas map, in one address space or, after a copy, in several. It is pinned while some
/// domain holds it and pinned only once (Linux: <c>iopt_pages</c>); without a domain it is an address that nobody touches.
/// </summary>
/// <remarks>Objects are recycled by <see cref="ClientMemoryPool"/>. Areas of several address spaces share one, so it has a lock.</remarks>
internal sealed class ClientMemory
{
    private readonly IoLock _lock = new();
    private readonly IUserMemory _memory;
    private readonly PinAccount _account;
    private readonly List<Run> _runs = [];
    private int _pins;
    private int _references;

    public ClientMemory(IUserMemory memory, PinAccount account)
    {
        _memory = memory;
        _account = account;
    }

    /// <summary>First byte, an address of the client.</summary>
    public ulong UserAddress { get; private set; }

    /// <summary>Bytes.</summary>
    public ulong Length { get; private set; }

    /// <summary>Whether devices may write.</summary>
    public bool Writable { get; private set; }

    private long Pages => (long)((Length + 0xfff) >> 12);

    /// <summary>Makes the object stand for other memory, with one reference.</summary>
    public void Reset(ulong userAddress, ulong length, bool writable)
    {
        Debug.Assert(_pins == 0 && _references == 0 && _runs.Count == 0, "recycled while in use");
        UserAddress = userAddress;
        Length = length;
        Writable = writable;
        Volatile.Write(ref _references, 1);
    }

    /// <summary>Adds a reference to an object that has one.</summary>
    public void Reference() => Interlocked.Increment(ref _references);

    /// <summary>Drops a reference.</summary>
    /// <returns>Whether it was the last.</returns>
    public bool Unreference() => Interlocked.Decrement(ref _references) == 0;

    /// <summary>Pins the memory, or counts one more user if it is pinned. All or nothing.</summary>
    /// <returns>Success, <see cref="Errno.BadAddress"/>, <see cref="Errno.OutOfMemory"/> over the limit.</returns>
    public Errno Pin()
    {
        using (_lock.Acquire())
        {
            if (_pins > 0)
            {
                _pins++;
                return Errno.Success;
            }

            if (!_account.TryCharge(Pages))
            {
                return Errno.OutOfMemory;
            }

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
    }

    /// <summary>Takes one user away; the last unpins.</summary>
    public void Unpin()
    {
        using (_lock.Acquire())
        {
            Debug.Assert(_pins > 0, "not pinned");
            if (--_pins == 0)
            {
                Release();
            }
        }
    }

    /// <summary>The contiguous physical memory from an offset on. Only while pinned by the caller.</summary>
    /// <param name="offset">Below <see cref="Length"/>.</param>
    /// <param name="wanted">Bytes wanted.</param>
    /// <param name="address">Where it is.</param>
    /// <returns>Bytes that are contiguous there, 1 to <paramref name="wanted"/>.</returns>
    public ulong Locate(ulong offset, ulong wanted, out PhysicalAddress address)
    {
        int low = 0;
        int high = _runs.Count - 1;
        while (low < high)
        {
            int middle = (low + high + 1) >>> 1;
            if (_runs[middle].Offset <= offset)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        Run run = _runs[low];
        ulong skip = offset - run.Offset;
        address = run.Address + skip;
        return Math.Min(wanted, run.Length - skip);
    }

    private void AddRun(ulong offset, PhysicalAddress address, ulong length)
    {
        if (_runs.Count > 0 && _runs[^1].Address + _runs[^1].Length == address)
        {
            _runs[^1] = _runs[^1] with { Length = _runs[^1].Length + length };
        }
        else
        {
            _runs.Add(new(offset, address, length));
        }
    }

    private void Release()
    {
        foreach (Run run in _runs)
        {
            _memory.Unpin(run.Address, run.Length);
        }

        _runs.Clear();
        _account.Uncharge(Pages);
    }

    private readonly record struct Run(ulong Offset, PhysicalAddress Address, ulong Length);
}

/// <summary>Recycles <see cref="ClientMemory"/>: maps in the steady state allocate nothing. Thread-safe.</summary>
internal sealed class ClientMemoryPool
{
    private readonly Lock _lock = new();
    private readonly Stack<ClientMemory> _free = [];
    private readonly IUserMemory _memory;
    private long _live;

    public ClientMemoryPool(IUserMemory memory, PinAccount account)
    {
        _memory = memory;
        Account = account;
    }

    /// <summary>What is pinned is charged here.</summary>
    public PinAccount Account { get; }

    /// <summary>Objects in use: 0 when nothing leaks.</summary>
    public long Live => Volatile.Read(ref _live);

    /// <summary>Gives an object with one reference.</summary>
    public ClientMemory Rent(ulong userAddress, ulong length, bool writable)
    {
        ClientMemory? memory;
        lock (_lock)
        {
            _ = _free.TryPop(out memory);
            _live++;
        }

        memory ??= new(_memory, Account);
        memory.Reset(userAddress, length, writable);
        return memory;
    }

    /// <summary>Drops a reference; the last recycles the object.</summary>
    public void Return(ClientMemory memory)
    {
        if (memory.Unreference())
        {
            lock (_lock)
            {
                _free.Push(memory);
                _live--;
            }
        }
    }
}
