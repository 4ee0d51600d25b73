using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Driver.Tests;

/// <summary>What a guest has of an IOMMU: names of its devices, invalidations by them, faults of its own tables.</summary>
[Trait("Requirement", "S4.17")]
public class VirtualIommuTests
{
    private const ulong Gva = 0x40_0000;

    [Fact]
    public void A_guest_means_its_devices_by_its_own_names()
    {
        using Rig rig = new();
        using Guest guest = Make(rig, out IommuDevice[] devices, out VirtualIommu part, out ulong[] directories);
        foreach (ulong directory in directories)
        {
            guest.SetProcess(directory, 0, null);
        }

        // The hostile hardware forgets for the one device that is named, by its name and not by its number.
        ShouldInvalidate(part, Command.InvalidateProcessDirectory((uint)devices[1].Id.Value, 0));
        ShouldInvalidate(part, Command.InvalidateProcessDirectory(0x100, 1));
        rig.ShouldReach(devices[0], Gva, guest.ToHost(Guest.Data));
        rig.ShouldReach(devices[1], Gva, guest.ToHost(Guest.Data));
        ShouldInvalidate(part, Command.InvalidateProcessDirectory(0x100, 0));
        rig.ShouldFault(devices[0], Gva, FaultCause.PdtEntryNotValid);
        rig.ShouldReach(devices[1], Gva, guest.ToHost(Guest.Data));
        ShouldInvalidate(part, Command.InvalidateDeviceDirectory(0x101));
        rig.ShouldFault(devices[1], Gva, FaultCause.PdtEntryNotValid);
    }

    [Fact]
    public void Without_a_name_all_devices_of_the_guest_are_meant()
    {
        using Rig rig = new();
        using Guest guest = Make(rig, out IommuDevice[] devices, out VirtualIommu part, out ulong[] directories);
        foreach (ulong directory in directories)
        {
            guest.SetProcess(directory, 0, null);
        }

        ShouldInvalidate(part, Command.InvalidateDeviceDirectory(null));
        devices.ShouldAllBe(device => rig.Dma(device, Gva, false, default).Status != Platform.DmaStatus.Success);
    }

    [Fact]
    public void An_address_is_invalidated_for_all_devices_of_the_guest_at_once()
    {
        using Rig rig = new();
        using Guest guest = Make(rig, out IommuDevice[] devices, out VirtualIommu part, out _);
        guest.Unmap(Gva);
        rig.ShouldReach(devices[1], Gva, guest.ToHost(Guest.Data));
        ShouldInvalidate(part, Command.InvalidateFirstStage(null, 1, Gva), Command.AtsInvalidate(0x100, null, null, 0));
        rig.ShouldFault(devices[0], Gva, FaultCause.ReadPageFault);
        rig.ShouldFault(devices[1], Gva, FaultCause.ReadPageFault);
        uint count = 1;
        part.Invalidate(NestedTranslation.Type, new byte[16], 16, ref count).ShouldBe(Errno.InvalidArgument);
        count.ShouldBe(0u);
    }

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void Faults_of_the_guests_own_tables_are_reported_to_it_under_its_names()
    {
        using Rig rig = new();
        using Guest guest = Make(rig, out IommuDevice[] devices, out VirtualIommu part, out _);
        Events events = new();
        part.Events = events;
        guest.Map(Gva + 0x1000, 0xdead_0000);
        rig.ShouldFault(devices[1], Gva + 0x5678, FaultCause.WritePageFault, write: true);
        byte[] data = events.Taken.ShouldHaveSingleItem();
        FaultRecord record = new(Word(data, 0), Word(data, 8), Word(data, 16), Word(data, 24));
        record.DeviceId.ShouldBe(0x101u);
        record.Cause.ShouldBe(FaultCause.WritePageFault);
        record.Iotval.ShouldBe(Gva + 0x5678);
        record.Reserved.ShouldBe(0ul);

        // What the host took from it, or a device that has lost its name, or is no longer nested, is not the guest's to know.
        rig.ShouldFault(devices[1], Gva + 0x1000, FaultCause.ReadGuestPageFault);
        part.RemoveDevice(devices[1]);
        rig.ShouldFault(devices[1], Gva + 0x5678, FaultCause.ReadPageFault);
        devices[0].Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(devices[0], Gva, FaultCause.PdtEntryNotValid);
        events.Taken.Count.ShouldBe(1);
    }

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void Events_that_a_guest_does_not_take_in_time_are_dropped_and_counted()
    {
        using Rig rig = new();
        using Guest guest = Make(rig, out IommuDevice[] devices, out VirtualIommu part, out _);
        int taken = 0;
        part.Events = new Taker(() =>
        {
            if (++taken == 1)
            {
                for (int i = 0; i < GuestEventQueue.Capacity + 3; i++)
                {
                    rig.Dma(devices[0], Gva + 0x5000, write: false, default);
                }
            }
        });
        rig.Dma(devices[0], Gva + 0x5000, write: false, default);
        taken.ShouldBe(1 + GuestEventQueue.Capacity);
        rig.Driver.Statistics.DroppedGuestEvents.ShouldBe(3);
        rig.Driver.Statistics.Faults.ShouldBe(1 + GuestEventQueue.Capacity + 3);
        rig.Log.ToString().ShouldContain("does not take its events");
    }

