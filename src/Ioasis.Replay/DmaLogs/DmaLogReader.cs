using System.Text;
using Ioasis.Primitives;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.DmaLogs;

/// <summary>
/// Reads a device-side log: QEMU's traces of <c>riscv-iommu</c>, <c>intel-iommu</c> and <c>amd-iommu</c>. This folder turns
/// lines into accesses; it never replays anything.
/// </summary>
internal sealed class DmaLogReader
{
    private readonly InputLog _input;
    private readonly DmaLog _log;
    private readonly List<DmaAccess> _accesses = new(1 << 14);
    private readonly Dictionary<int, long> _marks = [];
    private readonly List<LoggedInvalidation> _invalidations = [];
    private readonly List<string> _kinds = [];
    private readonly Dictionary<uint, int> _domains = [];
    private readonly EventNames _names = new();
    private PendingFault _fault;
    private PendingPage _page;
    private bool _amdFault;
    private readonly byte[] _lastName = new byte[32];
    private int _lastLength;
    private int _lastDevice = -1;

    private DmaLogReader(InputLog input)
    {
        _input = input;
        _log = new(input);
    }

    /// <summary>Reads all of it.</summary>
    /// <exception cref="TraceInputException">The file cannot be read, is cut off, or holds no event.</exception>
    public static DmaLog Read(LineReader lines, InputLog input, CancellationToken cancellationToken = default)
    {
        DmaLogReader reader = new(input);
        while (lines.TryRead(out ReadOnlySpan<byte> line))
        {
            if (line.IsEmpty)
            {
                continue;
            }

            if (!reader.Line(line, lines.LineNumber))
            {
                if (!lines.LastLineEnded)
                {
                    throw input.Truncated(lines.LineNumber, line);
                }

                input.Unparsed(lines.LineNumber, line);
            }

            if ((lines.LineNumber & 0xfff) == 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
            }
        }

        input.Lines = lines.LineNumber;
        input.TextBytes = lines.TextBytes;
        if (input.Events == 0)
        {
            throw new TraceInputException(TraceInputError.NoEvents, input.Path, null, "holds no event of a DMA log");
        }

        foreach ((string name, long count) in reader._names.All())
        {
            input.SetEvents(name, count);
        }

        reader._log.Accesses = [.. reader._accesses];
        reader._log.Marks = reader._marks;
        reader._log.Invalidations = reader._invalidations;
        reader._log.InvalidationKinds = reader._kinds;
        reader._log.DomainDevices = reader._domains;
        return reader._log;
    }

    private bool Line(ReadOnlySpan<byte> line, int number)
    {
        if (!DmaLogLine.TryTime(line, out long timeNs, out ReadOnlySpan<byte> rest))
        {
            return false;
        }

        TextCursor cursor = new(rest);
        ReadOnlySpan<byte> name = cursor.Word();
        cursor.SkipSpaces();
        if (name.IsEmpty)
        {
            return false;
        }

        bool read = name[0] switch
        {
            (byte)'r' => RiscV(name, cursor, timeNs, number),
            (byte)'v' => Intel(name, cursor, timeNs, number),
            (byte)'a' => Amd(name, cursor, timeNs, number),
            (byte)'p' => !name.SequenceEqual("pci_cfg_write"u8) || ConfigWrite(cursor, timeNs),
            _ => true,
        };
        if (!read)
        {
            return false;
        }

        _names.Kind(name);
        _names.Count();
        _input.At(timeNs);
        return true;
    }

