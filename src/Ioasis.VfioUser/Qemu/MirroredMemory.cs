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
internal sealed partial class MirroredMemory : IDisposable
{
    // Where a device has memory that reaches nobody while it may reach nothing: QEMU wants one range at least. No IOMMU's addresses go so far.
    private const ulong Nowhere = 1ul << 60;

    // The device can go on writing while it is looked at, but not begin anything new: it comes to rest by itself.
    private const int MostLooks = 256;
    private const int WordsOfPage = MirrorWindow.PageSize / sizeof(ulong);
    private const uint CloseOnExec = 1;
    private const int KeepSizePunchHole = 3;

    private readonly SafeFileHandle _file;
    private readonly ulong[] _seen = new ulong[WordsOfPage];
    private readonly List<(MirrorWindow Window, int Page, ulong[] Before)> _changed = [];
    private List<MirrorWindow> _windows = [];

    /// <summary>Makes one in which the device reaches nothing.</summary>
    /// <exception cref="IOException">The system has no memory file.</exception>
    public MirroredMemory()
    {
        _file = CreateMemoryFile("ioasis-mirror", CloseOnExec);
        if (_file.IsInvalid || Truncate(_file, (long)(Nowhere + MirrorWindow.PageSize)) != 0)
        {
            _file.Dispose();
            throw new IOException("a file in memory cannot be made");
        }
    }

    /// <summary>Most bytes of copies.</summary>
    public ulong Limit { get; init; } = 256 << 20;

    /// <summary>Addresses that the device has for its own registers, so that memory cannot be there.</summary>
    public AddressRange? Taken { get; set; }

    /// <summary>Told of ranges that the device cannot be shown, and why: a sentence.</summary>
    public Action<string>? Refused { get; init; }

    /// <summary>Brings both sides together.</summary>
    /// <param name="machine">The machine; null if the device may not do DMA now.</param>
    /// <param name="link">Where the device is told of other ranges.</param>
    /// <param name="isLast">Pages that are written after all others, because what they say is about those.</param>
    /// <param name="takesIn">Whether the device gets what the machine has written, and not only the machine what the device has.</param>
    public Errno Synchronize(DeviceConnection? machine, QemuLink link, Func<ulong, bool> isLast, bool takesIn)
    {
        IReadOnlyList<DmaMapping> mappings = machine?.Mappings?.Invoke() ?? [];
        if (machine is not null)
        {
            GiveOut(machine, isLast);
        }

        List<MirrorWindow> old = _windows;
        Errno error = Arrange(mappings, out bool isOther);
        if (error == Errno.Success && machine is not null && takesIn)
        {
            TakeIn(machine);
        }

        if (error != Errno.Success || !isOther)
        {
            return error;
        }

        Span<(ulong, ulong, ulong)> shown = stackalloc (ulong, ulong, ulong)[QemuLink.MostWindows];
        for (int i = 0; i < _windows.Count; i++)
        {
            shown[i] = (_windows[i].Start, _windows[i].Length, _windows[i].Start);
        }

        shown[0] = _windows.Count == 0 ? (Nowhere, MirrorWindow.PageSize, Nowhere) : shown[0];
        error = link.ShowMemory(shown[..Math.Max(1, _windows.Count)], _file);
        foreach (MirrorWindow window in old.Except(_windows))
        {
            Forget(window);
        }

        return error;
    }

    /// <summary>Reads what the device has.</summary>
    /// <returns>The bytes; empty if they are not all in one range that it reaches.</returns>
    public ReadOnlySpan<byte> Look(ulong address, int length)
    {
        foreach (MirrorWindow window in _windows)
        {
            ReadOnlySpan<byte> bytes = window.TryGetBytes(address, length);
            if (!bytes.IsEmpty)
            {
                return bytes;
            }
        }

        return [];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _windows.ForEach(static window => window.Dispose());
        _file.Dispose();
    }

