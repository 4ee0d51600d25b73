using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using PageResponseCode = Ioasis.Core.PageResponseCode;

namespace Ioasis.Sva.Tests;

/// <summary>Page requests on their way from the device to the handler, and the answers on their way back.</summary>
[Trait("Requirement", "S4.17")]
public class PageRequestTests : SvaSuite
{
    private static readonly Pasid s_pasid = new(7);

    /// <summary>
    /// Whether the hardware itself answers requests of a PASID that is attached to nothing: VT-d finds its entry not present (SPT.2), a
    /// RISC-V IOMMU looks at no process for a page request and leaves it to software.
    /// </summary>
    private protected virtual bool HardwareAnswersForUnattached => false;

    [Fact]
    public void A_group_is_handled_when_its_last_request_is_there_and_not_before()
    {
        using SvaRig rig = NewRig();
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        rig.SendPageRequest(device, s_pasid, 0x1000, Access.Read, 5, isLast: false);
        rig.SendPageRequest(device, s_pasid, 0x9000, Access.Read, 6, isLast: false);
        rig.SendPageRequest(device, s_pasid, 0x2000, Access.Write, 5, isLast: false);
        handler.Groups.ShouldBeEmpty();
        rig.SendPageRequest(device, s_pasid, 0x3000, Access.ReadWrite, 5, isLast: true);
        PageRequestGroup group = handler.Groups.ShouldHaveSingleItem();
        (group.Index, group.Pasid, group.Device, group.HasPasid).ShouldBe((5, s_pasid, device.Device, true));
        group.Requests.ToArray().ShouldBe(
            [new(new(0x1000), Access.Read), new(new(0x2000), Access.Write), new(new(0x3000), Access.ReadWrite)]);
        rig.Platform.Driver.PageRequests.Statistics.Waiting.ShouldBe(4);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Groups_are_answered_once_and_in_any_order(bool needsPasid)
    {
        using SvaRig rig = NewRig();
        (EmbeddedEndpoint device, Handler handler) = Attach(rig, needsPasid);
        PageTicket[] tickets = new PageTicket[4];
        for (int i = 0; i < 4; i++)
        {
            device.Ats!.RequestPage(s_pasid, 0x1000ul * (ulong)i, Access.Read, out PageTicket? ticket).ShouldBe(Errno.Success);
            tickets[i] = ticket!;
        }

        foreach (int i in (int[])[2, 0, 3, 1])
        {
            tickets[i].IsAnswered.ShouldBeFalse();
            handler.Groups[i].Respond(i % 2 == 0 ? PageResponseCode.Success : PageResponseCode.InvalidRequest).ShouldBe(Errno.Success);
            tickets[i].Code.ShouldBe(i % 2);
            tickets[i].HasPasid.ShouldBe(needsPasid);
            handler.Groups[i].Respond(PageResponseCode.Success).ShouldBe(Errno.NoEntry);
            tickets[i].Code.ShouldBe(i % 2);
        }

        PageRequestStatistics statistics = rig.Platform.Driver.PageRequests.Statistics;
        (statistics.Answered, statistics.Groups, statistics.Waiting).ShouldBe((4, 4, 0));
        rig.Platform.Driver.Usage.PageResponses.ShouldBe(4);
    }

    [Fact]
    public void What_is_outstanding_at_a_detach_is_answered_before_it_returns_and_the_handler_is_told()
    {
        using SvaRig rig = NewRig();
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        device.Ats!.RequestPage(s_pasid, 0x1000, Access.Read, out PageTicket? ticket).ShouldBe(Errno.Success);
        rig.SendPageRequest(device, s_pasid, 0x2000, Access.Read, 99, isLast: false);
        device.Device.Group.DetachPasid(s_pasid).ShouldBe(Errno.Success);
        ticket!.Code.ShouldBe((int)PageResponseCode.InvalidRequest);
        handler.Canceled.ShouldHaveSingleItem().ShouldBeSameAs(handler.Groups[0]);
        handler.Groups[0].Respond(PageResponseCode.Success).ShouldBe(Errno.NoEntry);
        rig.Platform.Driver.PageRequests.Statistics.Waiting.ShouldBe(0);

        // Afterwards nobody handles it.
        device.Ats.RequestPage(s_pasid, 0x1000, Access.Read, out ticket).ShouldBe(Errno.Success);
        ticket!.Code.ShouldBe((int)PageResponseCode.InvalidRequest);
        rig.Platform.Driver.PageRequests.Statistics.Unhandled.ShouldBe(HardwareAnswersForUnattached ? 0 : 1);
    }

    [Fact]
    public void A_detach_waits_for_the_handler_that_is_running()
    {
        using SvaRig rig = NewRig(dispatch: PageRequestDispatch.Worker);
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim go = new();
        int reader = Environment.CurrentManagedThreadId;
        int runner = 0;
        handler.OnGroup = group =>
        {
            runner = Environment.CurrentManagedThreadId;
            entered.Set();
            go.Wait(CancellationToken.None);
            _ = group.Respond(PageResponseCode.Success);
        };
        device.Ats!.RequestPage(s_pasid, 0x1000, Access.Read, out PageTicket? ticket).ShouldBe(Errno.Success);
        entered.Wait(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken).ShouldBeTrue();
        runner.ShouldNotBe(reader, "the handler ran on the thread that reads the queue");
        Errno result = Errno.TryAgain;
        Thread detach = new(() => result = device.Device.Group.DetachPasid(s_pasid));
        detach.Start();
        SpinWait.SpinUntil(() => ticket!.IsAnswered, TimeSpan.FromSeconds(20)).ShouldBeTrue();
        detach.Join(50).ShouldBeFalse();
        go.Set();
        detach.Join();
        result.ShouldBe(Errno.Success);
        ticket!.Code.ShouldBe((int)PageResponseCode.InvalidRequest);
    }

    [Fact]
    public void A_worker_sleeps_and_ends_and_no_request_is_left_over()
    {
        using SvaRig rig = NewRig(dispatch: PageRequestDispatch.Worker);
        PageRequestRouter router = rig.Platform.Driver.PageRequests;
        router.Options = router.Options with { WorkerSleep = TimeSpan.FromMilliseconds(1) };
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        handler.OnGroup = static group => group.Respond(PageResponseCode.Success);
        Random random = new(1);
        int ended = 0;
        for (int i = 0; i < 2000; i++)
        {
            // Meets the worker awake, on its way to sleep, asleep, on its way to its end, and gone.
            Thread.SpinWait(random.Next(1000));
            if (i % 50 == 0)
            {
                SpinWait.SpinUntil(() => router.WorkerCount == 0, TimeSpan.FromSeconds(20)).ShouldBeTrue();
                ended++;
            }

            device.Ats!.RequestPage(s_pasid, 0x1000, Access.Read, out PageTicket? ticket).ShouldBe(Errno.Success);
            SpinWait.SpinUntil(() => ticket!.IsAnswered, TimeSpan.FromSeconds(20)).ShouldBeTrue();
        }

        ended.ShouldBe(40);
        (handler.Groups.Count, router.Statistics.Waiting).ShouldBe((2000, 0));
    }

    [Fact]
    public void As_many_handlers_run_at_the_same_time_as_there_are_workers_and_no_more()
    {
        using SvaRig rig = NewRig(dispatch: PageRequestDispatch.Worker);
        PageRequestRouter router = rig.Platform.Driver.PageRequests;
        router.Options = router.Options with { Workers = 2 };
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        using SemaphoreSlim go = new(0);
        int running = 0, most = 0;
        handler.OnGroup = group =>
        {
            int now = Interlocked.Increment(ref running);
            _ = Interlocked.CompareExchange(ref most, now, now - 1);
            go.Wait(CancellationToken.None);
            _ = Interlocked.Decrement(ref running);
            _ = group.Respond(PageResponseCode.Success);
        };
        List<PageTicket> tickets = [];
        for (int i = 0; i < 6; i++)
        {
            device.Ats!.RequestPage(s_pasid, 0x1000, Access.Read, out PageTicket? ticket).ShouldBe(Errno.Success);
            tickets.Add(ticket!);
        }

        SpinWait.SpinUntil(() => Volatile.Read(ref running) == 2, TimeSpan.FromSeconds(20)).ShouldBeTrue();
        router.WorkerCount.ShouldBe(2);
        go.Release(6);
        SpinWait.SpinUntil(() => tickets.TrueForAll(static ticket => ticket.IsAnswered), TimeSpan.FromSeconds(20)).ShouldBeTrue();
        most.ShouldBe(2);
    }

    [Fact]
    public void A_device_that_exceeds_its_allotment_is_stopped_and_a_full_backlog_refuses_politely()
    {
        using SvaRig rig = NewRig();
        rig.Platform.Driver.PageRequests.Options = new() { Dispatch = PageRequestDispatch.Inline, MaxPagesPerDevice = 3, MaxPages = 4 };
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        (EmbeddedEndpoint other, _) = Attach(rig, pasid: 8);
        for (int i = 0; i < 3; i++)
        {
            device.Ats!.RequestPage(s_pasid, 0x1000, Access.Read, out _).ShouldBe(Errno.Success);
        }

        device.Ats!.RequestPage(s_pasid, 0x1000, Access.Read, out PageTicket? over).ShouldBe(Errno.Success);
        over!.Code.ShouldBe((int)PageResponseCode.Failure);
        device.Ats.PageRequestsStopped.ShouldBeTrue();
        device.Ats.RequestPage(s_pasid, 0x1000, Access.Read, out _).ShouldBe(Errno.NotSupported);
        other.Ats!.RequestPage(new(8), 0x1000, Access.Read, out PageTicket? fits).ShouldBe(Errno.Success);
        other.Ats.RequestPage(new(8), 0x1000, Access.Read, out PageTicket? full).ShouldBe(Errno.Success);
        fits!.IsAnswered.ShouldBeFalse();
        full!.Code.ShouldBe((int)PageResponseCode.InvalidRequest);
        other.Ats.PageRequestsStopped.ShouldBeFalse();
        rig.Platform.Driver.PageRequests.Statistics.Refused.ShouldBe(2);
        handler.Groups.ForEach(static group => group.Respond(PageResponseCode.Success));
        device.Ats.EnablePageRequests();
        device.Ats.RequestPage(s_pasid, 0x1000, Access.Read, out over).ShouldBe(Errno.Success);
        over!.IsAnswered.ShouldBeFalse();
    }

    [Fact]
    public void A_stop_marker_ends_incomplete_groups_of_its_PASID_alone_and_gets_no_answer()
    {
        using SvaRig rig = NewRig();
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        device.Device.Group.AttachPasid(new(9), NewDomain(rig, device, handler)).ShouldBe(Errno.Success);
        rig.SendPageRequest(device, s_pasid, 0x1000, Access.Read, 1, isLast: false);
        rig.SendPageRequest(device, new(9), 0x1000, Access.Read, 1, isLast: false);
        device.Ats!.SendStopMarker(s_pasid);
        PageRequestStatistics statistics = rig.Platform.Driver.PageRequests.Statistics;
        (statistics.StopMarkers, statistics.DroppedPartials, statistics.Waiting, statistics.Groups).ShouldBe((1, 1, 1, 0));
        rig.Platform.Driver.Usage.PageResponses.ShouldBe(0);
        handler.Groups.ShouldBeEmpty();
    }

    [Fact]
    public void An_overflow_of_the_hardwares_queue_drops_incomplete_groups_and_nobody_waits_for_ever()
    {
        // The interrupts run only when the burst is over: eight records fit.
        using SvaRig rig = NewRig(dispatch: PageRequestDispatch.Manual);
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        PcieMessage Message(int index, bool last) => new(
            PcieMessageCode.PageRequest, (ushort)device.Id.Value, 0, s_pasid,
            0x1000 | PageRequestPayload.ReadBit | ((ulong)index << PageRequestPayload.GroupShift) | (last ? PageRequestPayload.LastBit : 0));
        int size = 1 << (rig.Platform.Options.Iommus[0] switch
        {
            VtdIommuSlot vtd => vtd.Driver.PageRequestQueueSizeLog2,
            IommuSlot other => ((RiscVIommuSlot)other).Driver.PageRequestQueueSizeLog2,
        });
        rig.Platform.Iommu.Messages.HandlePageRequest(Message(300, last: false));
        for (int i = 0; i < size + 10; i++)
        {
            rig.Platform.Iommu.Messages.HandlePageRequest(Message(i % 256, last: true));
        }

        _ = rig.Platform.FaultCount;
        while (rig.Platform.Driver.PageRequests.TryRun())
        {
        }

        PageRequestStatistics statistics = rig.Platform.Driver.PageRequests.Statistics;
        statistics.DroppedPartials.ShouldBe(1);
        handler.Groups.Count.ShouldBe(size - 2);
        handler.Groups.ForEach(static group => group.Respond(PageResponseCode.Success).ShouldBe(Errno.Success));

        // The queue works again.
        device.Ats!.RequestPage(s_pasid, 0x5000, Access.Read, out PageTicket? ticket).ShouldBe(Errno.Success);
        rig.Platform.Driver.PageRequests.TryRun().ShouldBeTrue();
        handler.Groups[^1].Respond(PageResponseCode.Success).ShouldBe(Errno.Success);
        ticket!.IsSuccess.ShouldBeTrue();
    }

    [Fact]
    public void A_device_that_is_removed_leaves_nothing_behind()
    {
        using SvaRig rig = NewRig();
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        device.Ats!.RequestPage(s_pasid, 0x1000, Access.Read, out _).ShouldBe(Errno.Success);
        rig.SendPageRequest(device, s_pasid, 0x1000, Access.Read, 77, isLast: false);
        rig.Platform.RemoveEndpointErrno(device).ShouldBe(Errno.Success);
        rig.Platform.Driver.PageRequests.Statistics.Waiting.ShouldBe(0);
        handler.Canceled.Count.ShouldBe(1);
    }

    [Fact]
    public void Requests_during_a_replace_go_to_the_new_domain_and_those_before_are_answered()
    {
        using SvaRig rig = NewRig();
        (EmbeddedEndpoint device, Handler handler) = Attach(rig);
        device.Ats!.RequestPage(s_pasid, 0x1000, Access.Read, out PageTicket? before).ShouldBe(Errno.Success);
        Handler next = new();
        device.Device.Group.ReplacePasid(s_pasid, NewDomain(rig, device, next)).ShouldBe(Errno.Success);
        before!.Code.ShouldBe((int)PageResponseCode.InvalidRequest);
        handler.Canceled.Count.ShouldBe(1);
        device.Ats.RequestPage(s_pasid, 0x1000, Access.Read, out _).ShouldBe(Errno.Success);
        next.Groups.ShouldHaveSingleItem();
    }

    [Fact]
    public void Whatever_happens_each_last_request_is_answered_exactly_once_and_nothing_is_kept()
    {
        Gen<(int Op, int Pasid, int Value)[]> scripts = Gen.Choose(0, 7).SelectMany(static op => Gen.Choose(1, 3).SelectMany(
            pasid => Gen.Choose(0, 500).Select(value => (op, pasid, value)))).ArrayOf();
        Prop.ForAll(Arb.From(scripts), script => Obey(script)).QuickCheckThrowOnFailure();
    }

    private void Obey((int Op, int Pasid, int Value)[] script)
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        Handler handler = new();
        Domain[] domains = [NewDomain(rig, device, handler), NewDomain(rig, device, handler)];
        Dictionary<PageTicket, int> answers = [];
        List<PageTicket> tickets = [];
        bool[] attached = new bool[4];
        int byHardware = 0;
        foreach ((int op, int number, int value) in script)
        {
            Pasid pasid = new((uint)number);
            switch (op)
            {
                case 0 or 1:
                    device.Ats!.RequestPage(pasid, (ulong)value << 12, Access.Read, out PageTicket? ticket, Count).ShouldBe(Errno.Success);
                    tickets.Add(ticket!);
                    byHardware += HardwareAnswersForUnattached && !attached[number] ? 1 : 0;
                    break;
                case 2:
                    rig.SendPageRequest(device, pasid, 0x1000, Access.Write, value % 4, isLast: false);
                    break;
                case 3 when handler.Groups.Count > 0:
                    PageRequestGroup group = handler.Groups[value % handler.Groups.Count];
                    Errno expected = group.IsAnswered ? Errno.NoEntry : Errno.Success;
                    group.Respond((PageResponseCode)(value % 2)).ShouldBe(expected);
                    break;
                case 4:
                    device.Ats!.SendStopMarker(pasid);
                    break;
                case 5:
                    device.Device.Group.DetachPasid(pasid).ShouldBe(Errno.Success);
                    attached[number] = false;
                    break;
                case 6:
                    device.Device.Group.AttachPasid(pasid, domains[0]).ShouldBe(attached[number] ? Errno.Busy : Errno.Success);
                    attached[number] = true;
                    break;
                case 7:
                    device.Device.Group.ReplacePasid(pasid, domains[value % 2]).ShouldBe(attached[number] ? Errno.Success : Errno.InvalidArgument);
                    break;
            }

            PageRequestStatistics now = rig.Platform.Driver.PageRequests.Statistics;
            (now.Answered + now.Canceled + now.Unhandled + now.Refused).ShouldBe(tickets.Count(static ticket => ticket.IsAnswered) - byHardware);
        }

        for (uint pasid = 1; pasid <= 3; pasid++)
        {
            device.Device.Group.DetachPasid(new(pasid)).ShouldBe(Errno.Success);
            device.Ats!.SendStopMarker(new(pasid));
        }

        tickets.ShouldAllBe(ticket => ticket.IsAnswered && answers[ticket] == 1);
        rig.Platform.Driver.PageRequests.Statistics.Waiting.ShouldBe(0);

        void Count(PageTicket ticket) => answers[ticket] = answers.GetValueOrDefault(ticket) + 1;
    }

    private static (EmbeddedEndpoint Device, Handler Handler) Attach(SvaRig rig, bool needsPasid = false, uint pasid = 7)
    {
        EmbeddedEndpoint device = rig.AddDevice(needsPasid: needsPasid);
        Handler handler = new();
        device.Device.Group.AttachPasid(new(pasid), NewDomain(rig, device, handler)).ShouldBe(Errno.Success);
        return (device, handler);
    }

    private static PagingDomain NewDomain(SvaRig rig, EmbeddedEndpoint device, Handler handler)
    {
        rig.Platform.Driver.TryAllocatePagingDomain(device.Device, default, out PagingDomain? domain).ShouldBe(Errno.Success);
        domain!.PageRequestHandler = handler;
        return domain;
    }

    private sealed class Handler : IPageRequestHandler
    {
        public List<PageRequestGroup> Groups { get; } = [];

        public List<PageRequestGroup> Canceled { get; } = [];

        public Action<PageRequestGroup>? OnGroup { get; set; }

        public void OnPageRequests(PageRequestGroup group)
        {
            lock (Groups)
            {
                Groups.Add(group);
            }

            OnGroup?.Invoke(group);
        }

        public void OnCanceled(PageRequestGroup group) => Canceled.Add(group);
    }
}
