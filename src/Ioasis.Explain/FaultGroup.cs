namespace Ioasis.Explain;

/// <summary>Faults of one device, one reason and one kind of access: a flood of them is one thing to explain.</summary>
internal sealed class FaultGroup
{
    private const int ListedAddresses = 8;
    private readonly List<Fault> _sightings = [];
    private readonly HashSet<ulong> _pages = [];

    internal FaultGroup(Fault first) => First = first;

    /// <summary>The first of them.</summary>
    public Fault First { get; }

    /// <summary>How many there are.</summary>
    public long Count { get; private set; }

    /// <summary>The time of the last, seconds since the kernel started.</summary>
    public double? LastTime { get; private set; }

    /// <summary>Different pages of 4 KiB that they name.</summary>
    public int Pages => _pages.Count;

    /// <summary>The lowest address.</summary>
    public ulong? Lowest { get; private set; }

    /// <summary>The highest address.</summary>
    public ulong? Highest { get; private set; }

    /// <summary>The first different addresses, in their order.</summary>
    public IReadOnlyList<ulong> Addresses => [.. _sightings.Select(static fault => fault.Address!.Value)];

    /// <summary>The first fault of each of <see cref="Addresses"/>: what was mapped then is what counts, not when the group began.</summary>
    internal IReadOnlyList<Fault> Sightings => _sightings;

    /// <summary>Folds faults.</summary>
    public static IReadOnlyList<FaultGroup> Fold(IEnumerable<Fault> faults)
    {
        ArgumentNullException.ThrowIfNull(faults);
        Dictionary<(FaultSource, string?, uint?, uint?, int?, string, FaultAccess, FaultKind), FaultGroup> groups = [];
        List<FaultGroup> result = [];
        foreach (Fault fault in faults)
        {
            var key = (fault.Source, fault.Device, fault.Requester, fault.Pasid, fault.Code, fault.Reason, fault.Access, fault.Kind);
            if (!groups.TryGetValue(key, out FaultGroup? group))
            {
                group = new(fault);
                groups.Add(key, group);
                result.Add(group);
            }

            group.Add(fault);
        }

        return result;
    }

    private void Add(Fault fault)
    {
        Count++;
        LastTime = fault.Time ?? LastTime;
        if (fault.Address is { } address)
        {
            Lowest = Math.Min(Lowest ?? address, address);
            Highest = Math.Max(Highest ?? address, address);
            if (_pages.Add(address >> 12) && _sightings.Count < ListedAddresses)
            {
                _sightings.Add(fault);
            }
        }
    }
}
