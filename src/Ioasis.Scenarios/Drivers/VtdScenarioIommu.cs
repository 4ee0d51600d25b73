using System.Diagnostics.CodeAnalysis;
using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>The VT-d unit of a scenario.</summary>
internal sealed class VtdScenarioIommu : ScenarioIommu
{
    private const ulong AtsBits = ExtendedCapability.DeviceTlbBit | ExtendedCapability.PageRequestBit | ExtendedCapability.StopMarkerBit
        | ExtendedCapability.PageRequestDrainBit | ExtendedCapability.NoWriteFlagBit;

    private readonly VtdIommu _model;
    private readonly VtdIommuInstance _driver;

    public VtdScenarioIommu(IommuKind kind, string name, ScenarioParts parts)
    {
        ulong cachingMode = kind == IommuKind.VtdCachingMode ? Capability.CachingModeBit : 0;
        _model = new(
            new()
            {
                Capabilities = new(VtdIommuOptions.AllCapabilities.Value | cachingMode),
                ExtendedCapabilities = new(VtdIommuOptions.AllExtendedCapabilities.Value & ~(parts.Ats ? 0 : AtsBits)),
                Caching = CachingMode.Hostile,
            },
            parts.HardwareMemory,
            interrupts: null,
            parts.Link);
        VtdIommuInstance.TryProbe(
            parts.Watch(_model),
            parts.DriverMemory,
            parts.Pages,
            new()
            {
                Name = name,
                Mode = kind == IommuKind.VtdLegacy ? VtdMode.Legacy : VtdMode.Scalable,
                PreferredLevels = 3,
                FirstStageDomains = kind == IommuKind.VtdFirstStage,
                QueueSizeLog2 = 8,
                PageRequestQueueSizeLog2 = 7,
                TimeProvider = parts.Time,
                CommandTimeout = parts.CommandTimeout,
                AtsTimeout = TimeSpan.FromSeconds(3),
                FaultSink = parts.Sink,
            },
            out VtdIommuInstance? driver).ShouldBe(Errno.Success);
        _driver = driver!;
    }

    public override IommuInstance Driver => _driver;

    public override IDmaPort Port => _model;

    public override IPcieAtsPort Ats => _model;

    public override ulong QueueStart => _model.Read64(RegisterOffset.InvalidationQueueAddress) & ~0xffful;

    public override ulong CommandSize => _driver.IsScalable ? 32ul : 16ul;

    // Once, and again to see that both halves are of one time (section 6.2.2.1).
    public override int ReadsOfCommand => 2;

    // Bits 3:0 and 11:9 are the type.
    public override ulong IllegalOpcode => 0xe0f;

    /// <summary>
    /// P of an entry is cleared and all that came of it invalidated before it leads elsewhere (section 6.5.3.3): the unit may read an entry in
    /// parts. DMA in between is refused.
    /// </summary>
    public override bool SwitchesInOneStep => false;

    [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicFields)]
    protected override Type RegisterOffsets => typeof(RegisterOffset);

    public override void HandleFaults() => _driver.HandleInterrupt(0);

    public override void HandleQueue() => _driver.HandleInterrupt(0);

    /// <summary>That is what <c>CAP_REG.CM</c> says, and hostile caching does then.</summary>
    public override void KeepInvalidContexts(OracleMemory memory) =>
        (_driver.CapabilityRegister & Capability.CachingModeBit).ShouldNotBe(0ul);

    public override bool LetsAnswersPass(IPhysicalMemory memory, IommuDevice device) => true;
}
