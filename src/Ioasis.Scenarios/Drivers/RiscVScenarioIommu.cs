using System.Diagnostics.CodeAnalysis;
using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>The RISC-V IOMMU of a scenario: the base format of contexts, one level of directory.</summary>
internal sealed class RiscVScenarioIommu : ScenarioIommu
{
    private readonly RiscVIommu _model;
    private readonly RiscVIommuInstance _driver;

    public RiscVScenarioIommu(string name, ScenarioParts parts)
    {
        _model = new(
            new()
            {
                Capabilities = RiscVIommuOptions.FullCapabilities
                    & ~(Capabilities.MsiFlatBit | Capabilities.MsiMrifBit | (parts.Ats ? 0 : Capabilities.AtsBit)),
                Caching = CachingMode.Hostile,
                MaxMode = IommuMode.OneLevel,
            },
            parts.HardwareMemory,
            link: parts.Link);
        RiscVIommuInstance.TryProbe(
            parts.Watch(_model),
            parts.DriverMemory,
            parts.Pages,
            new()
            {
                Name = name,
                PreferredMode = PagingMode.Sv39,
                CommandQueueSizeLog2 = 5,
                FaultQueueSizeLog2 = 5,
                PageRequestQueueSizeLog2 = 4,
                TimeProvider = parts.Time,
                CommandTimeout = parts.CommandTimeout,
                AtsTimeout = TimeSpan.FromSeconds(3),
                FaultSink = parts.Sink,
            },
            out RiscVIommuInstance? driver).ShouldBe(Errno.Success);
        _driver = driver!;
    }

    public override IommuInstance Driver => _driver;

    public override IDmaPort Port => _model;

    public override IPcieAtsPort Ats => _model;

    public override ulong QueueStart => PpnField.ToAddress(_model.Read64(RegisterOffset.CommandQueueBase));

    public override ulong CommandSize => QueueBase.CommandSize;

    public override int ReadsOfCommand => 1;

    public override ulong IllegalOpcode => CommandBits.OpcodeMask;

    /// <summary>The first-stage pointer of a context is one doubleword (section 3.1.3).</summary>
    public override bool SwitchesInOneStep => true;

    [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicFields)]
    protected override Type RegisterOffsets => typeof(RegisterOffset);

    public override void HandleFaults() => _driver.HandleInterrupt(1);

    public override void HandleQueue() => _driver.HandleInterrupt(0);

    /// <summary>Section 6.3.9 tells drivers to reckon with emulators that do so, until an IODIR command.</summary>
    public override void KeepInvalidContexts(OracleMemory memory)
    {
        ulong directory = PpnField.ToAddress(_model.Read64(RegisterOffset.DeviceDirectoryTablePointer));
        ulong queue = QueueStart;
        HashSet<ulong> kept = [];
        memory.Spoil = (address, value) =>
        {
            ulong page = address & ~0xffful;
            if (page == directory && (address & 31) == DeviceContextOffset.TranslationControl
                && (kept.Contains(address) || (value & DeviceTranslationControl.ValidBit) == 0))
            {
                _ = kept.Add(address);
                return 0;
            }

            if (page == queue && (address & 15) == 0 && (CommandOpcode)(value & CommandBits.OpcodeMask) == CommandOpcode.Iodir)
            {
                kept.Clear();
            }

            return value;
        };
    }

    /// <summary>Answers of a device whose context is invalid are lost (section 2.1.2.1).</summary>
    public override bool LetsAnswersPass(IPhysicalMemory memory, IommuDevice device)
    {
        ulong directory = PpnField.ToAddress(_model.Read64(RegisterOffset.DeviceDirectoryTablePointer));
        memory.Read64(new(directory + (device.Id.Value * 32ul)), out ulong control).ShouldBe(MemoryStatus.Success);
        return (control & DeviceTranslationControl.ValidBit) != 0;
    }
}
