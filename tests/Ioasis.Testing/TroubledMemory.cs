using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>Memory in which a ring of commands cannot always be read, or says something else, as the hardware sees it.</summary>
/// <param name="inner">The memory.</param>
/// <param name="seed">When, is random.</param>
/// <param name="nonsense">Bits that make a command's first doubleword one that there is not.</param>
/// <param name="rarity">One read of so many fails, and one gives nonsense.</param>
/// <param name="readsOfCommand">How often the hardware reads the first doubleword of a command, which says the same each time.</param>
public sealed class TroubledMemory(IPhysicalMemory inner, int seed, ulong nonsense, int rarity = 30, int readsOfCommand = 1)
    : MemoryDecorator(inner)
{
    private const int NoAnswer = 1;
    private const int Nonsense = 2;

    private readonly Random _random = new(seed);
    private ulong _spoiled;
    private int _moreReads;
    private ulong _start = ulong.MaxValue;
    private ulong _size;

    /// <summary>Whether reads of the ring may fail.</summary>
    public bool IsUnreadable { get; set; }

    /// <summary>Whether reads of the ring may give nonsense.</summary>
    public bool IsIllegal { get; set; }

    /// <summary>Where the ring is.</summary>
    public void Locate(ulong start, ulong bytes)
    {
        _start = start;
        _size = bytes;
    }

    /// <inheritdoc/>
    public override MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        int fate = (address.Value & 15) == 0 ? Next(address) : 0;
        if (fate == NoAnswer && IsUnreadable)
        {
            value = 0;
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = base.Read64(address, out value);
        value |= fate == Nonsense && IsIllegal ? nonsense : 0;
        return status;
    }

    /// <inheritdoc/>
    public override MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        int fate = Next(address);
        if (fate == NoAnswer && IsUnreadable)
        {
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = base.Read(address, destination);
        if (fate == Nonsense && IsIllegal)
        {
            for (int i = 0; i < Math.Min(8, destination.Length); i++)
            {
                destination[i] |= (byte)(nonsense >> (8 * i));
            }
        }

        return status;
    }

    private int Next(PhysicalAddress address)
    {
        if (address.Value - _start >= _size || !(IsUnreadable || IsIllegal))
        {
            return 0;
        }

        lock (_random)
        {
            if (_moreReads > 0 && address.Value == _spoiled)
            {
                _moreReads--;
                return Nonsense;
            }

            int fate = _random.Next(rarity);
            (_spoiled, _moreReads) = fate == Nonsense ? (address.Value, readsOfCommand - 1) : (0, 0);
            return fate;
        }
    }
}