    private bool RiscV(ReadOnlySpan<byte> name, TextCursor cursor, long timeNs, int line)
    {
        if (name.SequenceEqual("riscv_iommu_dma"u8))
        {
            // ID: translate BUS:DEV.FN #pasid RO|WR iova -> pa
            if (!cursor.SkipPast("translate "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> device = cursor.Word();
            if (!cursor.SkipPast("#"u8) || !cursor.TryDecimal(out ulong pasid) || !cursor.Skip(" "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> access = cursor.Word();
            cursor.SkipSpaces();
            if (!cursor.TryHex(out ulong iova) || !cursor.Skip(" -> "u8) || !cursor.TryHex(out ulong physical) || access.Length != 2
                || !TryDevice(device, out int index))
            {
                return false;
            }

            // A refused access is logged as a fault and then with what was asked for, or 0, as its address.
            bool faulted = physical == 0 || (_fault.Pending && _fault.Device == index && _fault.Iova == iova);
            _fault.Pending = false;
            Add(new()
            {
                TimeNs = timeNs,
                Iova = iova,
                Physical = faulted ? 0 : physical,
                Line = line,
                Device = index,
                Access = access[0] == (byte)'W' ? Access.Write : access[0] == (byte)'N' ? Access.None : access[1] == (byte)'W' ? Access.Write : Access.Read,
                Outcome = faulted ? DmaOutcome.Faulted : DmaOutcome.Translated,
                SizeLog2 = 12,
                Pasid = (uint)Math.Min(pasid, uint.MaxValue),
            });
            return true;
        }

        if (name.SequenceEqual("riscv_iommu_cmd"u8))
        {
            // ID: command low high
            if (!cursor.SkipPast("command "u8) || !cursor.TryHex(out ulong low) || !cursor.Skip(" "u8) || !cursor.TryHex(out ulong high))
            {
                return false;
            }

            RiscVInvalidation(timeNs, low, high);
            return true;
        }

        if (name.SequenceEqual("riscv_iommu_flt"u8))
        {
            // ID: fault BUS:DEV.FN reason: record iova: address
            if (!cursor.SkipPast("fault "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> device = cursor.Word();
            if (!cursor.SkipPast("iova: "u8) || !cursor.TryHex(out ulong iova) || !TryDevice(device, out int index))
            {
                return false;
            }

            _fault = new() { Pending = true, Device = index, Iova = iova };
        }

        return true;
    }

    private bool Intel(ReadOnlySpan<byte> name, TextCursor cursor, long timeNs, int line)
    {
        if (name.SequenceEqual("vtd_dmar_translate"u8))
        {
            // dev 00:04.00 iova 0x… -> gpa 0x… mask 0x…
            if (!cursor.Skip("dev "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> device = cursor.Word();
            if (!cursor.SkipPast("iova "u8) || !cursor.TryHex(out ulong iova) || !cursor.Skip(" -> gpa "u8)
                || !cursor.TryHex(out ulong physical) || !cursor.Skip(" mask "u8) || !cursor.TryHex(out ulong mask)
                || !TryDevice(device, out int index))
            {
                return false;
            }

            // The line before it has the whole address and what the page permits.
            bool whole = _page.Pending && _page.Device == index && (_page.Iova & ~mask) == iova;
            _page.Pending = false;
            Add(new()
            {
                TimeNs = timeNs,
                Iova = whole ? _page.Iova : iova,
                Physical = physical,
                Line = line,
                Device = index,
                Access = whole && _page.Permission == Access.Write ? Access.Write : Access.None,
                SizeLog2 = (byte)Math.Max(12, 64 - System.Numerics.BitOperations.LeadingZeroCount(mask)),
            });
            return true;
        }

        if (name.SequenceEqual("vtd_iotlb_page_hit"u8) || name.SequenceEqual("vtd_iotlb_page_update"u8))
        {
            // IOTLB page hit sid 0x20 iova 0x… slpte 0x… domain 0x6
            if (!cursor.SkipPast("sid "u8) || !cursor.TryHex(out ulong source) || !cursor.SkipPast("iova "u8)
                || !cursor.TryHex(out ulong iova) || !cursor.SkipPast("slpte "u8) || !cursor.TryHex(out ulong entry) || source > 0xffff)
            {
                return false;
            }

            int device = _log.Devices.Intern(new DeviceId((uint)source));
            if (cursor.SkipPast("domain "u8) && cursor.TryHex(out ulong domain))
            {
                _domains[(uint)domain] = device;
            }

            _page = new()
            {
                Pending = true,
                Device = device,
                Iova = iova,
                Permission = (Access)(entry & 3),
            };
            return true;
        }

        if (name.SequenceEqual("vtd_dmar_fault"u8))
        {
            // sid 0x28 fault 6 addr 0x… write 0
            if (!cursor.Skip("sid "u8) || !cursor.TryHex(out ulong source) || !cursor.SkipPast("addr "u8)
                || !cursor.TryHex(out ulong iova) || !cursor.SkipPast("write "u8) || !cursor.TryDecimal(out ulong write) || source > 0xffff)
            {
                return false;
            }

            Add(new()
            {
                TimeNs = timeNs,
                Iova = iova,
                Line = line,
                Device = _log.Devices.Intern(new DeviceId((uint)source)),
                Access = write != 0 ? Access.Write : Access.Read,
                Outcome = DmaOutcome.Faulted,
                SizeLog2 = 12,
            });
            return true;
        }

        if (name.StartsWith("vtd_inv_desc_"u8))
        {
            IntelInvalidation(timeNs, name["vtd_inv_desc_"u8.Length..], cursor);
        }

        return true;
    }

    private bool Amd(ReadOnlySpan<byte> name, TextCursor cursor, long timeNs, int line)
    {
        if (name.SequenceEqual("amdvi_translation_result"u8))
        {
            // devid: 00:04.0 gpa 0x… hpa 0x…
            if (!cursor.Skip("devid: "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> device = cursor.Word();
            if (!cursor.SkipPast("gpa "u8) || !cursor.TryHex(out ulong iova) || !cursor.SkipPast("hpa "u8)
                || !cursor.TryHex(out ulong physical) || !TryDevice(device, out int index))
            {
                return false;
            }

            bool faulted = _amdFault || (physical == 0 && iova > 0xfff);
            _amdFault = false;
            Add(new()
            {
                TimeNs = timeNs,
                Iova = iova,
                Physical = physical,
                Line = line,
                Device = index,
                Outcome = faulted ? DmaOutcome.Faulted : DmaOutcome.Translated,
                SizeLog2 = DmaAccess.UnknownSize,
            });
            return true;
        }

        if (name.SequenceEqual("amdvi_page_fault"u8))
        {
            _amdFault = true;
        }
        else if (name.EndsWith("_inval"u8) || name.SequenceEqual("amdvi_completion_wait"u8))
        {
            Invalidation(timeNs, Encoding.ASCII.GetString(name["amdvi_"u8.Length..]));
        }

        return true;
    }

    // A mark is a number that the guest writes to the vendor ID of a test device, which takes no notice:
    // iommu-testdev 00:06.0 @0x0 <- 0xa55a03e9
    private bool ConfigWrite(TextCursor cursor, long timeNs)
    {
        if (cursor.Skip("iommu-testdev "u8) && cursor.SkipPast("@0x0 <- "u8) && cursor.TryHex(out ulong value)
            && value >> 16 == 0xa55a && cursor.Rest.IsEmpty)
        {
            _marks[(int)(value & 0xffff)] = timeNs;
        }

        return true;
    }

    private bool TryDevice(ReadOnlySpan<byte> name, out int index)
    {
        // The device's place is logged, never the name of one that is not PCI.
        Span<char> text = stackalloc char[32];
        index = -1;
        if (name.Length > text.Length)
        {
            return false;
        }

        if (_lastDevice >= 0 && name.SequenceEqual(_lastName.AsSpan(0, _lastLength)))
        {
            index = _lastDevice;
            return true;
        }

        int length = Encoding.ASCII.GetChars(name, text);
        if (!DeviceId.TryParse(text[..length], out DeviceId id))
        {
            return false;
        }

        index = _log.Devices.Intern(id);
        name.CopyTo(_lastName);
        _lastLength = name.Length;
        _lastDevice = index;
        return true;
    }

    private void Add(in DmaAccess access)
    {
        _accesses.Add(access);
        if (access.Outcome == DmaOutcome.Faulted)
        {
            _log.Faults++;
        }
    }

    // A command: opcode in bits 0 to 6, func3 in 7 to 9, AV in 10, PSCID in 12 to 31, PSCV in 32 of the first word; the address in
    // bits 10 to 61 of the second (RISC-V IOMMU specification, section 3.1.1).
    private void RiscVInvalidation(long timeNs, ulong low, ulong high)
    {
        bool firstStage = (low & 0x3ff) == 1;
        bool address = (low & (1ul << 10)) != 0;
        bool space = (low & (1ul << 32)) != 0;
        InvalidationScope scope = !firstStage || !space ? InvalidationScope.Other : address ? InvalidationScope.Pages : InvalidationScope.Domain;
        Invalidation(timeNs, RiscVCommand(low), scope, (uint)(low >> 12) & 0xfffff, (high >> 10) << 12, 12);
    }

    // iotlb invalidate domain 0x… addr 0x… mask 0x…, iotlb invalidate whole domain 0x…
    private void IntelInvalidation(long timeNs, ReadOnlySpan<byte> kind, TextCursor cursor)
    {
        InvalidationScope scope = InvalidationScope.Other;
        ulong domain = 0;
        ulong address = 0;
        ulong mask = 0;
        if (kind.StartsWith("iotlb"u8) && cursor.SkipPast("domain "u8) && cursor.TryHex(out domain))
        {
            scope = kind.EndsWith("domain"u8) ? InvalidationScope.Domain
                : cursor.SkipPast("addr "u8) && cursor.TryHex(out address) && cursor.SkipPast("mask "u8) && cursor.TryHex(out mask)
                    ? InvalidationScope.Pages : InvalidationScope.Other;
        }

        Invalidation(timeNs, Encoding.ASCII.GetString(kind), scope, (uint)domain, address, (byte)Math.Min(12 + mask, 52));
    }

    private void Invalidation(
        long timeNs, string kind, InvalidationScope scope = InvalidationScope.Other, uint domain = 0, ulong address = 0, byte sizeLog2 = 12)
    {
        int index = _kinds.IndexOf(kind);
        if (index < 0)
        {
            index = _kinds.Count;
            _kinds.Add(kind);
        }

        _invalidations.Add(new(timeNs, index, _accesses.Count, scope, domain, address, sizeLog2));
    }

    // Opcode in bits 0 to 6, func3 in bits 7 to 9, AV in bit 10 (RISC-V IOMMU specification, section 3.1).
    private static string RiscVCommand(ulong low)
    {
        bool address = (low & (1ul << 10)) != 0;
        return (low & 0x7f, (low >> 7) & 7) switch
        {
            (1, 0) => address ? "IOTINVAL.VMA address" : "IOTINVAL.VMA",
            (1, 1) => address ? "IOTINVAL.GVMA address" : "IOTINVAL.GVMA",
            (2, 0) => "IOFENCE.C",
            (3, 0) => "IODIR.INVAL_DDT",
            (3, 1) => "IODIR.INVAL_PDT",
            (4, 0) => "ATS.INVAL",
            (4, 1) => "ATS.PRGR",
            _ => "other command",
        };
    }

    private struct PendingFault
    {
        public bool Pending;
        public int Device;
        public ulong Iova;
    }

    private struct PendingPage
    {
        public bool Pending;
        public int Device;
        public ulong Iova;
        public Access Permission;
    }
}
