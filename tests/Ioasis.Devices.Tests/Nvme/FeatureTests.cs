using System.Buffers.Binary;
using Ioasis.Devices.Nvme;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Get Features and Set Features (base specification 2.0, sections 5.15 and 5.27).</summary>
public sealed class FeatureTests : IDisposable
{
    private readonly NvmeHost _host = NvmeHost.Ready(new() { Namespaces = [new() { Size = 1 << 20 }, new() { Size = 1 << 20 }], Queues = 8 });

    public void Dispose() => _host.Dispose();

    private static Command Get(byte feature, uint select = 0, uint value = 0, uint space = 0, ulong data = 0) =>
        new(NvmeAdminOpcode.GetFeatures) { Namespace = space, Data1 = data, Word10 = feature | (select << 8), Word11 = value };

    private static Command Set(byte feature, uint value, uint space = 0, ulong data = 0, bool saves = false) =>
        new(NvmeAdminOpcode.SetFeatures) { Namespace = space, Data1 = data, Word10 = feature | (saves ? 1u << 31 : 0), Word11 = value };

    private uint Value(Command command) => (uint)_host.Admin.Succeed(command).Value;

    [Theory]
    [InlineData(0x01, 0x0102_0304u, 0x0102_0304u)]
    [InlineData(0x06, 0u, 0u)]
    [InlineData(0x08, 0x0a05u, 0x0a05u)]
    [InlineData(0x0a, 1u, 1u)]
    [InlineData(0x0b, 0x0000_0102u, 0x0000_0102u)]
    public void A_value_that_is_set_is_got_until_a_reset(byte feature, uint value, uint read)
    {
        uint before = Value(Get(feature));
        _ = _host.Admin.Succeed(Set(feature, value));
        Value(Get(feature)).ShouldBe(read);
        Value(Get(feature, select: 1)).ShouldBe(before);
        _host.Write32(NvmeRegisters.Configuration, 0);
        _host.Enable();
        Value(Get(feature)).ShouldBe(before);
    }

    [Fact]
    public void The_number_of_queues_is_agreed_on_before_the_first_is_made()
    {
        Value(Set(7, 0x0003_0001)).ShouldBe(0x0003_0001u);
        Value(Get(7)).ShouldBe(0x0003_0001u);
        Value(Set(7, 0x00ff_00ff)).ShouldBe(0x0007_0007u);
        _host.Admin.Refuse(NvmeStatus.InvalidField, Set(7, 0xffff));
        _host.Admin.Refuse(NvmeStatus.InvalidField, Set(7, 0xffff_0000));
        _ = Value(Set(7, 0x0001_0000));
        ulong memory = _host.Memory.Allocate(4096);
        _ = _host.Admin.Succeed(NvmeHost.CreateCompletion(2, 16, memory));
        _host.Admin.Refuse(NvmeStatus.InvalidQueueId, NvmeHost.CreateSubmission(2, 16, memory, 2));
        _host.Admin.Refuse(NvmeStatus.CommandSequenceError, Set(7, 0x0001_0001));
    }

    [Fact]
    public void Select_tells_default_and_capabilities()
    {
        Value(Get(0x0b, select: 3)).ShouldBe(4u);
        Value(Get(0x05, select: 3, space: 1)).ShouldBe(6u);
        _host.Admin.Refuse(NvmeStatus.InvalidField, Get(0x0b, select: 4));
    }

    [Fact]
    public void What_is_not_there_cannot_be_saved_or_is_not_of_a_namespace_is_refused()
    {
        foreach (byte feature in (byte[])[0x00, 0x03, 0x0c, 0x0d, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x81, 0x82, 0x83, 0xc0])
        {
            _host.Admin.Refuse(NvmeStatus.InvalidField, Get(feature));
            _host.Admin.Refuse(NvmeStatus.InvalidField, Set(feature, 0));
        }

        _host.Admin.Refuse(NvmeStatus.FeatureNotSaveable, Set(0x0b, 0, saves: true));
        _host.Admin.Refuse(NvmeStatus.FeatureNotNamespaceSpecific, Set(0x0b, 0, space: 1));
        _host.Admin.Refuse(NvmeStatus.InvalidNamespace, Set(0x05, 0, space: 9));
        _host.Admin.Refuse(NvmeStatus.InvalidField, Set(0x02, 1));
        _host.Admin.Refuse(NvmeStatus.InvalidField, Set(0x05, 0x1_0000, space: 1));
        _host.Admin.Refuse(NvmeStatus.InvalidField, Set(0x19, 1));
        _host.Admin.Refuse(NvmeStatus.InvalidField, Set(0x09, 200));
        _host.Admin.Refuse(NvmeStatus.InvalidField, Get(0x09, value: 200));
    }

    [Fact]
    public void Error_recovery_is_each_namespaces_own()
    {
        _ = _host.Admin.Succeed(Set(5, 10, space: 1));
        _ = _host.Admin.Succeed(Set(5, 20, space: 2));
        (Value(Get(5, space: 1)), Value(Get(5, space: 2))).ShouldBe((10u, 20u));
        _ = _host.Admin.Succeed(Set(5, 30, space: uint.MaxValue));
        (Value(Get(5, space: 1)), Value(Get(5, space: 2))).ShouldBe((30u, 30u));
    }

    [Fact]
    public void Vectors_can_be_left_out_of_coalescing()
    {
        _ = _host.Admin.Succeed(Set(9, 0x1_0003));
        Value(Get(9, value: 3)).ShouldBe(0x1_0003u);
        Value(Get(9, value: 2)).ShouldBe(2u);
        Value(Get(9, select: 1, value: 3)).ShouldBe(3u);
    }

    [Fact]
    public void The_timestamp_goes_on_from_what_was_set()
    {
        HandTime time = new();
        using NvmeHost host = NvmeHost.Ready(new() { Namespaces = [new() { Size = 1 << 20 }], TimeProvider = time });
        ulong data = host.Memory.Allocate(4096);
        BinaryPrimitives.WriteUInt64LittleEndian(host.Memory[data, 8], 0x1234_5678_9abc);
        _ = host.Admin.Succeed(Set(0x0e, 0, data: data));
        time.Advance(TimeSpan.FromMilliseconds(1500));
        _ = host.Admin.Succeed(Get(0x0e, data: data));
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(host.Memory[data, 8]);
        (value & 0xffff_ffff_ffff).ShouldBe(0x1234_5678_9abcul + 1500);
        (value >> 48 & 0xe).ShouldBe(2ul);
    }

    [Fact]
    public void Host_behavior_is_kept()
    {
        ulong data = _host.Memory.Allocate(4096);
        _host.Memory[data, 512].Fill(1);
        _ = _host.Admin.Succeed(Set(0x16, 0, data: data));
        _host.Memory[data, 512].Clear();
        _ = _host.Admin.Succeed(Get(0x16, data: data));
        _host.Memory[data, 512].IndexOfAnyExcept((byte)1).ShouldBe(-1);
    }
}
