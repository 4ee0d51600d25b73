using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Examples;

/// <summary>
/// Memory that a driver and its device share: rings, and buffers for what goes through them. It is mapped for the device at one IOVA as long
/// as the area lives.
/// </summary>
public sealed unsafe class DmaArea : IDisposable
{
    private const int PageSize = 4096;

    private readonly Action<Iova, ulong> _unmap;
    private readonly Iova _iova;
    private byte* _memory;
    private int _taken;

    /// <summary>Allocates memory and maps it.</summary>
    /// <param name="bytes">Bytes, rounded up to pages of 4 KiB.</param>
    /// <param name="iova">Where the device will see it: a multiple of 4096.</param>
    /// <param name="map">Maps: address, bytes, IOVA.</param>
    /// <param name="unmap">Takes that back: IOVA, bytes.</param>
    public DmaArea(int bytes, Iova iova, Action<ulong, ulong, Iova> map, Action<Iova, ulong> unmap)
    {
        ArgumentNullException.ThrowIfNull(map);
        ArgumentNullException.ThrowIfNull(unmap);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        Length = (bytes + PageSize - 1) / PageSize * PageSize;
        _iova = iova;
        _unmap = unmap;
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)Length, PageSize);
        NativeMemory.Clear(_memory, (nuint)Length);
        try
        {
            map((ulong)_memory, (ulong)Length, iova);
        }
        catch
        {
            NativeMemory.AlignedFree(_memory);
            _memory = null;
            throw;
        }
    }

    /// <summary>Bytes.</summary>
    public int Length { get; }

    /// <summary>Takes a part of it for good.</summary>
    /// <param name="bytes">Bytes.</param>
    /// <param name="alignment">A power of two, at most 4096.</param>
    /// <exception cref="InvalidOperationException">It is all taken.</exception>
    public DmaBuffer Take(int bytes, int alignment = 16)
    {
        int first = (_taken + alignment - 1) & ~(alignment - 1);
        if (bytes < 0 || bytes > Length - first)
        {
            throw new InvalidOperationException($"{bytes} bytes are wanted of an area of {Length} of which {_taken} are taken.");
        }

        _taken = first + bytes;
        return new(_memory + first, bytes, _iova + (ulong)first);
    }

    /// <summary>Takes the mapping back, then frees the memory. The device must be at rest.</summary>
    public void Dispose()
    {
        if (_memory != null)
        {
            _unmap(_iova, (ulong)Length);
            NativeMemory.AlignedFree(_memory);
            _memory = null;
        }
    }
}

/// <summary>A part of a <see cref="DmaArea"/>.</summary>
public readonly unsafe struct DmaBuffer
{
    private readonly byte* _memory;

    internal DmaBuffer(byte* memory, int length, Iova iova)
    {
        _memory = memory;
        Length = length;
        Iova = iova;
    }

    /// <summary>Bytes.</summary>
    public int Length { get; }

    /// <summary>Where the device sees it.</summary>
    public Iova Iova { get; }

    /// <summary>The bytes.</summary>
    public Span<byte> Span => new(_memory, Length);

    /// <summary>A word that the device reads or writes at the same time.</summary>
    internal ref ushort WordAt(int offset)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)offset, (uint)Length - 2, nameof(offset));
        return ref *(ushort*)(_memory + offset);
    }
}
