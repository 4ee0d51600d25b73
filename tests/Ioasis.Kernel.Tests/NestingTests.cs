using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Guests' tables, virtual IOMMUs, their devices and event queues, and what the hardware says of itself.</summary>
public sealed class NestingTests
{
    private static uint Parent(HardwareRig rig) => rig.AllocateTable(HwptAllocFlags.NestParent);

    [Fact]
    public void A_nested_table_needs_a_parent_made_as_one_and_data_of_a_known_kind()
    {
        using HardwareRig rig = new();
        uint parent = Parent(rig);
        uint plain = rig.AllocateTable();
        int Try(uint on, uint type, uint length, HwptAllocFlags flags = HwptAllocFlags.None) =>
            rig.TryAllocateTable(flags, on, 0, out _, type, length);

        Try(parent, 0, 0).ShouldBe(-(int)Errno.NotSupported);
        Try(parent, RiscVUapi.HwptDataType, 0).ShouldBe(-(int)Errno.InvalidArgument);
        Try(parent, 0, 32).ShouldBe(-(int)Errno.InvalidArgument);
        Try(parent, 1, 32).ShouldBe(-(int)Errno.NotSupported);
        Try(plain, RiscVUapi.HwptDataType, 32).ShouldBe(-(int)Errno.InvalidArgument);
        Try(parent, RiscVUapi.HwptDataType, 31).ShouldBe(-(int)Errno.InvalidArgument);
        Try(parent, RiscVUapi.HwptDataType, 5000).ShouldBe(-(int)Errno.ArgumentTooBig);
        Try(parent, RiscVUapi.HwptDataType, 32, HwptAllocFlags.NestParent).ShouldBe(-(int)Errno.NotSupported);
        Try(parent, RiscVUapi.HwptDataType, 32, HwptAllocFlags.DirtyTracking).ShouldBe(-(int)Errno.NotSupported);
        Try(parent, RiscVUapi.HwptDataType, 32, (HwptAllocFlags)16).ShouldBe(-(int)Errno.NotSupported);
        Try(rig.Space, RiscVUapi.HwptDataType, 32).ShouldBe(-(int)Errno.NotSupported);
        Try(rig.DeviceNumber, RiscVUapi.HwptDataType, 32).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Arguments[0] = 0xff;
        Try(parent, RiscVUapi.HwptDataType, 32).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Iommu.NestedDomains.ShouldBeEmpty();
        rig.Arguments[0] = 5;
        uint nested = rig.AllocateNested(parent);
        rig.Iommu.NestedDomains.ShouldHaveSingleItem().Data[0].ShouldBe((byte)5);
        rig.Destroy(parent).ShouldBe(-(int)Errno.Busy);
        Try(nested, RiscVUapi.HwptDataType, 32).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Destroy(nested).ShouldBe(0);
        rig.Destroy(parent).ShouldBe(0);
    }

    [Fact]
    public void A_device_moves_between_the_parent_and_nested_tables_and_its_reserved_regions_stay_reserved()
    {
        using HardwareRig rig = new();
        uint parent = Parent(rig);
        uint first = rig.AllocateNested(parent);
        uint second = rig.AllocateNested(parent);
        (IommuDevice device, string path) = rig.Rig.AddDevice(null, new ReservedRegion(new(0x8000, 0x9fff), ReservedRegionKind.Reserved));
        int fd = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        _ = VfioTests.Bind(rig.Rig, fd, rig.Fd);
        int before = rig.Rig.Ranges(rig.Fd, rig.Space, out _).Length;
        foreach (uint table in (uint[])[first, second, parent, first])
        {
            rig.TryAttach(fd, table).ShouldBe(0);
            rig.Rig.Ranges(rig.Fd, rig.Space, out _).Length.ShouldBe(before + 1);
        }

        rig.Iommu.DomainOf(device).ShouldBe(rig.Iommu.NestedDomains[0]);
        rig.Destroy(first).ShouldBe(-(int)Errno.Busy);
        rig.Kernel.Close(fd).ShouldBe(0);
        rig.Rig.Ranges(rig.Fd, rig.Space, out _).Length.ShouldBe(before);
    }

