using Ioasis.Core;
using Ioasis.Kernel.Tests;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>Every step of a call fails once: the call reports it and leaves nothing (invariant 3).</summary>
public sealed class FailureTests
{
    private const ulong Memory = FakeUserMemory.Start;

    private static Type1 New() => new(new(new() { RunPages = 3 }, new() { FormatOf = static device => (int)device.Id.Value }));

    private static void End(Type1 type1)
    {
        type1.Rig.Kernel.CloseAll();
        type1.Rig.ShouldBeClean();
    }

    [Fact]
    public void Setting_the_kind_attaches_all_groups_or_none() =>
        FailAtEveryStep.Run(
            static () =>
            {
                Type1 type1 = New();
                for (int i = 0; i < 3; i++)
                {
                    type1.Join(type1.OpenGroup([], out _)).ShouldBe(Errno.Success);
                }

                return type1;
            },
            static type1 => type1.SetIommu(),
            static (type1, error, step) =>
            {
                if (step > 0 && error != Errno.Success)
                {
                    error.ShouldBe(Errno.OutOfMemory);
                    type1.Rig.Iommu.Domains.ShouldBeEmpty();
                    type1.SetIommu().ShouldBe(Errno.Success);
                }

                type1.Rig.Iommu.Domains.Count.ShouldBe(3);
                End(type1);
            }).ShouldBeGreaterThan(4);

    [Fact]
    [Trait("Requirement", "S3.2")]
    public void A_group_joins_with_all_mappings_or_not_at_all()
    {
        static (Type1 Type1, int Group, IommuDevice Device) SetUp()
        {
            Type1 type1 = New();
            type1.Join(type1.OpenGroup([], out _)).ShouldBe(Errno.Success);
            type1.SetIommu().ShouldBe(Errno.Success);
            type1.Map(Memory, 0x4000, 0x5000).ShouldBe(Errno.Success);
            type1.Map(Memory, 0x10000, 0x1000).ShouldBe(Errno.Success);
            int group = type1.OpenGroup([new(new(0x20000, 0x20fff), ReservedRegionKind.Reserved)], out IommuDevice device);
            return (type1, group, device);
        }

        FailAtEveryStep.Run(
            SetUp,
            static state => state.Type1.Join(state.Group),
            static (state, error, step) =>
            {
                if (error != Errno.Success)
                {
                    step.ShouldBeGreaterThan(0);
                    state.Type1.Rig.Iommu.DomainOf(state.Device).ShouldBe(BlockedDomain.Instance);
                    state.Type1.Rig.Iommu.Domains.Count.ShouldBe(1);
                    state.Type1.GetRanges(out _).Count.ShouldBe(1);
                    state.Type1.Join(state.Group).ShouldBe(Errno.Success);
                }

                state.Type1.GetRanges(out _).Count.ShouldBe(2);
                state.Type1.Rig.Iommu.Domains.ShouldAllBe(static domain => domain.MappedPages == 6);
                End(state.Type1);
            }).ShouldBeGreaterThan(3);
    }

    [Fact]
    public void A_map_is_in_every_domain_or_in_none() =>
        FailAtEveryStep.Run(
            static () =>
            {
                Type1 type1 = New();
                type1.Join(type1.OpenGroup([], out _)).ShouldBe(Errno.Success);
                type1.Join(type1.OpenGroup([], out _)).ShouldBe(Errno.Success);
                type1.SetIommu().ShouldBe(Errno.Success);
                return type1;
            },
            static type1 => type1.Map(Memory, 0x4000, 0x8000),
            static (type1, error, _) =>
            {
                type1.GetRanges(out uint available);
                available.ShouldBe(error == Errno.Success ? 65534u : 65535);
                type1.Rig.Iommu.Domains.ShouldAllBe(domain => domain.MappedPages == (error == Errno.Success ? 8 : 0));
                type1.Rig.Memory.PinnedPages.ShouldBe(error == Errno.Success ? 8 : 0);
                End(type1);
            }).ShouldBeGreaterThan(3);

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_device_is_opened_or_stays_closed()
    {
        static (Type1 Type1, int Group, IommuDevice Device, TestPciDevice Pci) SetUp()
        {
            Type1 type1 = Type1.Prepare();
            TestPciDevice pci = new();
            type1.Rig.Subsystem.TryAddDevice(type1.Rig.Iommu, new(77), "pci", null, default, out IommuDevice? device)
                .ShouldBe(Errno.Success);
            _ = type1.Rig.KernelSide.AddDevice(device!, pci.Backend);
            int group = type1.OpenGroup(device!);
            type1.Join(group).ShouldBe(Errno.Success);
            return (type1, group, device!, pci);
        }

        FailAtEveryStep.Run(
            SetUp,
            static state => (Errno)(-Math.Min(0, state.Type1.OpenDevice(state.Group, state.Device))),
            static (state, error, _) =>
            {
                state.Pci.IsMemoryEnabled.ShouldBe(error == Errno.Success);
                state.Type1.Leave(state.Group).ShouldBe(error == Errno.Success ? Errno.Busy : Errno.Success);
                End(state.Type1);
                state.Pci.IsMemoryEnabled.ShouldBeFalse();
            }).ShouldBeGreaterThan(0);
    }

    [Fact]
    public void Event_counters_and_interrupts_that_cannot_be_made_are_not_there()
    {
        FailAtEveryStep.Run(
            static () => new Rig(),
            static rig => (Errno)(-Math.Min(0, rig.Kernel.CreateEvent(0, EventFlags.None))),
            static (rig, error, _) => rig.KernelSide.Audit.Descriptors.ShouldBe(error == Errno.Success ? 1 : 0)).ShouldBeGreaterThan(0);
        FailAtEveryStep.Run(
            static () => new PciRig(new TestPciDevice()),
            static rig => rig.Connect(VfioPciInterrupt.MsiX, 0, rig.Device.Descriptor.Number + 1),
            static (rig, error, step) =>
            {
                error.ShouldBe(step == 0 ? Errno.BadDescriptor : Errno.OutOfMemory);
                rig.Connect(VfioPciInterrupt.Msi, 0, rig.NewEvent()).ShouldBe(Errno.Success);
                rig.Dispose();
            }).ShouldBeGreaterThan(0);
    }
}
