using System.Buffers;
using Ioasis.Primitives;

namespace Ioasis.Client;

/// <summary>
/// Memory that devices reach until this is disposed. Dispose unmaps it, waits until no device reaches it any more, and only
/// then lets the garbage collector move or free it. It has no finalizer: memory that is forgotten while it is mapped stays
/// pinned, which is a leak, and not a device that writes where something else has moved to.
/// </summary>
public sealed class DmaMapping : IDisposable
{
    private readonly IoAddressSpace _space;
    private readonly Iova _start;
    private readonly ulong _mapped;
    private MemoryHandle _pin;
    private int _disposed;

    internal DmaMapping(IoAddressSpace space, Iova start, ulong mapped, Iova iova, ulong length, MemoryHandle pin)
    {
        _space = space;
        _start = start;
        _mapped = mapped;
        _pin = pin;
        Iova = iova;
        Length = length;
    }

    /// <summary>Where devices see the first byte of the memory.</summary>
    public Iova Iova { get; }

    /// <summary>Bytes of the memory.</summary>
    public ulong Length { get; }

    /// <summary>What is mapped: the whole pages around the memory.</summary>
    public AddressRange Mapped => new(_start.Value, _start.Value + (_mapped - 1));

    /// <summary>Unmaps the memory and unpins it. If the kernel cannot unmap it, it stays pinned for ever.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0 && _space.TryRelease(_start, _mapped))
        {
            _pin.Dispose();
        }
    }
}
