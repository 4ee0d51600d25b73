using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Sva.Tests;

/// <summary>Binding processes to devices, and the life of their PASIDs.</summary>
public class BindTests : SvaSuite
{
    /// <summary>The machine; another IOMMU's suite overrides it.</summary>
    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_device_reads_and_writes_with_the_processs_own_addresses()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        using SvaBinding binding = rig.Bind(device, mm);
        mm.Write(SvaRig.Base + 4090, "from the process"u8).ShouldBe(Errno.Success);
        byte[] seen = new byte[16];
        SvaRig.DeviceRead(device, binding.Pasid, SvaRig.Base + 4090, seen).ShouldBeTrue();
        seen.ShouldBe("from the process"u8.ToArray());
        SvaRig.DeviceWrite(device, binding.Pasid, SvaRig.Base + 0x8ffd, "from the device"u8).ShouldBeTrue();
        SvaRig.Get(mm, SvaRig.Base + 0x8ffd, 15).ShouldBe("from the device"u8.ToArray());
        rig.Platform.FaultCount.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.2")]
    public void A_process_has_one_PASID_for_all_its_devices_and_threads()
    {
        using SvaRig rig = NewRig();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaManager.GetPasid(mm).ShouldBe(Pasid.Invalid);
        SvaBinding first = rig.Bind(rig.AddDevice(), mm);
        SvaBinding second = rig.Bind(rig.AddDevice(), mm);
        second.Pasid.ShouldBe(first.Pasid);
        SvaManager.GetPasid(mm).ShouldBe(first.Pasid);
        rig.Set.Count.ShouldBe(1u);
        first.Unbind().ShouldBe(Errno.Success);
        second.Unbind().ShouldBe(Errno.Success);

        // The process keeps it: threads may have it in their registers.
        SvaManager.GetPasid(mm).ShouldBe(first.Pasid);
        rig.Bind(rig.AddDevice(), mm).Pasid.ShouldBe(first.Pasid);
        rig.Bind(rig.AddDevice(), rig.NewProcess()).Pasid.ShouldNotBe(first.Pasid);
    }

