using System.Numerics;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>The registers of one IOMMU with the clock: reads, writes, and waits that always end.</summary>
internal sealed class HardwareAccess(IRegisterWindow registers, TimeProvider time, TimeSpan timeout, TimeSpan atsTimeout)
{
    private const int SpinsBeforeYield = 64;

    public IRegisterWindow Registers { get; } = registers;

    public TimeProvider Time { get; } = time;

    public TimeSpan Timeout { get; } = timeout;

    public TimeSpan AtsTimeout { get; } = atsTimeout;

    /// <summary>Polls until the bits under <paramref name="mask"/> are <paramref name="expected"/>, or the time is up.</summary>
    public bool WaitFor32(uint offset, uint mask, uint expected, out uint value)
    {
        value = Registers.Read32(offset);
        if ((value & mask) == expected)
        {
            return true;
        }

        long start = Time.GetTimestamp();
        for (int spins = 0; Time.GetElapsedTime(start) < Timeout; spins++)
        {
            Pause(spins);
            value = Registers.Read32(offset);
            if ((value & mask) == expected)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>As <see cref="WaitFor32"/>, for an 8-byte register.</summary>
    public bool WaitFor64(uint offset, ulong mask, ulong expected, out ulong value)
    {
        value = Registers.Read64(offset);
        if ((value & mask) == expected)
        {
            return true;
        }

        long start = Time.GetTimestamp();
        for (int spins = 0; Time.GetElapsedTime(start) < Timeout; spins++)
        {
            Pause(spins);
            value = Registers.Read64(offset);
            if ((value & mask) == expected)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// Allocates a queue and tells the hardware where it is. The size is WARL: the hardware may keep a smaller one, which then
    /// is the size.
    /// </summary>
    /// <param name="pages">Where the memory comes from.</param>
    /// <param name="register">The base register; its queue is off.</param>
    /// <param name="entryBytes">Bytes of an entry.</param>
    /// <param name="minSizeLog2">The smallest size that will do.</param>
    /// <param name="sizeLog2">log2 of the entries wanted, then of those that the queue has.</param>
    /// <param name="start">The memory.</param>
    /// <param name="bytesLog2">log2 of its size.</param>
    public Errno TryAllocateQueue(
        IPageAllocator pages,
        uint register,
        int entryBytes,
        int minSizeLog2,
        ref int sizeLog2,
        out PhysicalAddress start,
        out int bytesLog2)
    {
        bytesLog2 = Math.Max(12, sizeLog2 + BitOperations.Log2((uint)entryBytes));
        if (!pages.TryAllocate(bytesLog2, IPageAllocator.AnyNode, out start))
        {
            return Errno.OutOfMemory;
        }

        ulong base64 = PpnField.FromAddress(start.Value);
        Registers.Write64(register, base64 | (uint)(sizeLog2 - 1));
        ulong kept = Registers.Read64(register);
        int keptLog2 = (int)(kept & QueueBase.Log2SizeMinus1Mask) + 1;
        if ((kept & PpnField.Mask) == base64 && keptLog2 >= minSizeLog2 && keptLog2 <= sizeLog2)
        {
            sizeLog2 = keptLog2;
            return Errno.Success;
        }

        pages.Free(start, bytesLog2);
        return Errno.NotSupported;
    }

    /// <summary>One step of waiting for hardware or for another thread.</summary>
    public static void Pause(int spins)
    {
        _ = Injection.Hit(InjectionKind.Wait);
        if (spins < SpinsBeforeYield)
        {
            Thread.SpinWait(8);
        }
        else
        {
            _ = Thread.Yield();
        }
    }
}