    [Fact]
    public void A_name_is_one_devices_and_a_device_has_one_name()
    {
        using Rig rig = new();
        IommuDevice one = rig.AddDevice(1);
        IommuDevice two = rig.AddDevice(2);
        RiscVPagingDomain parent = rig.NewSecondStage(one);
        VirtualIommu part = NewPart(rig, one, parent);
        part.Parent.ShouldBeSameAs(parent);
        part.AddDevice(one, 1ul << 24).ShouldBe(Errno.InvalidArgument);
        part.AddDevice(one, 5).ShouldBe(Errno.Success);
        part.AddDevice(one, 6).ShouldBe(Errno.Exists);
        part.AddDevice(two, 5).ShouldBe(Errno.Exists);
        part.RemoveDevice(one);
        part.AddDevice(two, 5).ShouldBe(Errno.Success);
        rig.Core.RemoveDevice(one);
        part.AddDevice(one, 6).ShouldBe(Errno.NoDevice);
        using Rig other = new(new() { Driver = new() { Name = "other" } }, rig);
        part.AddDevice(other.AddDevice(1), 9).ShouldBe(Errno.InvalidArgument);
        part.SupportsEvents(NestedTranslation.Type).ShouldBeTrue();
        part.SupportsEvents(1).ShouldBeFalse();
        rig.Driver.TryAllocateVirtualIommu(two, parent, 1, [], out _).ShouldBe(Errno.NotSupported);
        rig.Driver.TryAllocateVirtualIommu(two, rig.NewDomain(two), NestedTranslation.Type, [], out _).ShouldBe(Errno.InvalidArgument);
        rig.Driver.TryAllocateVirtualIommu(two, parent, NestedTranslation.Type, [0, 1], out _).ShouldBe(Errno.InvalidArgument);
    }

    private static Guest Make(Rig rig, out IommuDevice[] devices, out VirtualIommu part, out ulong[] directories)
    {
        devices = [rig.AddDevice(1, pasidBits: 8), rig.AddDevice(2, pasidBits: 8)];
        Guest guest = new(rig.Memory, rig.NewSecondStage(devices[0]));
        guest.Map(Gva, Guest.Data);
        part = NewPart(rig, devices[0], guest.Parent);
        directories = new ulong[2];
        for (uint i = 0; i < 2; i++)
        {
            part.AddDevice(devices[i], 0x100 + i).ShouldBe(Errno.Success);
            ulong pointer = guest.NewDirectory(out directories[i]);
            guest.SetProcess(directories[i], 0, guest.Table, 1);
            byte[] data = Guest.Describe(
                DeviceTranslationControl.PdtValidBit | DeviceTranslationControl.DefaultProcessBit, 0, pointer);
            part.TryAllocateNestedDomain(devices[i], NestedTranslation.Type, data, out NestedDomain? nested).ShouldBe(Errno.Success);
            devices[i].Group.Attach(nested!).ShouldBe(Errno.Success);
            rig.ShouldReach(devices[i], Gva, guest.ToHost(Guest.Data));
        }

        return guest;
    }

    private static VirtualIommu NewPart(Rig rig, IommuDevice device, PagingDomain parent)
    {
        rig.Driver.TryAllocateVirtualIommu(device, parent, NestedTranslation.Type, [], out VirtualIommu? part)
            .ShouldBe(Errno.Success);
        return part!;
    }

    private static void ShouldInvalidate(VirtualIommu part, params ReadOnlySpan<Command> commands)
    {
        byte[] bytes = new byte[commands.Length * 16];
        for (int i = 0; i < commands.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(i * 16), commands[i].Low);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan((i * 16) + 8), commands[i].High);
        }

        uint done = (uint)commands.Length;
        part.Invalidate(NestedTranslation.Type, bytes, 16, ref done).ShouldBe(Errno.Success);
        done.ShouldBe((uint)commands.Length);
    }

    private static ulong Word(byte[] data, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(data.AsSpan(offset));

    private sealed class Taker(Action take) : IVirtualEventSink
    {
        public void OnEvent(uint type, ReadOnlySpan<byte> data) => take();
    }

    private sealed class Events : IVirtualEventSink
    {
        public List<byte[]> Taken { get; } = [];

        public void OnEvent(uint type, ReadOnlySpan<byte> data)
        {
            type.ShouldBe(NestedTranslation.Type);
            Taken.Add(data.ToArray());
        }
    }
}