    [Fact]
    [Trait("Requirement", "S2.3")]
    public void Binding_again_gives_a_handle_of_its_own_and_leaves_the_others_data_alone()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding[] handles = BindTwice(rig.Manager, device.Device, mm);
        handles[0].ShouldNotBeSameAs(handles[1]);
        (handles[0].Data, handles[1].Data).ShouldBe(("one", "two"));
        handles[1].Unbind().ShouldBe(Errno.Success);
        handles[1].Unbind().ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(device, handles[0].Pasid, SvaRig.Base, 1).ShouldBeTrue();
        handles[0].Unbind().ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(device, handles[0].Pasid, SvaRig.Base, 1).ShouldBeFalse();
    }

    [Fact]
    [Trait("Requirement", "S2.9")]
    public void A_private_PASID_belongs_to_its_handle_and_is_never_found_through_the_process()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        rig.Manager.BindPrivate(device.Device, mm, "private", out SvaBinding? own).ShouldBe(Errno.Success);
        own!.IsPrivate.ShouldBeTrue();
        SvaManager.GetPasid(mm).ShouldBe(Pasid.Invalid);
        SvaBinding shared = rig.Bind(device, mm);
        shared.Pasid.ShouldNotBe(own.Pasid);
        SvaManager.GetPasid(mm).ShouldBe(shared.Pasid);
        SvaRig.DeviceWrite(device, own.Pasid, SvaRig.Base, 7).ShouldBeTrue();
        own.Unbind().ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(device, own.Pasid, SvaRig.Base, 7).ShouldBeFalse();
        rig.Allocator.Find(own.Pasid).IsNone.ShouldBeTrue();
        SvaRig.DeviceWrite(device, shared.Pasid, SvaRig.Base, 7).ShouldBeTrue();
    }

    [Fact]
    [Trait("Requirement", "S2.9")]
    public void A_private_PASID_loses_its_memory_with_the_process_and_its_number_with_the_handle()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        rig.Manager.BindPrivate(device.Device, mm, null, out SvaBinding? own).ShouldBe(Errno.Success);
        mm.Exit().ShouldBe(Errno.Success);
        own!.IsAttached.ShouldBeFalse();
        SvaRig.DeviceWrite(device, own.Pasid, SvaRig.Base, 7).ShouldBeFalse();
        rig.Allocator.Find(own.Pasid).ShouldBe(own.Ioasid);
        own.Unbind().ShouldBe(Errno.Success);
        rig.Allocator.Find(own.Pasid).IsNone.ShouldBeTrue();
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.7")]
    [Trait("Requirement", "S2.10")]
    public void A_process_whose_PASID_is_too_wide_for_a_later_device_is_refused()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint wide = rig.AddDevice(pasidBits: 20);
        EmbeddedEndpoint narrow = rig.AddDevice(pasidBits: 3);
        List<SvaBinding> held = [];
        for (int i = 0; i < 8; i++)
        {
            held.Add(rig.Bind(wide, rig.NewProcess(pages: 0)));
        }

        SvaBinding last = held[^1];
        last.Pasid.Value.ShouldBeGreaterThan(7u);
        rig.Manager.Bind(narrow.Device, last.AddressSpace, null, out SvaBinding? none).ShouldBe(Errno.Overflow);
        none.ShouldBeNull();
        last.IsAttached.ShouldBeTrue();

        // Within what the narrow one can send there may be nothing left: that is exhaustion, not overflow (S2.7).
        DemandPagedAddressSpace fresh = rig.NewProcess(pages: 0);
        rig.Manager.Bind(narrow.Device, fresh, null, out _).ShouldBe(Errno.NoSpace);
        SvaManager.GetPasid(fresh).ShouldBe(Pasid.Invalid);
        held[0].AddressSpace.Exit().ShouldBe(Errno.Success);
        held[0].Unbind().ShouldBe(Errno.Success);
        rig.Manager.Bind(narrow.Device, fresh, null, out SvaBinding? fits).ShouldBe(Errno.Success);
        fits!.Pasid.Value.ShouldBeInRange(1u, 7u);
    }

    [Fact]
    [Trait("Requirement", "S2.4")]
    [Trait("Requirement", "S2.6")]
    [Trait("Requirement", "S2.7")]
    public void Devices_without_PASIDs_shared_groups_and_used_up_quotas_have_errors_of_their_own()
    {
        using SvaRig rig = NewRig(quota: 1);
        DemandPagedAddressSpace mm = rig.NewProcess();
        rig.Manager.Bind(rig.AddDevice(pasidBits: 0).Device, mm, null, out _).ShouldBe(Errno.NotSupported);
        EmbeddedEndpoint[] pair = [rig.AddDevice(group: 77), rig.AddDevice(group: 77)];
        rig.Manager.Bind(pair[0].Device, mm, null, out _).ShouldBe(Errno.NotSupported);
        EmbeddedEndpoint device = rig.AddDevice();
        SvaBinding binding = rig.Bind(device, mm);
        binding.Pasid.IsPresent.ShouldBeTrue();
        rig.Manager.Bind(device.Device, rig.NewProcess(), null, out SvaBinding? none).ShouldBe(Errno.NoSpace);
        none.ShouldBeNull();
        new SvaManager(rig.Set).Bind(device.Device, mm, null, out _).ShouldBe(Errno.NotPermitted);
        mm.Exit().ShouldBe(Errno.Success);
        rig.Manager.Bind(device.Device, mm, null, out _).ShouldBe(Errno.NoEntry);
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void The_PASID_of_a_process_that_ends_goes_only_when_the_last_handle_is_gone()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding one = rig.Bind(device, mm);
        SvaBinding two = rig.Bind(device, mm);
        SvaRig.DeviceWrite(device, one.Pasid, SvaRig.Base, 1, 2, 3).ShouldBeTrue();
        mm.Exit().ShouldBe(Errno.Success);

        // Stopped: neither what the device remembers nor a new request gets anywhere, and the memory is free.
        device.Ats!.Knows(one.Pasid, SvaRig.Base).ShouldBeFalse();
        SvaRig.DeviceWrite(device, one.Pasid, SvaRig.Base, 1).ShouldBeFalse();
        rig.Pages.AllocatedBytes.ShouldBe(0);
        one.Ioasid.State.ShouldBe(IoasidState.Parked);
        one.Unbind().ShouldBe(Errno.Success);
        two.Ioasid.State.ShouldBe(IoasidState.Parked);
        rig.Set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = two.Pasid }, out _).ShouldBe(Errno.Exists);
        two.Unbind().ShouldBe(Errno.Success);
        two.Ioasid.State.ShouldBe(IoasidState.Free);
        rig.Allocator.Audit.Live.ShouldBe(0);
        rig.Allocator.Audit.Parked.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void A_device_that_is_not_done_keeps_the_PASID_and_the_memory_of_a_process_that_ended()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        Laggard laggard = new();
        device.Device.PasidDevice = laggard;
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaManager impatient = new(rig.Set) { DrainPatience = TimeSpan.FromMilliseconds(20) };
        impatient.Bind(device.Device, mm, null, out SvaBinding? binding).ShouldBe(Errno.Success);
        mm.Write(SvaRig.Base, [1]).ShouldBe(Errno.Success);
        long held = rig.Pages.AllocatedBytes;
        mm.Exit().ShouldBe(Errno.TimedOut);
        binding!.Ioasid.State.ShouldBe(IoasidState.Stopping);
        rig.Allocator.GetDrainReports().ShouldHaveSingleItem().Holds.ShouldBe("one descriptor");
        rig.Pages.AllocatedBytes.ShouldBe(held);
        laggard.Done = true;
        mm.Exit().ShouldBe(Errno.Success);
        binding.Unbind().ShouldBe(Errno.Success);
        binding.Ioasid.State.ShouldBe(IoasidState.Free);
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Theory]
    [Trait("Requirement", "S2.8")]
    [InlineData(false)]
    [InlineData(true)]
    public void A_bind_that_fails_at_any_step_leaves_nothing_and_frees_nothing_of_others(bool hasBindingAlready)
    {
        int steps = FailAtEveryStep.Run(
            () => new FirstAndSecond(hasBindingAlready),
            state => state.Rig.Manager.Bind(state.Device.Device, state.Process, null, out state.Made),
            (state, result, step) =>
            {
                if (result == Errno.Success)
                {
                    SvaRig.DeviceWrite(state.Device, state.Made!.Pasid, SvaRig.Base, 1).ShouldBeTrue();
                    state.Made.Unbind().ShouldBe(Errno.Success);
                }
                else
                {
                    step.ShouldNotBe(0);
                }

                state.Other?.Ioasid.State.ShouldBe(IoasidState.Active);
                rigAudit(state);
            });
        steps.ShouldBeGreaterThanOrEqualTo(hasBindingAlready ? 2 : 4);

        static void rigAudit(FirstAndSecond state)
        {
            // A bind that succeeded leaves the process its PASID.
            bool hasPasid = SvaManager.GetPasid(state.Process) != Pasid.Invalid;
            state.Rig.Allocator.Audit.Live.ShouldBe(hasPasid ? 1 : 0);
            state.Rig.Platform.Driver.Usage.AddressSpaces.ShouldBe(state.Other is null ? 0 : 1);
            if (state.Other is { } other)
            {
                SvaRig.DeviceWrite(state.OtherDevice!, other.Pasid, SvaRig.Base, 1).ShouldBeTrue();
            }
        }
    }

    [Fact]
    public void A_forked_process_has_no_PASID_and_no_device_and_execution_of_another_program_ends_both()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        UserProcess parent = new("parent", rig.NewProcess());
        SvaBinding binding = rig.Bind(device, parent.AddressSpace);
        parent.MainThread.Register = PasidRegister.For(binding.Pasid);
        SvaRig.DeviceWrite(device, binding.Pasid, SvaRig.Base, 1, 2, 3).ShouldBeTrue();
        parent.TryFork("child", out UserProcess? child).ShouldBe(Errno.Success);
        SvaManager.GetPasid(child!.AddressSpace).ShouldBe(Pasid.Invalid);
        child.MainThread.Register.IsValid.ShouldBeFalse();

        // The device writes to the parent's copy only, although it could write to the page before.
        SvaRig.DeviceWrite(device, binding.Pasid, SvaRig.Base, 9, 9, 9).ShouldBeTrue();
        SvaRig.Get(child.AddressSpace, SvaRig.Base, 3).ShouldBe([1, 2, 3]);
        SvaRig.Get(parent.AddressSpace, SvaRig.Base, 3).ShouldBe([9, 9, 9]);

        DemandPagedAddressSpace program = rig.NewProcess();
        parent.Execute(program).ShouldBe(Errno.Success);
        parent.MainThread.Register.IsValid.ShouldBeFalse();
        SvaManager.GetPasid(parent.AddressSpace).ShouldBe(Pasid.Invalid);
        SvaRig.DeviceWrite(device, binding.Pasid, SvaRig.Base, 5).ShouldBeFalse();
        binding.Unbind().ShouldBe(Errno.Success);
        child.Exit().ShouldBe(Errno.Success);
        parent.Exit().ShouldBe(Errno.Success);
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void One_domain_serves_all_devices_of_a_process_and_one_invalidation_all_devices_behind_an_IOMMU()
    {
        using SvaRig rig = NewRig();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding[] bindings = [rig.Bind(rig.AddDevice(), mm), rig.Bind(rig.AddDevice(), mm)];
        mm.Write(SvaRig.Base, [1]).ShouldBe(Errno.Success);
        rig.Platform.Driver.Usage.AddressSpaces.ShouldBe(1);
        long before = rig.Platform.Driver.Usage.TranslationInvalidations;
        mm.Unmap(SvaRig.Base, SvaRig.Size).ShouldBe(Errno.Success);
        (rig.Platform.Driver.Usage.TranslationInvalidations - before).ShouldBe(1);
        bindings.ShouldAllBe(binding => binding.Unbind() == Errno.Success);
        rig.Platform.Driver.Usage.AddressSpaces.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    [Trait("Requirement", "S2.11")]
    public void A_process_that_ends_under_a_domain_attached_by_hand_leaves_an_empty_table_and_nothing_else()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        Pasid pasid = new(9);
        rig.Platform.Driver.TryAllocateSvaDomain(device.Device, mm, out SvaDomain? domain).ShouldBe(Errno.Success);
        device.Device.Group.AttachPasid(pasid, domain!).ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(device, pasid, SvaRig.Base, 1).ShouldBeTrue();
        mm.Exit().ShouldBe(Errno.Success);
        rig.Frames.Count.ShouldBe(0);
        rig.Pages.AllocatedBytes.ShouldBe(4096, "the root table");
        device.Ats!.Knows(pasid, SvaRig.Base).ShouldBeFalse();
        SvaRig.DeviceWrite(device, pasid, SvaRig.Base, 1).ShouldBeFalse();
        mm.Exit().ShouldBe(Errno.Success);
        device.Device.Group.DetachPasid(pasid).ShouldBe(Errno.Success);
        domain!.Dispose();
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void A_device_that_is_unplugged_leaves_its_handles_harmless()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        SvaRig.DeviceWrite(device, binding.Pasid, SvaRig.Base, 1).ShouldBeTrue();
        rig.Platform.RemoveEndpointErrno(device).ShouldBe(Errno.Success);
        device.Ats!.Write(binding.Pasid, SvaRig.Base, [1], out _).ShouldNotBe(AtsStatus.Success);
        mm.Unmap(SvaRig.Base, SvaRig.Size).ShouldBe(Errno.Success);
        mm.Exit().ShouldBe(Errno.Success);
        binding.Unbind().ShouldBe(Errno.Success);
        rig.Allocator.Audit.Live.ShouldBe(0);
        rig.Platform.Driver.Usage.AddressSpaces.ShouldBe(0);
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.4")]
    public void Whatever_is_called_a_PASID_in_public_has_the_one_type()
    {
        Type[] permitted = [typeof(Pasid), typeof(GuestPasid), typeof(PasidRegister), typeof(bool)];
        int seen = 0;
        foreach (Type type in new[] { typeof(IommuDevice), typeof(UserProcess), typeof(DmaRequest), typeof(EndpointAts), typeof(RiscVDriverOptions) }.SelectMany(
            static type => type.Assembly.GetTypes().Where(static type => type.IsPublic || type.IsNotPublic)))
        {
            IEnumerable<(string? Name, Type Type)> members = type.GetMethods().SelectMany(static method => method.GetParameters())
                .Select(static parameter => (parameter.Name, parameter.ParameterType))
                .Concat(type.GetProperties().Select(static property => ((string?)property.Name, property.PropertyType)));
            foreach ((string? name, Type declared) in members)
            {
                if (string.Equals(name, "pasid", StringComparison.OrdinalIgnoreCase))
                {
                    Type bare = declared.IsByRef ? declared.GetElementType()! : declared;
                    permitted.ShouldContain(Nullable.GetUnderlyingType(bare) ?? bare, $"{type.Name}: {name}");
                    seen++;
                }
            }
        }

        seen.ShouldBeGreaterThan(20);
        (new Pasid(Pasid.MaxValue).IsValid, new Pasid(Pasid.MaxValue + 1).IsValid, Pasid.Invalid.IsValid).ShouldBe((true, false, false));
    }

    [Fact]
    [Trait("Requirement", "S2.5")]
    [Trait("Requirement", "S2.6")]
    public void A_register_holds_a_PASID_and_the_hardwares_bit_and_neither_0_nor_an_invalid_one()
    {
        PasidRegister.For(Pasid.None).ShouldBe(default);
        PasidRegister.For(Pasid.Invalid).ShouldBe(default);
        default(PasidRegister).Pasid.ShouldBe(Pasid.Invalid);
        PasidRegister largest = PasidRegister.For(new(Pasid.MaxValue));
        (largest.IsValid, largest.Pasid, largest.Value).ShouldBe((true, new Pasid(0xf_ffff), 0x800f_ffffu));
        new PasidRegister(0x0000_0007).IsValid.ShouldBeFalse();
    }

    internal static SvaBinding[] BindTwice(SvaManager manager, IommuDevice device, ProcessAddressSpace mm)
    {
        manager.Bind(device, mm, "one", out SvaBinding? first).ShouldBe(Errno.Success);
        manager.Bind(device, mm, "two", out SvaBinding? second).ShouldBe(Errno.Success);
        return [first!, second!];
    }

    private sealed class Laggard : IPasidDevice
    {
        public bool Done { get; set; }

        public string Name => "laggard";

        public void Begin(Ioasid ioasid)
        {
        }

        public Errno Stop(Ioasid ioasid) => Errno.Success;

        public bool IsDrained(Ioasid ioasid, out string? holds)
        {
            holds = "one descriptor";
            return Done;
        }
    }

    internal sealed class FirstAndSecond : IDisposable
    {
        public SvaBinding? Made;

        public FirstAndSecond(bool hasBindingAlready)
        {
            Rig = new();
            Device = Rig.AddDevice();
            Process = Rig.NewProcess();
            if (hasBindingAlready)
            {
                OtherDevice = Rig.AddDevice();
                Other = Rig.Bind(OtherDevice, Process);
            }
        }

        public SvaRig Rig { get; }

        public EmbeddedEndpoint Device { get; }

        public EmbeddedEndpoint? OtherDevice { get; }

        public DemandPagedAddressSpace Process { get; }

        public SvaBinding? Other { get; }

        public void Dispose() => Rig.Dispose();
    }
}
