namespace Ioasis.Kernel;

/// <summary>
/// How much memory one user has pinned, against a limit (Linux: RLIMIT_MEMLOCK). Counted in pages of 4 KiB. Thread-safe.
/// </summary>
internal sealed class PinAccount
{
    private readonly long _limitPages;
    private long _pages;

    /// <summary>Makes an account.</summary>
    /// <param name="limitBytes">The limit in bytes, or null for none.</param>
    public PinAccount(long? limitBytes) => _limitPages = limitBytes is { } bytes ? bytes >> 12 : long.MaxValue;

    /// <summary>Pages pinned now.</summary>
    public long Pages => Volatile.Read(ref _pages);

    /// <summary>Charges pages, unless that would pass the limit.</summary>
    public bool TryCharge(long pages)
    {
        if (Interlocked.Add(ref _pages, pages) <= _limitPages)
        {
            return true;
        }

        _ = Interlocked.Add(ref _pages, -pages);
        return false;
    }

    /// <summary>Gives back what was charged.</summary>
    public void Uncharge(long pages) => Interlocked.Add(ref _pages, -pages);
}
