using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Qemu;

/// <summary>
/// The memory that a device in another process has for its own, where that process cannot ask for each access: a file that holds copies of the pages that the
/// machine's IOMMU lets it reach, each at its own address. What the device wrote is made as its DMA, through the IOMMU; what the machine has written is
/// read the same way. Pages are compared word by word (8 bytes), so that each side keeps what the other did not change. Not thread-safe.
/// </summary>
/// <remarks>
/// The device is shown whole GiBs, which stay: QEMU 11 crashes if memory is taken from it in the middle of a transfer. Between the pages that it reaches there is nothing for
/// it to read, and what it writes there is made as its DMA too, for the IOMMU to refuse.
/// </remarks>
internal sealed partial class MirroredMemory : IDisposable
{
    private const int BlockShift = 30;

    // The device can go on writing while it is looked at, but not begin anything new: it comes to rest by itself.
    private const int MostLooks = 256;
    private const int WordsOfPage = MirrorWindow.PageSize / sizeof(ulong);
    private const uint CloseOnExec = 1;
    private const int KeepSizePunchHole = 3;
    private const int NextData = 3;
    private const int NextHole = 4;

    private readonly SafeFileHandle _file;
    private readonly ulong[] _seen = new ulong[WordsOfPage];
    private readonly Dictionary<ulong, MirrorPage> _pages = [];
    private readonly Dictionary<ulong, DeviceMapping> _wanted = [];
    private readonly List<(MirrorPage Page, ulong[] Before)> _changed = [];
    private IReadOnlyList<DeviceMapping> _arranged = [];
    private SortedSet<ulong> _blocks = [];
    private List<MirrorWindow> _windows = [];

    /// <summary>Makes one in which the device reaches nothing.</summary>
    /// <param name="end">Beyond every address at which it can be shown memory; a multiple of 1 GiB.</param>
    /// <exception cref="IOException">The system has no memory file.</exception>
    public MirroredMemory(ulong end)
    {
        End = end;
        _file = CreateMemoryFile("ioasis-mirror", CloseOnExec);
        if (_file.IsInvalid || Truncate(_file, (long)end) != 0)
        {
            _file.Dispose();
            throw new IOException("a file in memory cannot be made");
        }
    }

    /// <summary>Beyond every address at which it can be shown memory.</summary>
    public ulong End { get; }

    /// <summary>Most bytes of copies.</summary>
    public ulong Limit { get; init; } = 256 << 20;

    /// <summary>Addresses that the device has for its own registers, so that memory cannot be there.</summary>
    public AddressRange? Taken { get; set; }

    /// <summary>Told of ranges that the device cannot be shown, and of what it wrote and is dropped, and why: a sentence.</summary>
    public Action<string>? Refused { get; init; }

    /// <summary>Brings both sides together.</summary>
    /// <param name="machine">The machine; null if the device may not do DMA now.</param>
    /// <param name="link">Where the device is told of other ranges.</param>
    /// <param name="isLast">Pages that are written after all others, because what they say is about those.</param>
    /// <param name="takesIn">Whether the device gets what the machine has written, and not only the machine what the device has.</param>
    public Errno Synchronize(DeviceConnection? machine, QemuLink link, Func<ulong, bool> isLast, bool takesIn)
    {
        if (machine is not null)
        {
            GiveOut(machine, isLast);
        }

        Errno error = Arrange(machine, link);
        if (error == Errno.Success && machine is not null && takesIn)
        {
            TakeIn(machine);
        }

        return error;
    }

    /// <summary>Reads what the device has.</summary>
    /// <returns>The bytes; empty if it does not reach them all.</returns>
    public ReadOnlySpan<byte> Look(ulong address, int length)
    {
        if (address >= End || (ulong)length > End - address)
        {
            return [];
        }

        for (ulong page = PageOf(address); page < address + (ulong)length; page += MirrorWindow.PageSize)
        {
            if (!_pages.ContainsKey(page))
            {
                return [];
            }
        }

        MirrorWindow window = WindowOf(address)!;
        return window.Contains(address + (ulong)length - 1) ? window.BytesOf(address, length) : [];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _windows.ForEach(static window => window.Dispose());
        _file.Dispose();
    }

