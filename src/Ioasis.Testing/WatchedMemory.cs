using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>
/// Physical memory of which each access passes the injection seam, as one point with its address, and may be recorded. It
/// gives no host pointers, so that nobody gets around it. A point that a test makes fail is an access fault.
/// </summary>
public sealed class WatchedMemory(IPhysicalMemory inner, AccessRecording? recording = null) : IPhysicalMemory
{
    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        if (Injection.Hit(InjectionKind.MemoryRead, address.Value) != Errno.Success)
        {
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = inner.Read(address, destination);
        AccessRecording.Done(recording, InjectionKind.MemoryRead, address.Value, destination.Length, Value(destination));
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        if (Injection.Hit(InjectionKind.MemoryWrite, address.Value) != Errno.Success)
        {
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = inner.Write(address, source);
        AccessRecording.Done(recording, InjectionKind.MemoryWrite, address.Value, source.Length, Value(source));
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        value = 0;
        if (Injection.Hit(InjectionKind.MemoryRead, address.Value) != Errno.Success)
        {
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = inner.Read64(address, out value);
        AccessRecording.Done(recording, InjectionKind.MemoryRead, address.Value, 8, value);
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        if (Injection.Hit(InjectionKind.MemoryWrite, address.Value) != Errno.Success)
        {
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = inner.Write64(address, value);
        AccessRecording.Done(recording, InjectionKind.MemoryWrite, address.Value, 8, value);
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        value = 0;
        if (Injection.Hit(InjectionKind.MemoryRead, address.Value) != Errno.Success)
        {
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = inner.Read32(address, out value);
        AccessRecording.Done(recording, InjectionKind.MemoryRead, address.Value, 4, value);
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value)
    {
        if (Injection.Hit(InjectionKind.MemoryWrite, address.Value) != Errno.Success)
        {
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = inner.Write32(address, value);
        AccessRecording.Done(recording, InjectionKind.MemoryWrite, address.Value, 4, value);
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        observed = 0;
        if (Injection.Hit(InjectionKind.MemoryWrite, address.Value) != Errno.Success)
        {
            return MemoryStatus.AccessFault;
        }

        MemoryStatus status = inner.CompareExchange64(address, expected, desired, out observed);
        AccessRecording.Done(recording, InjectionKind.MemoryWrite, address.Value, 8, observed == expected ? desired : observed);
        return status;
    }

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

    private static ulong Value(ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        for (int i = 0; bytes.Length <= 8 && i < bytes.Length; i++)
        {
            value |= (ulong)bytes[i] << (8 * i);
        }

        return value;
    }
}
