using System.Runtime.CompilerServices;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>Memory as the IOMMU itself accesses it: little-endian, and nothing answers beyond the host address width.</summary>
internal sealed class HostMemory(IPhysicalMemory memory, int hostAddressWidth)
{
    private readonly SparsePhysicalMemory? _sparse = memory as SparsePhysicalMemory;

    /// <summary>The address bits that do not exist.</summary>
    public readonly ulong BeyondMask = ~((1ul << hostAddressWidth) - 1);

    /// <summary>Reads an aligned doubleword at once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRead(ulong address, out ulong value)
    {
        if ((address & BeyondMask) != 0)
        {
            value = 0;
            return false;
        }

        _ = Injection.Hit(InjectionKind.MemoryRead, address);
        return (_sparse is { } sparse ? sparse.Read64(new(address), out value) : memory.Read64(new(address), out value)) == MemoryStatus.Success;
    }

    /// <summary>
    /// Reads two doublewords that software changes by one store of 16 bytes (section 6.2.2.1): both as they were at one time. Software
    /// that changes them again and again gets what is there at the end.
    /// </summary>
    public bool TryReadPair(ulong address, out ulong low, out ulong high)
    {
        high = 0;
        bool read = TryRead(address, out low) && TryRead(address + 8, out high);
        for (int attempt = 0; read && attempt < 16; attempt++)
        {
            read = TryRead(address, out ulong again);
            if (again == low)
            {
                break;
            }

            low = again;
            read = read && TryRead(address + 8, out high);
        }

        return read;
    }

    /// <summary>Replaces an aligned doubleword if it is still what it was.</summary>
    /// <returns>Whether memory answered; <paramref name="observed"/> equals <paramref name="expected"/> if it was replaced.</returns>
    public bool TryExchange(ulong address, ulong expected, ulong desired, out ulong observed)
    {
        observed = 0;
        if ((address & BeyondMask) != 0)
        {
            return false;
        }

        _ = Injection.Hit(InjectionKind.MemoryWrite, address);
        return memory.CompareExchange64(new(address), expected, desired, out observed) == MemoryStatus.Success;
    }

    /// <summary>Writes 4 aligned bytes.</summary>
    public bool TryWrite32(ulong address, uint value)
    {
        if ((address & BeyondMask) != 0)
        {
            return false;
        }

        _ = Injection.Hit(InjectionKind.MemoryWrite, address);
        return memory.Write32(new(address), value) == MemoryStatus.Success;
    }

    /// <summary>Writes bytes.</summary>
    public bool TryWrite(ulong address, ReadOnlySpan<byte> bytes)
    {
        if ((address & BeyondMask) != 0)
        {
            return false;
        }

        _ = Injection.Hit(InjectionKind.MemoryWrite, address);
        return memory.Write(new(address), bytes) == MemoryStatus.Success;
    }
}
