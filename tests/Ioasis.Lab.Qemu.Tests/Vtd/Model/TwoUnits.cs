using System.Buffers.Binary;
using System.Globalization;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Lab.Qemu.Tests.Vtd.Model;

/// <summary>A DMA of 8 bytes.</summary>
internal readonly record struct ModelRequest(int Device, ulong Iova, bool IsWrite);

/// <summary>How a DMA ended: with a fault record, or with what was read, or with what is in memory where it was written.</summary>
/// <param name="IsRefused">Whether it was refused; of QEMU's, whether there was a record of it.</param>
/// <param name="Reason">The reason, 0 if there was no record.</param>
/// <param name="Low">The record's first doubleword.</param>
/// <param name="High">Its second doubleword.</param>
/// <param name="Data">What was read, or what memory holds afterwards; 0 if nothing was expected to go through.</param>
internal readonly record struct ModelOutcome(bool IsRefused, FaultReason Reason, ulong Low, ulong High, ulong Data);

/// <summary>What both units made of a request.</summary>
internal readonly record struct ModelResult(ModelRequest Request, ModelOutcome Ours, ModelOutcome Theirs);

/// <summary>
/// QEMU's unit and our model, with the same capabilities, the same memory and the same devices. Requests go to ours first; what it would
/// have QEMU access that is not plain RAM, or would have it change tables, is left out.
/// </summary>
internal sealed class TwoUnits : IDisposable
{
    /// <summary>Most requests of one image: each has 8 bytes of the devices' buffer.</summary>
    public const int MostRequests = 256;

    private const ulong Registers = 0xfed9_0000;
    private const ulong Patterns = 0x0a00_0000;
    private const ulong Results = 0x0b00_0000;
    private const ulong EduBuffer = 0x4_0000;
    private const ulong RamFirst = 1ul << 20;
    private const ulong RamEnd = 256ul << 20;
    private const int PoolBytes = RandomTables.PoolPages * 4096;

    private readonly VtdTables _kind;
    private readonly QemuMachine _machine;
    private readonly SparsePhysicalMemory _ram = new();
    private readonly VtdIommu _model;
    private readonly EduPorts[] _edus;
    private readonly List<string> _commands = [];
    private readonly uint _record;
    private TableImage? _last;

    public TwoUnits(VtdTables kind, CachingMode caching)
    {
        _kind = kind;
        _machine = QemuMachine.Start(Lab.QemuX86, new()
        {
            Board = QemuBoard.Q35,
            Machine = "q35",
            Devices =
            [
                VtdRig.DeviceOf(kind), $"{LabRig.Edu},addr=1", $"{LabRig.Edu},addr=2", $"{LabRig.Edu},addr=10",
                "pcie-root-port,id=rp,addr=4", $"{LabRig.Edu},bus=rp",
            ],
        });
        PciHost pci = PciHost.Enumerate(_machine, static _ => 0x40);
        PciFunction[] functions = [.. pci.Find(EduDevice.Vendor, EduDevice.Product)];
        Sources = [.. functions.Select(static f => f.Id.RequesterId)];
        _edus = [.. functions.Select(static f => new EduPorts(f.Bar(0)))];
        QtestRegisters registers = _machine.Registers(Registers);
        Capability capability = new(registers.Read64(RegisterOffset.Capability));

        // QEMU sets flags of first stages, and has not the capability that it needs for that (docs/conformance.md, "QEMU's VT-d").
        ulong more = kind == VtdTables.FirstStage ? ExtendedCapability.PageWalkCoherencyBit : 0;
        _record = capability.FaultRecordOffset;
        _model = new(
            new()
            {
                Capabilities = capability,
                ExtendedCapabilities = new(registers.Read64(RegisterOffset.ExtendedCapability) | more),
                Version = (byte)registers.Read32(RegisterOffset.Version),
                HostAddressWidth = kind == VtdTables.Legacy3 ? 39 : 48,
                Caching = caching,
            },
            new Ram(_ram));
        byte[] pool = new byte[PoolBytes];
        new Random(1).NextBytes(pool);
        _ = _machine.Memory.Write(new(RandomTables.Pool), pool);
        _ = _ram.Write(new(RandomTables.Pool), pool);
    }

