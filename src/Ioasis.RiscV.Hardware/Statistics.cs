using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <summary>Kinds of commands, as statistics count them.</summary>
public enum CommandKind
{
    /// <summary>IOTINVAL.VMA.</summary>
    InvalidateFirstStage,

    /// <summary>IOTINVAL.GVMA.</summary>
    InvalidateSecondStage,

    /// <summary>IODIR.INVAL_DDT.</summary>
    InvalidateDeviceDirectory,

    /// <summary>IODIR.INVAL_PDT.</summary>
    InvalidateProcessDirectory,

    /// <summary>IOFENCE.C.</summary>
    Fence,

    /// <summary>ATS.INVAL.</summary>
    AtsInvalidate,

    /// <summary>ATS.PRGR.</summary>
    AtsPageResponse,
}

/// <content>Statistics.</content>
public sealed partial class RiscVIommu
{
    private readonly long[] _commandCounts = new long[(int)CommandKind.AtsPageResponse + 1];
    private readonly long[] _faultCounts = new long[(int)FaultCause.PageTableDataCorruption + 1];

    private void CountCommand(CommandKind kind) => _commandCounts[(int)kind]++;

    private void CountFault(FaultCause cause) => _faultCounts[(int)cause]++;
}
