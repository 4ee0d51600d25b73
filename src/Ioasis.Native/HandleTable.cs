namespace Ioasis.Native;

/// <summary>
/// What the pointers that a caller holds stand for. They are no addresses: one that was given back, or never given out, finds
/// nothing. Finding takes no lock and does not allocate. Thread-safe.
/// </summary>
internal static class HandleTable
{
    private const int IndexBits = 24;

    private static readonly Lock s_lock = new();
    private static readonly Stack<int> s_free = [];
    private static Entry?[] s_entries = new Entry?[16];
    private static int s_used;
    private static ulong s_generation;

    /// <summary>Makes a handle.</summary>
    public static nint Add(object target)
    {
        lock (s_lock)
        {
            if (!s_free.TryPop(out int index))
            {
                if (s_used == 1 << IndexBits)
                {
                    throw new InvalidOperationException("There are 2^24 handles already.");
                }

                if (s_used == s_entries.Length)
                {
                    Entry?[] larger = new Entry?[s_used * 2];
                    s_entries.CopyTo(larger, 0);
                    Volatile.Write(ref s_entries, larger);
                }

                index = s_used++;
            }

            // Never 0, and as odd as a pointer to nothing of a program's may be.
            nint handle = (nint)(((++s_generation & ((1ul << (63 - IndexBits)) - 1)) << (IndexBits + 1)) | ((ulong)index << 1) | 1);
            Volatile.Write(ref s_entries[index], new(handle, target));
            return handle;
        }
    }

    /// <summary>Finds what a handle stands for; null if it is none.</summary>
    public static object? Find(nint handle)
    {
        Entry?[] entries = Volatile.Read(ref s_entries);
        uint index = (uint)((ulong)handle >> 1) & ((1 << IndexBits) - 1);
        return index < (uint)entries.Length && Volatile.Read(ref entries[index]) is { } entry && entry.Handle == handle
            ? entry.Target
            : null;
    }

    /// <summary>Gives a handle back.</summary>
    /// <returns>Whether this call did so.</returns>
    public static bool Remove(nint handle)
    {
        lock (s_lock)
        {
            int index = (int)(((ulong)handle >> 1) & ((1 << IndexBits) - 1));
            if (index >= s_used || s_entries[index]?.Handle != handle)
            {
                return false;
            }

            Volatile.Write(ref s_entries[index], null);
            s_free.Push(index);
            return true;
        }
    }

    private sealed record Entry(nint Handle, object Target);
}
