using Ioasis.Primitives;

namespace Ioasis.Platform;

/// <summary>How an access to physical memory ended.</summary>
public enum MemoryStatus
{
    /// <summary>Done.</summary>
    Success,

    /// <summary>Nothing answers at that address, or it may not be accessed so. Nothing was written.</summary>
    AccessFault,

    /// <summary>The data is poisoned.</summary>
    DataCorruption,
}

/// <summary>
/// The seam to physical memory: what the driver writes tables and queues to and what the hardware reads them from.
/// Implementations are thread-safe: aligned 4- and 8-byte accesses are single-copy atomic, writes are seen in order
/// (release), reads are ordered (acquire). Values are little-endian; a big-endian user swaps for itself.
/// None of the calls throws for an address or a value.
/// </summary>
public interface IPhysicalMemory
{
    /// <summary>Reads bytes, in any alignment. After a failure the content of <paramref name="destination"/> is undefined.</summary>
    MemoryStatus Read(PhysicalAddress address, Span<byte> destination);

    /// <summary>Writes bytes, in any alignment.</summary>
    MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source);

    /// <summary>Reads 8 aligned bytes at once.</summary>
    MemoryStatus Read64(PhysicalAddress address, out ulong value);

    /// <summary>Writes 8 aligned bytes at once.</summary>
    MemoryStatus Write64(PhysicalAddress address, ulong value);

    /// <summary>Reads 4 aligned bytes at once.</summary>
    MemoryStatus Read32(PhysicalAddress address, out uint value);

    /// <summary>Writes 4 aligned bytes at once.</summary>
    MemoryStatus Write32(PhysicalAddress address, uint value);

    /// <summary>Replaces 8 aligned bytes if they are <paramref name="expected"/>; a full fence.</summary>
    /// <param name="address">8-byte aligned.</param>
    /// <param name="expected">What must be there.</param>
    /// <param name="desired">What to store.</param>
    /// <param name="observed">What was there: the exchange happened if it equals <paramref name="expected"/>.</param>
    MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed);

    /// <summary>Replaces 4 aligned bytes if they are <paramref name="expected"/>; a full fence.</summary>
    /// <param name="address">4-byte aligned.</param>
    /// <param name="expected">What must be there.</param>
    /// <param name="desired">What to store.</param>
    /// <param name="observed">What was there: the exchange happened if it equals <paramref name="expected"/>.</param>
    MemoryStatus CompareExchange32(PhysicalAddress address, uint expected, uint desired, out uint observed)
    {
        // By default through the doubleword around it; a change of the neighbour only makes it try again.
        PhysicalAddress doubleword = new(address.Value & ~7ul);
        int shift = (int)(address.Value & 4) * 8;
        observed = 0;
        MemoryStatus status = Read64(doubleword, out ulong present);
        while (status == MemoryStatus.Success)
        {
            observed = (uint)(present >> shift);
            if (observed != expected)
            {
                break;
            }

            ulong changed = (present & ~(0xffff_fffful << shift)) | ((ulong)desired << shift);
            status = CompareExchange64(doubleword, present, changed, out ulong seen);
            if (seen == present)
            {
                break;
            }

            present = seen;
        }

        return status;
    }

    /// <summary>
    /// The host address of <paramref name="length"/> contiguous bytes, for implementations whose memory is this process's
    /// own; 0 where it is not (memory behind a socket, memory that a test watches). Valid while the memory object lives.
    /// </summary>
    nint TryGetHostPointer(PhysicalAddress address, ulong length);
}

/// <summary>Memory that takes back pages whose content nobody needs any more.</summary>
internal interface IDiscardableMemory
{
    /// <summary>
    /// Gives back the whole 4 KiB pages within a range: they read 0 from then on, and cost nothing until they are written again. What cannot be
    /// given back keeps its content.
    /// </summary>
    /// <param name="address">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <remarks>
    /// Nobody may access the 2 MiB around any byte of the range meanwhile, and host pointers to its pages (<see cref="IPhysicalMemory.TryGetHostPointer"/>) end.
    /// </remarks>
    void Discard(PhysicalAddress address, ulong length);
}
