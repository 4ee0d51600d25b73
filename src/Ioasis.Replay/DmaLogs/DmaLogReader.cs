using System.Text;
using Ioasis.Primitives;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.DmaLogs;

/// <summary>
/// Reads a device-side log: QEMU's traces of <c>riscv-iommu</c>, <c>intel-iommu</c>, <c>amd-iommu</c>, Arm's SMMUv3 and
/// <c>virtio-iommu</c>. This folder turns lines into accesses; it never replays anything.
/// </summary>
internal sealed partial class DmaLogReader
{
    private readonly InputLog _input;
    private readonly DmaLog _log;
    private readonly Dictionary<int, long> _marks = [];
    private readonly List<string> _kinds = [];
    private readonly Dictionary<uint, int> _domains = [];
    private readonly EventNames _names = new();
    private PendingFault _fault;
    private PendingPage _page;
    private bool _amdFault;
    private int _eventDevice = -1;
    private bool _virtioWrite;
    private long _untimed;
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
            throw input.NoEvents();
        }

        foreach ((string name, long count, _) in reader._names.All())
        {
            input.SetEvents(name, count);
            if (input.Architecture.Length == 0)
            {
                input.Architecture = RecordedArchitecture.OfEvent(name);
            }
        }

        if (reader._log.Accesses.Length == 0)
        {
            throw input.NothingToReplay(
                "no event tells of an access through an IOMMU (vtd_dmar_translate, amdvi_translation_result, riscv_iommu_dma, "
                + "smmuv3_translate_success, virtio_iommu_translate_out, or a fault)");
        }

        reader._log.Marks = reader._marks;
        reader._log.InvalidationKinds = reader._kinds;
        reader._log.DomainDevices = reader._domains;
        return reader._log;
    }

    private bool Line(ReadOnlySpan<byte> line, int number)
    {
        if (!DmaLogLine.TryCut(line, out long timeNs, out ClockUnit unit, out ReadOnlySpan<byte> name, out ReadOnlySpan<byte> rest))
        {
            // One kind of QEMU's messages tells of an access; the others are counted as lines that are no events.
            bool timed = DmaLogLine.TryTime(line, out timeNs, out rest);
            if (!TryMessage(timed ? rest : line, timed ? timeNs : _untimed, number))
            {
                return false;
            }

            _names.Kind("translation_failed"u8);
            _names.Count();
            _input.At(timed ? timeNs : _untimed);
            return true;
        }

        if (unit == ClockUnit.None)
        {
            // Without times, the order is all there is: a microsecond for a line.
            timeNs = _untimed += 1000;
        }
        else
        {
            _input.Clock = unit;
        }

        TextCursor cursor = new(rest);
        bool read = name[0] switch
        {
            (byte)'r' => RiscV(name, cursor, timeNs, number),
            (byte)'v' => name.StartsWith("virtio_"u8) ? Virtio(name, cursor, timeNs, number) : Intel(name, cursor, timeNs, number),
            (byte)'s' => Smmu(name, cursor, timeNs, number),
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

    // A mark is a number that the guest writes to the vendor ID of a device, which takes no notice: iommu-testdev 00:06.0 @0x0 <- 0xa55a03e9
    private bool ConfigWrite(TextCursor cursor, long timeNs)
    {
        if (cursor.SkipPast("@0x0 <- "u8) && cursor.TryHex(out ulong value)
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
        _log.Accesses.Add(access);
        if (access.Outcome == DmaOutcome.Faulted)
        {
            _log.Faults++;
        }
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

        _log.Invalidations.Add(new(timeNs, index, _log.Accesses.Length, scope, domain, address, sizeLog2));
    }

    private struct PendingFault
    {
        public bool Pending;
        public int Device;
        public ulong Iova;
    }
}
