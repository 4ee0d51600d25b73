using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Hardware;

/// <summary>
/// Where an MSI to a memory-resident interrupt file goes (section 2.3.3): it is recorded in memory, and a notice MSI tells of it.
/// </summary>
/// <param name="Address">The interrupt file in memory.</param>
/// <param name="NoticeAddress">Page to which the notice MSI is stored.</param>
/// <param name="NoticeId">Interrupt identity of the notice MSI, 11 bits.</param>
internal sealed record MrifTarget(PhysicalAddress Address, PhysicalAddress NoticeAddress, uint NoticeId) : DmaInterrupt;
