using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>How a rig is put together.</summary>
internal sealed record RigOptions : DriverRigOptions
{
    public VtdIommuOptions Hardware { get; init; } = new() { Caching = CachingMode.Hostile };

    public VtdDriverOptions Driver { get; init; } = new();

    /// <summary>Done to the hardware before the driver sees it.</summary>
    public Action<VtdIommu, SparsePhysicalMemory>? Before { get; init; }

    public static RigOptions Legacy { get; } = new() { Driver = new() { Mode = VtdMode.Legacy } };

    public static RigOptions FirstStage { get; } = new() { Driver = new() { FirstStageDomains = true } };

    public RigOptions With(ulong capability = 0, ulong extended = 0, ulong withoutCapability = 0, ulong withoutExtended = 0) => this with
    {
        Hardware = Hardware with
        {
            Capabilities = new((Hardware.Capabilities.Value | capability) & ~withoutCapability),
            ExtendedCapabilities = new((Hardware.ExtendedCapabilities.Value | extended) & ~withoutExtended),
        },
    };
}

/// <summary>A VT-d unit and its driver, and devices that answer as a test wants.</summary>
internal sealed class Rig : DriverRig<VtdIommu, VtdIommuInstance, VtdPagingDomain>, IMsiSink
{
    private readonly Queue<uint> _messages = new();

    public Rig(RigOptions? options = null, Rig? sharesMemoryWith = null)
        : base(options ??= new(), sharesMemoryWith)
    {
        Hardware = new(options.Hardware, options.HardwareMemory(Memory), this, this);
        options.Before?.Invoke(Hardware, Memory);
        Registers = options.Registers(Hardware);
        ProbeResult = VtdIommuInstance.TryProbe(
            Registers, DriverMemory, Pages, options.Driver with { FaultSink = Sink, Logger = Log }, out VtdIommuInstance? driver);
        Probed = driver;
    }

    /// <summary>Invalidation requests that devices got.</summary>
    public List<PcieMessage> Invalidations { get; } = [];

    /// <summary>Whether devices answer them at once.</summary>
    public bool AnswersInvalidations { get; set; } = true;

    /// <summary>Whether the unit gives up on devices at once (ITE).</summary>
    public bool TimesOut { get; set; }

    /// <summary>How many of the next requests the unit gives up on.</summary>
    public int Misses { get; set; }

    public IommuDevice AddDevice(uint id, int pasidBits = 0, bool ats = false, bool pageRequests = false, int? group = null) =>
        AddDevice(id, group, new() { PasidBits = pasidBits, Ats = ats, PageRequests = pageRequests, PageResponsesNeedPasid = true });

    /// <summary>A domain that a device is attached to.</summary>
    public VtdPagingDomain Attached(IommuDevice device, PagingDomainOptions options = default)
    {
        VtdPagingDomain domain = NewDomain(device, options);
        device.Group.Attach(domain).ShouldBe(Errno.Success, Log.ToString());
        return domain;
    }

    public override void HandleInterrupts()
    {
        for (int round = 0; round < 64; round++)
        {
            uint data;
            lock (_messages)
            {
                if (!_messages.TryDequeue(out data))
                {
                    return;
                }
            }

            Probed?.HandleInterrupt((int)data - 0x21);
        }
    }

    public MemoryStatus Send(PhysicalAddress address, uint data)
    {
        address.ShouldBe(new PhysicalAddress(0xfee0_0000));
        lock (_messages)
        {
            _messages.Enqueue(data);
        }

        return MemoryStatus.Success;
    }

    public override void SendInvalidationRequest(in PcieMessage message)
    {
        Invalidations.Add(message);
        if (TimesOut || Misses-- > 0)
        {
            Hardware.HandleInvalidationTimeout(1u << message.Tag);
        }
        else if (AnswersInvalidations)
        {
            Answer(message);
        }
    }

    /// <summary>A device's completion of an invalidation request.</summary>
    public void Answer(in PcieMessage message) =>
        Hardware.HandleInvalidationCompletion(new(2, message.RequesterId, null, Pasid.Invalid, (1ul << message.Tag) | (1ul << 32)));

    /// <summary>Faults tell the page (FRCD_REG.FI).</summary>
    protected override ulong ReportedAddress(ulong iova) => iova & ~(Page - 1);
}