    // What the device changed. It is looked at until a look finds nothing new: then whatever says that something is there comes with that.
    private void GiveOut(DeviceConnection machine, Func<ulong, bool> isLast)
    {
        _changed.Clear();
        for (int look = 0; look < MostLooks && CollectChanges(); look++)
        {
        }

        foreach (bool last in (ReadOnlySpan<bool>)[false, true])
        {
            foreach ((MirrorWindow window, int page, ulong[] before) in _changed)
            {
                if (isLast(window.Start + ((ulong)page * MirrorWindow.PageSize)) == last)
                {
                    GiveOut(machine, window, page, before);
                }
            }
        }
    }

    private bool CollectChanges()
    {
        bool found = false;
        foreach (MirrorWindow window in _windows)
        {
            for (int page = 0; page < window.Pages.Length; page++)
            {
                ReadOnlySpan<ulong> mirror = window.MirrorOf(page);
                Span<ulong> common = window.CommonOf(page);
                if (mirror.SequenceEqual(common))
                {
                    continue;
                }

                found = true;
                if (!_changed.Exists(other => other.Window == window && other.Page == page))
                {
                    _changed.Add((window, page, common.ToArray()));
                }

                mirror.CopyTo(common);
            }
        }

        return found;
    }

    private static void GiveOut(DeviceConnection machine, MirrorWindow window, int page, ulong[] before)
    {
        Span<ulong> common = window.CommonOf(page);
        for (int first = 0; first < WordsOfPage;)
        {
            if (common[first] == before[first])
            {
                first++;
                continue;
            }

            int end = first + 1;
            while (end < WordsOfPage && common[end] != before[end])
            {
                end++;
            }

            Iova address = new(window.Start + ((ulong)page * MirrorWindow.PageSize) + ((ulong)first * sizeof(ulong)));
            DmaRequest request = new(machine.RequesterId, address, DmaFlags.Write);
            if (machine.Port.Write(request, MemoryMarshal.AsBytes(common[first..end])) != DmaStatus.Success)
            {
                // Refused, and on record: the device has it no more either.
                before.AsSpan(first..end).CopyTo(common[first..end]);
                before.AsSpan(first..end).CopyTo(window.MirrorOf(page)[first..end]);
            }

            first = end;
        }
    }

    // What the machine changed.
    private void TakeIn(DeviceConnection machine)
    {
        foreach (MirrorWindow window in _windows)
        {
            for (int page = 0; page < window.Pages.Length; page++)
            {
                DmaRequest request = new(machine.RequesterId, new(window.Start + ((ulong)page * MirrorWindow.PageSize)));
                if ((window.Pages[page].Access & Access.Read) == 0
                    || machine.Port.Read(request, MemoryMarshal.AsBytes(_seen.AsSpan())) != DmaStatus.Success)
                {
                    continue;
                }

                Span<ulong> common = window.CommonOf(page);
                if (common.SequenceEqual(_seen))
                {
                    continue;
                }

                Span<ulong> mirror = window.MirrorOf(page);
                for (int i = 0; i < WordsOfPage; i++)
                {
                    if (common[i] != _seen[i])
                    {
                        common[i] = _seen[i];
                        Volatile.Write(ref mirror[i], _seen[i]);
                    }
                }
            }
        }
    }

    // Ranges that continue each other are one; what is there already stays, unless it leads elsewhere now.
    private Errno Arrange(IReadOnlyList<DmaMapping> mappings, out bool isOther)
    {
        List<(ulong Start, List<MirrorPage> Pages)> wanted = Collect(mappings);
        isOther = wanted.Count != _windows.Count;
        for (int i = 0; i < wanted.Count && !isOther; i++)
        {
            isOther = wanted[i].Start != _windows[i].Start || wanted[i].Pages.Count != _windows[i].Pages.Length;
        }

        if (!isOther)
        {
            for (int i = 0; i < wanted.Count; i++)
            {
                Renew(_windows[i], _windows[i], wanted[i].Pages);
            }

            return Errno.Success;
        }

        List<MirrorWindow> made = [];
        foreach ((ulong start, List<MirrorPage> pages) in wanted)
        {
            MirrorWindow? window = _windows.Find(other => other.Start == start && other.Pages.Length == pages.Count);
            if (window is null && MirrorWindow.TryCreate(_file, start, pages.Count, out window) is not Errno.Success and var error)
            {
                made.Except(_windows).ToList().ForEach(static other => other.Dispose());
                return error;
            }

            made.Add(window!);
        }

        for (int i = 0; i < made.Count; i++)
        {
            foreach (MirrorWindow old in _windows)
            {
                Renew(made[i], old, wanted[i].Pages);
            }

            Clear(made[i], wanted[i].Pages);
        }

        _windows = made;
        return Errno.Success;
    }

