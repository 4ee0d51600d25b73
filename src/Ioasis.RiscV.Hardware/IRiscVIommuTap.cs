using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <summary>
/// Sees each command and each fault record of a <see cref="RiscVIommu"/>, and can make them fail as hardware may: for logs, and for those who test drivers.
/// Called with the register lock held, so it must not call the IOMMU; it is not called when devices' requests succeed.
/// </summary>
public interface IRiscVIommuTap
{
    /// <summary>What <see cref="OnCommand"/> returns for a command that has to wait: it is fetched again with the next write to a register of the queue.</summary>
    const uint Stall = 1u << 31;

    /// <summary>A command was fetched, and is about to be executed; after a failure the same one again, when software has cleared the error.</summary>
    /// <param name="low">Its first doubleword (section 3.1).</param>
    /// <param name="high">Its second.</param>
    /// <returns>
    /// 0 to execute it; or which bits of <c>cqcsr</c> are set instead: <see cref="QueueCsr.MemoryFaultBit"/>, <see cref="QueueCsr.CommandTimeoutBit"/>,
    /// <see cref="QueueCsr.CommandIllegalBit"/> (section 5.15), so that the queue stops with <c>cqh</c> on it; or <see cref="Stall"/>.
    /// </returns>
    uint OnCommand(ulong low, ulong high);

    /// <summary>A fault is about to be recorded.</summary>
    /// <param name="record">Its record (section 3.2).</param>
    /// <returns>
    /// 0 to record it; or which bits of <c>fqcsr</c> are set instead, while the record is lost: <see cref="QueueCsr.MemoryFaultBit"/>,
    /// <see cref="QueueCsr.OverflowBit"/> (section 5.16).
    /// </returns>
    uint OnFaultRecord(in FaultRecord record);
}