    /// <summary>Requester IDs of the devices.</summary>
    public ushort[] Sources { get; }

    /// <summary>Whether ours translated a request of the last image that QEMU was not asked for, and may have set flags alone.</summary>
    public bool HasLeftOut { get; private set; }

    /// <summary>Gives both the tables, and has both carry out the requests.</summary>
    /// <returns>The requests that were carried out, with what ours and QEMU's made of them.</returns>
    public List<ModelResult> Run(TableImage image, IEnumerable<ModelRequest> requests, ulong stamp)
    {
        LoadOurs(image);
        LoadTheirs(image, stamp);
        List<(ModelRequest Request, ModelOutcome Ours, ulong? Address)> done = [];
        List<int> records = [];
        HasLeftOut = false;
        foreach (ModelRequest request in requests)
        {
            if (done.Count < MostRequests && TryOurs(request, stamp + (ulong)done.Count, out ModelOutcome ours, out ulong? address))
            {
                records.Add(AskTheirs(request, done.Count));
                done.Add((request, ours, address));
            }
        }

        return Collect(done, records);
    }

    /// <summary>Takes over what QEMU has in the pages that leaves lead to, after a difference.</summary>
    public void Resynchronise() => _ = _ram.Write(new(RandomTables.Pool), _machine.Memory.ReadBytes(new(RandomTables.Pool), PoolBytes));

    /// <summary>Whether the pages that leaves lead to are the same on both sides.</summary>
    public bool PoolsAreEqual()
    {
        byte[] ours = new byte[PoolBytes];
        _ = _ram.Read(new(RandomTables.Pool), ours);
        return ours.AsSpan().SequenceEqual(_machine.Memory.ReadBytes(new(RandomTables.Pool), PoolBytes));
    }

    /// <summary>Doublewords of the tables that differ now, which should be none: both set the same flags.</summary>
    public List<(ulong Address, ulong Ours, ulong Theirs)> CompareTables(TableImage image)
    {
        ulong[] places = [.. image.Words.Keys];
        IReadOnlyList<string> answers = _machine.Qtest.AskAll([.. places.Select(static place => Text($"readq 0x{place:x}"))]);
        List<(ulong Address, ulong Ours, ulong Theirs)> differences = [];
        for (int i = 0; i < places.Length; i++)
        {
            _ = _ram.Read64(new(places[i]), out ulong ours);
            ulong theirs = Number(answers[i]);
            if (ours != theirs && ForQemu(image, places[i], ours) != theirs)
            {
                differences.Add((places[i], ours, theirs));
            }
        }

        return differences;
    }

    public void Dispose()
    {
        _machine.Dispose();
        _ram.Dispose();
    }

    private void LoadOurs(TableImage image)
    {
        _model.Write32(RegisterOffset.GlobalCommand, 0);
        foreach (ulong place in _last?.Words.Keys ?? [])
        {
            _ = _ram.Write64(new(place), 0);
        }

        foreach ((ulong place, ulong value) in image.Words)
        {
            _ = _ram.Write64(new(place), value);
        }

        _model.Write64(RegisterOffset.RootTableAddress, RootPointer);
        _model.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
        _model.Write32(RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit);
    }

    private ulong RootPointer => TableImage.Start
        | ((ulong)(_kind is VtdTables.Legacy3 or VtdTables.Legacy4 ? TranslationTableMode.Legacy : TranslationTableMode.Scalable) << RootTable.ModeShift);