    [Fact]
    public void A_device_with_one_to_one_mappings_stays_on_the_tables_that_the_kernel_manages()
    {
        using HardwareRig rig = new();
        uint parent = Parent(rig);
        uint nested = rig.AllocateNested(parent);
        (IommuDevice device, string path) = rig.Rig.AddDevice(null, new ReservedRegion(new(0x8000, 0x9fff), ReservedRegionKind.Direct));
        int fd = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        _ = VfioTests.Bind(rig.Rig, fd, rig.Fd);
        FakeDomain stage = rig.Iommu.Domains.ShouldHaveSingleItem();
        rig.TryAttach(fd, nested).ShouldBe(-(int)Errno.InvalidArgument);
        stage.MappedPages.ShouldBe(0);
        rig.TryAttach(fd, parent).ShouldBe(0);
        stage.MappedPages.ShouldBe(2);
        rig.TryAttach(fd, nested).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Iommu.DomainOf(device).ShouldBe(stage);
        stage.MappedPages.ShouldBe(2);
        rig.Kernel.Close(fd).ShouldBe(0);
        stage.MappedPages.ShouldBe(0);
    }

    [Fact]
    public void Invalidations_are_carried_out_in_order_and_their_number_is_told_also_when_one_is_wrong()
    {
        using HardwareRig rig = new();
        uint nested = rig.AllocateNested(Parent(rig));
        FakeNestedDomain domain = rig.Iommu.NestedDomains[0];
        for (int i = 0; i < 600; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(rig.Arguments[(16 * i)..], (ulong)i << 8);
        }

        IommuHwptInvalidate Ask(uint count, uint length = 16, uint? id = null) => new()
        {
            HwptId = id ?? nested, DataAddress = FakeUserMemory.ArgumentStart, DataType = RiscVUapi.InvalidateDataType,
            EntryLength = length, EntryCount = count,
        };

        IommuHwptInvalidate argument = Ask(600);
        rig.Call(ref argument).ShouldBe(0);
        argument.EntryCount.ShouldBe(600u);
        domain.Invalidations.Count.ShouldBe(600);
        domain.Invalidations.Select(static entry => BinaryPrimitives.ReadUInt64LittleEndian(entry) >> 8)
            .ShouldBe(Enumerable.Range(0, 600).Select(static i => (ulong)i));

        rig.Arguments[16 * 300] = 0xff;
        argument = Ask(600);
        rig.Call(ref argument).ShouldBe(-(int)Errno.InvalidArgument);
        argument.EntryCount.ShouldBe(300u);
        domain.Invalidations.Count.ShouldBe(900);

        argument = Ask(0, 0);
        argument.DataAddress = 0;
        rig.Call(ref argument).ShouldBe(0);
        argument = Ask(0);
        argument.DataType = 0;
        rig.Call(ref argument).ShouldBe(-(int)Errno.NotSupported);
        argument = Ask(5, 0);
        rig.Call(ref argument).ShouldBe(-(int)Errno.InvalidArgument);
        argument.EntryCount.ShouldBe(0u);
        argument = Ask(5);
        argument.DataAddress = 0;
        rig.Call(ref argument).ShouldBe(-(int)Errno.InvalidArgument);
        argument = Ask(5);
        argument.DataAddress = 1;
        rig.Call(ref argument).ShouldBe(-(int)Errno.BadAddress);
        argument.EntryCount.ShouldBe(0u);
        argument = Ask(5, 5000);
        rig.Call(ref argument).ShouldBe(-(int)Errno.InvalidArgument);
        argument = Ask((1u << 19) + 1);
        rig.Call(ref argument).ShouldBe(-(int)Errno.InvalidArgument);
        argument.EntryCount.ShouldBe(0u);
        argument = Ask(5, id: rig.Space);
        rig.Call(ref argument).ShouldBe(-(int)Errno.InvalidArgument);
        argument = Ask(5, id: 99);
        rig.Call(ref argument).ShouldBe(-(int)Errno.NoEntry);
        argument = Ask(5);
        argument.Reserved = 1;
        rig.Call(ref argument).ShouldBe(-(int)Errno.NotSupported);
        argument.EntryCount.ShouldBe(0u);
    }

