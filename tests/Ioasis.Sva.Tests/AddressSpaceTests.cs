using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.Testing;

namespace Ioasis.Sva.Tests;

/// <summary>The memory of processes, and what devices see of its changes.</summary>
public class AddressSpaceTests : SvaSuite
{
    /// <summary>The machine; another IOMMU's suite overrides it.</summary>
    private const ulong Base = SvaRig.Base;
    private const ulong Page = SvaRig.Size;

    [Fact]
    public void Memory_is_zero_and_not_there_before_it_is_touched()
    {
        using SvaRig rig = NewRig();
        DemandPagedAddressSpace mm = rig.NewProcess(pages: 1000);
        mm.ResidentPages.ShouldBe(0);
        rig.Frames.Count.ShouldBe(0);
        SvaRig.Get(mm, Base + 500 * Page - 4, 8).ShouldBe(new byte[8]);
        mm.ResidentPages.ShouldBe(2);
        mm.Read(Base - 1, new byte[1]).ShouldBe(Errno.BadAddress);
        mm.Read(Base + (1000 * Page) - 1, new byte[2]).ShouldBe(Errno.BadAddress);
        mm.Exit().ShouldBe(Errno.Success);
        rig.Pages.AllocatedBytes.ShouldBe(0);
        mm.Read(Base, new byte[1]).ShouldBe(Errno.BadAddress);
        mm.Map(Base, Page, Access.Read).ShouldBe(Errno.NoEntry);
    }