    // While translation is off, every device fills its buffer with what its writes are known by.
    private void LoadTheirs(TableImage image, ulong stamp)
    {
        _commands.Clear();
        Store32(RegisterOffset.GlobalCommand, 0);
        if (_last is not null)
        {
            _commands.Add(Text($"memset 0x{TableImage.Start:x} 0x{_last.End - TableImage.Start:x} 0x0"));
        }

        foreach ((ulong place, ulong value) in image.Words)
        {
            _commands.Add(Text($"writeq 0x{place:x} 0x{ForQemu(image, place, value):x}"));
        }

        _last = image;
        byte[] patterns = new byte[MostRequests * 8];
        for (int i = 0; i < MostRequests; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(patterns.AsSpan(i * 8), stamp + (ulong)i);
        }

        _commands.Add(Text($"b64write 0x{Patterns:x} 0x{patterns.Length:x} {Convert.ToBase64String(patterns)}"));
        foreach (EduPorts edu in _edus)
        {
            edu.Transfer(_commands, Patterns, EduBuffer, patterns.Length, toMemory: false);
        }

        _commands.Add(Text($"writeq 0x{Registers + RegisterOffset.RootTableAddress:x} 0x{RootPointer:x}"));
        Store32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
        Store32(RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit);
    }

    // What VtdQuirks.FirstStageHasWidth makes the driver do (docs/conformance.md, "QEMU's VT-d").
    private ulong ForQemu(TableImage image, ulong place, ulong value) =>
        _kind == VtdTables.FirstStage && image.PasidEntries.Contains(place)
            ? value | (2ul << PasidTableEntry.Word0AddressWidthShift)
            : value;

    private bool TryOurs(ModelRequest request, ulong pattern, out ModelOutcome outcome, out ulong? address)
    {
        address = null;
        DmaFlags flags = request.IsWrite ? DmaFlags.Write : DmaFlags.None;
        outcome = default;
        if (InterruptAddress.Contains(request.Iova))
        {
            return false;
        }

        _model.Translate(new(new(Sources[request.Device]), new(request.Iova), flags), out DmaTranslation translation);
        if (translation.Status == DmaStatus.Success)
        {
            ulong physical = translation.Address.Value;
            // What is read must be known; elsewhere QEMU may have written alone, where the two differ.
            bool isRam = request.IsWrite
                ? physical >= RamFirst && physical < RamEnd && (physical < Patterns || physical >= Results + 0x100_0000)
                    && physical - TableImage.Start >= 0x100_0000
                : physical - RandomTables.Pool < PoolBytes;
            if (isRam && request.IsWrite)
            {
                _ = _ram.Write64(new(physical), pattern);
            }

            _ = _ram.Read64(new(physical), out ulong data);
            address = physical;
            outcome = new(false, FaultReason.None, 0, 0, data);
            HasLeftOut |= !isRam;
            return isRam;
        }

        ulong high = _model.Read64(_record + 8);
        ulong low = _model.Read64(_record);
        _model.Write32(_record + 12, (uint)(FaultRecord.HighFaultBit >> 32));
        outcome = OfRecord(low, high) with { IsRefused = true };
        return true;
    }

    private static ModelOutcome OfRecord(ulong low, ulong high) => (high & FaultRecord.HighFaultBit) == 0
        ? default
        : new(true, (FaultReason)((high >> FaultRecord.HighReasonShift) & 0xff), low, high, 0);

    // Returns the index of the command that reads the record's second doubleword; the first is next. The IOTLB is emptied before, by register
    // (section 6.5.1), so that each request is walked for.
    private int AskTheirs(ModelRequest request, int slot)
    {
        const ulong global = IotlbInvalidate.InvalidateBit | ((ulong)InvalidationGranularity.Global << IotlbInvalidate.GranularityShift);
        uint iotlb = _model.Options.ExtendedCapabilities.IotlbOffset + RegisterOffset.IotlbInvalidateFromIro;
        _commands.Add(Text($"writeq 0x{Registers + iotlb:x} 0x{global:x}"));
        ulong place = EduBuffer + ((ulong)slot * 8);
        _edus[request.Device].Transfer(
            _commands, request.IsWrite ? place : request.Iova, request.IsWrite ? request.Iova : place, 8, request.IsWrite);
        _commands.Add(Text($"readq 0x{Registers + _record + 8:x}"));
        _commands.Add(Text($"readq 0x{Registers + _record:x}"));
        Store32(_record + 12, (uint)(FaultRecord.HighFaultBit >> 32));
        return _commands.Count - 3;
    }

