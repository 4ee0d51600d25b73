using System.Runtime.InteropServices;

namespace Ioasis.Embedded;

/// <summary>
/// Plain memory behind a base address register, which clients map. It is the process's own, at a place that does not move,
/// and goes when nothing refers to the device any more: neither a platform nor a descriptor nor a mapping.
/// </summary>
internal sealed class PciBarMemory
{
    private const int PageSize = 4096;

    private readonly byte[] _bytes;
    private readonly int _start;

    public PciBarMemory(int size)
    {
        Size = size;
        _bytes = GC.AllocateArray<byte>(Math.Max(size, PageSize) + PageSize, pinned: true);
        nuint first = (nuint)(nint)Marshal.UnsafeAddrOfPinnedArrayElement(_bytes, 0);
        _start = (int)(((first + (PageSize - 1)) & ~(nuint)(PageSize - 1)) - first);
    }

    /// <summary>Bytes.</summary>
    public int Size { get; }

    /// <summary>Where it is: page-aligned.</summary>
    public nint Address => Marshal.UnsafeAddrOfPinnedArrayElement(_bytes, _start);

    /// <summary>The bytes.</summary>
    public Span<byte> Bytes => _bytes.AsSpan(_start, Size);

    /// <summary>Clears it.</summary>
    public void Clear() => Bytes.Clear();
}
