using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Driver.Tests;

/// <summary>How a rig is put together.</summary>
internal sealed record RigOptions : DriverRigOptions
{
    public ulong Capabilities { get; init; } = RiscVIommuOptions.FullCapabilities;

    public CachingMode Caching { get; init; } = CachingMode.Hostile;

    public IommuMode MaxMode { get; init; } = IommuMode.ThreeLevel;

    public RiscVDriverOptions Driver { get; init; } = new();

    public Func<RiscVIommuOptions, RiscVIommuOptions> Hardware { get; init; } = options => options;
}

/// <summary>A RISC-V IOMMU and its driver, and devices that cache.</summary>
internal sealed class Rig : DriverRig<RiscVIommu, RiscVIommuInstance, RiscVPagingDomain>
{
    private readonly Dictionary<DeviceId, DeviceCache> _caches = [];

    public Rig(RigOptions? options = null, Rig? sharesMemoryWith = null)
        : base(options ??= new(), sharesMemoryWith)
    {
        Hardware = new(
            options.Hardware(new RiscVIommuOptions
            {
                Capabilities = options.Capabilities,
                Caching = options.Caching,
                MaxMode = options.MaxMode,
                CollectStatistics = true,
            }),
            options.HardwareMemory(Memory),
            Lines,
            link: this);
        Registers = options.Registers(Hardware);
        ProbeResult = RiscVIommuInstance.TryProbe(
            Registers, DriverMemory, Pages, options.Driver with { FaultSink = Sink, Logger = Log }, out RiscVIommuInstance? driver);
        Probed = driver;
    }

    public InterruptLines Lines { get; } = new();

    public IommuDevice AddDevice(
        uint id, int pasidBits = 0, int? group = null, bool ats = false, bool pageRequests = false, bool responsesNeedPasid = false)
    {
        IommuDevice device = AddDevice(id, group, new()
        {
            PasidBits = pasidBits,
            Ats = ats,
            PageRequests = pageRequests,
            PageResponsesNeedPasid = responsesNeedPasid,
        });
        if (ats)
        {
            _caches[device.Id] = new(Hardware, device.Id);
        }

        return device;
    }

    /// <summary>What a device that was added with ATS has cached.</summary>
    public DeviceCache CacheOf(IommuDevice device) => _caches[device.Id];

    public RiscVPagingDomain NewSecondStage(
        IommuDevice device, PagingDomainOptions options = default, InterruptFileAddresses? interruptFiles = null)
    {
        Driver.TryAllocatePagingDomain(device, options with { NestParent = true }, interruptFiles, out RiscVPagingDomain? domain)
            .ShouldBe(Errno.Success);
        return domain!;
    }

    public override void SendInvalidationRequest(in PcieMessage message)
    {
        if (_caches.TryGetValue(message.Device, out DeviceCache? cache))
        {
            cache.Invalidate(message);
        }
    }

    public override void HandleInterrupts()
    {
        for (int round = 0; round < 16 && Lines.TryTake(out int vector); round++)
        {
            Driver.HandleInterrupt(vector);
        }
    }
}

/// <summary>Interrupt wires whose levels a test looks at.</summary>
internal sealed class InterruptLines : IInterruptLines
{
    private readonly bool[] _levels = new bool[16];

    public int Raised { get; private set; }

    public void SetLevel(int vector, bool asserted)
    {
        lock (_levels)
        {
            Raised += asserted && !_levels[vector] ? 1 : 0;
            _levels[vector] = asserted;
        }
    }

    public bool TryTake(out int vector)
    {
        lock (_levels)
        {
            vector = Array.IndexOf(_levels, true);
            return vector >= 0;
        }
    }
}

/// <summary>A clock that creeps forward with each look, so that waits end.</summary>
internal sealed class CreepingTime : TimeProvider
{
    private long _now;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Interlocked.Add(ref _now, TimeSpan.TicksPerMillisecond);
}
