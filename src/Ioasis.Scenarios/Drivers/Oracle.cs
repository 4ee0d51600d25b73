using System.Globalization;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// What invariants 1 and 2 come down to for memory: the hardware touches no page that was taken from the device, and no table
/// or queue page that was given back. Every access of the hardware and of the driver is held against it.
/// </summary>
internal sealed class Oracle(ulong poolStart, ulong poolEnd)
{
    /// <summary>The device on whose behalf the thread is inside the hardware.</summary>
    [ThreadStatic]
    private static ulong? t_device;

    private readonly HashSet<ulong> _allocated = [];
    private readonly HashSet<(ulong? Device, ulong Page)> _revoked = [];

    /// <summary>The first thing that went wrong, or null.</summary>
    public string? Violation { get; private set; }

    public static ulong? Requester
    {
        get => t_device;
        set => t_device = value;
    }

    /// <summary>From now on the page belongs to somebody else: no device may touch it, or this one not.</summary>
    public void Revoke(ulong page, IommuDevice? device = null)
    {
        _ = _revoked.Add((device?.Id.Value, page));
        Scenario.Note(string.Create(CultureInfo.InvariantCulture, $"page 0x{page:x} is taken from {(device is null ? "every device" : device.Name)}"));
    }

    public void Allocated(ulong address, ulong size)
    {
        for (ulong page = address; page < address + size; page += 4096)
        {
            if (!_allocated.Add(page))
            {
                Report($"page 0x{page:x} is handed out twice");
            }
        }
    }

    public void Freed(ulong address, ulong size)
    {
        for (ulong page = address; page < address + size; page += 4096)
        {
            if (!_allocated.Remove(page))
            {
                Report($"page 0x{page:x} is freed twice");
            }
        }
    }

    public void HardwareAccess(ulong address, string what)
    {
        ulong page = address & ~0xffful;
        if (page >= poolStart && page < poolEnd)
        {
            if (!_allocated.Contains(page))
            {
                Report($"the hardware {what} 0x{address:x}, in a page that was freed");
            }
        }
        else if (_revoked.Contains((null, page)) || (t_device is not null && _revoked.Contains((t_device, page))))
        {
            Report($"the hardware {what} 0x{address:x} for device {t_device}, in a page that was taken from it");
        }
    }

    public void DriverAccess(ulong address, string what)
    {
        ulong page = address & ~0xffful;
        if (page >= poolStart && page < poolEnd && !_allocated.Contains(page))
        {
            Report($"the driver {what} 0x{address:x}, in a page that was freed");
        }
    }

    /// <summary>Something else that must not happen has happened.</summary>
    public void Blame(FormattableString what) => Report(what);

    private void Report(FormattableString what)
    {
        string text = what.ToString(CultureInfo.InvariantCulture);
        Scenario.Note("VIOLATION: " + text);
        Violation ??= text;
    }
}

/// <summary>Hands out pages and tells the oracle.</summary>
internal sealed class OraclePages(IPageAllocator inner, Oracle oracle) : IPageAllocator
{
    public bool TryAllocate(int sizeLog2, int node, out PhysicalAddress address)
    {
        bool done = inner.TryAllocate(sizeLog2, node, out address);
        if (done)
        {
            oracle.Allocated(address.Value, 1ul << sizeLog2);
        }

        return done;
    }

    public void Free(PhysicalAddress address, int sizeLog2)
    {
        oracle.Freed(address.Value, 1ul << sizeLog2);
        inner.Free(address, sizeLog2);
    }
}

/// <summary>Memory whose accesses are held against the oracle, as one side or the other makes them.</summary>
internal sealed class OracleMemory(IPhysicalMemory inner, Action<ulong, string> check) : MemoryDecorator(inner)
{
    /// <summary>Says of a read whether it shall fail.</summary>
    public Func<ulong, bool>? FailsToRead { get; set; }

    /// <summary>Sees the address and the value of a read and gives what the reader gets.</summary>
    public Func<ulong, ulong, ulong>? Spoil { get; set; }

    public override MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        check(address.Value, "reads");
        return base.Read(address, destination);
    }

    public override MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        check(address.Value, "writes");
        return base.Write(address, source);
    }

    public override MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        check(address.Value, "reads");
        if (FailsToRead?.Invoke(address.Value) ?? false)
        {
            value = 0;
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = base.Read64(address, out value);
        value = Spoil?.Invoke(address.Value, value) ?? value;
        return status;
    }

    public override MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        check(address.Value, "writes");
        return base.Write64(address, value);
    }

    public override MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        check(address.Value, "reads");
        return base.Read32(address, out value);
    }

    public override MemoryStatus Write32(PhysicalAddress address, uint value)
    {
        check(address.Value, "writes");
        return base.Write32(address, value);
    }

    public override MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        check(address.Value, "updates");
        return base.CompareExchange64(address, expected, desired, out observed);
    }
}
