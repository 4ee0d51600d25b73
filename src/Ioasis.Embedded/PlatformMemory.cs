using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// Physical memory of a platform whose client is this process: the platform's own memory below 2^51, and from there on the
/// process's.
/// </summary>
/// <remarks>
/// Where the system has to help, an 8-byte exchange in the process's half excludes others of its kind, but not stores of the process itself:
/// tables whose entries hardware updates belong into the lower half.
/// </remarks>
internal sealed class PlatformMemory(SparsePhysicalMemory own) : IPhysicalMemory
{
    private readonly ProcessMemory _process = new();
    private readonly Lock _exchangeLock = new();

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination) =>
        address.Value < ProcessUserMemory.WindowStart
            ? IsOwn(address, destination.Length) ? own.Read(address, destination) : MemoryStatus.AccessFault
            : ToStatus(_process.Read(address.Value - ProcessUserMemory.WindowStart, destination));

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) =>
        address.Value < ProcessUserMemory.WindowStart
            ? IsOwn(address, source.Length) ? own.Write(address, source) : MemoryStatus.AccessFault
            : ToStatus(_process.Write(address.Value - ProcessUserMemory.WindowStart, source));

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        if (address.Value < ProcessUserMemory.WindowStart)
        {
            return own.Read64(address, out value);
        }

        value = 0;
        return (address.Value & 7) != 0
            ? MemoryStatus.AccessFault
            : Read(address, MemoryMarshal.AsBytes(new Span<ulong>(ref value)));
    }

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value) =>
        address.Value < ProcessUserMemory.WindowStart
            ? own.Write64(address, value)
            : (address.Value & 7) != 0
                ? MemoryStatus.AccessFault
                : Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value)));

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        if (address.Value < ProcessUserMemory.WindowStart)
        {
            return own.Read32(address, out value);
        }

        value = 0;
        return (address.Value & 3) != 0
            ? MemoryStatus.AccessFault
            : Read(address, MemoryMarshal.AsBytes(new Span<uint>(ref value)));
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value) =>
        address.Value < ProcessUserMemory.WindowStart
            ? own.Write32(address, value)
            : (address.Value & 3) != 0
                ? MemoryStatus.AccessFault
                : Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        if (address.Value < ProcessUserMemory.WindowStart)
        {
            return own.CompareExchange64(address, expected, desired, out observed);
        }

        if ((address.Value & 7) != 0)
        {
            observed = 0;
            return MemoryStatus.AccessFault;
        }

        if (ProcessMemory.TryCompareExchange(address.Value - ProcessUserMemory.WindowStart, expected, desired, out observed))
        {
            return MemoryStatus.Success;
        }

        lock (_exchangeLock)
        {
            MemoryStatus status = Read64(address, out observed);
            return status == MemoryStatus.Success && observed == expected ? Write64(address, desired) : status;
        }
    }

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) =>
        address.Value < ProcessUserMemory.WindowStart && length <= ProcessUserMemory.WindowStart - address.Value
            ? own.TryGetHostPointer(address, length)
            : 0;

    private static bool IsOwn(PhysicalAddress address, int length) =>
        (ulong)length <= ProcessUserMemory.WindowStart - address.Value;

    private static MemoryStatus ToStatus(Errno error) =>
        error == Errno.Success ? MemoryStatus.Success : MemoryStatus.AccessFault;
}