    [Fact]
    public void A_virtual_IOMMU_takes_the_same_calls_and_keeps_its_parent()
    {
        using HardwareRig rig = new();
        uint parent = Parent(rig);
        IommuViommuAlloc wrong = new() { Type = RiscVUapi.ViommuType, DeviceId = rig.DeviceNumber, HwptId = parent, Flags = 1 };
        rig.Call(ref wrong).ShouldBe(-(int)Errno.NotSupported);
        wrong = new() { Type = 0, DeviceId = rig.DeviceNumber, HwptId = parent };
        rig.Call(ref wrong).ShouldBe(-(int)Errno.NotSupported);
        wrong = new() { Type = 1, DeviceId = rig.DeviceNumber, HwptId = parent };
        rig.Call(ref wrong).ShouldBe(-(int)Errno.NotSupported);
        wrong = new() { Type = RiscVUapi.ViommuType, DeviceId = 99, HwptId = parent };
        rig.Call(ref wrong).ShouldBe(-(int)Errno.NoEntry);
        wrong = new() { Type = RiscVUapi.ViommuType, DeviceId = rig.DeviceNumber, HwptId = rig.Space };
        rig.Call(ref wrong).ShouldBe(-(int)Errno.NoEntry);
        wrong = new() { Type = RiscVUapi.ViommuType, DeviceId = rig.DeviceNumber, HwptId = rig.AllocateTable() };
        rig.Call(ref wrong).ShouldBe(-(int)Errno.InvalidArgument);

        uint part = rig.AllocateVirtualIommu(parent);
        rig.Destroy(parent).ShouldBe(-(int)Errno.Busy);
        uint nested = rig.AllocateNested(part);
        rig.Destroy(part).ShouldBe(-(int)Errno.Busy);
        IommuHwptInvalidate argument = new()
        {
            HwptId = part, DataAddress = FakeUserMemory.ArgumentStart, DataType = RiscVUapi.InvalidateDataType, EntryLength = 16,
            EntryCount = 2,
        };
        rig.Call(ref argument).ShouldBe(0);
        rig.Iommu.VirtualIommus[0].Invalidations.Count.ShouldBe(2);

        (_, uint other) = OtherIommu(rig);
        rig.TryAllocateTable(HwptAllocFlags.None, part, 0, out _, RiscVUapi.HwptDataType, 32, other)
            .ShouldBe(-(int)Errno.InvalidArgument);
        rig.TryAllocateVirtualDevice(part, other, 1, out _).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Destroy(nested).ShouldBe(0);
        rig.Destroy(part).ShouldBe(0);
        rig.Destroy(parent).ShouldBe(0);
    }

    [Fact]
    public void A_device_has_one_name_in_one_virtual_IOMMU_and_a_name_one_device()
    {
        using HardwareRig rig = new();
        uint part = rig.AllocateVirtualIommu(Parent(rig));
        uint second = rig.AllocateVirtualIommu(Parent(rig));
        (_, int otherFd, uint other) = rig.BindCapableDevice();
        rig.TryAllocateVirtualDevice(part, rig.DeviceNumber, 0x18, out uint known).ShouldBe(0);
        rig.TryAllocateVirtualDevice(part, rig.DeviceNumber, 0x20, out _).ShouldBe(-(int)Errno.Exists);
        rig.TryAllocateVirtualDevice(second, rig.DeviceNumber, 0x20, out _).ShouldBe(-(int)Errno.Exists);
        rig.TryAllocateVirtualDevice(part, other, 0x18, out _).ShouldBe(-(int)Errno.Exists);
        rig.TryAllocateVirtualDevice(part, other, 1 << 24, out _).ShouldBe(-(int)Errno.InvalidArgument);
        rig.TryAllocateVirtualDevice(99, other, 1, out _).ShouldBe(-(int)Errno.NoEntry);
        rig.TryAllocateVirtualDevice(part, 99, 1, out _).ShouldBe(-(int)Errno.NoEntry);
        rig.Iommu.VirtualIommus[0].Names.ShouldHaveSingleItem().Value.ShouldBe(0x18ul);
        rig.Destroy(part).ShouldBe(-(int)Errno.Busy);
        rig.Destroy(known).ShouldBe(0);
        rig.TryAllocateVirtualDevice(second, rig.DeviceNumber, 0x20, out known).ShouldBe(0);
        rig.TryAllocateVirtualDevice(part, other, 0x18, out uint otherKnown).ShouldBe(0);

        // The device goes first: its name is gone, and its number stays taken and leads nowhere.
        rig.Kernel.Close(otherFd).ShouldBe(0);
        rig.Iommu.VirtualIommus[0].Names.ShouldBeEmpty();
        rig.Destroy(otherKnown).ShouldBe(-(int)Errno.NoEntry);
        rig.AllocateTable().ShouldNotBe(otherKnown);
        rig.Destroy(part).ShouldBe(0);
    }

