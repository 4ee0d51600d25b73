namespace Ioasis.Kernel;

/// <summary>
/// How much memory somebody has pinned (Linux: <c>locked_vm</c> of a user, <c>pinned_vm</c> of a process), counted in pages
/// of 4 KiB, and as a part of what is pinned in total. Thread-safe.
/// </summary>
internal sealed class PinAccount(PinAccount? total = null)
{
    private long _pages;

    /// <summary>Pages pinned now.</summary>
    public long Pages => Volatile.Read(ref _pages);

    /// <summary>Charges pages, unless that would pass a limit.</summary>
    public bool TryCharge(long pages, long limitPages)
    {
        if (Interlocked.Add(ref _pages, pages) <= limitPages)
        {
            if (total is not null)
            {
                _ = Interlocked.Add(ref total._pages, pages);
            }

            return true;
        }

        _ = Interlocked.Add(ref _pages, -pages);
        return false;
    }

    /// <summary>Gives back what was charged.</summary>
    public void Uncharge(long pages)
    {
        _ = Interlocked.Add(ref _pages, -pages);
        if (total is not null)
        {
            _ = Interlocked.Add(ref total._pages, -pages);
        }
    }
}
