namespace Ioasis.Kernel;

/// <summary>Recycles <see cref="ClientMemory"/>: maps in the steady state allocate nothing. Thread-safe.</summary>
internal sealed class ClientMemoryPool
{
    private readonly Lock _lock = new();
    private readonly Stack<ClientMemory> _free = [];
    private long _live;

    /// <summary>What is pinned in total.</summary>
    public PinAccount Total { get; } = new();

    /// <summary>Objects in use: 0 when nothing leaks.</summary>
    public long Live => Volatile.Read(ref _live);

    /// <summary>Gives an object with one reference; see <see cref="ClientMemory.Reset"/>.</summary>
    public ClientMemory Rent(MemoryOwner owner, bool byProcess, OpenFile? file, ulong userAddress, ulong length, bool writable)
    {
        ClientMemory? memory;
        lock (_lock)
        {
            _ = _free.TryPop(out memory);
            _live++;
        }

        memory ??= new();
        memory.Reset(owner, byProcess, file, userAddress, length, writable);
        return memory;
    }

    /// <summary>Drops a reference; the last recycles the object.</summary>
    public void Return(ClientMemory memory)
    {
        if (memory.Unreference())
        {
            memory.Forget();
            lock (_lock)
            {
                _free.Push(memory);
                _live--;
            }
        }
    }
}
