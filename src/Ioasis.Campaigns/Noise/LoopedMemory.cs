using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Campaigns.Noise;

/// <summary>
/// Few words that are found again all over the physical addresses, so that whatever an entry points to is there. Most words are entries
/// that are present. Some pages do not answer.
/// </summary>
internal sealed class LoopedMemory : IPhysicalMemory
{
    // Of so many pages the last one is broken.
    private const ulong BrokenEvery = 61;

    private readonly ulong[] _words;

    /// <param name="random">Decides the words.</param>
    /// <param name="words">How many; a power of two.</param>
    public LoopedMemory(Random random, int words)
    {
        _words = new ulong[words];
        foreach (ref ulong word in _words.AsSpan())
        {
            word = (ulong)random.NextInt64() & 0x000f_ffff_ffff_ffff;
            word = random.Next(8) == 0 ? word | ((ulong)random.Next() << 48) : (word & ~0xf80ul) | (random.Next(8) == 0 ? 0x80ul : 0) | 3;
        }
    }

    public void Put(ulong address, ulong value) => Word(address) = value;

    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        for (int i = 0; i < destination.Length; i++)
        {
            destination[i] = Byte(address.Value + (ulong)i);
        }

        return Status(address);
    }

    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        for (int i = 0; i < source.Length; i++)
        {
            Byte(address.Value + (ulong)i) = source[i];
        }

        return Status(address);
    }

    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        value = Word(address.Value);
        return Status(address);
    }

    public MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        Word(address.Value) = value;
        return Status(address);
    }

    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        MemoryStatus status = Read(address, bytes);
        value = MemoryMarshal.Read<uint>(bytes);
        return status;
    }

    public MemoryStatus Write32(PhysicalAddress address, uint value) => Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));

    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        ref ulong word = ref Word(address.Value);
        observed = word;
        word = observed == expected ? desired : observed;
        return Status(address);
    }

    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

    private static MemoryStatus Status(PhysicalAddress address) =>
        (address.Value >> 12) % BrokenEvery == BrokenEvery - 1 ? MemoryStatus.AccessFault : MemoryStatus.Success;

    private ref ulong Word(ulong address) => ref _words[(address >> 3) & (ulong)(_words.Length - 1)];

    private ref byte Byte(ulong address) => ref MemoryMarshal.AsBytes(MemoryMarshal.CreateSpan(ref Word(address), 1))[(int)(address & 7)];
}
