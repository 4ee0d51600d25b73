using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Campaigns.Noise;

/// <summary>
/// Memory of a client that exists for the calls alone: a range that can be pinned, and a range that arguments can point to. Addresses are
/// the same in every run, and no call can reach this process's own memory. Counts pins, so that one too many or too few shows.
/// </summary>
internal sealed class ClientWindow : IUserMemory
{
    /// <summary>What arguments may point to, 64 KiB.</summary>
    public const ulong ArgumentStart = 0x2000;

    /// <summary>What can be pinned, 16 MiB.</summary>
    public const ulong Start = 0x10_0000_0000;

    private const ulong Bytes = 1 << 24;
    private const ulong PhysicalStart = 0x2_0000_0000;
    private const ulong RunBytes = 5 * 4096;

    private readonly byte[] _arguments = new byte[1 << 16];
    private readonly int[] _pins = new int[Bytes >> 12];

    public int PinnedPages => _pins.Count(static pins => pins != 0);

    public int TooOftenUnpinned { get; private set; }

    public Errno Read(ulong userAddress, Span<byte> destination)
    {
        if (!TryFind(userAddress, destination.Length, out int at))
        {
            return Errno.BadAddress;
        }

        _arguments.AsSpan(at, destination.Length).CopyTo(destination);
        return Errno.Success;
    }

    public Errno Write(ulong userAddress, ReadOnlySpan<byte> source)
    {
        if (!TryFind(userAddress, source.Length, out int at))
        {
            return Errno.BadAddress;
        }

        source.CopyTo(_arguments.AsSpan(at));
        return Errno.Success;
    }

    public Errno Pin(ulong userAddress, ulong length, bool writable, out PhysicalAddress address, out ulong runLength)
    {
        address = default;
        runLength = 0;
        if (userAddress < Start || userAddress - Start >= Bytes)
        {
            return Errno.BadAddress;
        }

        // Runs end every few pages, so that long pins come in pieces.
        ulong offset = userAddress - Start;
        runLength = Math.Min(length, Math.Min(Bytes, ((offset / RunBytes) + 1) * RunBytes) - offset);
        address = new(PhysicalStart + offset);
        Count(offset, runLength, 1);
        return Errno.Success;
    }

    public void Unpin(PhysicalAddress address, ulong length) => Count(address.Value - PhysicalStart, length, -1);

    private void Count(ulong offset, ulong length, int step)
    {
        for (ulong page = offset >> 12; page <= (offset + length - 1) >> 12; page++)
        {
            TooOftenUnpinned += _pins[page] + step < 0 ? 1 : 0;
            _pins[page] = Math.Max(0, _pins[page] + step);
        }
    }

    private bool TryFind(ulong address, int length, out int at)
    {
        at = (int)Math.Min(address - ArgumentStart, int.MaxValue);
        return address >= ArgumentStart && address - ArgumentStart <= (ulong)(_arguments.Length - Math.Min(length, _arguments.Length))
            && length <= _arguments.Length;
    }
}
