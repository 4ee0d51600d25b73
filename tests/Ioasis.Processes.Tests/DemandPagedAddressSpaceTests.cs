using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Processes.Tests;

/// <summary>The memory of processes, in a table of a RISC-V format, as threads and notifiers see it.</summary>
public class DemandPagedAddressSpaceTests
{
    private const ulong Base = ProcessMemory.Base;
    private const ulong Page = ProcessMemory.Page;

    private protected virtual PageTableFormat Format => PageTableFormat.Of<Sv48>();

    private ProcessMemory NewMemory() => new(Format);

    [Fact]
    public void Memory_is_zero_and_not_there_before_it_is_touched()
    {
        using ProcessMemory memory = NewMemory();
        DemandPagedAddressSpace mm = memory.NewProcess(pages: 1000);
        mm.ResidentPages.ShouldBe(0);
        memory.Frames.Count.ShouldBe(0);
        ProcessMemory.Get(mm, Base + 500 * Page - 4, 8).ShouldBe(new byte[8]);
        mm.ResidentPages.ShouldBe(2);
        mm.Read(Base - 1, new byte[1]).ShouldBe(Errno.BadAddress);
        mm.Read(Base + (1000 * Page) - 1, new byte[2]).ShouldBe(Errno.BadAddress);
        mm.Exit().ShouldBe(Errno.Success);
        memory.Pages.AllocatedBytes.ShouldBe(0);
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
        using ProcessMemory memory = NewMemory();
        memory.NewProcess().Map(address, length, Access.Read).ShouldBe(expected);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void Notifiers_run_before_a_frame_is_freed_whatever_takes_it()
    {
        using ProcessMemory memory = NewMemory();
        DemandPagedAddressSpace mm = memory.NewProcess();
        Witness witness = new(() => memory.Frames.Count);
        mm.Register(witness).ShouldBe(Errno.Success);
        mm.Write(Base, new byte[4 * Page]).ShouldBe(Errno.Success);
        mm.TryFork(out DemandPagedAddressSpace? child).ShouldBe(Errno.Success);
        witness.Ranges.ShouldHaveSingleItem();
        mm.Write(Base, [1]).ShouldBe(Errno.Success);
        mm.Unmap(Base, Page).ShouldBe(Errno.Success);
        witness.FramesSeen[^1].ShouldBe(5, "the page was still the process's when devices were told");
        memory.Frames.Count.ShouldBe(4);
        mm.SwapOut(Base, 4 * Page, out int swapped).ShouldBe(Errno.Success);
        swapped.ShouldBe(0, "the other pages are shared");
        child!.Exit().ShouldBe(Errno.Success);
        mm.SwapOut(Base, 4 * Page, out swapped).ShouldBe(Errno.Success);
        swapped.ShouldBe(3);
        memory.Frames.Count.ShouldBe(0);
        int told = witness.Ranges.Count;
        mm.Read(Base + Page, new byte[1]).ShouldBe(Errno.Success);
        mm.Protect(Base + Page, Page, Access.Read).ShouldBe(Errno.Success);
        witness.Ranges.Count.ShouldBe(told + 1);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void Memory_that_a_device_may_still_reach_is_never_reused()
    {
        using ProcessMemory memory = NewMemory();
        DemandPagedAddressSpace mm = memory.NewProcess();
        Witness witness = new(() => 0) { Result = Errno.IoError };
        mm.Write(Base, new byte[2 * Page]).ShouldBe(Errno.Success);
        mm.Register(witness).ShouldBe(Errno.Success);
        int frames = memory.Frames.Count;
        mm.Unmap(Base, Page).ShouldBe(Errno.IoError);
        memory.Frames.Count.ShouldBe(frames);
        mm.Read(Base, new byte[1]).ShouldBe(Errno.BadAddress);
        mm.TryFork(out DemandPagedAddressSpace? none).ShouldBe(Errno.IoError);
        none.ShouldBeNull();
        mm.Exit().ShouldBe(Errno.Success);
        memory.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void Shared_memory_is_one_for_all_and_survives_a_fork()
    {
        using ProcessMemory memory = NewMemory();
        using SharedMemory shared = new(memory.Frames);
        DemandPagedAddressSpace one = memory.NewProcess(pages: 0);
        DemandPagedAddressSpace two = memory.NewProcess(pages: 0);
        one.Map(Base, 4 * Page, Access.ReadWrite, shared).ShouldBe(Errno.Success);
        two.Map(Base + Page, Page, Access.ReadWrite, shared, sharedPage: 2).ShouldBe(Errno.Success);
        one.Write(Base + (2 * Page), "shared"u8).ShouldBe(Errno.Success);
        ProcessMemory.Get(two, Base + Page, 6).ShouldBe("shared"u8.ToArray());
        one.TryFork(out DemandPagedAddressSpace? child).ShouldBe(Errno.Success);
        child!.Write(Base + (2 * Page), "SHARED"u8).ShouldBe(Errno.Success);
        ProcessMemory.Get(two, Base + Page, 6).ShouldBe("SHARED"u8.ToArray());
        new[] { one, two, child }.ShouldAllBe(mm => mm.Exit() == Errno.Success);
        memory.Frames.Count.ShouldBe(1);
        shared.Dispose();
        memory.Frames.Count.ShouldBe(0);
    }

    [Fact]
    public void A_write_after_a_fork_copies_the_page_once_and_only_for_who_writes()
    {
        using ProcessMemory memory = NewMemory();
        DemandPagedAddressSpace mm = memory.NewProcess();
        mm.Write(Base, new byte[3 * Page]).ShouldBe(Errno.Success);
        mm.Faults.ShouldBe(3);
        mm.TryFork(out DemandPagedAddressSpace? child).ShouldBe(Errno.Success);
        memory.Frames.Count.ShouldBe(3);
        child!.Write(Base, [7]).ShouldBe(Errno.Success);
        child.Write(Base + 1, [7]).ShouldBe(Errno.Success);
        (child.CopiesOnWrite, mm.CopiesOnWrite, memory.Frames.Count).ShouldBe((1, 0, 4));
        ProcessMemory.Get(mm, Base, 2).ShouldBe([0, 0]);

        // Nobody shares the parent's page any more.
        mm.Write(Base, [8]).ShouldBe(Errno.Success);
        (mm.CopiesOnWrite, memory.Frames.Count).ShouldBe((0, 4));
        ProcessMemory.Get(child, Base, 2).ShouldBe([7, 7]);
        child.Exit().ShouldBe(Errno.Success);
        memory.Frames.Count.ShouldBe(3);
    }

    [Fact]
    public void A_table_that_a_process_cannot_have_is_refused()
    {
        using ProcessMemory memory = NewMemory();
        foreach (PageTableFormat other in new[] { PageTableFormat.Of<Sv32>(), PageTableFormat.Of<Sv48x4>(), PageTableFormat.Of<VtdStage2Level4>() })
        {
            DemandPagedAddressSpace.TryCreate(memory.Frames, other, out DemandPagedAddressSpace? none).ShouldBe(Errno.InvalidArgument);
            none.ShouldBeNull();
        }

        memory.Pages.AllocatedBytes.ShouldBe(0);
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
                Pair pair = new(NewMemory());
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
                ProcessMemory.Get(pair.Parent, Base + 1, 2).ShouldBe([2, 3]);
                if (operation == 0 && result != Errno.Success)
                {
                    pair.Child.ShouldBeNull();
                }

                pair.Parent.Write(Base, [9]).ShouldBe(Errno.Success);
                if (pair.Child is { } child)
                {
                    ProcessMemory.Get(child, Base, 3).ShouldBe([1, 2, 3]);
                    child.Exit().ShouldBe(Errno.Success);
                }

                pair.Parent.Exit().ShouldBe(Errno.Success);
                pair.Memory.Pages.AllocatedBytes.ShouldBe(0);
                pair.Memory.Frames.SwappedCount.ShouldBe(0);
            });
        steps.ShouldBeGreaterThan(0);
    }

    private sealed class Pair : IDisposable
    {
        public DemandPagedAddressSpace? Child;

        public Pair(ProcessMemory memory)
        {
            Memory = memory;
            Parent = memory.NewProcess();
        }

        public ProcessMemory Memory { get; }

        public DemandPagedAddressSpace Parent { get; }

        public void Dispose() => Memory.Dispose();
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

/// <summary>The same in a table of the format that VT-d shares with the processor.</summary>
public sealed class DemandPagedAddressSpaceOnX64Tests : DemandPagedAddressSpaceTests
{
    private protected override PageTableFormat Format => PageTableFormat.Of<X64Level4>();
}
