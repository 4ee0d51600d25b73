using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The table by which ENQCMD of a virtual machine turns the PASID that the guest's software knows into the one that devices
/// may see (S1.13). Two levels, as the processor walks it; look-ups take no lock. Each entry is a user of its IOASID: freeing
/// the IOASID empties the entry, and waits for those that were just translating, before the drain goes on.
/// </summary>
/// <remarks>
/// <para>Who submits holds a scope of the table from the look-up until the device has accepted or refused the
/// descriptor; when an unmap of the number or the end of the IOASID's life returns, no descriptor with the old number can come to a device.
/// Accepted descriptors are the device's to drain.</para>
/// <para>A miss must not reach a device: <see cref="TryTranslateOrExit"/> tells whoever stands for the virtual machine's monitor.</para>
/// </remarks>
public sealed class VmPasidTable : IDisposable
{
    private const int PageLog2 = 10;
    private const uint PageMask = (1 << PageLog2) - 1;
    private const uint ValidBit = 1u << 31;

    private readonly uint[]?[] _pages = new uint[]?[1 << PageLog2];
    private readonly EpochReclaimer _readers = new(static () =>
    {
        _ = Injection.Hit(InjectionKind.Wait);
        _ = Thread.Yield();
    });

    private readonly IoLock _lock = new();
    private readonly Dictionary<uint, Entry> _entries = [];
    private readonly Action<GuestPasid>? _exit;
    private bool _disposed;

    /// <summary>Makes an empty table.</summary>
    /// <param name="exit">Called for each miss, in the thread of the submission; must not throw. Null tells nobody.</param>
    internal VmPasidTable(Action<GuestPasid>? exit = null) => _exit = exit;

    /// <summary>How many guest PASIDs are mapped, those included whose IOASID has ended.</summary>
    public int Count
    {
        get
        {
            using (_lock.Acquire())
            {
                return _entries.Count;
            }
        }
    }

    /// <summary>What was translated inside stays in force until the scope is disposed, by the same thread.</summary>
    internal EpochReclaimer.Scope Enter() => _readers.Enter();

    /// <summary>Looks a guest PASID up. Takes no lock, does not allocate or throw.</summary>
    /// <returns>Whether it is mapped to a live IOASID.</returns>
    public bool TryTranslate(GuestPasid guest, out Pasid host)
    {
        uint[]?[] pages = _pages;
        uint index = guest.Value >> PageLog2;
        uint entry = index < (uint)pages.Length && Volatile.Read(ref pages[index]) is { } page
            ? Volatile.Read(ref page[guest.Value & PageMask])
            : 0;
        host = new(entry & ~ValidBit);
        return (entry & ValidBit) != 0;
    }

    /// <summary>As <see cref="TryTranslate"/>; a miss is told to the monitor, and the submission must not go on.</summary>
    public bool TryTranslateOrExit(GuestPasid guest, out Pasid host)
    {
        if (TryTranslate(guest, out host))
        {
            return true;
        }

        _exit?.Invoke(guest);
        return false;
    }

    /// <summary>Maps a guest PASID. The table is a user of the IOASID from now on, with a reference.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Exists"/> if it is mapped to a live one; <see cref="Errno.NoEntry"/> if the IOASID is not live, or
    /// the table is disposed; <see cref="Errno.InvalidArgument"/> above 20 bits; <see cref="Errno.OutOfMemory"/>.
    /// </returns>
    internal Errno Map(GuestPasid guest, Ioasid ioasid)
    {
        if (!guest.IsValid)
        {
            return Errno.InvalidArgument;
        }

        Entry made = new(this, guest, ioasid);
        Errno error = ioasid.TryAddUser(made);
        if (error != Errno.Success)
        {
            return error;
        }

        Entry? dead = null;
        using (_lock.Acquire())
        {
            if (_disposed)
            {
                error = Errno.NoEntry;
            }
            else if (_entries.TryGetValue(guest.Value, out Entry? old) && !old.IsStopped)
            {
                error = Errno.Exists;
            }
            else if (made.IsStopped)
            {
                // Its life was ended meanwhile.
                error = Errno.NoEntry;
            }
            else
            {
                dead = old;
                _entries[guest.Value] = made;
                ref uint[]? page = ref _pages[guest.Value >> PageLog2];
                uint[] entries = page ?? new uint[1 << PageLog2];
                Volatile.Write(ref entries[guest.Value & PageMask], ValidBit | ioasid.Pasid.Value);
                Volatile.Write(ref page, entries);
            }
        }

        if (error != Errno.Success)
        {
            _ = ioasid.RemoveUser(made);
        }
        else if (dead is not null)
        {
            _ = dead.Ioasid.RemoveUser(dead);
        }

        return error;
    }

    /// <summary>Takes a guest PASID out; when it returns, no submission uses it any more.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if it is not mapped.</returns>
    internal Errno Unmap(GuestPasid guest)
    {
        Entry? gone;
        using (_lock.Acquire())
        {
            if (!_entries.Remove(guest.Value, out gone))
            {
                return Errno.NoEntry;
            }
        }

        return gone.Ioasid.RemoveUser(gone);
    }

    /// <summary>Takes everything out.</summary>
    public void Dispose()
    {
        List<Entry> entries;
        using (_lock.Acquire())
        {
            _disposed = true;
            entries = [.. _entries.Values];
            _entries.Clear();
        }

        foreach (Entry entry in entries)
        {
            _ = entry.Ioasid.RemoveUser(entry);
        }
    }

    private void Stop(Entry entry)
    {
        using (_lock.Acquire())
        {
            uint number = entry.Guest.Value;
            if (!entry.IsStopped
                && _pages[number >> PageLog2] is { } page
                && (!_entries.TryGetValue(number, out Entry? current) || ReferenceEquals(current, entry)))
            {
                Volatile.Write(ref page[number & PageMask], 0);
            }

            entry.IsStopped = true;
        }

        // Also for who comes second: the first may be waiting still.
        _readers.Synchronize();
    }

    private sealed class Entry(VmPasidTable table, GuestPasid guest, Ioasid ioasid) : IPasidDrain
    {
        public GuestPasid Guest => guest;

        public Ioasid Ioasid => ioasid;

        // Under the table's lock.
        public bool IsStopped { get; set; }

        public string Name => "PASID translation table of a virtual machine";

        public Errno Stop(Ioasid ended)
        {
            table.Stop(this);
            return Errno.Success;
        }

        public bool IsDrained(Ioasid ended, out string? holds)
        {
            holds = null;
            return true;
        }
    }
}
