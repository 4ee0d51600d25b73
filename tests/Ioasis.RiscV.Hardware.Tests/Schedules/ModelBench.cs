using System.Buffers.Binary;
using System.Globalization;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.Testing;

namespace Ioasis.RiscV.Hardware.Tests.Schedules;

/// <summary>How a device reaches the page that is taken from it.</summary>
public enum Path
{
    /// <summary>First stage, Sv39.</summary>
    FirstStage,

    /// <summary>Second stage, Sv39x4.</summary>
    SecondStage,

    /// <summary>Sv39 on top of Sv39x4.</summary>
    BothStages,

    /// <summary>First stage of a process, through a process directory.</summary>
    Process,

    /// <summary>A virtual interrupt file in a flat MSI page table.</summary>
    Interrupt,
}

/// <summary>
/// A model with one device whose IOVA <see cref="Page"/> leads to <see cref="OldPage"/>, and the software's side of it: table
/// writes and register accesses are points of the seam, as are those of the model.
/// </summary>
internal sealed class ModelBench
{
    public const uint Device = 1;
    public const uint Process = 3;
    public const uint Pscid = 5;
    public const uint Gscid = 7;
    public const ulong Page = 0x1000;
    public const ulong OldPage = 0x10_0000;
    public const ulong NewPage = 0x10_1000;
    public const ulong ForbiddenPage = 0x10_2000;

    public const ulong Context = 0x1000 + (Device * 64);
    public const ulong ProcessContext = 0x8000 + (Process * 16);
    public const ulong InterruptTable = 0x9000;
    public const ulong FirstRoot = 0x1_0000;
    public const ulong FirstMiddle = 0x1_1000;
    public const ulong FirstLeaf = 0x1_2000;
    public const ulong OtherRoot = 0x1_4000;
    public const ulong OtherMiddle = 0x1_5000;
    public const ulong OtherLeaf = 0x1_6000;
    public const ulong SecondRoot = 0x2_0000;
    public const ulong SecondMiddle = 0x2_4000;
    public const ulong SecondLeaf = 0x2_5000;

    // Guest addresses from 1 GiB on are translated by 4 KiB pages, those below by one identity page: tables lie there.
    public const ulong GuestPage = 0x4000_1000;

    private const ulong CommandQueue = 0x2000;
    private const ulong FaultQueue = 0x3000;
    private const uint QueueLog2 = 7;
    private const ulong Leaf = PageTableEntry.ValidBit | PageTableEntry.ReadBit | PageTableEntry.WriteBit
        | PageTableEntry.UserBit | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;

    private readonly PagedMemory _memory = new();
    private readonly WatchedMemory _watched;
    private readonly WatchedRegisters _registers;
    private uint _tail;