    // Pages of a window that an older one had too keep what was in common; those that lead elsewhere now begin empty.
    private static void Renew(MirrorWindow window, MirrorWindow old, List<MirrorPage> pages)
    {
        for (int page = 0; page < pages.Count; page++)
        {
            ulong address = window.Start + ((ulong)page * MirrorWindow.PageSize);
            if (address < old.Start || address - old.Start >= old.Length)
            {
                continue;
            }

            int before = (int)((address - old.Start) / MirrorWindow.PageSize);
            MirrorPage was = old.Pages[before];
            if (was.Address == pages[page].Address)
            {
                if (window != old)
                {
                    old.CommonOf(before).CopyTo(window.CommonOf(page));
                }

                window.Pages[page] = pages[page];
            }
            else if (window == old)
            {
                Clear(window, page, pages[page]);
            }
        }
    }

    private static void Clear(MirrorWindow window, List<MirrorPage> pages)
    {
        for (int page = 0; page < pages.Count; page++)
        {
            if (window.Pages[page] != pages[page])
            {
                Clear(window, page, pages[page]);
            }
        }
    }

    private static void Clear(MirrorWindow window, int page, MirrorPage now)
    {
        window.MirrorOf(page).Clear();
        window.CommonOf(page).Clear();
        window.Pages[page] = now;
    }

    private List<(ulong Start, List<MirrorPage> Pages)> Collect(IReadOnlyList<DmaMapping> mappings)
    {
        List<(ulong Start, List<MirrorPage> Pages)> wanted = [];
        List<string> refused = [];
        ulong bytes = 0;
        foreach (DmaMapping mapping in mappings)
        {
            string? why = null;
            bool continues = wanted.Count > 0 && wanted[^1].Start + ((ulong)wanted[^1].Pages.Count * MirrorWindow.PageSize) == mapping.Start.Value;
            if (Taken is { } taken && AddressRange.TryFromLength(mapping.Start.Value, mapping.Length, out AddressRange range) && range.Overlaps(taken))
            {
                why = "its own registers are there";
            }
            else if (bytes + mapping.Length > Limit)
            {
                why = $"it has copies of {Limit} bytes at most";
            }
            else if (!continues && wanted.Count == QemuLink.MostWindows)
            {
                why = $"it can be shown {QemuLink.MostWindows} ranges";
            }

            if (why is not null)
            {
                refused.Add($"0x{mapping.Start.Value:x} and what follows, 0x{mapping.Length:x} bytes, cannot be shown to the device: {why}");
                continue;
            }

            if (!continues)
            {
                wanted.Add((mapping.Start.Value, []));
            }

            bytes += mapping.Length;
            for (ulong at = 0; at < mapping.Length; at += MirrorWindow.PageSize)
            {
                wanted[^1].Pages.Add(new(mapping.Address + at, mapping.Access));
            }
        }

        refused.ForEach(line => Refused?.Invoke(line));
        return wanted;
    }

    // The pages go, unless another window has them.
    private void Forget(MirrorWindow window)
    {
        for (int page = 0; page < window.Pages.Length; page++)
        {
            ulong address = window.Start + ((ulong)page * MirrorWindow.PageSize);
            if (Look(address, MirrorWindow.PageSize).IsEmpty)
            {
                _ = Allocate(_file, KeepSizePunchHole, (long)address, MirrorWindow.PageSize);
            }
        }

        window.Dispose();
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle CreateMemoryFile(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Truncate(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "fallocate")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);
}