    private static ulong PageOf(ulong address) => address & ~(ulong)(MirrorWindow.PageSize - 1);

    private MirrorWindow? WindowOf(ulong address) => _windows.Find(window => window.Contains(address));

    // What the device changed. It is looked at until a look finds nothing new: then whatever says that something is there comes with that.
    private void GiveOut(DeviceConnection machine, Func<ulong, bool> isLast)
    {
        _changed.Clear();
        for (int look = 0; look < MostLooks && CollectChanges(); look++)
        {
        }

        // Mappings as they are now: the driver may have changed them since the last time.
        IReadOnlyList<DeviceMapping> now = _changed.Count > 0 ? machine.Mappings?.Invoke() ?? [] : [];
        foreach (bool last in (ReadOnlySpan<bool>)[false, true])
        {
            foreach ((MirrorPage page, ulong[] before) in _changed)
            {
                if (isLast(page.Start) == last)
                {
                    GiveOut(machine, now, page, before);
                }
            }
        }

        RefuseStrays(machine);
    }

    private bool CollectChanges()
    {
        bool found = false;
        foreach (MirrorPage page in _pages.Values)
        {
            ReadOnlySpan<ulong> mirror = page.Mirror;
            if (mirror.SequenceEqual(page.Common))
            {
                continue;
            }

            found = true;
            if (!_changed.Exists(other => other.Page == page))
            {
                _changed.Add((page, [.. page.Common]));
            }

            mirror.CopyTo(page.Common);
        }

        return found;
    }

    // What the device wrote where nothing is mapped any more the IOMMU refuses, and has it on record. Where something else is mapped since, it was not written to that.
    private void GiveOut(DeviceConnection machine, IReadOnlyList<DeviceMapping> now, MirrorPage page, ulong[] before)
    {
        if (Find(now, page.Start) is { } there && there != page.Address)
        {
            Drop();
            before.CopyTo(page.Common, 0);
            before.CopyTo(page.Mirror);
            return;
        }

        Write(machine, page.Start, before, page.Common, range =>
        {
            // The device has it no more either.
            before.AsSpan(range).CopyTo(page.Common.AsSpan(range));
            before.AsSpan(range).CopyTo(page.Mirror[range]);
        });
    }

    private void Drop() => Refused?.Invoke("the device wrote to an address that leads elsewhere by now: that is dropped");

    private static void Write(DeviceConnection machine, ulong page, ReadOnlySpan<ulong> before, ReadOnlySpan<ulong> after, Action<Range>? refused)
    {
        for (int first = 0; first < WordsOfPage;)
        {
            if (after[first] == before[first])
            {
                first++;
                continue;
            }

            int end = first + 1;
            while (end < WordsOfPage && after[end] != before[end])
            {
                end++;
            }

            DmaRequest request = new(machine.RequesterId, new(page + ((ulong)first * sizeof(ulong))), DmaFlags.Write);
            if (machine.Port.Write(request, MemoryMarshal.AsBytes(after[first..end])) != DmaStatus.Success)
            {
                refused?.Invoke(first..end);
            }

            first = end;
        }
    }

    // Pages of the file that nobody mapped exist if the device has accessed them. What it wrote there is for the IOMMU to refuse.
    private void RefuseStrays(DeviceConnection machine)
    {
        IReadOnlyList<DeviceMapping>? now = null;
        foreach (MirrorWindow window in _windows)
        {
            long end = (long)(window.Start + window.Length);
            for (long at = Seek(_file, (long)window.Start, NextData); at >= 0 && at < end; at = Seek(_file, at, NextData))
            {
                for (long hole = Math.Min(end, Seek(_file, at, NextHole)); at < hole; at += MirrorWindow.PageSize)
                {
                    ulong page = (ulong)at;
                    if (_pages.ContainsKey(page))
                    {
                        continue;
                    }

                    ulong[] written = window.WordsOf(page).ToArray();
                    Forget(page);
                    if (written.AsSpan().ContainsAnyExcept(0ul) && Find(now ??= machine.Mappings?.Invoke() ?? [], page) is not null)
                    {
                        Drop();
                    }
                    else
                    {
                        Write(machine, page, new ulong[WordsOfPage], written, null);
                    }
                }

                if (at >= end)
                {
                    break;
                }
            }
        }
    }

