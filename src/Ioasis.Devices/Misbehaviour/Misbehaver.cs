namespace Ioasis.Devices;

/// <summary>What a device that misbehaves on request keeps: its chance, what it did, and where it wrote. Under its device's lock.</summary>
internal sealed class Misbehaver(DeviceMisbehaviour options)
{
    private const int MisdeedLimit = 4096;
    private const int StaleLimit = 16;
    private const int StrayBytes = 512;

    private readonly List<DeviceMisdeed> _misdeeds = [];
    private readonly List<ulong> _stale = [];
    private readonly List<(long DueAt, int Vector)> _late = [];
    private ulong _random = options.Seed;
    private ulong? _lastWritten;

    /// <summary>Writes memory as the device, and tells whether it took it.</summary>
    public delegate bool Writer(ulong address, ReadOnlySpan<byte> bytes);

    /// <summary>Requests so far.</summary>
    public long Requests { get; private set; }

    /// <summary>What it did so far.</summary>
    public IReadOnlyList<DeviceMisdeed> Misdeeds => [.. _misdeeds];

    /// <summary>Interrupts that are held back.</summary>
    public int LateCount => _late.Count;

    /// <summary>When the first of them is due; <see cref="long.MaxValue"/> if there is none.</summary>
    public long FirstLate => _late.Count == 0 ? long.MaxValue : _late.Min(static late => late.DueAt);

    /// <summary>Another request.</summary>
    /// <param name="isGone">Whether the device is gone with it.</param>
    /// <param name="isHung">Whether it hangs with it.</param>
    /// <returns>Whether the request is begun.</returns>
    public bool Begin(out bool isGone, out bool isHung)
    {
        Requests++;
        isGone = Requests == options.GoneAt;
        isHung = !isGone && Requests == options.HungAt;
        if (isGone || isHung)
        {
            Note(isGone ? "gone from the bus" : "hung");
        }

        return !isGone && !isHung;
    }

    /// <summary>Remembers something for the report.</summary>
    public void Note(string what)
    {
        if (_misdeeds.Count < MisdeedLimit)
        {
            _misdeeds.Add(new(Requests, what));
        }
    }

    /// <summary>Whether chance has it so.</summary>
    public bool Happens(int percent) => percent > 0 && Next() % 100 < (ulong)percent;

    /// <summary>How often a request completes.</summary>
    /// <param name="request">The request, for people.</param>
    public int Times(string request)
    {
        if (!Happens(options.Twice))
        {
            return 1;
        }

        Note($"{request} completed twice");
        return 2;
    }

    /// <summary>Shuffles what completes together.</summary>
    public void Shuffle<T>(Span<T> entries)
    {
        for (int i = entries.Length - 1; i > 0; i--)
        {
            int other = (int)(Next() % (ulong)(i + 1));
            (entries[i], entries[other]) = (entries[other], entries[i]);
        }
    }

    /// <summary>A request is done that wrote memory: the device may write more.</summary>
    /// <param name="address">Where it wrote first; null if that is not known.</param>
    /// <param name="write">Writes.</param>
    public void Stray(ulong? address, Writer write)
    {
        if (Happens(options.StaleDma) && _stale.Count > 0)
        {
            StrayTo(_stale[(int)(Next() % (ulong)_stale.Count)], "stale", write);
        }

        if (Happens(options.WildDma))
        {
            StrayTo(Next() & 0xffff_ffff_f000, "wild", write);
        }

        if (address is { } place)
        {
            _lastWritten = place;
            if (_stale.Count == StaleLimit)
            {
                _stale.RemoveAt(0);
            }

            _stale.Add(place);
        }
    }

    /// <summary>The device has been reset.</summary>
    public void StrayAfterReset(Writer write)
    {
        if (options.DmaAfterReset && _lastWritten is { } address)
        {
            _lastWritten = null;
            StrayTo(address, "late", write);
        }
    }

    /// <summary>Whether an interrupt does not go now: it is lost, or held back.</summary>
    /// <param name="vector">Which one.</param>
    /// <param name="after">The time after a span from now.</param>
    public bool Withholds(int vector, Func<TimeSpan, long> after)
    {
        if (Happens(options.LostInterrupts))
        {
            Note($"interrupt {vector} lost");
            return true;
        }

        if (options.LateInterrupts > TimeSpan.Zero)
        {
            Note($"interrupt {vector} late by {options.LateInterrupts.TotalMilliseconds} ms");
            _late.Add((after(options.LateInterrupts), vector));
            return true;
        }

        return false;
    }

    /// <summary>Takes the interrupts whose time has come.</summary>
    public int TakeLate(Span<int> vectors, long now)
    {
        int count = 0;
        for (int i = 0; i < _late.Count && count < vectors.Length;)
        {
            if (_late[i].DueAt <= now)
            {
                vectors[count++] = _late[i].Vector;
                _late.RemoveAt(i);
            }
            else
            {
                i++;
            }
        }

        return count;
    }

    /// <summary>The interrupts that are held back do not come any more.</summary>
    public void ForgetLate() => _late.Clear();

    private void StrayTo(ulong address, string kind, Writer write)
    {
        Span<byte> bytes = stackalloc byte[StrayBytes];
        bytes.Fill(0xdb);
        Note($"{kind} write to 0x{address:x} {(write(address, bytes) ? "reached memory" : "was refused")}");
    }

    // SplitMix64.
    private ulong Next()
    {
        ulong value = _random += 0x9e37_79b9_7f4a_7c15;
        value = (value ^ (value >> 30)) * 0xbf58_476d_1ce4_e5b9;
        value = (value ^ (value >> 27)) * 0x94d0_49bb_1331_11eb;
        return value ^ (value >> 31);
    }
}
