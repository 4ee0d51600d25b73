using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.VfioUser;

/// <summary>
/// A log of what functions access through IOMMUs of ours, and of the commands and faults of these: a line for each, with its time, in the form in which QEMU's
/// trace of <c>riscv-iommu</c> has them, so that <c>ioasis run --dma</c> reads it. Thread-safe; whoever made the writer ends it.
/// </summary>
/// <param name="writer">Where the lines go.</param>
/// <param name="clock">The clock; null for the system's.</param>
internal sealed class AccessLog(TextWriter writer, TimeProvider? clock = null)
{
    private readonly Lock _lock = new();
    private readonly TimeProvider _clock = clock ?? TimeProvider.System;

    /// <summary>A function has accessed a page.</summary>
    /// <param name="iommu">The IOMMU before it.</param>
    /// <param name="device">The function.</param>
    /// <param name="pasid">The PASID of the request, 0 for none.</param>
    /// <param name="isWrite">Whether it writes.</param>
    /// <param name="iova">The address that it used.</param>
    /// <param name="physical">What that is, or null if the access was refused.</param>
    public void Access(DeviceId iommu, DeviceId device, uint pasid, bool isWrite, ulong iova, ulong? physical) => Write(
        string.Create(CultureInfo.InvariantCulture, $"riscv_iommu_dma {PlaceOf(iommu)}: translate {RequesterOf(device)} #{pasid} {(isWrite ? "WR" : "RO")} 0x{iova:x} -> 0x{physical ?? 0:x}"));

    /// <summary>An IOMMU executes a command.</summary>
    /// <param name="iommu">The IOMMU.</param>
    /// <param name="low">The first doubleword of the command.</param>
    /// <param name="high">The second.</param>
    public void Command(DeviceId iommu, ulong low, ulong high) => Write($"riscv_iommu_cmd {PlaceOf(iommu)}: command 0x{low:x} 0x{high:x}");

    /// <summary>An IOMMU records a fault.</summary>
    /// <param name="iommu">The IOMMU.</param>
    /// <param name="device">Whose request it was.</param>
    /// <param name="header">The first doubleword of the record.</param>
    /// <param name="address">The address of the request (<c>iotval</c>).</param>
    /// <param name="second">What the record has besides (<c>iotval2</c>).</param>
    public void Fault(DeviceId iommu, DeviceId device, ulong header, ulong address, ulong second) => Write(
        $"riscv_iommu_flt {PlaceOf(iommu)}: fault {RequesterOf(device)} reason: 0x{header:x} iova: 0x{address:x} iotval2: 0x{second:x}");

    /// <summary>A client has written 4 bytes of a function's configuration space. Marks that tie this log to another one's clock are such writes.</summary>
    /// <param name="device">The function.</param>
    /// <param name="offset">Where.</param>
    /// <param name="value">What.</param>
    public void ConfigWrite(DeviceId device, ulong offset, uint value) => Write($"pci_cfg_write ioasis {PlaceOf(device)} @0x{offset:x} <- 0x{value:x}");

    private static string PlaceOf(DeviceId id) => string.Create(CultureInfo.InvariantCulture, $"{id.Bus:x2}:{id.Device:x2}.{id.Function}");

    // As that trace has it: the bus in four digits.
    private static string RequesterOf(DeviceId id) => string.Create(CultureInfo.InvariantCulture, $"{id.Bus:x4}:{id.Device:x2}.{id.Function}");

    private void Write(string line)
    {
        lock (_lock)
        {
            writer.Write(_clock.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z '", CultureInfo.InvariantCulture));
            writer.WriteLine(line);
        }
    }
}
