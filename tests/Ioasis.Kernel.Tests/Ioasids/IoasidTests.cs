using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;
using PasidSet = Ioasis.Client.PasidSet;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>IOASIDs by descriptor: what each call does, in the orders that people mean.</summary>
public sealed class IoasidTests
{
    [Fact]
    [Trait("Requirement", "S1.1")]
    [Trait("Requirement", "S1.2")]
    public void One_descriptor_carries_many_and_one_for_each_works_too()
    {
        using IoasidRig rig = new();
        PasidSet large = rig.Pasids.CreateSet(3000);
        PasidHandle[] many = [.. Enumerable.Range(0, 3000).Select(_ => large.Allocate())];
        many.Select(static pasid => pasid.Pasid).ShouldBeUnique();

        // An index: whichever it is, it is found as such.
        foreach (PasidHandle pasid in many)
        {
            pasid.GetInfoErrno(out PasidInfo info).ShouldBe(Errno.Success);
            info.ShouldBe(new(pasid.Pasid, large.Id, null, false, 0));
        }

        PasidFd[] descriptors = [.. Enumerable.Range(0, 5).Select(_ => PasidFd.Open(rig.Rig.Kernel))];
        PasidHandle[] singles = [.. descriptors.Select(static fd => fd.CreateSet(1).Allocate())];
        singles.Concat(many).Select(static pasid => pasid.Pasid).ShouldBeUnique();
        Array.ForEach(singles, static pasid => pasid.Dispose());
        Array.ForEach(many, static pasid => pasid.Dispose());
        large.GetInfoErrno(out PasidSetInfo counts).ShouldBe(Errno.Success);
        counts.ShouldBe(new(3000, 0, 0, 3000, 3000, 0));
    }

