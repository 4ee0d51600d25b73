using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// A client's memory of <see cref="Size"/> bytes at <see cref="Start"/>. Physical addresses are <see cref="PhysicalOffset"/>
/// higher; every <see cref="RunPages"/> pages there is a jump, so that long pins come in pieces. Counts pins by page.
/// </summary>
internal sealed class FakeUserMemory : IUserMemory
{
    public const ulong Start = 0x10_0000_0000;
    public const ulong PhysicalOffset = 0x100_0000_0000;
    public const ulong Jump = 0x1_0000_0000_0000;

    private readonly Dictionary<ulong, int> _pins = [];
    private readonly byte[] _arguments = new byte[1 << 16];

    public ulong Size { get; init; } = 1ul << 32;

    public ulong RunPages { get; init; } = ulong.MaxValue;

    public AddressRange? ReadOnly { get; init; }

    /// <summary>Arguments that calls point to lie here.</summary>
    public const ulong ArgumentStart = 0x2000;

    public Span<byte> Arguments => _arguments;

    public int PinnedPages => _pins.Count;

    /// <summary>Every page that is pinned, with how often.</summary>
    public IEnumerable<string> Pins => _pins.OrderBy(static pin => pin.Key)
        .Select(static pin => FormattableString.Invariant($"{pin.Key:x}x{pin.Value}"));

    public int PinCalls { get; private set; }

    /// <summary>Asked before a page is let go: an IOMMU that can still reach it says so.</summary>
    public Func<ulong, bool> IsReachable { get; set; } = static _ => false;

    public List<string> Violations { get; } = [];

    public static ulong ToPhysical(ulong address, ulong runPages)
    {
        ulong page = (address - Start) >> 12;
        return runPages == ulong.MaxValue
            ? address + PhysicalOffset
            : address + PhysicalOffset + ((page / runPages % 7) * Jump / 16);
    }

    public ulong ToPhysical(ulong address) => ToPhysical(address, RunPages);

    public int PinsOf(ulong address) => _pins.GetValueOrDefault(ToPhysical(address) >> 12);

    public Errno Read(ulong userAddress, Span<byte> destination)
    {
        if (!InArguments(userAddress, destination.Length))
        {
            return Errno.BadAddress;
        }

        _arguments.AsSpan((int)(userAddress - ArgumentStart), destination.Length).CopyTo(destination);
        return Errno.Success;
    }

    public Errno Write(ulong userAddress, ReadOnlySpan<byte> source)
    {
        if (!InArguments(userAddress, source.Length))
        {
            return Errno.BadAddress;
        }

        source.CopyTo(_arguments.AsSpan((int)(userAddress - ArgumentStart)));
        return Errno.Success;
    }

    public Errno Pin(ulong userAddress, ulong length, bool writable, out PhysicalAddress address, out ulong runLength)
    {
        address = default;
        runLength = 0;
        PinCalls++;
        if (userAddress < Start || userAddress - Start >= Size)
        {
            return Errno.BadAddress;
        }

        ulong page = (userAddress - Start) >> 12;
        ulong end = RunPages == ulong.MaxValue ? Start + Size : Start + (((page / RunPages) + 1) * RunPages << 12);
        runLength = Math.Min(length, Math.Min(end, Start + Size) - userAddress);
        if (writable && ReadOnly is { } range && range.Overlaps(new(userAddress, userAddress + runLength - 1)))
        {
            return Errno.BadAddress;
        }

        address = new(ToPhysical(userAddress));
        lock (_pins)
        {
            for (ulong p = address.Value >> 12; p <= (address.Value + runLength - 1) >> 12; p++)
            {
                _pins[p] = _pins.GetValueOrDefault(p) + 1;
            }
        }

        return Errno.Success;
    }

    public void Unpin(PhysicalAddress address, ulong length)
    {
        lock (_pins)
        {
            for (ulong p = address.Value >> 12; p <= (address.Value + length - 1) >> 12; p++)
            {
                int pins = _pins.GetValueOrDefault(p);
                if (pins == 0)
                {
                    Violations.Add($"page {p:x} unpinned more often than pinned");
                }
                else if (pins == 1)
                {
                    _ = _pins.Remove(p);
                    if (IsReachable(p))
                    {
                        Violations.Add($"page {p:x} unpinned while a device can reach it");
                    }
                }
                else
                {
                    _pins[p] = pins - 1;
                }
            }
        }
    }

    private bool InArguments(ulong address, int length) =>
        address >= ArgumentStart && address - ArgumentStart <= (ulong)(_arguments.Length - length);
}