    [Fact]
    public void Events_of_a_guest_are_numbered_and_losses_told_by_gaps_or_at_the_end()
    {
        using HardwareRig rig = new();
        uint part = rig.AllocateVirtualIommu(Parent(rig));
        FakeVirtualIommu fake = rig.Iommu.VirtualIommus[0];
        (uint id, int fd) = AllocateEvents(rig, part, RiscVUapi.VeventqType, 2);
        (_, int otherFd) = AllocateEvents(rig, part, 7, 4);
        rig.Ready(fd).ShouldBe(PollEvents.Out);
        rig.Kernel.Read(fd, new byte[100]).ShouldBe(0);
        rig.Kernel.Write(fd, new byte[8]).ShouldBe(-(int)Errno.InvalidArgument);
        fake.Raise(7, 1);
        rig.Ready(fd).ShouldBe(PollEvents.Out);
        for (byte i = 0; i < 4; i++)
        {
            fake.Raise(RiscVUapi.VeventqType, i, i, i, i);
        }

        // Two fit, two were lost at the end: 12, 12 and a bare header with the number of the last.
        byte[] buffer = new byte[100];
        rig.Kernel.Read(fd, []).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Read(fd, buffer.AsSpan(0, 7)).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Read(fd, buffer.AsSpan(0, 8)).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Read(fd, buffer.AsSpan(0, 23)).ShouldBe(12);
        Header(buffer, 0).ShouldBe((VeventFlags.None, 0u));
        buffer[8].ShouldBe((byte)0);
        fake.Raise(RiscVUapi.VeventqType, 9, 9, 9, 9);

        // An event behind the loss: the gap tells it now, not the header.
        rig.Kernel.Read(fd, buffer).ShouldBe(24);
        Header(buffer, 0).ShouldBe((VeventFlags.None, 1u));
        Header(buffer, 12).ShouldBe((VeventFlags.None, 4u));
        for (byte i = 0; i < 5; i++)
        {
            fake.Raise(RiscVUapi.VeventqType, i);
        }

        rig.Kernel.Read(fd, buffer).ShouldBe(9 + 9 + 8);
        Header(buffer, 18).ShouldBe((VeventFlags.LostEvents, 9u));
        rig.Kernel.Read(fd, buffer).ShouldBe(0);
        rig.Kernel.Read(otherFd, buffer).ShouldBe(9);

        rig.Destroy(part).ShouldBe(-(int)Errno.Busy);
        rig.Destroy(id).ShouldBe(-(int)Errno.Busy);
        rig.Kernel.Close(fd).ShouldBe(0);
        rig.Destroy(id).ShouldBe(0);
        fake.Raise(RiscVUapi.VeventqType, 1);
        (_, fd) = AllocateEvents(rig, part, RiscVUapi.VeventqType, 1);
        rig.Kernel.Read(fd, buffer).ShouldBe(0);
    }

    [Fact]
    public void An_event_that_was_looked_at_stays_and_counts()
    {
        using HardwareRig rig = new();
        uint part = rig.AllocateVirtualIommu(Parent(rig));
        FakeVirtualIommu fake = rig.Iommu.VirtualIommus[0];
        (_, int fd) = AllocateEvents(rig, part, RiscVUapi.VeventqType, 2);
        KernelProcess process = rig.Kernel;
        byte[] buffer = new byte[100];
        process.PeekEvent(fd, buffer).ShouldBe(0);
        for (byte i = 1; i <= 3; i++)
        {
            fake.Raise(RiscVUapi.VeventqType, i, i);
        }

        process.PeekEvent(fd, buffer.AsSpan(0, 9)).ShouldBe(-(int)Errno.InvalidArgument);
        for (int i = 0; i < 2; i++)
        {
            process.PeekEvent(fd, buffer).ShouldBe(10);
            (Header(buffer, 0), buffer[9]).ShouldBe(((VeventFlags.None, 0u), (byte)1));
        }

        // Two fit into the queue, whoever has looked at the first.
        rig.Kernel.Read(fd, buffer.AsSpan(0, 20)).ShouldBe(20);
        process.PeekEvent(fd, buffer).ShouldBe(8);
        Header(buffer, 0).ShouldBe((VeventFlags.LostEvents, 2u));
        rig.Kernel.Read(fd, buffer).ShouldBe(8);
        process.PeekEvent(fd, buffer).ShouldBe(0);

        // To read faults is to take them.
        (_, int faults) = rig.AllocateFaultQueue();
        process.PeekEvent(faults, buffer).ShouldBe(-(int)Errno.NotSupported);
        process.PeekEvent(rig.Fd, buffer).ShouldBe(-(int)Errno.NotSupported);
        process.PeekEvent(99, buffer).ShouldBe(-(int)Errno.BadDescriptor);
    }