    [Fact]
    [Trait("Requirement", "S1.4")]
    public void Every_call_that_names_another_descriptors_IOASID_gives_the_same_reason_why_not()
    {
        using IoasidRig rig = new();
        PasidHandle pasid = rig.Set.Allocate();
        VirtualMachinePasids machine = rig.Pasids.CreateVirtualMachine();
        int device = rig.Devices[0].Descriptor.Number;
        PasidFd other = PasidFd.Open(rig.Rig.Kernel);
        foreach ((int fd, uint number, Errno error) in ((int, uint, Errno)[])
        [
            (999, pasid.Pasid.Value, Errno.BadDescriptor),
            (-1, pasid.Pasid.Value, Errno.BadDescriptor),
            (rig.Iommu.Descriptor.Number, pasid.Pasid.Value, Errno.WrongDescriptor),
            (device, pasid.Pasid.Value, Errno.WrongDescriptor),
            (rig.Fd, pasid.Pasid.Value + 1, Errno.NoEntry),
            (rig.Fd, 0, Errno.NoEntry),
            (rig.Fd, uint.MaxValue, Errno.NoEntry),
            (other.Descriptor.Number, pasid.Pasid.Value, Errno.NoEntry),
        ])
        {
            rig.Raw(device, new IoasidDeviceAllow { IoasidFd = fd, Ioasid = number }).ShouldBe(-(int)error);
            rig.Raw(machine.Descriptor.Number, new IoasidVmMap { IoasidFd = fd, Ioasid = number }).ShouldBe(-(int)error);
        }

        // A number of another descriptor can be neither found nor freed.
        int stranger = other.Descriptor.Number;
        rig.Raw(stranger, new IoasidFind { Id = pasid.Pasid.Value }).ShouldBe(-(int)Errno.NoEntry);
        rig.Raw(stranger, new IoasidFree { Ioasid = pasid.Pasid.Value }).ShouldBe(-(int)Errno.NoEntry);
        rig.Raw(stranger, new IoasidSetDestroy { SetId = rig.Set.Id.Value }).ShouldBe(-(int)Errno.NoEntry);
        rig.Raw(stranger, new IoasidSetAdjust { SetId = rig.Set.Id.Value, Quota = 1 }).ShouldBe(-(int)Errno.NoEntry);
        rig.Raw(stranger, new IoasidAlloc { SetId = rig.Set.Id.Value }).ShouldBe(-(int)Errno.NoEntry);
        pasid.GetInfoErrno(out _).ShouldBe(Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S1.5")]
    [Trait("Requirement", "S1.3")]
    public void Allowing_takes_the_reference_and_gives_the_PASID_to_the_IOMMU()
    {
        using IoasidRig rig = new();
        PasidHandle pasid = rig.Set.Allocate();
        pasid.Bind(rig.Space);
        rig.Reaches(0, pasid.Pasid).ShouldBeFalse();
        rig.Nodes[0].Group.AttachPasid(pasid.Pasid, BlockedDomain.Instance).ShouldBe(Errno.Success, "nobody has told the IOMMU yet");
        rig.Nodes[0].Group.DetachPasid(pasid.Pasid).ShouldBe(Errno.Success);

        rig.Devices[0].Allow(pasid);
        rig.Reaches(0, pasid.Pasid).ShouldBeTrue();
        rig.Reaches(1, pasid.Pasid).ShouldBeFalse();
        pasid.GetInfoErrno(out PasidInfo info).ShouldBe(Errno.Success);
        (info.Active, info.Users).ShouldBe((true, 1u));
        Find(rig, pasid).OutReferences.ShouldBe(2ul);
        rig.Devices[0].AllowErrno(pasid).ShouldBe(Errno.Exists);
        pasid.FreeIfUnusedErrno().ShouldBe(Errno.Busy);
    }

    [Fact]
    [Trait("Requirement", "S1.6")]
    public void Binding_assigns_memory_and_touches_no_device()
    {
        using IoasidRig rig = new();
        PasidHandle a = rig.Set.Allocate(), b = rig.Set.Allocate();
        int domains = rig.Rig.Iommu.Domains.Count;
        a.Bind(rig.Space);
        rig.Rig.Iommu.Domains.Count.ShouldBe(domains, "no table is made before a device needs one");
        a.BindErrno(rig.Space).ShouldBe(Errno.Busy);

        // Two devices share the table; a second binding of the same memory is another.
        rig.Devices[0].Allow(a);
        rig.Devices[1].Allow(a);
        rig.Rig.Iommu.DomainOf(rig.Nodes[0], a.Pasid).ShouldBeSameAs(rig.Rig.Iommu.DomainOf(rig.Nodes[1], a.Pasid));
        rig.Rig.Iommu.Domains.Count.ShouldBe(domains + 1);
        b.Bind(rig.Space);
        rig.Devices[0].Allow(b);
        rig.Rig.Iommu.DomainOf(rig.Nodes[0], b.Pasid).ShouldNotBeSameAs(rig.Rig.Iommu.DomainOf(rig.Nodes[0], a.Pasid));

        a.UnbindErrno().ShouldBe(Errno.Success);
        a.UnbindErrno().ShouldBe(Errno.NoEntry);
        (rig.Reaches(0, a.Pasid), rig.Reaches(1, a.Pasid), rig.Reaches(0, b.Pasid)).ShouldBe((false, false, true));
        Pasid[] allowed = rig.Listed(0);
        allowed.ShouldBe([a.Pasid, b.Pasid]);
    }

    [Fact]
    [Trait("Requirement", "S1.7")]
    public void Freeing_wipes_the_memory_stops_the_DMA_and_parks_the_number()
    {
        using IoasidRig rig = new();
        PasidHandle pasid = rig.Set.Allocate(new() { Fixed = true, First = new(7) });
        pasid.Bind(rig.Space);
        rig.Devices[0].Allow(pasid);
        rig.Devices[1].Allow(pasid);
        pasid.FreeErrno().ShouldBe(Errno.Success);
        (rig.Reaches(0, new(7)), rig.Reaches(1, new(7))).ShouldBe((false, false));
        rig.Rig.Iommu.Domains.ShouldBeEmpty("the memory is let go of, though devices hold the number");
        rig.Space.UnmapErrno(new(IoasidRig.Iova), 4096, out _).ShouldBe(Errno.Success);
        Counts(rig).ShouldBe((0u, 1u));
        rig.Set.AllocateErrno(new() { Fixed = true, First = new(7) }, out _).ShouldBe(Errno.Exists);
        Pasid[] none = rig.Listed(0);
        none.ShouldBeEmpty();
        rig.Devices[0].DisallowErrno(new(7)).ShouldBe(Errno.Success);
        rig.Set.AllocateErrno(new() { Fixed = true, First = new(7) }, out _).ShouldBe(Errno.Exists);
        rig.Devices[1].DisallowErrno(new(7)).ShouldBe(Errno.Success);
        Counts(rig).ShouldBe((0u, 0u));
        rig.Set.AllocateErrno(new() { Fixed = true, First = new(7) }, out PasidHandle? again).ShouldBe(Errno.Success);
        rig.Reaches(0, again!.Pasid).ShouldBeFalse();
    }

    [Fact]
    [Trait("Requirement", "S1.8")]
    public void Disallowing_disconnects_drains_and_only_then_lets_go()
    {
        using IoasidRig rig = new();
        PasidHandle pasid = rig.Set.Allocate();
        pasid.Bind(rig.Space);
        List<string> order = [];
        rig.Nodes[0].PasidDevice = new Queue(order, () => rig.Reaches(0, pasid.Pasid), () => Find(rig, pasid).OutReferences);
        rig.Devices[0].Allow(pasid);
        rig.Devices[0].DisallowErrno(pasid.Pasid).ShouldBe(Errno.Success);
        order.ShouldBe(["begin: reaches True", "stop: reaches True", "drain: reaches False, 2 references"]);
        Find(rig, pasid).OutReferences.ShouldBe(1ul);
        rig.Devices[0].DisallowErrno(pasid.Pasid).ShouldBe(Errno.NoEntry);
        pasid.FreeIfUnusedErrno().ShouldBe(Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S1.9")]
    public void No_free_is_needed_the_number_comes_back_with_the_last_user()
    {
        using IoasidRig rig = new();
        PasidFd own = PasidFd.Open(rig.Rig.Kernel);
        PasidHandle pasid = own.CreateSet(1).Allocate();
        Pasid number = pasid.Pasid;
        pasid.Bind(rig.Space);
        rig.Devices[0].Allow(pasid);
        rig.Rig.Kernel.Close(own.Descriptor.Number).ShouldBe(0);
        rig.Reaches(0, number).ShouldBeFalse();
        rig.Set.AllocateErrno(new() { Fixed = true, First = number }, out _).ShouldBe(Errno.Exists);
        rig.Devices[0].Dispose();
        rig.Set.AllocateErrno(new() { Fixed = true, First = number }, out _).ShouldBe(Errno.Success);

        // What the client still holds is of a descriptor that has gone.
        pasid.SetHandleAsInvalid();
    }

    [Fact]
    [Trait("Requirement", "S1.11")]
    public void The_IOASID_layer_knows_no_bus()
    {
        foreach (Type type in (Type[])[typeof(PasidAllocator), typeof(Core.PasidSet), typeof(Ioasid), typeof(IPasidDrain), typeof(IoasidFile)])
        {
            type.GetMembers(
                System.Reflection.BindingFlags.Instance | System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.NonPublic)
                .Select(static member => member.ToString())
                .ShouldAllBe(static text => !text!.Contains("DeviceId", StringComparison.Ordinal)
                    && !text.Contains("IommuDevice", StringComparison.Ordinal) && !text.Contains("Vfio", StringComparison.Ordinal));
        }
    }

    [Fact]
    [Trait("Requirement", "S1.12")]
    public void A_device_has_a_list_and_nothing_beside_it()
    {
        using IoasidRig rig = new();
        PasidHandle[] all = [.. Enumerable.Range(0, 4).Select(_ => rig.Set.Allocate())];
        Array.ForEach(all, pasid => pasid.Bind(rig.Space));
        rig.Devices[0].Allow(all[3]);
        rig.Devices[0].Allow(all[1]);
        rig.Devices[1].Allow(all[2]);
        Pasid[] listed = rig.Listed(0);
        listed.ShouldBe([all[1].Pasid, all[3].Pasid]);
        for (int device = 0; device < 2; device++)
        {
            listed = rig.Listed(device);
            all.ShouldAllBe(pasid => rig.Reaches(device, pasid.Pasid) == listed.Contains(pasid.Pasid));
        }

        // Too small an array is told the count and gets what fits.
        int fd = rig.Devices[0].Descriptor.Number;
        IoasidDeviceListArgument list = new() { Count = 1, Ioasids = FakeUserMemory.ArgumentStart };
        rig.Rig.Call(fd, ref list).ShouldBe(-(int)Errno.MessageTooLong);
        list.Count.ShouldBe(2u);
        MemoryMarshal.Read<uint>(rig.Rig.Memory.Arguments).ShouldBe(all[1].Pasid.Value);
        list = new() { Count = 2, Ioasids = 1 };
        rig.Rig.Call(fd, ref list).ShouldBe(-(int)Errno.BadAddress);
    }

    [Fact]
    public void A_device_gets_no_PASID_that_it_cannot_send_and_none_before_it_is_bound()
    {
        using IoasidRig rig = new();
        PasidHandle wide = rig.Set.Allocate(new() { Fixed = true, First = new(256) });
        rig.Devices[0].AllowErrno(wide).ShouldBe(Errno.Overflow);
        (IommuDevice _, string bare) = rig.Rig.AddDevice();
        using VfioDevice device = VfioDevice.Open(rig.Rig.Kernel, bare);
        PasidHandle narrow = rig.Set.Allocate();
        device.AllowErrno(narrow).ShouldBe(Errno.InvalidArgument);
        _ = device.Bind(rig.Iommu);
        device.AllowErrno(narrow).ShouldBe(Errno.NotSupported);
        narrow.FreeIfUnusedErrno().ShouldBe(Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S2.10")]
    public void A_device_gets_no_PASID_that_its_IOMMU_cannot_carry()
    {
        using IoasidRig rig = new(new() { Features = new() { PasidBits = 4 } });
        using PasidHandle wide = rig.Set.Allocate(new() { Fixed = true, First = new(16) });
        using PasidHandle widest = rig.Set.Allocate(new() { Fixed = true, First = new(15) });
        rig.Devices[0].AllowErrno(wide).ShouldBe(Errno.Overflow);
        rig.Devices[0].AllowErrno(widest).ShouldBe(Errno.Success);
        rig.Listed(0).ShouldBe([new(15)]);
        rig.Devices[0].DisallowErrno(widest.Pasid).ShouldBe(Errno.Success);
    }

    [Fact]
    public void Devices_of_a_group_share_what_the_IOMMU_cannot_keep_apart()
    {
        using IoasidRig rig = new(group: 5);
        PasidHandle pasid = rig.Set.Allocate();
        rig.Devices[0].Allow(pasid);
        pasid.Bind(rig.Space);
        rig.Devices[1].Allow(pasid);
        rig.Devices[0].DisallowErrno(pasid.Pasid).ShouldBe(Errno.Success);
        rig.Reaches(1, pasid.Pasid).ShouldBeTrue();
        rig.Devices[1].DisallowErrno(pasid.Pasid).ShouldBe(Errno.Success);
        (rig.Reaches(0, pasid.Pasid), rig.Reaches(1, pasid.Pasid)).ShouldBe((false, false));
    }

    [Fact]
    [Trait("Requirement", "S0.9")]
    public void Private_numbers_are_found_both_ways()
    {
        using IoasidRig rig = new();
        PasidHandle a = rig.Set.Allocate(new() { Guest = new(3) });
        rig.Set.FindErrno(new(3), out PasidInfo found).ShouldBe(Errno.Success);
        found.ShouldBe(new(a.Pasid, rig.Set.Id, new GuestPasid(3), false, 0));
        a.GetInfoErrno(out PasidInfo same).ShouldBe(Errno.Success);
        same.ShouldBe(found);
        PasidHandle b = rig.Set.Allocate();
        b.MapGuestErrno(new(3)).ShouldBe(Errno.Exists);
        rig.Set.AllocateErrno(new() { Guest = new(3) }, out _).ShouldBe(Errno.Exists);
        a.UnmapGuestErrno().ShouldBe(Errno.Success);
        a.UnmapGuestErrno().ShouldBe(Errno.NoEntry);
        b.MapGuestErrno(new(3)).ShouldBe(Errno.Success);
        b.Dispose();
        rig.Set.FindErrno(new(3), out _).ShouldBe(Errno.NoEntry);
    }

    [Fact]
    public void A_page_table_is_bound_only_if_it_was_made_for_PASIDs()
    {
        using IoasidRig rig = new();
        using HardwarePageTable plain = rig.Iommu.AllocatePageTable(rig.Devices[0], rig.Space);
        using HardwarePageTable table = rig.Iommu.AllocatePageTable(rig.Devices[0], rig.Space, HwptAllocFlags.Pasid);
        PasidHandle pasid = rig.Set.Allocate();
        pasid.BindErrno(rig.Iommu, plain).ShouldBe(Errno.InvalidArgument);
        rig.Devices[0].Allow(pasid);
        pasid.BindErrno(rig.Iommu, table).ShouldBe(Errno.Success);
        rig.Reaches(0, pasid.Pasid).ShouldBeTrue();
        table.DestroyErrno().ShouldBe(Errno.Busy);
        pasid.BindProcessErrno().ShouldBe(Errno.NotSupported, "this kernel does not know the process");
        pasid.FreeErrno().ShouldBe(Errno.Success);
        table.DestroyErrno().ShouldBe(Errno.Success);
    }

    [Fact]
    public void A_device_that_cannot_follow_keeps_every_other_from_following()
    {
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value & 1 };
        using IoasidRig rig = new(hardware);
        using HardwarePageTable table = rig.Iommu.AllocatePageTable(rig.Devices[0], rig.Space, HwptAllocFlags.Pasid);
        PasidHandle pasid = rig.Set.Allocate();
        rig.Devices[0].Allow(pasid);
        rig.Devices[1].Allow(pasid);
        pasid.BindErrno(rig.Iommu, table).ShouldBe(Errno.InvalidArgument);
        (rig.Reaches(0, pasid.Pasid), rig.Reaches(1, pasid.Pasid)).ShouldBe((false, false));
        table.DestroyErrno().ShouldBe(Errno.Success);

        // An address space makes a table of each format.
        pasid.Bind(rig.Space);
        (rig.Reaches(0, pasid.Pasid), rig.Reaches(1, pasid.Pasid)).ShouldBe((true, true));
    }

    private static (uint Count, uint Parked) Counts(IoasidRig rig)
    {
        rig.Set.GetInfoErrno(out PasidSetInfo info).ShouldBe(Errno.Success);
        return (info.Count, info.Parked);
    }

    private static IoasidFind Find(IoasidRig rig, PasidHandle pasid)
    {
        IoasidFind find = new() { Id = pasid.Pasid.Value };
        rig.Rig.Call(rig.Fd, ref find).ShouldBe(0);
        return find;
    }

    // A device's queue that writes down when it is asked.
    private sealed class Queue(List<string> order, Func<bool> reaches, Func<ulong> references) : IPasidDevice
    {
        public string Name => "queue";

        public void Begin(Ioasid ioasid) => order.Add($"begin: reaches {reaches()}");

        public Errno Stop(Ioasid ioasid)
        {
            order.Add($"stop: reaches {reaches()}");
            return Errno.Success;
        }

        public bool IsDrained(Ioasid ioasid, out string? holds)
        {
            holds = null;
            order.Add($"drain: reaches {reaches()}, {references()} references");
            return true;
        }
    }
}