    private List<ModelResult> Collect(
        List<(ModelRequest Request, ModelOutcome Ours, ulong? Address)> done, List<int> records)
    {
        Store32(RegisterOffset.GlobalCommand, 0);
        for (int i = 0; i < _edus.Length; i++)
        {
            _edus[i].Transfer(_commands, EduBuffer, Results + ((ulong)i * 4096), MostRequests * 8, toMemory: true);
        }

        int buffers = _commands.Count;
        for (int i = 0; i < _edus.Length; i++)
        {
            _commands.Add(Text($"b64read 0x{Results + ((ulong)i * 4096):x} 0x{MostRequests * 8:x}"));
        }

        // What is where the last write to a place went.
        Dictionary<ulong, int> last = [];
        for (int i = 0; i < done.Count; i++)
        {
            if (done[i] is { Request.IsWrite: true, Address: { } address })
            {
                last[address] = i;
            }
        }

        Dictionary<int, int> readBack = [];
        foreach ((ulong address, int index) in last)
        {
            readBack[index] = _commands.Count;
            _commands.Add(Text($"readq 0x{address:x}"));
        }

        IReadOnlyList<string> answers = _machine.Qtest.AskAll(_commands);
        byte[][] read = [.. Enumerable.Range(0, _edus.Length).Select(i => Convert.FromBase64String(answers[buffers + i]))];
        List<ModelResult> results = [];
        for (int i = 0; i < done.Count; i++)
        {
            (ModelRequest request, ModelOutcome ours, ulong? _) = done[i];
            ModelOutcome theirs = OfRecord(Number(answers[records[i] + 1]), Number(answers[records[i]]));
            if (!theirs.IsRefused && !ours.IsRefused)
            {
                theirs = theirs with
                {
                    Data = !request.IsWrite ? BinaryPrimitives.ReadUInt64LittleEndian(read[request.Device].AsSpan(i * 8))
                        : readBack.TryGetValue(i, out int at) ? Number(answers[at])
                        : ours.Data,
                };
            }

            results.Add(new(request, ours, theirs));
        }

        return results;
    }

    private void Store32(uint offset, uint value) => _commands.Add(Text($"writel 0x{Registers + offset:x} 0x{value:x}"));

    private static ulong Number(string answer) => ulong.Parse(answer.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    /// <summary>The registers of an <c>edu</c>, as commands.</summary>
    private sealed class EduPorts(ulong start)
    {
        public void Transfer(List<string> commands, ulong source, ulong destination, int count, bool toMemory)
        {
            commands.Add(Text($"writeq 0x{start + 0x80:x} 0x{source:x}"));
            commands.Add(Text($"writeq 0x{start + 0x88:x} 0x{destination:x}"));
            commands.Add(Text($"writeq 0x{start + 0x90:x} 0x{count:x}"));
            commands.Add(Text($"writeq 0x{start + 0x98:x} 0x{(toMemory ? 3 : 1):x}"));
            commands.Add("clock_step 200000000");
        }
    }

    /// <summary>As much memory as QEMU has.</summary>
    private sealed class Ram(IPhysicalMemory inner) : MemoryDecorator(inner)
    {
        public override MemoryStatus Read(PhysicalAddress address, Span<byte> destination) =>
            address.Value < RamEnd ? base.Read(address, destination) : MemoryStatus.AccessFault;

        public override MemoryStatus Read64(PhysicalAddress address, out ulong value)
        {
            value = 0;
            return address.Value < RamEnd ? base.Read64(address, out value) : MemoryStatus.AccessFault;
        }

        public override MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
        {
            observed = 0;
            return address.Value < RamEnd ? base.CompareExchange64(address, expected, desired, out observed) : MemoryStatus.AccessFault;
        }
    }
}
