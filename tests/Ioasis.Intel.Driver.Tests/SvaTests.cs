using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>Processes' address spaces as first stages, and the page requests of devices that use them.</summary>
public sealed class SvaTests : IDisposable
{
    private const ulong Address = 0x7000_0000;
    private static readonly Pasid s_pasid = new(42);

    private readonly Rig _rig = new();
    private readonly IommuDevice _device;
    private readonly DemandPagedAddressSpace _process;
    private readonly SvaDomain _domain;

    public SvaTests()
    {
        _rig.Driver.PageRequests.Options = new() { Dispatch = PageRequestDispatch.Inline };
        _device = _rig.AddDevice(0x0110, pasidBits: 20, ats: true, pageRequests: true);
        DemandPagedAddressSpace.TryCreate(new(_rig.Memory, _rig.Pages), PageTableFormat.Of<X64Level4>(), out DemandPagedAddressSpace? process)
            .ShouldBe(Errno.Success);
        _process = process!;
        _process.Map(Address, 16 * Rig.Page, Access.ReadWrite).ShouldBe(Errno.Success);
        _rig.Driver.TryAllocateSvaDomain(_device, _process, out SvaDomain? domain).ShouldBe(Errno.Success, _rig.Log.ToString());
        _domain = domain!;
        _device.Group.AttachPasid(s_pasid, _domain).ShouldBe(Errno.Success, _rig.Log.ToString());
    }

    public void Dispose()
    {
        _domain.Dispose();
        _rig.Dispose();
    }

    [Fact]
    public void A_page_that_a_device_asks_for_is_faulted_in_and_reached()
    {
        _process.Write(Address, [1, 2, 3, 4]).ShouldBe(Errno.Success);
        _rig.Dma(_device, Address, pasid: s_pasid).Status.ShouldBe(DmaStatus.Success);
        _rig.Dma(_device, Address + 0x1000, pasid: s_pasid).Status.ShouldNotBe(DmaStatus.Success, "not touched yet");
        Ask(Address + 0x1000, group: 7, isWrite: true);
        PcieMessage response = _rig.Responses.ShouldHaveSingleItem();
        response.RequesterId.ShouldBe((ushort)0x0110);
        response.Pasid.ShouldBe(s_pasid);
        ((response.Payload >> 32) & 0x1ff).ShouldBe(7ul);
        ((response.Payload >> 44) & 0xf).ShouldBe(0ul);
        _rig.Dma(_device, Address + 0x1000, write: true, pasid: s_pasid).Status.ShouldBe(DmaStatus.Success);
        _rig.Driver.Statistics.PageRequests.ShouldBe(1);
        _rig.Driver.Statistics.PageResponses.ShouldBe(1);
    }

    [Fact]
    public void What_the_process_unmaps_is_out_of_reach_before_the_call_returns()
    {
        _process.Write(Address, [1]).ShouldBe(Errno.Success);
        _rig.Dma(_device, Address, pasid: s_pasid).Status.ShouldBe(DmaStatus.Success);
        _rig.Invalidations.Clear();
        _process.Unmap(Address, Rig.Page).ShouldBe(Errno.Success);
        _rig.Invalidations.ShouldHaveSingleItem().Pasid.ShouldBe(s_pasid);
        _rig.Dma(_device, Address, pasid: s_pasid).Status.ShouldNotBe(DmaStatus.Success);
        Ask(Address, group: 1, isWrite: false);
        ((_rig.Responses.ShouldHaveSingleItem().Payload >> 44) & 0xf).ShouldBe(1ul);
        IommuFault fault = _rig.Sink.Faults[^1];
        fault.Reason.ShouldBe(IommuFaultReason.NotMapped);
        fault.Pasid.ShouldBe(s_pasid);
    }

    [Fact]
    public void A_request_for_a_PASID_that_was_detached_is_answered()
    {
        _device.Group.DetachPasid(s_pasid).ShouldBe(Errno.Success);
        Ask(Address, group: 3, isWrite: false);
        PcieMessage response = _rig.Responses.ShouldHaveSingleItem();
        ((response.Payload >> 44) & 0xf).ShouldBe(1ul);
    }

    [Fact]
    public void A_queue_that_overflows_leaves_no_device_waiting()
    {
        // 256 descriptors, one of which stays free.
        for (uint i = 0; i < 300; i++)
        {
            _rig.Hardware.HandlePageRequest(Request(Address, i, isWrite: false));
        }

        _rig.HandleInterrupts();
        _rig.Responses.Count.ShouldBe(300);
        _rig.Log.ToString().ShouldContain("page requests were lost");
        _rig.Responses.Clear();
        Ask(Address + 0x2000, group: 9, isWrite: true);
        ((_rig.Responses.ShouldHaveSingleItem().Payload >> 44) & 0xf).ShouldBe(0ul);
    }

    [Fact]
    public void A_table_of_another_architecture_is_refused()
    {
        DemandPagedAddressSpace.TryCreate(new(_rig.Memory, _rig.Pages), PageTableFormat.Of<Sv48>(), out DemandPagedAddressSpace? other)
            .ShouldBe(Errno.Success);
        _rig.Driver.TryAllocateSvaDomain(_device, other!, out _).ShouldBe(Errno.InvalidArgument);
    }

    private void Ask(ulong address, uint group, bool isWrite)
    {
        _rig.Hardware.HandlePageRequest(Request(address, group, isWrite));
        _rig.HandleInterrupts();
    }

    private static PcieMessage Request(ulong address, uint group, bool isWrite) =>
        new(4, 0x0110, null, s_pasid, address | (group << 3) | 4 | (isWrite ? 2ul : 0) | 1);
}
