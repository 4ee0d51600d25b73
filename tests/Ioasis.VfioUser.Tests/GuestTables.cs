using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.VfioUser.Tests;

/// <summary>
/// What a guest's driver does with an IOMMU that is served: a directory of one level with the context of 00:02.0, a command queue, a fault queue, and tables of Sv39
/// for one GiB from IOVA 1 GiB, in the first 32 pages of a memory that both have.
/// </summary>
internal sealed class GuestTables : IDisposable
{
    /// <summary>Where the memory is, in physical addresses.</summary>
    public const ulong Memory = 0x8000_0000;

    private const ulong Directory = 0x1000;
    private const ulong Root = 0x2000;
    private const ulong FaultQueue = 0x3000;
    private const ulong CommandQueue = 0x4000;
    private const ulong Middle = 0x5000;
    private const ulong Leaves = 0x6000;
    private const ulong CommandEntries = 256;
    private const ulong Pointer = 1;
    private const ulong ReadOnly = 0xd3;

    private readonly TestClient _iommu;
    private readonly SharedMemory _memory;
    private ulong _tail;

    public GuestTables(string socket, SharedMemory memory)
    {
        _memory = memory;
        _iommu = new(socket);
        _iommu.Enable();
        _iommu.Map(Memory, (ulong)memory.Bytes.Length, memory).ShouldBe(Errno.Success);
        ulong context = Directory + (0x10 * 64);
        Put(context + DeviceContextOffset.FirstStageContext, (8ul << TablePointer.ModeShift) | ((Memory + Root) >> 12));
        Put(context + DeviceContextOffset.TranslationControl, DeviceTranslationControl.ValidBit);
        Put(Root + 8, ((Memory + Middle) >> 2) | Pointer);
        Put(Middle, ((Memory + Leaves) >> 2) | Pointer);
        _iommu.Write(0, RegisterOffset.FaultQueueBase, 8, ((Memory + FaultQueue) >> 2) | 3);
        _iommu.Write(0, RegisterOffset.FaultQueueCsr, 4, 1);
        _iommu.Write(0, RegisterOffset.CommandQueueBase, 8, ((Memory + CommandQueue) >> 2) | 7);
        _iommu.Write(0, RegisterOffset.CommandQueueCsr, 4, 1);
        _iommu.Write(0, RegisterOffset.DeviceDirectoryTablePointer, 8, ((Memory + Directory) >> 2) | (ulong)IommuMode.OneLevel);
    }

    /// <summary>Records in the fault queue so far.</summary>
    public ulong Faults => _iommu.Read(0, RegisterOffset.FaultQueueTail, 4);

    /// <summary>Maps a page of the first 2 MiB from IOVA 1 GiB.</summary>
    public void Map(ulong iova, ulong address, bool isWritable) =>
        Put(EntryOf(iova), (address >> 2) | ReadOnly | (isWritable ? PageTableEntry.WriteBit : 0));

    /// <summary>Takes it back, and waits until the IOMMU has forgotten it.</summary>
    public void Unmap(ulong iova)
    {
        Put(EntryOf(iova), 0);
        Command(1, 0);

        // IOFENCE.C, which waits for reads and writes of devices.
        Command(2 | (3ul << 12), 0);
        Served.Await(() => _iommu.Read(0, RegisterOffset.CommandQueueHead, 4) == _tail);
    }

    public void Dispose() => _iommu.Dispose();

    private static ulong EntryOf(ulong iova) => Leaves + (((iova >> 12) & 511) * 8);

    private void Command(ulong low, ulong high)
    {
        Put(CommandQueue + (_tail * 16), low);
        Put(CommandQueue + (_tail * 16) + 8, high);
        _tail = (_tail + 1) % CommandEntries;
        _iommu.Write(0, RegisterOffset.CommandQueueTail, 4, _tail);
    }

    private void Put(ulong offset, ulong value) => MemoryMarshal.Write(_memory.Bytes[(int)offset..], value);
}
