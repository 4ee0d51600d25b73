using System.Buffers.Binary;
using Ioasis.Devices.Dsa;
using Ioasis.Primitives;
using Ioasis.Uapi;
using static Ioasis.Devices.Tests.Dsa.DsaHost;

namespace Ioasis.Devices.Tests.Dsa;

/// <summary>What a descriptor cannot have, and how it is told (DSA specification 1.x, sections 5.7 to 5.9, 9.2.13).</summary>
public sealed class ErrorTests : IDisposable
{
    private const ulong Nowhere = 1ul << 40;

    private readonly DsaHost _host = new();
    private readonly ulong _a;
    private readonly ulong _b;

    public ErrorTests()
    {
        _host.Bring();
        _a = _host.Memory.Allocate(0x2_0000);
        _b = _host.Memory.Allocate(0x2_0000);
    }

    public void Dispose() => _host.Dispose();

    public static TheoryData<DsaDescriptor, DsaStatus> Bad { get; } = new()
    {
        { new((DsaOperation)0x0a), DsaStatus.BadOperation },
        { new((DsaOperation)0x12, Length: 8), DsaStatus.BadOperation },
        { new((DsaOperation)0xff), DsaStatus.BadOperation },
        { new(DsaOperation.Move, DsaFlags.Fence, 0, 8, 8, 8), DsaStatus.BadFlags },
        { new(DsaOperation.Move, DsaFlags.BlockOnFault, 0, 8, 8, 8), DsaStatus.BadFlags },
        { new(DsaOperation.Move, DsaFlags.CheckResult, 0, 8, 8, 8), DsaStatus.BadFlags },
        { new(DsaOperation.None, DsaFlags.CacheControl), DsaStatus.BadFlags },
        { new(DsaOperation.None, (DsaFlags)(1 << 23)), DsaStatus.BadFlags },
        { new(DsaOperation.None, Source: 1), DsaStatus.ReservedField },
        { new(DsaOperation.Fill, Destination: 8, Length: 8, Extra: 1), DsaStatus.ReservedField },
        { new(DsaOperation.Move, Source: 8, Destination: 8), DsaStatus.TransferSize },
        { new(DsaOperation.Move, Source: 8, Destination: 8, Length: 0x1_0001), DsaStatus.TransferSize },
        { new(DsaOperation.CreateDelta, Source: 8, Destination: 8, Length: 12, Extra: 4096, Extra2: 80), DsaStatus.TransferSize },
        { new(DsaOperation.Batch, Source: 64, Length: 1), DsaStatus.DescriptorCount },
        { new(DsaOperation.Batch, Source: 64, Length: 1025), DsaStatus.DescriptorCount },
        { new(DsaOperation.CreateDelta, Source: 8, Destination: 8, Length: 16, Extra: 4096, Extra2: 70), DsaStatus.DeltaSize },
        { new(DsaOperation.ApplyDelta, Source: 4096, Destination: 8, Length: 16, Extra: 15), DsaStatus.DeltaSize },
        { new(DsaOperation.CopyCrc, Source: 8, Destination: 12, Length: 8), DsaStatus.Overlap },
        { new(DsaOperation.Dualcast, Source: 8, Destination: 0x1004, Length: 8, Extra: 0x1004), DsaStatus.Overlap },
        { new(DsaOperation.CreateDelta, Source: 0x1000, Destination: 0x2000, Length: 16, Extra: 0x1008, Extra2: 80), DsaStatus.Overlap },
        { new(DsaOperation.Dualcast, Source: 8, Destination: 0x1004, Length: 8, Extra: 0x2008), DsaStatus.DualcastAddress },
        { new(DsaOperation.Batch, Source: 32, Length: 2), DsaStatus.ListAlignment },
        { new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: 9), DsaStatus.BadHandle },
        { new(DsaOperation.CreateDelta, Source: 4, Destination: 8, Length: 16, Extra: 4096, Extra2: 80), DsaStatus.AddressAlignment },
        { new(DsaOperation.ApplyDelta, Source: 4096, Destination: 12, Length: 16, Extra: 10), DsaStatus.AddressAlignment },
    };

    [Theory]
    [MemberData(nameof(Bad))]
    public void What_a_descriptor_cannot_have_is_told_by_its_record_or_by_the_register(DsaDescriptor descriptor, DsaStatus status)
    {
        DsaCompletion record = _host.Execute(descriptor);
        record.Status.ShouldBe(status);
        record.Value.ShouldBe(status == DsaStatus.BadFlags ? (uint)descriptor.Flags : 0);
        _host.Read(SwErr, 8).ShouldBe(0ul);
        _host.Store(descriptor);
        ulong error = _host.Read(SwErr, 8);
        (error & 0xf).ShouldBe(0b1101ul, "valid, descriptor, queue");
        (error >> 8 & 0xff).ShouldBe((ulong)status);
        (error >> 32 & 0xff).ShouldBe((ulong)descriptor.Operation);
        _host.Memory.Refused.ShouldBe(0, "nothing was tried");
        _host.Device.Pending.ShouldBe(0);
    }

    [Fact]
    public void A_record_is_asked_for_only_with_an_address_and_then_aligned()
    {
        _host.Store(new DsaDescriptor(DsaOperation.None, DsaFlags.RequestCompletion));
        (_host.Read(SwErr, 8) >> 8 & 0xff).ShouldBe(0x11ul);
        (_host.Read(SwErr + 8, 8) >> 32).ShouldBe((ulong)DsaFlags.RequestCompletion);
        _host.Write(SwErr, 1, 8);
        _host.Read(SwErr, 8).ShouldBe(0ul);
        _host.Store(new DsaDescriptor(DsaOperation.None, Told, _host.Record + 8));
        (_host.Read(SwErr, 8) >> 8 & 0xff).ShouldBe(0x1bul);
        _host.Store(new DsaDescriptor(DsaOperation.None, Told, Nowhere));
        (_host.Read(SwErr, 8) & 3).ShouldBe(3ul, "the first one stays, and there were more");
        _host.Write(SwErr, 3, 1);
        _host.Store(new DsaDescriptor(DsaOperation.None, Told, Nowhere));
        (_host.Read(SwErr, 8) >> 8 & 0xff).ShouldBe(0x1aul);
        _host.Read(SwErr + 16, 8).ShouldBe(Nowhere);
        _host.Device.Statistics.LostCompletions.ShouldBe(2);
    }

    [Fact]
    public void An_error_is_told_by_vector_0_if_that_is_wanted()
    {
        _host.Connect(VfioPciInterrupt.MsiX, 9);
        _host.Store(new DsaDescriptor((DsaOperation)0x55));
        _host.TakeSignals().ShouldBe(0);
        _host.Write(SwErr, 1, 1);
        _host.Write(GenCtrl, 1, 4);
        _host.Store(new DsaDescriptor((DsaOperation)0x55));
        _host.TakeSignals().ShouldBe(1);
        _host.Read(IntCause, 4).ShouldBe(1ul);
    }

    [Fact]
    public void A_completion_is_told_by_the_vector_of_the_descriptor_if_its_PASID_may()
    {
        _host.Connect(VfioPciInterrupt.MsiX, 9);
        for (ushort vector = 0; vector < 9; vector++)
        {
            _host.Execute(new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: vector)).Status.ShouldBe(DsaStatus.Success);
            _host.TakeSignals(vector).ShouldBe(1);
        }

        _host.Store(new DsaDescriptor(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: 3));
        _host.TakeSignals(3).ShouldBe(1, "without a record too");
        _host.Write(MsixPerm + 24, (5 << 12) | 8, 4);
        _host.Execute(new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: 3)).Status.ShouldBe(DsaStatus.BadHandle);
        _host.Write(MsixPerm + 24, (5 << 12) | 8 | 4, 4);
        _host.Execute(new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: 3)).Status.ShouldBe(DsaStatus.Success);
        _host.Command(DisableWq, 1).ShouldBe(0u);
        _host.Bring(new DsaQueueSetup { Pasid = new(5) });
        _host.Write(MsixPerm + 24, (5 << 12) | 8, 4);
        _host.Execute(new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: 3)).Status.ShouldBe(DsaStatus.Success);
        _host.Execute(new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: 4)).Status.ShouldBe(DsaStatus.BadHandle, "it is for requests without a PASID");
    }

    [Fact]
    public void Memory_that_does_not_answer_ends_the_operation_with_what_was_done()
    {
        _host.Execute(new(DsaOperation.Move, Source: Nowhere, Destination: _b, Length: 100)).ShouldBe(new(DsaStatus.BusError, 0, 0, Nowhere));
        DsaCompletion written = _host.Execute(new(DsaOperation.Move, Source: _a, Destination: Nowhere, Length: 100));
        written.ShouldBe(new(DsaStatus.BusError, 0, 0, Nowhere) { IsWriteFault = true });
        _host.Execute(new(DsaOperation.Batch, Source: Nowhere, Length: 2)).Status.ShouldBe(DsaStatus.BusError);
        _host.Execute(new(DsaOperation.Move, Source: ulong.MaxValue - 9, Destination: _b, Length: 100)).Status.ShouldBe(DsaStatus.BusError);
    }

    [Fact]
    public void With_the_event_log_enabled_errors_go_there_until_it_is_full()
    {
        ulong log = _host.Memory.Allocate(4096);
        _host.Connect(VfioPciInterrupt.MsiX, 9);
        _host.Command(Reset).ShouldBe(0u);
        _host.Write(EvlCfg, log, 8);
        _host.Write(EvlCfg + 8, 3, 8);
        DsaSetup.Enable(_host.Device, new DsaQueueSetup());
        _host.Command(Disable).ShouldBe(0u);
        _host.Write(EvlCfg, log, 8);
        _host.Write(EvlCfg + 8, 3, 8);
        _host.Write(GenCfg, 1 << 13, 4);
        _host.Write(GenCtrl, 4, 4);
        _host.Command(Enable).ShouldBe(0u);
        _host.Command(EnableWq).ShouldBe(0u);
        _host.Store(new DsaDescriptor(DsaOperation.Move, Source: 1, Destination: 2));
        _host.Store(new DsaDescriptor(DsaOperation.None, Told, Nowhere));
        _host.TakeSignals().ShouldBe(2);
        _host.Read(IntCause, 4).ShouldBe(0x20ul);
        _host.Read(EvlStatus, 8).ShouldBe((1ul << 62) | (2ul << 32));
        Span<byte> second = _host.Memory[log + 64, 64];
        (BinaryPrimitives.ReadUInt64LittleEndian(second) >> 8 & 0xff).ShouldBe(0x1aul);
        BinaryPrimitives.ReadUInt64LittleEndian(second[16..]).ShouldBe(Nowhere);
        DsaCompletion.Read(second[32..]).Status.ShouldBe(DsaStatus.Success, "the record that could not be written");
        _host.Read(SwErr, 8).ShouldBe(0ul);
        _host.Store(new DsaDescriptor((DsaOperation)0x55));
        (_host.Read(SwErr, 8) & 1).ShouldBe(1ul, "full");
        _host.Write(SwErr, 3, 1);
        _host.Write(EvlStatus, 2, 4);
        _host.Write(EvlStatus + 4, 1u << 30, 4);
        _host.Read(EvlStatus, 8).ShouldBe(2 | (2ul << 32));
        _host.Store(new DsaDescriptor((DsaOperation)0x55));
        _host.Read(EvlStatus, 8).ShouldBe((1ul << 62) | 2, "it goes round");
        _host.Read(SwErr, 8).ShouldBe(0ul);
    }

    [Fact]
    public void Nothing_but_64_bytes_at_once_is_a_descriptor()
    {
        _host.Backend.Write(2, 0, new byte[8], out _).ShouldBe(Errno.Success);
        _host.Backend.Write(2, 8, new byte[64], out _).ShouldBe(Errno.Success);
        _host.Backend.Write(2, 0, new byte[128], out _).ShouldBe(Errno.Success);
        (_host.Device.Statistics.Accepted, _host.Read(SwErr, 8)).ShouldBe((0, 0ul));
        _host.Store(new byte[64], queue: 1);
        _host.Device.Statistics.ShouldBe(new DsaStatistics() with { Refused = 1 });
    }
}