    public ModelBench(Path path, CachingMode caching, ulong leafBits = 0, ulong controlBits = 0)
    {
        // A tiny realistic IOTLB also shows what evictions do.
        Model = new(new() { Caching = caching, IotlbEntries = 2, IotlbWays = 1, DdtCacheEntries = 1, PdtCacheEntries = 1 }, _memory);
        _watched = new(_memory);
        _registers = new(Model);
        Path = path;
        bool second = path is Path.SecondStage or Path.BothStages or Path.Interrupt;
        bool first = path is not (Path.SecondStage or Path.Interrupt);

        // Both sets of first-stage tables; the other leads to the new page.
        Poke(FirstRoot, Table(FirstMiddle));
        Poke(FirstMiddle, Table(FirstLeaf));
        Poke(FirstLeaf + 8, LeafTo(path == Path.BothStages ? GuestPage : OldPage, leafBits));
        Poke(OtherRoot, Table(OtherMiddle));
        Poke(OtherMiddle, Table(OtherLeaf));
        Poke(OtherLeaf + 8, LeafTo(path == Path.BothStages ? GuestPage + 0x1000 : NewPage, 0));
        Poke(SecondRoot, LeafTo(0, 0));
        Poke(SecondRoot + 8, Table(SecondMiddle));
        Poke(SecondMiddle, Table(SecondLeaf));
        Poke(SecondLeaf + 8, LeafTo(OldPage, 0));
        Poke(SecondLeaf + 16, LeafTo(NewPage, 0));
        Poke(InterruptTable, InterruptTo(OldPage));

        ulong firstContext = !first ? 0
            : path == Path.Process ? 0x8ul | ((ulong)Pdtp.ModePd8 << TablePointer.ModeShift)
            : Satp(FirstRoot);
        Poke(ProcessContext + ProcessContextOffset.FirstStageContext, Satp(FirstRoot));
        Poke(ProcessContext + ProcessContextOffset.TranslationAttributes, ProcessAttributes(Pscid) | ProcessTranslationAttributes.ValidBit);
        Poke(Context + DeviceContextOffset.Iohgatp, !second ? 0
            : (SecondRoot >> 12) | ((ulong)Gscid << Iohgatp.GscidShift) | ((ulong)Iohgatp.ModeSv39x4 << TablePointer.ModeShift));
        Poke(Context + DeviceContextOffset.TranslationAttributes, path == Path.Process ? 0 : (ulong)Pscid << DeviceTranslationAttributes.PscidShift);
        Poke(Context + DeviceContextOffset.FirstStageContext, firstContext);
        if (path == Path.Interrupt)
        {
            Poke(Context + DeviceContextOffset.MsiPageTablePointer, (InterruptTable >> 12) | ((ulong)Msiptp.ModeFlat << TablePointer.ModeShift));
            Poke(Context + DeviceContextOffset.MsiAddressMask, 0);
            Poke(Context + DeviceContextOffset.MsiAddressPattern, GuestPage >> 12);
        }

        Poke(Context + DeviceContextOffset.TranslationControl, DeviceTranslationControl.ValidBit | controlBits
            | (path == Path.Process ? DeviceTranslationControl.PdtValidBit : 0));

        Model.Write64(RegisterOffset.CommandQueueBase, PpnField.FromAddress(CommandQueue) | (QueueLog2 - 1));
        Model.Write32(RegisterOffset.CommandQueueCsr, QueueCsr.EnableBit);
        Model.Write64(RegisterOffset.FaultQueueBase, PpnField.FromAddress(FaultQueue) | (QueueLog2 - 1));
        Model.Write32(RegisterOffset.FaultQueueCsr, QueueCsr.EnableBit);
        Model.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(0x1000) | (ulong)IommuMode.OneLevel);
    }

    public RiscVIommu Model { get; }

    public Path Path { get; }

    public DmaRequest Request => new(
        new(Device),
        new(Path is Path.SecondStage or Path.Interrupt ? GuestPage : Page),
        Path == Path.Process ? DmaFlags.PasidValid : DmaFlags.None,
        Pasid: new(Process));

    public static ulong LeafTo(ulong page, ulong without) => (PpnField.FromAddress(page) | Leaf) & ~without;

    public static ulong Table(ulong table) => PpnField.FromAddress(table) | PageTableEntry.ValidBit;

    public static ulong InterruptTo(ulong page) => PpnField.FromAddress(page) | MsiPageTableEntry.ValidBit
        | ((ulong)MsiPageTableEntry.ModeBasic << MsiPageTableEntry.ModeShift);

    public static ulong Satp(ulong root) => (root >> 12) | ((ulong)Iosatp.ModeSv39 << TablePointer.ModeShift);

    public static ulong ProcessAttributes(uint pscid) => (ulong)pscid << ProcessTranslationAttributes.PscidShift;

    /// <summary>A write by software, as a point.</summary>
    public void Store(ulong address, ulong value) => _ = _watched.Write64(new(address), value);

    /// <summary>A read-modify-write by software, as a point.</summary>
    public ulong Exchange(ulong address, Func<ulong, ulong> change)
    {
        while (true)
        {
            ulong seen = Peek(address);
            _ = _watched.CompareExchange64(new(address), seen, change(seen), out ulong observed);
            if (observed == seen)
            {
                return seen;
            }
        }
    }

    /// <summary>A write outside of the seam.</summary>
    public void Poke(ulong address, ulong value) => _ = _memory.Write64(new(address), value);

    /// <summary>A read outside of the seam.</summary>
    public ulong Peek(ulong address)
    {
        _ = _memory.Read64(new(address), out ulong value);
        return value;
    }

    /// <summary>Queues commands and polls until the IOMMU has taken them all.</summary>
    public void Submit(params ReadOnlySpan<Command> commands)
    {
        foreach (Command command in commands)
        {
            Poke(CommandQueue + (_tail * 16), command.Low);
            Poke(CommandQueue + (_tail * 16) + 8, command.High);
            _tail = (_tail + 1) & ((1u << (int)QueueLog2) - 1);
        }

        _registers.Write32(RegisterOffset.CommandQueueTail, _tail);
        while (_registers.Read32(RegisterOffset.CommandQueueHead) != _tail)
        {
            if ((Model.Read32(RegisterOffset.CommandQueueCsr) & QueueCsr.CommandIllegalBit) != 0)
            {
                throw new InvalidOperationException("The model refused a command.");
            }

            _ = Injection.Hit(InjectionKind.Wait);
        }
    }

    /// <summary>The records in the fault queue, from the first.</summary>
    public IReadOnlyList<(FaultCause Cause, ulong Iova)> Faults()
    {
        List<(FaultCause, ulong)> records = [];
        uint tail = Model.Read32(RegisterOffset.FaultQueueTail);
        for (ulong i = 0; i < tail; i++)
        {
            ulong record = FaultQueue + (i * QueueBase.FaultRecordSize);
            records.Add(((FaultCause)(Peek(record) & 0xfff), Peek(record + 16)));
        }

        return records;
    }

    public DmaStatus Write(ulong value, ulong offset = 0)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)value);
        DmaRequest request = Request;
        DmaStatus status = Model.Write(request with { Address = request.Address + offset }, bytes);
        Scenario.Note(string.Create(CultureInfo.InvariantCulture, $"DMA write: {status}"));
        return status;
    }

    public DmaStatus Read(out ulong value, ulong offset = 8)
    {
        Span<byte> bytes = stackalloc byte[4];
        DmaRequest request = Request;
        DmaStatus status = Model.Read(request with { Address = request.Address + offset }, bytes);
        value = status == DmaStatus.Success ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;
        Scenario.Note(string.Create(CultureInfo.InvariantCulture, $"DMA read: {status}, 0x{value:x}"));
        return status;
    }

    public static string? Describe(InjectionKind kind, ulong detail) => kind switch
    {
        InjectionKind.RegisterWrite when detail == RegisterOffset.CommandQueueTail => "cqt",
        InjectionKind.RegisterRead when detail == RegisterOffset.CommandQueueHead => "cqh",
        InjectionKind.MemoryRead or InjectionKind.MemoryWrite => detail switch
        {
            >= 0x1000 and < 0x2000 => string.Create(CultureInfo.InvariantCulture, $"device directory +0x{detail & 0xfff:x}"),
            >= CommandQueue and < CommandQueue + 0x1000 => "command queue",
            >= FaultQueue and < FaultQueue + 0x1000 => "fault queue",
            >= 0x8000 and < 0x9000 => string.Create(CultureInfo.InvariantCulture, $"process directory +0x{detail & 0xfff:x}"),
            >= InterruptTable and < InterruptTable + 0x1000 => "MSI page table",
            >= FirstRoot and < OtherRoot => string.Create(CultureInfo.InvariantCulture, $"first-stage table 0x{detail:x}"),
            >= OtherRoot and < SecondRoot => string.Create(CultureInfo.InvariantCulture, $"other first-stage table 0x{detail:x}"),
            >= SecondRoot and < OldPage => string.Create(CultureInfo.InvariantCulture, $"second-stage table 0x{detail:x}"),
            >= OldPage and < NewPage => "OLD page",
            >= NewPage and < ForbiddenPage => "new page",
            _ => null,
        },
        _ => null,
    };
}