    [Fact]
    public void An_event_queue_is_one_of_its_kind_and_every_wrong_call_has_its_error_number()
    {
        using HardwareRig rig = new();
        uint part = rig.AllocateVirtualIommu(Parent(rig));
        _ = AllocateEvents(rig, part, 7, 1);
        int Try(uint id, uint type, uint depth, uint flags = 0)
        {
            IommuVeventqAlloc argument = new() { ViommuId = id, Type = type, Depth = depth, Flags = flags };
            return rig.Call(ref argument);
        }

        Try(part, 7, 1).ShouldBe(-(int)Errno.Exists);
        Try(part, 0, 1).ShouldBe(-(int)Errno.NotSupported);
        Try(part, 8, 1).ShouldBe(-(int)Errno.NotSupported);
        Try(part, RiscVUapi.VeventqType, 0).ShouldBe(-(int)Errno.InvalidArgument);
        Try(part, RiscVUapi.VeventqType, (1u << 19) + 1).ShouldBe(-(int)Errno.InvalidArgument);
        Try(part, RiscVUapi.VeventqType, 1, 1).ShouldBe(-(int)Errno.NotSupported);
        Try(99, RiscVUapi.VeventqType, 1).ShouldBe(-(int)Errno.NoEntry);

        IommuHwQueueAlloc queue = new() { ViommuId = part, Type = 1, Length = 4096 };
        rig.Call(ref queue).ShouldBe(-(int)Errno.NotSupported);
        queue = new() { ViommuId = 99, Type = 1, Length = 4096 };
        rig.Call(ref queue).ShouldBe(-(int)Errno.NoEntry);
        queue = new() { ViommuId = part, Type = 1 };
        rig.Call(ref queue).ShouldBe(-(int)Errno.InvalidArgument);
        queue = new() { ViommuId = part, Type = 1, Length = 4096, NestingParentIova = ulong.MaxValue - 4094 };
        rig.Call(ref queue).ShouldBe(-(int)Errno.Overflow);
        queue = new() { ViommuId = part, Length = 4096 };
        rig.Call(ref queue).ShouldBe(-(int)Errno.NotSupported);
    }

