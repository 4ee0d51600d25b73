using System.Numerics;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>The registers of one IOMMU, with what its queues have in common.</summary>
internal sealed class HardwareAccess(IRegisterWindow registers, TimeProvider time, TimeSpan timeout, TimeSpan atsTimeout)
    : RegisterAccess(registers, time, timeout, atsTimeout)
{
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
}
