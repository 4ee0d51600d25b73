using Ioasis.Primitives;

namespace Ioasis.RiscV.Hardware;

/// <summary>What one leaf of a page table lets a device reach.</summary>
/// <param name="Start">The first IOVA, a multiple of 4 KiB.</param>
/// <param name="Length">Bytes, a multiple of 4 KiB.</param>
/// <param name="Address">Where it leads.</param>
/// <param name="Access">What the device may do there: read, or read and write.</param>
public readonly record struct ReachedRange(Iova Start, ulong Length, PhysicalAddress Address, Access Access);