    [Fact]
    public void A_queue_of_the_hardware_keeps_its_memory_mapped_and_the_queue_that_it_needs()
    {
        using HardwareRig rig = new();
        uint parent = Parent(rig);
        uint part = rig.AllocateVirtualIommu(parent);
        const ulong Iova = 0x10_0000;
        rig.Rig.MapFixed(rig.Fd, rig.Space, FakeUserMemory.Start, 0x3000, Iova).ShouldBe(0);
        rig.Rig.MapFixed(rig.Fd, rig.Space, FakeUserMemory.Start + 0x8000, 0x1000, Iova + 0x8000).ShouldBe(0);
        int Try(uint index, ulong iova, ulong length, out uint id, uint type = FakeVirtualIommu.QueueType)
        {
            IommuHwQueueAlloc argument = new() { ViommuId = part, Type = type, Index = index, NestingParentIova = iova, Length = length };
            int result = rig.Call(ref argument);
            id = argument.OutHwQueueId;
            return result;
        }

        Try(0, 0x90_0000, 0x1000, out _).ShouldBe(-(int)Errno.NoEntry);
        Try(0, Iova, 1ul << 40, out _).ShouldBe(-(int)Errno.OutOfMemory);
        Try(2, Iova, 0x1000, out _).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Rig.Memory.PinsOf(FakeUserMemory.Start).ShouldBe(1);
        Try(0, Iova + 0x800, 0x1000, out uint first).ShouldBe(0);
        FakeVirtualIommu fake = rig.Iommu.VirtualIommus.ShouldHaveSingleItem();
        fake.Queues[0].Memory.Value.ShouldBe(rig.Rig.Memory.ToPhysical(FakeUserMemory.Start + 0x800));
        Try(0, Iova, 0x1000, out _).ShouldBe(-(int)Errno.Exists);
        Try(1, Iova, 0x20, out uint second).ShouldBe(0);

        rig.Destroy(first).ShouldBe(-(int)Errno.Busy);
        rig.Destroy(part).ShouldBe(-(int)Errno.Busy);
        rig.Rig.Unmap(rig.Fd, rig.Space, Iova, 0x3000, out _).ShouldBe(-(int)Errno.Busy);
        rig.Rig.Unmap(rig.Fd, rig.Space, 0, ulong.MaxValue, out _).ShouldBe(-(int)Errno.Busy);
        rig.Rig.Unmap(rig.Fd, rig.Space, Iova + 0x8000, 0x1000, out _).ShouldBe(0);
        rig.Destroy(second).ShouldBe(0);
        rig.Destroy(first).ShouldBe(0);
        fake.Queues.ShouldBeEmpty();
        rig.Rig.Unmap(rig.Fd, rig.Space, Iova, 0x3000, out _).ShouldBe(0);
        Try(0, Iova, 0x1000, out _, type: 1).ShouldBe(-(int)Errno.NotSupported);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(7, 7)]
    [InlineData(16, 16)]
    [InlineData(40, 16)]
    public void Hardware_information_is_cut_or_filled_with_zeros_and_its_length_told(int room, int copied)
    {
        using HardwareRig rig = new(new() { Description = [.. Enumerable.Range(1, 16).Select(static i => (byte)i)] });
        rig.Arguments.Fill(0xcc);
        IommuHwInfo argument = new() { DeviceId = rig.DeviceNumber, DataLength = (uint)room, DataAddress = FakeUserMemory.ArgumentStart };
        rig.Call(ref argument).ShouldBe(0);
        argument.DataLength.ShouldBe(16u);
        argument.DataType.ShouldBe(RiscVUapi.HardwareInfoType);
        argument.OutMaxPasidLog2.ShouldBe((byte)8);
        argument.OutCapabilities.ShouldBe(HwCapabilities.DirtyTracking | HwCapabilities.PciAtsNotSupported);
        for (int i = 0; i < 64; i++)
        {
            rig.Arguments[i].ShouldBe(i < copied ? (byte)(i + 1) : i < room ? (byte)0 : (byte)0xcc, $"{i}");
        }

        argument = new() { DeviceId = rig.DeviceNumber, Flags = 1, DataType = 2 };
        rig.Call(ref argument).ShouldBe(-(int)Errno.NotSupported);
        argument = new() { DeviceId = rig.DeviceNumber, Flags = 1, DataType = RiscVUapi.HardwareInfoType };
        rig.Call(ref argument).ShouldBe(0);
        argument = new() { DeviceId = 99, Flags = 1, DataType = 2 };
        rig.Call(ref argument).ShouldBe(-(int)Errno.NoEntry);
        argument = new() { DeviceId = rig.DeviceNumber, Flags = 2 };
        rig.Call(ref argument).ShouldBe(-(int)Errno.NotSupported);
        argument = new() { DeviceId = rig.DeviceNumber, DataType = 77, DataLength = 4, DataAddress = 1 };
        rig.Call(ref argument).ShouldBe(-(int)Errno.BadAddress);
    }

    private static (int Fd, uint Number) OtherIommu(HardwareRig rig)
    {
        rig.Rig.Subsystem.TryAddDevice(new FakeIommu(), new(0x77), "other", null, default, out IommuDevice? device).ShouldBe(Errno.Success);
        int fd = rig.Kernel.Open(rig.KernelSide.AddDevice(device!), OpenFlags.ReadWrite);
        return (fd, VfioTests.Bind(rig.Rig, fd, rig.Fd).Id);
    }

    private static (uint Id, int Fd) AllocateEvents(HardwareRig rig, uint part, uint type, uint depth)
    {
        IommuVeventqAlloc argument = new() { ViommuId = part, Type = type, Depth = depth };
        rig.Call(ref argument).ShouldBe(0);
        return (argument.OutVeventqId, (int)argument.OutVeventqFd);
    }

    private static (VeventFlags Flags, uint Sequence) Header(byte[] buffer, int offset)
    {
        IommufdVeventHeader header = MemoryMarshal.Read<IommufdVeventHeader>(buffer.AsSpan(offset));
        Unsafe.SizeOf<IommufdVeventHeader>().ShouldBe(8);
        return (header.Flags, header.Sequence);
    }
}
