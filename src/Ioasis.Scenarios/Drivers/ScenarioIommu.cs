using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using Ioasis.Core;
using Ioasis.Intel.Driver;
using Ioasis.Platform;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Scenarios.Drivers;

/// <summary>Which IOMMU a scenario has, and how its driver runs it.</summary>
internal enum IommuKind
{
    /// <summary>RISC-V.</summary>
    RiscV,

    /// <summary>VT-d in scalable mode, domains by second-stage tables.</summary>
    Vtd,

    /// <summary>VT-d in scalable mode, domains by first-stage tables.</summary>
    VtdFirstStage,

    /// <summary>VT-d in legacy mode.</summary>
    VtdLegacy,

    /// <summary>VT-d in scalable mode, which caches what is not present (<c>CAP_REG.CM</c>).</summary>
    VtdCachingMode,
}

/// <summary>What a scenario gives to each of its IOMMUs.</summary>
/// <param name="HardwareMemory">Memory as the hardware sees it.</param>
/// <param name="DriverMemory">Memory as the driver sees it.</param>
/// <param name="Pages">Where the driver's pages come from.</param>
/// <param name="Link">The devices.</param>
/// <param name="Time">The driver's clock.</param>
/// <param name="Sink">Where faults go.</param>
/// <param name="Watch">What stands between driver and registers.</param>
/// <param name="CommandTimeout">How long the driver waits for its commands.</param>
/// <param name="Ats">Whether devices may cache translations: fewer steps that tell nothing without.</param>
internal sealed record ScenarioParts(
    IPhysicalMemory HardwareMemory, IPhysicalMemory DriverMemory, IPageAllocator Pages, IPcieLink Link, TimeProvider Time,
    IIommuFaultSink Sink, Func<IRegisterWindow, IRegisterWindow> Watch, TimeSpan CommandTimeout, bool Ats);

/// <summary>A hostile model with its driver, as a scenario needs it whatever the architecture.</summary>
internal abstract class ScenarioIommu
{
    public abstract IommuInstance Driver { get; }

    public abstract IDmaPort Port { get; }

    public abstract IPcieAtsPort Ats { get; }

    /// <summary>Where the ring of commands is: one page of memory.</summary>
    public abstract ulong QueueStart { get; }

    public abstract ulong CommandSize { get; }

    /// <summary>How often the model reads the first doubleword of a command.</summary>
    public abstract int ReadsOfCommand { get; }

    /// <summary>Bits that make a command's first doubleword one that there is not.</summary>
    public abstract ulong IllegalOpcode { get; }

    /// <summary>Whether a guest's table is replaced by another in one step, so that DMA finds the one or the other.</summary>
    public abstract bool SwitchesInOneStep { get; }

    [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicFields)]
    protected abstract Type RegisterOffsets { get; }

    public static ScenarioIommu Create(IommuKind kind, string name, ScenarioParts parts) =>
        kind == IommuKind.RiscV ? new RiscVScenarioIommu(name, parts) : new VtdScenarioIommu(kind, name, parts);

    /// <summary>The interrupt of faults.</summary>
    public abstract void HandleFaults();

    /// <summary>The interrupt of a queue that has stopped.</summary>
    public abstract void HandleQueue();

    public void RemoveDriver() => ((IDisposable)Driver).Dispose();

    /// <summary>From now on the hardware keeps contexts that it found invalid until it is told to forget them.</summary>
    public abstract void KeepInvalidContexts(OracleMemory memory);

    /// <summary>Whether an answer of a device to an invalidation request reaches the IOMMU.</summary>
    public abstract bool LetsAnswersPass(IPhysicalMemory memory, IommuDevice device);

    public string? NameOfRegister(uint offset) => RegisterOffsets
        .GetFields(BindingFlags.Public | BindingFlags.Static)
        .FirstOrDefault(field => field.FieldType == typeof(uint) && (uint)field.GetValue(null)! == offset)?.Name;
}

/// <summary>What domains of both drivers have.</summary>
internal static class ScenarioDomains
{
    extension(TablePagingDomain domain)
    {
        /// <summary>IOMMUs that a device is attached through.</summary>
        public int BondCount => domain is VtdPagingDomain vtd ? vtd.BondCount : ((RiscVPagingDomain)domain).BondCount;
    }
}