    private static PhysicalAddress? Find(IReadOnlyList<DeviceMapping> mappings, ulong address)
    {
        foreach (DeviceMapping mapping in mappings)
        {
            if (address - mapping.Start.Value < mapping.Length)
            {
                return mapping.Address + (address - mapping.Start.Value);
            }
        }

        return null;
    }

    // What the machine changed.
    private void TakeIn(DeviceConnection machine)
    {
        if (machine.WhileMapped is { } hold)
        {
            hold(TakeIn);
            return;
        }

        foreach (MirrorPage page in _pages.Values)
        {
            DmaRequest request = new(machine.RequesterId, new(page.Start));
            if ((page.Access & Access.Read) != 0 && machine.Port.Read(request, MemoryMarshal.AsBytes(_seen.AsSpan())) == DmaStatus.Success)
            {
                TakeIn(page);
            }
        }
    }

    private void TakeIn(IReadOnlyList<DeviceMapping> mappings, IPhysicalMemory memory)
    {
        foreach (DeviceMapping mapping in mappings)
        {
            // What is too long to be shown is not looked through.
            for (ulong at = 0; at < mapping.Length && mapping.Length <= Limit && (mapping.Access & Access.Read) != 0; at += MirrorWindow.PageSize)
            {
                if (_pages.TryGetValue(mapping.Start.Value + at, out MirrorPage? page)
                    && page.Address == mapping.Address + at
                    && memory.Read(page.Address, MemoryMarshal.AsBytes(_seen.AsSpan())) == MemoryStatus.Success)
                {
                    TakeIn(page);
                }
            }
        }
    }

    private void TakeIn(MirrorPage page)
    {
        if (page.Common.AsSpan().SequenceEqual(_seen))
        {
            return;
        }

        Span<ulong> mirror = page.Mirror;
        for (int i = 0; i < WordsOfPage; i++)
        {
            if (page.Common[i] != _seen[i])
            {
                page.Common[i] = _seen[i];
                Volatile.Write(ref mirror[i], _seen[i]);
            }
        }
    }

    private Errno Arrange(DeviceConnection? machine, QemuLink link)
    {
        IReadOnlyList<DeviceMapping> mappings = machine?.Mappings?.Invoke() ?? [];
        if (mappings.SequenceEqual(_arranged))
        {
            return Errno.Success;
        }

        _arranged = [];
        Collect(mappings);
        foreach (MirrorPage page in _pages.Values)
        {
            if (!_wanted.ContainsKey(page.Start))
            {
                GiveOutLast(machine, mappings, page);
            }
        }

        Errno error = Cover(link);
        foreach ((ulong start, DeviceMapping mapping) in _wanted)
        {
            PhysicalAddress address = mapping.Address + (start - mapping.Start.Value);
            if (_pages.TryGetValue(start, out MirrorPage? page) && page.Address == address)
            {
                page.Access = mapping.Access;
            }
            else if (WindowOf(start) is { } window)
            {
                // What leads elsewhere now begins empty.
                Forget(start);
                _pages[start] = new(start) { Address = address, Access = mapping.Access, Window = window };
            }
            else
            {
                Refuse(mapping, $"it can be shown {QemuLink.MostWindows} ranges");
            }
        }

        _arranged = error == Errno.Success ? mappings : [];
        return error;
    }

    // The page goes. What the device writes there from now on is a stray.
    private void GiveOutLast(DeviceConnection? machine, IReadOnlyList<DeviceMapping> now, MirrorPage page)
    {
        if (machine is not null && !page.Mirror.SequenceEqual(page.Common))
        {
            ulong[] before = [.. page.Common];
            page.Mirror.CopyTo(page.Common);
            GiveOut(machine, now, page, before);
        }

        Forget(page.Start);
        _ = _pages.Remove(page.Start);
    }

