using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>The physical memory of the machine: the platform's own, and the pages of the program's processes.</summary>
/// <remarks>
/// An exchange of 8 bytes in another process's memory excludes others of its kind, not stores of the process: tables whose entries
/// hardware updates lie in the platform's own.
/// </remarks>
internal sealed class MachineMemory(IPhysicalMemory own, ProgramPages pages) : IPhysicalMemory
{
    private readonly Lock _exchangeLock = new();

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        if (!IsProgram(address))
        {
            return own.Read(address, destination);
        }

        using EpochReclaimer.Scope access = pages.Enter();
        while (destination.Length > 0)
        {
            if (!IsProgram(address))
            {
                return MemoryStatus.AccessFault;
            }

            ProgramMemory? memory = pages.Find(address, out ulong userAddress, out ulong left);
            int part = (int)Math.Min((ulong)destination.Length, left);
            MemoryStatus status = memory?.ReadAsDevice(userAddress, destination[..part]) ?? MemoryStatus.AccessFault;
            if (status != MemoryStatus.Success)
            {
                pages.NoteStale(address, writes: false);
                return status;
            }

            address += (ulong)part;
            destination = destination[part..];
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        if (!IsProgram(address))
        {
            return own.Write(address, source);
        }

        using EpochReclaimer.Scope access = pages.Enter();
        while (source.Length > 0)
        {
            if (!IsProgram(address))
            {
                return MemoryStatus.AccessFault;
            }

            ProgramMemory? memory = pages.Find(address, out ulong userAddress, out ulong left);
            int part = (int)Math.Min((ulong)source.Length, left);
            MemoryStatus status = memory?.WriteAsDevice(userAddress, source[..part]) ?? MemoryStatus.AccessFault;
            if (status != MemoryStatus.Success)
            {
                pages.NoteStale(address, writes: true);
                return status;
            }

            address += (ulong)part;
            source = source[part..];
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        if (!IsProgram(address))
        {
            return own.Read64(address, out value);
        }

        value = 0;
        return (address.Value & 7) != 0 ? MemoryStatus.AccessFault : Read(address, MemoryMarshal.AsBytes(new Span<ulong>(ref value)));
    }

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value) =>
        !IsProgram(address) ? own.Write64(address, value)
        : (address.Value & 7) != 0 ? MemoryStatus.AccessFault
        : Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value)));

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        if (!IsProgram(address))
        {
            return own.Read32(address, out value);
        }

        value = 0;
        return (address.Value & 3) != 0 ? MemoryStatus.AccessFault : Read(address, MemoryMarshal.AsBytes(new Span<uint>(ref value)));
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value) =>
        !IsProgram(address) ? own.Write32(address, value)
        : (address.Value & 3) != 0 ? MemoryStatus.AccessFault
        : Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        if (!IsProgram(address))
        {
            return own.CompareExchange64(address, expected, desired, out observed);
        }

        observed = 0;
        if ((address.Value & 7) != 0)
        {
            return MemoryStatus.AccessFault;
        }

        using (pages.Enter())
        {
            if (pages.Find(address, out ulong userAddress, out _) is { } memory
                && memory.TryCompareExchange(userAddress, expected, desired, out observed))
            {
                return MemoryStatus.Success;
            }
        }

        lock (_exchangeLock)
        {
            MemoryStatus status = Read64(address, out observed);
            return status == MemoryStatus.Success && observed == expected ? Write64(address, desired) : status;
        }
    }

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) =>
        IsProgram(address) ? 0 : own.TryGetHostPointer(address, length);

    private bool IsProgram(PhysicalAddress address) => address.Value - pages.Start < pages.Size;
}
