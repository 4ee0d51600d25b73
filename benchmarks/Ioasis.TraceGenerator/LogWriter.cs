using System.Globalization;
using System.Text;

namespace Ioasis.TraceGenerator;

/// <summary>
/// Writes what QEMU's riscv-iommu logs of the same run: the accesses of each mapping, an invalidation with each unmap, and the notes that tie
/// the clocks.
/// </summary>
public sealed class LogWriter : IDisposable
{
    private static readonly DateTime s_begin = new(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    private readonly StreamWriter _output;
    private readonly int _accesses;
    private readonly char[] _time = new char[40];
    private ulong _count;

    /// <summary>Makes a writer of one log.</summary>
    /// <param name="output">Where to; it stays the caller's.</param>
    /// <param name="accesses">How many for each mapping.</param>
    public LogWriter(Stream output, int accesses)
    {
        _output = new(output, Encoding.ASCII, 1 << 16, leaveOpen: true);
        _accesses = accesses;
    }

    /// <summary>The accesses of one mapping, from its first page on.</summary>
    public void Accesses(long microseconds, ReadOnlySpan<byte> device, ulong iova, ulong physical, ulong length)
    {
        string name = Encoding.ASCII.GetString(device);
        for (int i = 0; i < _accesses; i++)
        {
            ulong offset = ((ulong)i << 12) % length;
            Begin(microseconds);
            _output.Write(string.Create(
                CultureInfo.InvariantCulture,
                $"riscv_iommu_dma 00:01.0: translate 0000:{name.AsSpan(8)} #0 {(_count++ % 3 == 0 ? "RO" : "WR")} 0x{iova + offset:x} -> 0x{physical + offset:x}\n"));
        }
    }

    /// <summary>IOTINVAL.VMA of one page of an address space (RISC-V IOMMU specification, section 3.1.1).</summary>
    public void Invalidation(long microseconds, int space, ulong iova)
    {
        Begin(microseconds);
        ulong low = 1 | (1ul << 10) | ((ulong)space << 12) | (1ul << 32);
        _output.Write(string.Create(CultureInfo.InvariantCulture, $"riscv_iommu_cmd 00:01.0: command 0x{low:x} 0x{iova >> 12 << 10:x}\n"));
    }

    /// <summary>A note that stands in the trace too.</summary>
    public void Mark(long microseconds, int number)
    {
        Begin(microseconds);
        _output.Write(string.Create(
            CultureInfo.InvariantCulture, $"pci_cfg_write iommu-testdev 00:06.0 @0x0 <- 0x{0xa55a0000u | (uint)(number & 0xffff):x}\n"));
    }

    /// <inheritdoc/>
    public void Dispose() => _output.Dispose();

    private void Begin(long microseconds)
    {
        s_begin.AddMicroseconds(microseconds).TryFormat(_time, out int length, "yyyy-MM-dd'T'HH:mm:ss.ffffff'Z '", CultureInfo.InvariantCulture);
        _output.Write(_time.AsSpan(0, length));
    }
}
