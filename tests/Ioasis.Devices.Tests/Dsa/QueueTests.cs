using Ioasis.Devices.Dsa;
using Ioasis.Platform;
using Ioasis.Primitives;
using static Ioasis.Devices.Tests.Dsa.DsaHost;

namespace Ioasis.Devices.Tests.Dsa;

/// <summary>Portals, occupancy, drain and abort with descriptors in flight, PASIDs (DSA specification 1.x, sections 3.2 to 3.9).</summary>
public sealed class QueueTests : IDisposable
{
    private readonly DsaHost _host = new(new() { HasAts = false, HasPageRequests = false, IsStepped = true });
    private readonly ulong _a;
    private readonly ulong _b;

    public QueueTests()
    {
        _a = _host.Memory.Allocate(0x1_0000);
        _b = _host.Memory.Allocate(0x1_0000);
    }

    private static DsaDescriptor Fill(ulong at) => new(DsaOperation.Fill, Source: ulong.MaxValue, Destination: at, Length: 8);

    public void Dispose() => _host.Dispose();

    [Fact]
    public void A_shared_queue_tells_to_retry_when_it_is_full_and_limited_portals_sooner()
    {
        _host.Bring(new DsaQueueSetup { IsShared = true, Entries = 4, Threshold = 2 });
        ISharedWorkQueue limited = _host.Device.GetPortal(0, isLimited: true);
        ISharedWorkQueue unlimited = _host.Device.GetPortal(0);
        Offer(limited, 1).ShouldBeTrue();
        Offer(limited, 2).ShouldBeTrue();
        Offer(limited, 3).ShouldBeFalse();
        Offer(unlimited, 3).ShouldBeTrue();
        Offer(unlimited, 3).ShouldBeTrue();
        Offer(unlimited, 3).ShouldBeFalse();
        _host.CountOf(0).ShouldBe(4u);
        _host.Device.Run().ShouldBe(8);
        _host.CountOf(0).ShouldBe(0u);
        Offer(limited, 1).ShouldBeTrue();
        _host.Store(Fill(_b));
        _host.CountOf(0).ShouldBe(1u, "MOVDIR64B is for dedicated queues");
        Offer(_host.Device.GetPortal(1), 1).ShouldBeFalse("not enabled");
        limited.TryEnqueue(new byte[32]).ShouldBeFalse();
    }

    [Fact]
    public void Requests_carry_the_PASID_of_the_queue_or_of_the_command()
    {
        List<Pasid> seen = [];
        _host.Memory.OnAccess = (request, _) => seen.Add((request.Flags & DmaFlags.PasidValid) != 0 ? request.Pasid : default);
        _host.Bring(new() { Queue = 0 }, new() { Queue = 1, Pasid = new(7) }, new() { Queue = 2, IsShared = true });
        _host.Store(Fill(_b));
        _host.Store(Fill(_b), queue: 1);
        Offer(_host.Device.GetPortal(2), 0x12345).ShouldBeTrue();
        _ = _host.Device.Run();
        seen.ShouldBe([default, new(7), new(0x12345)]);
        Offer(_host.Device.GetPortal(0), 1).ShouldBeFalse("ENQCMD is for shared queues");
    }

    [Fact]
    public void A_drain_waits_for_what_was_there_and_an_abort_drops_it()
    {
        _host.Bring(new() { Queue = 0, Entries = 4 }, new() { Queue = 1, Entries = 4 });
        _host.Store(Fill(_b));
        _host.Store(Fill(_b + 8), queue: 1);
        _host.Command(DrainWq, 1).ShouldBe(1u << 31);
        _host.Store(Fill(_b + 16));
        for (int i = 0; i < 3; i++)
        {
            _ = _host.Device.Step();
            _host.Error.ShouldBe(1u << 31, "each has had a turn, and none has ended");
        }

        _ = _host.Device.Step();
        _host.Error.ShouldBe(0u);
        _host.Device.Pending.ShouldBeGreaterThan(0, "what came later does not count");
        _host.Command(AbortWq, 2).ShouldBe(0u);
        _ = _host.Device.Run();
        _host.Memory[_b, 8][0].ShouldBe((byte)0xff);
        _host.Memory[_b + 16, 8][0].ShouldBe((byte)0xff);
        _host.Store(Fill(_a));
        _host.Command(AbortAll).ShouldBe(0u);
        _host.Store(Fill(_a));
        _host.Command(Disable).ShouldBe(1u << 31);
        _host.Read(GenSts, 4).ShouldBe(2ul, "draining");
        _host.StateOf(0).ShouldBe(2u, "busy");
        _host.Store(Fill(_a + 8));
        _host.Command(Enable).ShouldBe(1u << 31, "one command after the other");
        _ = _host.Device.Run();
        _host.Error.ShouldBe(0u);
        (_host.Read(GenSts, 4), _host.StateOf(0)).ShouldBe((0ul, 0u));
        _host.Memory[_a, 1][0].ShouldBe((byte)0xff);
        _host.Memory[_a + 8, 1][0].ShouldBe((byte)0, "it was refused");
    }

