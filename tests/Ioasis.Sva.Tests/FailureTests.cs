using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.PageTables.Formats;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Sva.Tests;

/// <summary>Ends that fail at any step, devices that do not answer, IOMMUs that differ, commands made of noise.</summary>
public class FailureTests : SvaSuite
{
    [Theory]
    [Trait("Requirement", "S2.1")]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public void An_end_that_fails_at_any_step_frees_nothing_early_and_can_be_repeated(bool unbinds, bool isPrivate)
    {
        int steps = FailAtEveryStep.Run(
            () => new Bound(NewRig(), isPrivate),
            state => unbinds ? state.Binding.Unbind() : state.Memory.Exit(),
            (state, result, step) =>
            {
                if (result != Errno.Success)
                {
                    step.ShouldNotBe(0);
                    if (!unbinds)
                    {
                        state.Rig.Frames.Count.ShouldBe(1, "the memory was freed although the device was not known to be stopped");
                    }
                }

                (unbinds ? state.Binding.Unbind() : state.Memory.Exit()).ShouldBe(Errno.Success);
                SvaRig.DeviceWrite(state.Device, state.Binding.Pasid, SvaRig.Base, 2).ShouldBeFalse();
                state.Binding.Unbind().ShouldBe(Errno.Success);
                state.Memory.Exit().ShouldBe(Errno.Success);
                state.Rig.Allocator.Audit.Live.ShouldBe(0);
                state.Rig.Allocator.Audit.Parked.ShouldBe(0);
                state.Rig.Platform.Driver.Usage.AddressSpaces.ShouldBe(0);
                state.Rig.Pages.AllocatedBytes.ShouldBe(0);
            },
            Errno.IoError);
        steps.ShouldBeGreaterThan(0);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void A_device_that_does_not_forget_is_cut_off_before_the_memory_is_reused()
    {
        using Bound state = new(NewRig(), isPrivate: false);
        state.Rig.Link.IsSilent = true;
        state.Memory.Unmap(SvaRig.Base, SvaRig.Size).ShouldBe(Errno.Success);
        state.Device.Ats!.Knows(state.Binding.Pasid, SvaRig.Base).ShouldBeTrue();
        state.Device.Ats.Write(state.Binding.Pasid, SvaRig.Base, [1], out _).ShouldBe(AtsStatus.Error);
        state.Rig.Frames.Count.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void A_process_behind_two_IOMMUs_is_forgotten_by_both_and_cannot_go_where_its_table_is_not_understood()
    {
        IommuSlot whole = Slot ?? new RiscVIommuSlot();
        IommuSlot less = whole is VtdIommuSlot vtd
            ? vtd with { Hardware = vtd.Hardware with { Capabilities = new(vtd.Hardware.Capabilities.Value & ~Capability.FirstStage5LevelBit) } }
            : new RiscVIommuSlot
            {
                Hardware = new() { Capabilities = RiscVIommuOptions.FullCapabilities & ~(Capabilities.Sv48Bit | Capabilities.Sv57Bit) },
            };
        using EmbeddedPlatform platform = new(new()
        {
            Caching = CachingMode.Hostile, UserMemory = new IdentityUserMemory(), PhysicalBits = 46, Iommus = [whole, whole, less],
        });
        EmbeddedEndpoint Add(uint id, int iommu) => platform.AddEndpoint(new(id), new() { PasidBits = 8, Iommu = iommu });

        long[] Used() => [.. platform.Iommus.Select(static iommu => (long)iommu.Driver.Usage.AddressSpaces)];

        RangePageAllocator pages = new(platform.PhysicalMemory, new(1ul << 32, (1ul << 33) - 1));
        PageFrames frames = new(platform.PhysicalMemory, pages);
        PageTableFormat format = whole is VtdIommuSlot ? PageTableFormat.Of<X64Level5>() : PageTableFormat.Of<Sv48>();
        DemandPagedAddressSpace.TryCreate(frames, format, out DemandPagedAddressSpace? mm).ShouldBe(Errno.Success);
        mm!.Map(SvaRig.Base, SvaRig.Size, Access.ReadWrite).ShouldBe(Errno.Success);
        mm.Write(SvaRig.Base, [1]).ShouldBe(Errno.Success);
        PasidAllocator allocator = new();
        allocator.TryCreateSet(new() { Quota = 4 }, out PasidSet? set).ShouldBe(Errno.Success);
        SvaManager manager = new(set!);
        EmbeddedEndpoint[] devices = [Add(1, 0), Add(2, 1)];
        SvaBinding[] bindings = [.. devices.Select(device =>
        {
            manager.Bind(device.Device, mm, null, out SvaBinding? binding).ShouldBe(Errno.Success);
            return binding!;
        })];
        bool Reaches(int device) => devices[device].Port.Write(
            new DmaRequest(devices[device].Id, new(SvaRig.Base), DmaFlags.PasidValid | DmaFlags.Write, Pasid: bindings[device].Pasid), [1])
            == DmaStatus.Success;

        bindings[0].Pasid.ShouldBe(bindings[1].Pasid);
        manager.Bind(Add(3, 2).Device, mm, null, out _).ShouldBe(Errno.InvalidArgument);
        Used().ShouldBe([1, 1, 0]);
        (Reaches(0), Reaches(1)).ShouldBe((true, true));
        mm.Unmap(SvaRig.Base, SvaRig.Size).ShouldBe(Errno.Success);
        (Reaches(0), Reaches(1)).ShouldBe((false, false));
        bindings[0].Unbind().ShouldBe(Errno.Success);
        Used().ShouldBe([0, 1, 0]);
        mm.Exit().ShouldBe(Errno.Success);
        bindings[1].Unbind().ShouldBe(Errno.Success);
        Used().ShouldBe([0, 0, 0]);
        frames.Count.ShouldBe(0);
    }

    [Fact]
    public void Commands_of_any_bytes_end_and_harm_nobody()
    {
        using SvaRig rig = NewRig();
        using DsaDevice accelerator = new(new() { IsStepped = true });
        EmbeddedEndpoint endpoint = rig.AddAccelerator(accelerator);
        ISharedWorkQueue portal = accelerator.GetPortal(0);
        DemandPagedAddressSpace mm = rig.NewProcess();
        using SvaBinding binding = rig.Bind(endpoint, mm);
        DemandPagedAddressSpace bystander = rig.NewProcess();
        using SvaBinding others = rig.Bind(endpoint, bystander);
        bystander.Write(SvaRig.Base, "untouched"u8).ShouldBe(Errno.Success);
        Random random = new(1);
        byte[] command = new byte[64];
        ulong[] places = [SvaRig.Base, SvaRig.Base + 0xfff8, 0, ulong.MaxValue - 20, (1ul << 47) - 8, 0xdead_beef];
        for (int i = 0; i < 3000; i++)
        {
            random.NextBytes(command);
            if (i % 3 != 0)
            {
                DsaDescriptor descriptor = new(
                    (DsaOperation)random.Next(20), (DsaFlags)random.Next(16),
                    Pick(), Pick(), Pick(), (uint)random.Next(random.Next(1, 100_000)), 0);
                descriptor.WriteTo(command);
            }

            BitConverter.TryWriteBytes(command, i % 5 == 0 ? (uint)random.Next(1 << 20) & ~others.Pasid.Value : binding.Pasid.Value);
            DeferrableWrite.ExecuteSupervisor(portal, command).ShouldBeOneOf(DeferrableWriteResult.Accepted, DeferrableWriteResult.Retry);
            accelerator.Run();
        }

        accelerator.Pending.ShouldBe(0);
        endpoint.Ats!.PendingCount.ShouldBe(0);
        SvaRig.Get(bystander, SvaRig.Base, 9).ShouldBe("untouched"u8.ToArray());
        mm.Exit().ShouldBe(Errno.Success);
        bystander.Exit().ShouldBe(Errno.Success);
        rig.Pages.AllocatedBytes.ShouldBe(0);

        ulong Pick() => places[random.Next(places.Length)] + (ulong)random.Next(16);
    }

    private sealed class Bound : IDisposable
    {
        public Bound(SvaRig rig, bool isPrivate)
        {
            Rig = rig;
            Device = Rig.AddDevice();
            Memory = Rig.NewProcess();
            Errno error = isPrivate
                ? Rig.Manager.BindPrivate(Device.Device, Memory, null, out SvaBinding? binding)
                : Rig.Manager.Bind(Device.Device, Memory, null, out binding);
            error.ShouldBe(Errno.Success);
            Binding = binding!;
            SvaRig.DeviceWrite(Device, Binding.Pasid, SvaRig.Base, 1).ShouldBeTrue();
        }

        public SvaRig Rig { get; }

        public EmbeddedEndpoint Device { get; }

        public DemandPagedAddressSpace Memory { get; }

        public SvaBinding Binding { get; }

        public void Dispose() => Rig.Dispose();
    }
}
