using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>What a translation needs of the registers; replaced as a whole, so that it sees one state.</summary>
/// <param name="TranslationEnabled"><c>TES</c>.</param>
/// <param name="Mode"><c>TTM</c>, as the last SRTP took it.</param>
/// <param name="RootTable">The root table's address, as the last SRTP took it.</param>
/// <param name="ModeFault">Why no request can be served in this mode, or <see cref="FaultReason.None"/>.</param>
/// <param name="InterruptRemappingEnabled"><c>IRES</c>.</param>
/// <param name="CompatibilityInterrupts"><c>CFIS</c>.</param>
/// <param name="InterruptTable"><c>IRTA_REG</c>, as the last SIRTP took it.</param>
internal sealed record Configuration(
    bool TranslationEnabled,
    TranslationTableMode Mode,
    ulong RootTable,
    FaultReason ModeFault,
    bool InterruptRemappingEnabled,
    bool CompatibilityInterrupts,
    ulong InterruptTable)
{
    /// <summary>After reset.</summary>
    public static Configuration Reset { get; } = new(
        TranslationEnabled: false, TranslationTableMode.Legacy, 0, FaultReason.None, InterruptRemappingEnabled: false, CompatibilityInterrupts: false, 0);
}