    [Theory]
    [InlineData(1ul, 4096ul, Errno.InvalidArgument)]
    [InlineData(4096ul, 1ul, Errno.InvalidArgument)]
    [InlineData(4096ul, 0ul, Errno.InvalidArgument)]
    [InlineData(1ul << 47, 4096ul, Errno.OutOfRange)]
    [InlineData(ulong.MaxValue - 4095, 4096ul, Errno.OutOfRange)]
    [InlineData((1ul << 47) - 4096, 4096ul, Errno.Success)]
    [InlineData(Base, 4096ul, Errno.Exists)]
    public void Ranges_are_checked(ulong address, ulong length, Errno expected)
    {
        using SvaRig rig = NewRig();
        rig.NewProcess().Map(address, length, Access.Read).ShouldBe(expected);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void What_a_process_unmaps_is_forgotten_by_devices_before_it_is_reused()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 1).ShouldBeTrue();
        device.Ats!.Knows(binding.Pasid, Base).ShouldBeTrue();
        int frames = rig.Frames.Count;
        mm.Unmap(Base, Page).ShouldBe(Errno.Success);
        rig.Frames.Count.ShouldBe(frames - 1);
        device.Ats.Knows(binding.Pasid, Base).ShouldBeFalse();
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 1).ShouldBeFalse();
        rig.Platform.Iommu.Port.Translate(
            new(device.Id, new(Base), DmaFlags.PasidValid | DmaFlags.Write, DmaKind.Untranslated, binding.Pasid), out DmaTranslation stale);
        stale.Status.ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void Notifiers_run_before_a_frame_is_freed_whatever_takes_it()
    {
        using SvaRig rig = NewRig();
        DemandPagedAddressSpace mm = rig.NewProcess();
        Witness witness = new(() => rig.Frames.Count);
        mm.Register(witness).ShouldBe(Errno.Success);
        mm.Write(Base, new byte[4 * Page]).ShouldBe(Errno.Success);
        mm.TryFork(out DemandPagedAddressSpace? child).ShouldBe(Errno.Success);
        witness.Ranges.ShouldHaveSingleItem();
        mm.Write(Base, [1]).ShouldBe(Errno.Success);
        mm.Unmap(Base, Page).ShouldBe(Errno.Success);
        witness.FramesSeen[^1].ShouldBe(5, "the page was still the process's when devices were told");
        rig.Frames.Count.ShouldBe(4);
        mm.SwapOut(Base, 4 * Page, out int swapped).ShouldBe(Errno.Success);
        swapped.ShouldBe(0, "the other pages are shared");
        child!.Exit().ShouldBe(Errno.Success);
        mm.SwapOut(Base, 4 * Page, out swapped).ShouldBe(Errno.Success);
        swapped.ShouldBe(3);
        rig.Frames.Count.ShouldBe(0);
        int told = witness.Ranges.Count;
        mm.Read(Base + Page, new byte[1]).ShouldBe(Errno.Success);
        mm.Protect(Base + Page, Page, Access.Read).ShouldBe(Errno.Success);
        witness.Ranges.Count.ShouldBe(told + 1);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void Memory_that_a_device_may_still_reach_is_never_reused()
    {
        using SvaRig rig = NewRig();
        DemandPagedAddressSpace mm = rig.NewProcess();
        Witness witness = new(() => 0) { Result = Errno.IoError };
        mm.Write(Base, new byte[2 * Page]).ShouldBe(Errno.Success);
        mm.Register(witness).ShouldBe(Errno.Success);
        int frames = rig.Frames.Count;
        mm.Unmap(Base, Page).ShouldBe(Errno.IoError);
        rig.Frames.Count.ShouldBe(frames);
        mm.Read(Base, new byte[1]).ShouldBe(Errno.BadAddress);
        mm.TryFork(out DemandPagedAddressSpace? none).ShouldBe(Errno.IoError);
        none.ShouldBeNull();
        mm.Exit().ShouldBe(Errno.Success);
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void A_device_faults_when_a_page_is_protected_and_again_only_until_it_is_permitted()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 5).ShouldBeTrue();
        mm.Protect(Base, Page, Access.Read).ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 6).ShouldBeFalse();
        byte[] seen = new byte[1];
        SvaRig.DeviceRead(device, binding.Pasid, Base, seen).ShouldBeTrue();
        seen[0].ShouldBe((byte)5);
        mm.Protect(Base, Page, Access.None).ShouldBe(Errno.Success);
        SvaRig.DeviceRead(device, binding.Pasid, Base, seen).ShouldBeFalse();
        mm.Protect(Base, 2 * Page, Access.ReadWrite).ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 7).ShouldBeTrue();
        SvaRig.Get(mm, Base, 1)[0].ShouldBe((byte)7);
        mm.Protect(Base + (15 * Page), 2 * Page, Access.Read).ShouldBe(Errno.OutOfMemory);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void A_fault_that_cannot_be_served_answers_the_device_and_is_reported()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        device.Ats!.RequestPage(binding.Pasid, 0xdead_0000, Access.Write, out PageTicket? ticket).ShouldBe(Errno.Success);
        ticket!.Code.ShouldBe((int)PageResponseCode.InvalidRequest);
        rig.Platform.TryDequeueFault(out IommuFault fault).ShouldBeTrue();
        (fault.Pasid, fault.Iova.Value, fault.Access, fault.Device).ShouldBe((binding.Pasid, 0xdead_0000ul, Access.Write, device.Device));
        rig.Platform.Driver.PageRequests.Statistics.Answered.ShouldBe(1);
    }

    [Fact]
    public void Swapped_pages_come_back_for_devices_and_threads_alike()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        mm.Write(Base, "abcdef"u8).ShouldBe(Errno.Success);
        byte[] seen = new byte[6];
        SvaRig.DeviceRead(device, binding.Pasid, Base, seen).ShouldBeTrue();
        mm.SwapOut(Base, Page, out int pages).ShouldBe(Errno.Success);
        (pages, mm.SwappedPages, rig.Frames.SwappedCount, rig.Frames.Count).ShouldBe((1, 1, 1, 0));
        device.Ats!.Knows(binding.Pasid, Base).ShouldBeFalse();
        seen.AsSpan().Clear();
        SvaRig.DeviceRead(device, binding.Pasid, Base, seen).ShouldBeTrue();
        seen.ShouldBe("abcdef"u8.ToArray());
        (mm.SwappedPages, rig.Frames.SwappedCount).ShouldBe((0, 0));
    }

    [Fact]
    public void Shared_memory_is_one_for_all_and_survives_a_fork()
    {
        using SvaRig rig = NewRig();
        using SharedMemory shared = new(rig.Frames);
        DemandPagedAddressSpace one = rig.NewProcess(pages: 0);
        DemandPagedAddressSpace two = rig.NewProcess(pages: 0);
        one.Map(Base, 4 * Page, Access.ReadWrite, shared).ShouldBe(Errno.Success);
        two.Map(Base + Page, Page, Access.ReadWrite, shared, sharedPage: 2).ShouldBe(Errno.Success);
        one.Write(Base + (2 * Page), "shared"u8).ShouldBe(Errno.Success);
        SvaRig.Get(two, Base + Page, 6).ShouldBe("shared"u8.ToArray());
        one.TryFork(out DemandPagedAddressSpace? child).ShouldBe(Errno.Success);
        child!.Write(Base + (2 * Page), "SHARED"u8).ShouldBe(Errno.Success);
        SvaRig.Get(two, Base + Page, 6).ShouldBe("SHARED"u8.ToArray());
        new[] { one, two, child }.ShouldAllBe(mm => mm.Exit() == Errno.Success);
        rig.Frames.Count.ShouldBe(1);
        shared.Dispose();
        rig.Frames.Count.ShouldBe(0);
    }

    [Fact]
    public void Any_sequence_of_operations_on_two_related_processes_behaves_like_plain_memory()
    {
        Gen<(int Op, int Page, int Length, byte Value)[]> scripts = Gen.Choose(0, 9).SelectMany(op =>
            Gen.Choose(0, 7).SelectMany(page => Gen.Choose(1, 4).SelectMany(length => Gen.Choose(1, 255).Select(
                value => (op, page, length, (byte)value))))).ArrayOf();
        Prop.ForAll(Arb.From(scripts), script => Obey(script)).QuickCheckThrowOnFailure();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void An_operation_that_fails_at_any_step_loses_no_page_and_can_be_repeated(int operation)
    {
        int steps = FailAtEveryStep.Run(
            () =>
            {
                Pair pair = new();
                pair.Parent.Write(Base, [1, 2, 3]).ShouldBe(Errno.Success);
                if (operation > 0)
                {
                    pair.Parent.TryFork(out pair.Child).ShouldBe(Errno.Success);
                }

                if (operation == 2)
                {
                    pair.Child!.Exit().ShouldBe(Errno.Success);
                    pair.Child = null;
                    pair.Parent.SwapOut(Base, Page, out _).ShouldBe(Errno.Success);
                }

                return pair;
            },
            pair => operation == 0 ? pair.Parent.TryFork(out pair.Child) : pair.Parent.Write(Base, [9]),
            (pair, result, _) =>
            {
                SvaRig.Get(pair.Parent, Base + 1, 2).ShouldBe([2, 3]);
                if (operation == 0 && result != Errno.Success)
                {
                    pair.Child.ShouldBeNull();
                }

                pair.Parent.Write(Base, [9]).ShouldBe(Errno.Success);
                if (pair.Child is { } child)
                {
                    SvaRig.Get(child, Base, 3).ShouldBe([1, 2, 3]);
                    child.Exit().ShouldBe(Errno.Success);
                }

                pair.Parent.Exit().ShouldBe(Errno.Success);
                pair.Rig.Pages.AllocatedBytes.ShouldBe(0);
                pair.Rig.Frames.SwappedCount.ShouldBe(0);
            });
        steps.ShouldBeGreaterThan(0);
    }

    private void Obey((int Op, int Page, int Length, byte Value)[] script)
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace[] mm = [rig.NewProcess(pages: 12), null!];
        SvaBinding binding = rig.Bind(device, mm[0]);
        byte?[][] model = [Enumerable.Repeat<byte?>(0, 12).ToArray(), []];
        bool[][] writable = [Enumerable.Repeat(true, 12).ToArray(), []];
        foreach ((int op, int page, int length, byte value) in script)
        {
            int who = mm[1] is not null && value % 2 == 0 ? 1 : 0;
            ulong at = Base + ((ulong)page * Page);
            ulong bytes = (ulong)length * Page;
            switch (op)
            {
                case 0 or 1:
                    Errno expected = model[who][page] is null ? Errno.BadAddress : writable[who][page] ? Errno.Success : Errno.AccessDenied;
                    mm[who].Write(at + 7, [value]).ShouldBe(expected);
                    model[who][page] = expected == Errno.Success ? value : model[who][page];
                    break;
                case 2:
                    SvaRig.DeviceWrite(device, binding.Pasid, at + 7, value).ShouldBe(model[0][page] is not null && writable[0][page]);
                    model[0][page] = model[0][page] is not null && writable[0][page] ? value : model[0][page];
                    break;
                case 3:
                    byte[] seen = new byte[1];
                    SvaRig.DeviceRead(device, binding.Pasid, at + 7, seen).ShouldBe(model[0][page] is not null);
                    (model[0][page] ?? 0).ShouldBe(seen[0]);
                    break;
                case 4:
                    mm[who].Unmap(at, bytes).ShouldBe(Errno.Success);
                    Array.Fill(model[who], null, page, length);
                    break;
                case 5:
                    bool free = model[who].AsSpan(page, length).IndexOfAnyExcept((byte?)null) < 0;
                    mm[who].Map(at, bytes, Access.ReadWrite).ShouldBe(free ? Errno.Success : Errno.Exists);
                    if (free)
                    {
                        Array.Fill(model[who], (byte)0, page, length);
                        Array.Fill(writable[who], true, page, length);
                    }

                    break;
                case 6:
                    bool whole = !model[who].AsSpan(page, length).Contains(null);
                    mm[who].Protect(at, bytes, value % 3 == 0 ? Access.Read : Access.ReadWrite).ShouldBe(whole ? Errno.Success : Errno.OutOfMemory);
                    if (whole)
                    {
                        Array.Fill(writable[who], value % 3 != 0, page, length);
                    }

                    break;
                case 7:
                    mm[who].SwapOut(at, bytes, out _).ShouldBe(Errno.Success);
                    break;
                case 8 when mm[1] is null:
                    mm[0].TryFork(out DemandPagedAddressSpace? child).ShouldBe(Errno.Success);
                    mm[1] = child!;
                    (model[1], writable[1]) = ([.. model[0]], [.. writable[0]]);
                    break;
                case 9 when mm[1] is not null:
                    mm[1].Exit().ShouldBe(Errno.Success);
                    mm[1] = null!;
                    break;
            }

            for (int p = 0; p < (mm[1] is null ? 1 : 2); p++)
            {
                for (int i = 0; i < 12; i++)
                {
                    byte[] one = new byte[1];
                    mm[p].Read(Base + ((ulong)i * Page) + 7, one).ShouldBe(model[p][i] is null ? Errno.BadAddress : Errno.Success);
                    one[0].ShouldBe(model[p][i] ?? 0);
                }
            }
        }

        mm[1]?.Exit().ShouldBe(Errno.Success);
        mm[0].Exit().ShouldBe(Errno.Success);
        binding.Unbind().ShouldBe(Errno.Success);
        rig.Pages.AllocatedBytes.ShouldBe(0);
        rig.Frames.SwappedCount.ShouldBe(0);
        rig.Allocator.Audit.Live.ShouldBe(0);
    }

    private sealed class Pair : IDisposable
    {
        public DemandPagedAddressSpace? Child;

        public Pair() => Parent = Rig.NewProcess();

        public SvaRig Rig { get; } = new();

        public DemandPagedAddressSpace Parent { get; }

        public void Dispose() => Rig.Dispose();
    }

    private sealed class Witness(Func<int> frames) : IAddressSpaceNotifier
    {
        public List<AddressRange> Ranges { get; } = [];

        public List<int> FramesSeen { get; } = [];

        public Errno Result { get; init; } = Errno.Success;

        public Errno Invalidate(in InvalidationGather gather)
        {
            Ranges.Add(gather.Range);
            FramesSeen.Add(frames());
            return Result;
        }
    }
}
