namespace Ioasis.Devices.Nvme;

/// <summary>A submission queue, as the controller knows it. Under the controller's lock.</summary>
internal sealed class SubmissionQueue(ushort id, uint entries, ulong address, CompletionQueue completion)
{
    /// <summary>Its number.</summary>
    public ushort Id => id;

    /// <summary>Its entries, 2 to 65536.</summary>
    public uint Entries => entries;

    /// <summary>Where the first entry is.</summary>
    public ulong Address => address;

    /// <summary>Where its commands are completed.</summary>
    public CompletionQueue Completion => completion;

    /// <summary>The entry that is fetched next.</summary>
    public uint Head { get; set; }

    /// <summary>The entry after the last that the driver has filled.</summary>
    public uint Tail { get; set; }

    /// <summary>Where the driver keeps the tail; 0 without shadow doorbells.</summary>
    public ulong Shadow { get; set; }

    /// <summary>Where the driver reads which tail it must announce by the register.</summary>
    public ulong EventIndex { get; set; }

    /// <summary>Whether it stands among the queues that may have work.</summary>
    public bool IsReady { get; set; }

    /// <summary>Times in a row that its page was asked for.</summary>
    public int Attempts { get; set; }

    /// <summary>Entries to fetch.</summary>
    public uint Count => Tail >= Head ? Tail - Head : Tail + entries - Head;

    /// <summary>Takes the next entry.</summary>
    public void Advance() => Head = Head + 1 == entries ? 0 : Head + 1;
}

/// <summary>A completion queue, as the controller knows it. Under the controller's lock.</summary>
internal sealed class CompletionQueue(ushort id, uint entries, ulong address, bool hasInterrupts, int vector)
{
    /// <summary>Bytes of an entry.</summary>
    public const int EntrySize = 16;

    /// <summary>Most entries that are written at once.</summary>
    public const int StagedEntries = 32;

    private readonly byte[] _staged = new byte[StagedEntries * EntrySize];

    /// <summary>Its number.</summary>
    public ushort Id => id;

    /// <summary>Its entries, 2 to 65536.</summary>
    public uint Entries => entries;

    /// <summary>Where the first entry is.</summary>
    public ulong Address => address;

    /// <summary>Whether new entries raise an interrupt.</summary>
    public bool HasInterrupts => hasInterrupts;

    /// <summary>The vector that they raise.</summary>
    public int Vector => vector;

    /// <summary>The entry that the driver looks at next.</summary>
    public uint Head { get; set; }

    /// <summary>The entry that is filled next.</summary>
    public uint Tail { get; set; }

    /// <summary>The phase tag of the entry that is filled next.</summary>
    public bool Phase { get; set; } = true;

    /// <summary>Submission queues that use it.</summary>
    public int Users { get; set; }

    /// <summary>Where the driver keeps the head; 0 without shadow doorbells.</summary>
    public ulong Shadow { get; set; }

    /// <summary>Where the driver reads which head it must announce by the register.</summary>
    public ulong EventIndex { get; set; }

    /// <summary>Completions that found no room.</summary>
    public Queue<CompletionEntry> Waiting { get; } = new();

    /// <summary>Submission queues that fetch nothing because there is no room.</summary>
    public List<SubmissionQueue> Stalled { get; } = [];

    /// <summary>Whether its page is missing and was asked for: nothing is written until it is there.</summary>
    public bool IsBlocked { get; set; }

    /// <summary>Times in a row that its page was asked for.</summary>
    public int Attempts { get; set; }

    /// <summary>Whether its head in memory is to be looked at.</summary>
    public bool IsChecked { get; set; }

    /// <summary>Entries that are filled and wait to be written, all in a row before <see cref="Tail"/>.</summary>
    public int StagedCount { get; private set; }

    /// <summary>The first of those.</summary>
    public uint StagedAt { get; private set; }

    /// <summary>Their bytes.</summary>
    public ReadOnlySpan<byte> Staged => _staged.AsSpan(0, StagedCount * EntrySize);

    /// <summary>Entries that the driver has not taken.</summary>
    public uint Count => Tail >= Head ? Tail - Head : Tail + entries - Head;

    /// <summary>Entries that can be filled: one always stays free.</summary>
    public uint Room => entries - 1 - Count;

    /// <summary>Whether the next entry cannot be staged with those that are.</summary>
    public bool MustFlush => StagedCount == StagedEntries || (StagedCount > 0 && Tail == 0);

    /// <summary>Fills the next entry. There is room, and it need not be flushed first.</summary>
    /// <param name="entry">16 bytes, the phase tag 0.</param>
    public void Stage(ReadOnlySpan<byte> entry)
    {
        if (StagedCount == 0)
        {
            StagedAt = Tail;
        }

        Span<byte> place = _staged.AsSpan(StagedCount * EntrySize, EntrySize);
        entry.CopyTo(place);
        place[14] |= Phase ? (byte)1 : (byte)0;
        StagedCount++;
        if (++Tail == entries)
        {
            Tail = 0;
            Phase = !Phase;
        }
    }

    /// <summary>What was staged has been written.</summary>
    public void Unstage() => StagedCount = 0;
}
