using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.PageTables.Formats;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Sva.Tests;

/// <summary>A machine with a hostile IOMMU, PASIDs, processes and devices that ask for pages.</summary>
internal sealed class SvaRig : IDisposable
{
    public const ulong Base = 0x40_0000;
    public const ulong Size = 4096;
    private uint _nextDevice = 0x10;

    public SvaRig(uint quota = 1000, ulong capabilities = RiscVIommuOptions.FullCapabilities, PageRequestDispatch dispatch = PageRequestDispatch.Inline,
        IommuSlot? slot = null)
    {
        Platform = new(new()
        {
            Caching = CachingMode.Hostile,
            UserMemory = new IdentityUserMemory(),
            PhysicalBits = 46,
            Iommus = [slot ?? new RiscVIommuSlot { Hardware = new() { Capabilities = capabilities } }],
            Link = inner => Link = new(inner, this),
        });
        Platform.Driver.PageRequests.Options = new() { Dispatch = dispatch };
        Pages = new(Platform.PhysicalMemory, new(1ul << 32, (1ul << 33) - 1));
        Frames = new(Platform.PhysicalMemory, Pages);
        Allocator = new(new() { DrainPatience = TimeSpan.FromSeconds(5) });
        Allocator.TryCreateSet(new() { Quota = quota, Token = this }, out PasidSet? set).ShouldBe(Errno.Success);
        Set = set!;
        Manager = new(Set);
    }

    public EmbeddedPlatform Platform { get; }

    public SilentLink Link { get; private set; } = null!;

    public RangePageAllocator Pages { get; }

    public PageFrames Frames { get; }

    public PasidAllocator Allocator { get; }

    public PasidSet Set { get; }

    public SvaManager Manager { get; }

    public EmbeddedEndpoint AddDevice(int pasidBits = 20, bool pageRequests = true, bool needsPasid = false, int? group = null)
    {
        _nextDevice += 8;
        return Platform.AddEndpoint(new(_nextDevice), new()
        {
            PasidBits = pasidBits,
            PageRequests = pageRequests,
            PageResponsesNeedPasid = needsPasid,
            GroupId = group,
        });
    }

    /// <summary>Puts an accelerator into the machine, with one shared queue; descriptors may wait for pages if it asks for them.</summary>
    public EmbeddedEndpoint AddAccelerator(DsaDevice accelerator, int entries = 64)
    {
        _nextDevice += 8;
        EmbeddedEndpoint endpoint = Platform.AddDevice(accelerator, new(_nextDevice));
        DsaSetup.Enable(
            accelerator,
            new DsaQueueSetup { IsShared = true, Entries = entries, BlockOnFault = accelerator.Description.HasPageRequests });
        return endpoint;
    }

    public DemandPagedAddressSpace NewProcess(ulong pages = 16, PageTableFormat? format = null)
    {
        IReadOnlyList<PageTableFormat> formats = Platform.Driver.Capabilities.ProcessFormats;
        format ??= formats.Contains(PageTableFormat.Of<Sv48>()) ? PageTableFormat.Of<Sv48>() : formats[0];
        DemandPagedAddressSpace.TryCreate(Frames, format, out DemandPagedAddressSpace? mm).ShouldBe(Errno.Success);
        if (pages > 0)
        {
            mm!.Map(Base, pages * Size, Access.ReadWrite).ShouldBe(Errno.Success);
        }

        return mm!;
    }

    public SvaBinding Bind(EmbeddedEndpoint device, ProcessAddressSpace mm)
    {
        Manager.Bind(device.Device, mm, null, out SvaBinding? binding).ShouldBe(Errno.Success);
        return binding!;
    }

    /// <summary>
    /// One message of a group of page requests, as a device sends it that never ends the group; nobody waits for an answer.
    /// </summary>
    public void SendPageRequest(EmbeddedEndpoint device, Pasid pasid, ulong address, Access access, int index, bool isLast)
    {
        QueuePageRequest(device, pasid, address, access, index, isLast);
        Platform.HandleInterrupts();
    }

    /// <summary>As it, and the interrupt that tells the driver is still on its way.</summary>
    public void QueuePageRequest(EmbeddedEndpoint device, Pasid pasid, ulong address, Access access, int index, bool isLast)
    {
        DeviceId id = device.Device.Id;
        Platform.Iommu.Messages.HandlePageRequest(new(
            PcieMessageCode.PageRequest,
            (ushort)id.Value,
            (byte)id.Segment,
            pasid.IsPresent ? pasid : Pasid.Invalid,
            (address & ~(Size - 1))
                | ((access & Access.Read) != 0 ? PageRequestPayload.ReadBit : 0)
                | ((access & Access.Write) != 0 ? PageRequestPayload.WriteBit : 0)
                | (isLast ? PageRequestPayload.LastBit : 0)
                | ((ulong)index << PageRequestPayload.GroupShift)));
    }

    /// <summary>A device's write with page faults: what a block-on-fault engine does.</summary>
    public static bool DeviceWrite(EmbeddedEndpoint device, Pasid pasid, ulong address, params ReadOnlySpan<byte> data)
    {
        for (int attempt = 0; attempt < 8; attempt++)
        {
            AtsStatus status = device.Ats!.Write(pasid, address, data, out int done);
            if (status != AtsStatus.PageMissing)
            {
                return status == AtsStatus.Success;
            }

            data = data[done..];
            address += (ulong)done;
            if (!Ask(device, pasid, address, Access.ReadWrite))
            {
                return false;
            }
        }

        return false;
    }

    /// <summary>A device's read with page faults.</summary>
    public static bool DeviceRead(EmbeddedEndpoint device, Pasid pasid, ulong address, Span<byte> data)
    {
        for (int attempt = 0; attempt < 8; attempt++)
        {
            AtsStatus status = device.Ats!.Read(pasid, address, data, out int done);
            if (status != AtsStatus.PageMissing)
            {
                return status == AtsStatus.Success;
            }

            data = data[done..];
            address += (ulong)done;
            if (!Ask(device, pasid, address, Access.Read))
            {
                return false;
            }
        }

        return false;
    }

    public static byte[] Get(ProcessAddressSpace mm, ulong address, int length)
    {
        byte[] data = new byte[length];
        mm.Read(address, data).ShouldBe(Errno.Success);
        return data;
    }

    public void Dispose() => Platform.Dispose();

    /// <summary>A link whose devices may fall silent: the IOMMU is told of the time-out at once.</summary>
    internal sealed class SilentLink(IPcieLink inner, SvaRig rig) : LinkDecorator(inner)
    {
        public bool IsSilent { get; set; }

        /// <summary>Answers to page requests.</summary>
        public List<PcieMessage> Responses { get; } = [];

        public override void SendPageRequestGroupResponse(in PcieMessage message)
        {
            lock (Responses)
            {
                Responses.Add(message);
            }

            base.SendPageRequestGroupResponse(message);
        }

        public override void SendInvalidationRequest(in PcieMessage message)
        {
            if (IsSilent)
            {
                rig.Platform.Iommu.Messages.HandleInvalidationTimeout(1u << message.Tag);
            }
            else
            {
                base.SendInvalidationRequest(message);
            }
        }
    }

    private static bool Ask(EmbeddedEndpoint device, Pasid pasid, ulong address, Access access)
    {
        if (device.Ats!.RequestPage(pasid, address, access, out PageTicket? ticket) != Errno.Success)
        {
            return false;
        }

        SpinWait.SpinUntil(() => ticket!.IsAnswered, TimeSpan.FromSeconds(20)).ShouldBeTrue("the device got no answer");
        return ticket!.IsSuccess;
    }
}
