using System.Globalization;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// This very process as an address space for devices: they use its own pointers. What a device touches is looked up in
/// <c>/proc/self/maps</c>, faulted in, and mirrored in a table; the memory itself is reached through the operating system, so
/// that a wrong pointer is an I/O page fault and a page that goes away an access fault, never a crash. Linux only.
/// </summary>
/// <remarks>
/// A user program gets no notice when its own mappings change. It need not: a device never reaches more than the process
/// itself could at that address at that moment. <see cref="Invalidate"/> makes devices fault again, for counting or for order.
/// </remarks>
public sealed class HostAddressSpace : ProcessAddressSpace
{
    private const ulong PageMask = 4095;

    private readonly ProcessMemory _process;

    private HostAddressSpace(IoPageTable table, IPhysicalMemory memory, ProcessMemory process)
        : base(table, memory) => _process = process;

    /// <summary>Faults served.</summary>
    public long Faults { get; private set; }

    /// <summary>Makes the address space.</summary>
    /// <param name="platform">A platform whose clients are this process.</param>
    /// <param name="addressSpace">The address space.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> if the platform's physical memory does not hold this process, its IOMMU walks no
    /// tables of processes, or the system forbids it; <see cref="Errno.OutOfMemory"/>.
    /// </returns>
    public static Errno CreateErrno(EmbeddedPlatform platform, out HostAddressSpace? addressSpace)
    {
        ArgumentNullException.ThrowIfNull(platform);
        addressSpace = null;
        if (platform.Options.UserMemory is not null || !OperatingSystem.IsLinux())
        {
            return Errno.NotSupported;
        }

        IReadOnlyList<PageTableFormat> formats = platform.Driver.Capabilities.ProcessFormats;
        if (formats.Count == 0)
        {
            return Errno.NotSupported;
        }

        Errno error = IoPageTable.TryCreate(
            formats[0], new() { LeafSizes = 4096 }, platform.DriverMemory, platform.TablePages, out IoPageTable? table);
        if (error == Errno.Success)
        {
            addressSpace = new(table!, platform.DriverMemory, new());
        }

        return error;
    }

    /// <inheritdoc/>
    public override Errno HandleFault(ulong address, Access access)
    {
        ulong page = address & ~PageMask;
        using (Lock.Acquire())
        {
            if (IsExiting || page > Table.Aperture.Last)
            {
                return Errno.BadAddress;
            }

            Errno error = FindPermissions(page, out Access permitted);
            if (error != Errno.Success)
            {
                return error;
            }

            if ((access & ~permitted) != 0)
            {
                return Errno.AccessDenied;
            }

            // As for a thread: the page is there before the table says so.
            bool writes = (access & Access.Write) != 0;
            error = _process.Populate(page, PageMask + 1, writes);
            if (error != Errno.Success)
            {
                return error;
            }

            Faults++;
            if (Table.TryTranslate(new(page), out _, out Access present, out _))
            {
                if ((access & ~present) == 0)
                {
                    return Errno.Success;
                }

                error = TakeOut(new(page, page + PageMask));
            }

            InvalidationGather gather = default;
            return error == Errno.Success
                ? Table.Map(new(page), new(ProcessUserMemory.WindowStart + page), PageMask + 1, permitted & Access.ReadWrite, ref gather)
                : error;
        }
    }

    /// <summary>Has devices forget a range: the process has changed its mappings there.</summary>
    /// <param name="address">Page-aligned.</param>
    /// <param name="length">Bytes, a multiple of the page size, not 0.</param>
    public Errno Invalidate(ulong address, ulong length)
    {
        if (((address | length) & PageMask) != 0 || !AddressRange.TryFromLength(address, length, out AddressRange range)
            || !Table.Aperture.Contains(range))
        {
            return Errno.InvalidArgument;
        }

        using (Lock.Acquire())
        {
            return IsExiting ? Errno.NoEntry : TakeOut(range);
        }
    }

    /// <inheritdoc/>
    public override Errno Read(ulong address, Span<byte> destination) => _process.Read(address, destination);

    /// <inheritdoc/>
    public override Errno Write(ulong address, ReadOnlySpan<byte> source) => _process.Write(address, source);

    /// <inheritdoc/>
    protected override void ReleasePages()
    {
        // They are the program's.
    }

    private Errno TakeOut(AddressRange range)
    {
        InvalidationGather gather = default;
        Errno error = Table.Unmap(new(range.Start), range.Length, ref gather, out _);
        error = error == Errno.Success ? Notify(gather) : error;
        if (error == Errno.Success)
        {
            Table.Release(ref gather);
        }
        else
        {
            // Table pages that a device may still walk are lost rather than reused.
            gather.Clear();
        }

        return error;
    }

    // Lines of "start-last+1 rwxp …", by address.
    private static Errno FindPermissions(ulong page, out Access permitted)
    {
        permitted = Access.None;
        try
        {
            foreach (string line in File.ReadLines("/proc/self/maps"))
            {
                int dash = line.IndexOf('-', StringComparison.Ordinal);
                int blank = line.IndexOf(' ', StringComparison.Ordinal);
                if (dash < 0 || blank < dash || line.Length < blank + 4
                    || !ulong.TryParse(line.AsSpan(0, dash), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong start)
                    || !ulong.TryParse(line.AsSpan(dash + 1, blank - dash - 1), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong end)
                    || page >= end)
                {
                    continue;
                }

                if (page < start)
                {
                    return Errno.BadAddress;
                }

                permitted = (line[blank + 1] == 'r' ? Access.Read : 0)
                    | (line[blank + 2] == 'w' ? Access.Write : 0)
                    | (line[blank + 3] == 'x' ? Access.Execute : 0);
                return Errno.Success;
            }

            return Errno.BadAddress;
        }
        catch (IOException)
        {
            return Errno.IoError;
        }
        catch (UnauthorizedAccessException)
        {
            return Errno.IoError;
        }
    }
}