    // Each page that the device is to reach, with the mapping that it is of.
    private void Collect(IReadOnlyList<DeviceMapping> mappings)
    {
        _wanted.Clear();
        foreach (DeviceMapping mapping in mappings)
        {
            if (mapping.Start.Value >= End || mapping.Length > End - mapping.Start.Value)
            {
                Refuse(mapping, $"it has addresses below 0x{End:x}");
            }
            else if (Taken is { } taken && AddressRange.TryFromLength(mapping.Start.Value, mapping.Length, out AddressRange range) && range.Overlaps(taken))
            {
                Refuse(mapping, "its own registers are there");
            }
            else if (((ulong)_wanted.Count * MirrorWindow.PageSize) + mapping.Length > Limit)
            {
                Refuse(mapping, $"it has copies of {Limit} bytes at most");
            }
            else
            {
                for (ulong at = 0; at < mapping.Length; at += MirrorWindow.PageSize)
                {
                    _wanted[mapping.Start.Value + at] = mapping;
                }
            }
        }
    }

    private void Refuse(in DeviceMapping mapping, string why) =>
        Refused?.Invoke($"0x{mapping.Start.Value:x} and what follows, 0x{mapping.Length:x} bytes, cannot be shown to the device: {why}");

    // Shows the device ranges that have all pages, as far as there can be so many ranges.
    private Errno Cover(QemuLink link)
    {
        SortedSet<ulong> needed = [];
        foreach (ulong start in _wanted.Keys)
        {
            if (WindowOf(start) is null)
            {
                _ = needed.Add(start >> BlockShift);
            }
        }

        if (needed.Count == 0)
        {
            return Errno.Success;
        }

        // Those that were shown stay, unless there are too many then.
        SortedSet<ulong> blocks = [.. _blocks, .. needed];
        List<(ulong Start, ulong Length)> ranges = RangesOf(blocks);
        if (ranges.Count > QemuLink.MostWindows)
        {
            blocks = [.. _wanted.Keys.Select(static start => start >> BlockShift)];
            ranges = RangesOf(blocks);
            ranges = ranges[..Math.Min(ranges.Count, QemuLink.MostWindows)];
        }

        if (ranges.SequenceEqual(_windows.Select(static window => (window.Start, window.Length))))
        {
            return Errno.Success;
        }

        List<MirrorWindow> made = [];
        foreach ((ulong start, ulong length) in ranges)
        {
            if (MirrorWindow.TryCreate(_file, start, length, out MirrorWindow? window) is not Errno.Success and var error)
            {
                made.ForEach(static other => other.Dispose());
                return error;
            }

            made.Add(window!);
        }

        _windows.ForEach(static window => window.Dispose());
        _windows = made;
        _blocks = blocks;
        foreach (MirrorPage page in _pages.Values)
        {
            if (WindowOf(page.Start) is { } window)
            {
                page.Window = window;
            }
            else
            {
                Forget(page.Start);
                _ = _pages.Remove(page.Start);
            }
        }

        Span<(ulong, ulong, ulong)> shown = stackalloc (ulong, ulong, ulong)[QemuLink.MostWindows];
        for (int i = 0; i < ranges.Count; i++)
        {
            shown[i] = (ranges[i].Start, ranges[i].Length, ranges[i].Start);
        }

        return link.ShowMemory(shown[..ranges.Count], _file);
    }

    // Blocks that follow each other are one range, which ends before the device's registers and begins again behind them.
    private List<(ulong Start, ulong Length)> RangesOf(SortedSet<ulong> blocks)
    {
        List<(ulong Start, ulong Length)> ranges = [];
        foreach (ulong block in blocks)
        {
            ulong start = block << BlockShift;
            ulong end = start + (1ul << BlockShift);
            if (Taken is { } taken && taken.Start < end && taken.Last >= start)
            {
                Add(start, PageOf(taken.Start));
                Add(PageOf(taken.Last) + MirrorWindow.PageSize, end);
            }
            else
            {
                Add(start, end);
            }
        }

        return ranges;

        void Add(ulong start, ulong end)
        {
            if (start >= end)
            {
                return;
            }

            if (ranges.Count > 0 && ranges[^1].Start + ranges[^1].Length == start)
            {
                ranges[^1] = (ranges[^1].Start, end - ranges[^1].Start);
            }
            else
            {
                ranges.Add((start, end - start));
            }
        }
    }

    // Of the device's side nothing stays.
    private void Forget(ulong page) => _ = Allocate(_file, KeepSizePunchHole, (long)page, MirrorWindow.PageSize);

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle CreateMemoryFile(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Truncate(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "fallocate")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "lseek")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial long Seek(SafeFileHandle file, long offset, int what);
}
