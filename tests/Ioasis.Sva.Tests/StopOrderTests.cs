using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Capabilities = Ioasis.RiscV.Architecture.Capabilities;

namespace Ioasis.Sva.Tests;

/// <summary>In which order devices are stopped, and that nothing is forgotten on the way.</summary>
public class StopOrderTests : SvaSuite
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.8")]
    [Trait("Requirement", "S2.1")]
    public void The_devices_own_queue_is_stopped_while_the_IOMMU_still_translates_for_it(bool exits)
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        Watched watched = new(device);
        device.Device.PasidDevice = watched;
        SvaBinding binding = rig.Bind(device, mm);
        SvaRig.DeviceWrite(device, binding.Pasid, SvaRig.Base, 1).ShouldBeTrue();
        (exits ? mm.Exit() : binding.Unbind()).ShouldBe(Errno.Success);

        // What the device accepted before it was stopped could still be written; after the IOMMU let go, nothing can.
        watched.ReachedWhenStopped.ShouldBe(true);
        SvaRig.DeviceWrite(device, binding.Pasid, SvaRig.Base, 1).ShouldBeFalse();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S2.1")]
    public void All_devices_of_a_process_are_stopped_before_the_first_is_waited_for(bool isPrivate)
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint first = rig.AddDevice();
        EmbeddedEndpoint second = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        List<string> order = [];
        first.Device.PasidDevice = new Watched(first, order, "first");
        second.Device.PasidDevice = new Watched(second, order, "second");
        _ = rig.Bind(first, mm);
        if (isPrivate)
        {
            rig.Manager.BindPrivate(second.Device, mm, null, out _).ShouldBe(Errno.Success);
        }
        else
        {
            _ = rig.Bind(second, mm);
        }

        mm.Exit().ShouldBe(Errno.Success);
        int lastStop = order.Select(static (what, i) => (what, i)).Where(static x => x.what.StartsWith("stop", StringComparison.Ordinal))
            .GroupBy(static x => x.what).Max(static g => g.Min(static x => x.i));
        int firstWait = order.FindIndex(static what => what.StartsWith("wait", StringComparison.Ordinal));
        firstWait.ShouldBeGreaterThan(lastStop, string.Join(", ", order));
        order.ShouldContain("wait first");
        order.ShouldContain("wait second", "a private PASID's device is waited for too");
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void Nothing_is_bound_to_a_process_whose_end_has_begun()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        EmbeddedEndpoint other = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        Errno late = Errno.Success;
        Watched watched = new(device) { OnStop = () => { } };
        device.Device.PasidDevice = watched;
        _ = rig.Bind(device, mm);

        // From within the end of the process: a device that reacts to its stop by asking for the process again.
        watched.OnStop = () => late = rig.Manager.Bind(other.Device, mm, null, out _);
        mm.Exit().ShouldBe(Errno.Success);
        late.ShouldBe(Errno.NoEntry);
        rig.Manager.Bind(other.Device, mm, null, out _).ShouldBe(Errno.NoEntry);
        SvaManager.GetPasid(mm).ShouldBe(Pasid.Invalid);
    }

    [Theory]
    [InlineData(17)]
    [InlineData(8)]
    [Trait("Requirement", "S2.10")]
    public void A_PASID_is_chosen_within_what_the_IOMMU_can_carry(int bits)
    {
        using SvaRig rig = new(slot: NarrowSlot(bits));
        EmbeddedEndpoint device = rig.AddDevice(pasidBits: 20);
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        (binding.Pasid.Value >> bits).ShouldBe(0u);

        // The numbers that the IOMMU can carry are all taken: the next process gets none of the others.
        List<Ioasid> taken = [];
        while (rig.Set.TryAllocate(new() { Last = new((1u << bits) - 1) }, out Ioasid one) == Errno.Success && taken.Count < 999)
        {
            taken.Add(one);
        }

        if (bits == 8)
        {
            taken.Count.ShouldBe(254);
            rig.Manager.Bind(device.Device, rig.NewProcess(), null, out _).ShouldBe(Errno.NoSpace);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S2.1")]
    public void A_page_request_still_in_the_hardwares_QueuedRequest_list_is_answered_before_a_detach_or_unplug_ends(bool unplugs)
    {
        // The interrupt that announces it has not come yet.
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        rig.QueuePageRequest(device, binding.Pasid, SvaRig.Base, Access.Read, 3, isLast: true);
        rig.Platform.Driver.PageRequests.Statistics.Groups.ShouldBe(0);
        rig.Link.Responses.ShouldBeEmpty();
        (unplugs ? rig.Platform.RemoveEndpointErrno(device) : binding.Unbind()).ShouldBe(Errno.Success);
        rig.Link.Responses.Count.ShouldBe(1);
    }

    /// <summary>An IOMMU whose PASIDs have fewer bits.</summary>
    private protected virtual IommuSlot NarrowSlot(int bits) => new RiscVIommuSlot
    {
        Hardware = new()
        {
            Capabilities = RiscVIommuOptions.FullCapabilities & ~(bits < 17 ? Capabilities.Pd20Bit | Capabilities.Pd17Bit : Capabilities.Pd20Bit),
        },
    };

    /// <summary>A device that says when it is stopped and waited for.</summary>
    private sealed class Watched(EmbeddedEndpoint endpoint, List<string>? order = null, string name = "device") : IPasidDevice
    {
        private int _looks;

        public string Name => name;

        public bool? ReachedWhenStopped { get; private set; }

        public Action OnStop { get; set; } = static () => { };

        public void Begin(Ioasid ioasid)
        {
        }

        public Errno Stop(Ioasid ioasid)
        {
            order?.Add($"stop {name}");
            ReachedWhenStopped ??= endpoint.Ats!.Write(ioasid.Pasid, SvaRig.Base, [7], out _) == AtsStatus.Success;
            OnStop();
            return Errno.Success;
        }

        // Once more than it is asked at first.
        public bool IsDrained(Ioasid ioasid, out string? holds)
        {
            order?.Add($"wait {name}");
            holds = "a descriptor";
            return ++_looks > 2;
        }
    }
}