    [Fact]
    public void PASIDs_are_drained_and_aborted_each_by_itself()
    {
        _host.Bring(new DsaQueueSetup { IsShared = true, Entries = 8, Threshold = 8 });
        ISharedWorkQueue portal = _host.Device.GetPortal(0);
        Offer(portal, 1).ShouldBeTrue();
        Offer(portal, 2).ShouldBeTrue();
        _host.Command(AbortPasid, 1).ShouldBe(0u);
        _host.Device.Statistics.Aborted.ShouldBe(1);
        _host.Command(DrainPasid, 1).ShouldBe(0u);
        _host.Command(DrainPasid, 2).ShouldBe(1u << 31);
        _ = _host.Device.Run();
        _host.Error.ShouldBe(0u);
    }

    [Fact]
    public void A_drain_descriptor_ends_after_what_the_queue_took_before_with_its_PASID()
    {
        _host.Bring(new DsaQueueSetup { IsShared = true, Entries = 8, Threshold = 8 });
        ISharedWorkQueue portal = _host.Device.GetPortal(0);
        List<int> ended = [];
        _host.Memory.OnAccess = (request, length) =>
        {
            if (length == 8 && request.Address.Value >= _host.Record && request.Address.Value < _host.Record + 4096)
            {
                ended.Add((int)(request.Address.Value - _host.Record) / 32);
            }
        };
        Offer(portal, 1, new(DsaOperation.Move, Told, _host.Record, _a, _b, 0x8000)).ShouldBeTrue();
        Offer(portal, 1, new(DsaOperation.Drain, Told, _host.Record + 32)).ShouldBeTrue();
        Offer(portal, 2, new(DsaOperation.Drain, Told, _host.Record + 64)).ShouldBeTrue();
        _ = _host.Device.Run();
        ended.ShouldBe([2, 0, 1]);
    }

    [Fact]
    public void What_a_stopped_PASID_had_is_dropped_and_nothing_new_is_taken_until_it_begins_again()
    {
        _host.Bring(new DsaQueueSetup { IsShared = true, Entries = 8, Threshold = 8 });
        ISharedWorkQueue portal = _host.Device.GetPortal(0);
        IPasidUser user = _host.Device.PasidUser!;
        Offer(portal, 1).ShouldBeTrue();
        user.StopPasid(new(1)).ShouldBe(Errno.Success);
        user.IsPasidDrained(new(1), out string? holds).ShouldBeTrue();
        holds.ShouldBeNull();
        Offer(portal, 1).ShouldBeFalse();
        Offer(portal, 2).ShouldBeTrue();
        user.BeginPasid(new(1));
        Offer(portal, 1).ShouldBeTrue();
        _ = _host.Device.Run();
        _host.Device.Statistics.ShouldBe(new(3, 1, 2, 0, 1, 0, 0, 16));
    }

    [Fact]
    public void Privilege_is_nobodys_in_a_shared_queue()
    {
        _host.Bring(new DsaQueueSetup { IsShared = true });
        _host.Memory[_host.Record, 32].Clear();
        Offer(_host.Device.GetPortal(0), 1, new DsaDescriptor(DsaOperation.None, Told, _host.Record) { IsPrivileged = true }).ShouldBeTrue();
        _ = _host.Device.Run();
        _host.RecordAt(_host.Record).Status.ShouldBe(DsaStatus.Privilege);
    }

    private bool Offer(ISharedWorkQueue portal, uint pasid, DsaDescriptor? descriptor = null)
    {
        byte[] command = new byte[64];
        (descriptor ?? Fill(_b + 4096)).WriteTo(command);
        BitConverter.TryWriteBytes(command, BitConverter.ToUInt32(command) | pasid);
        return portal.TryEnqueue(command);
    }
}
