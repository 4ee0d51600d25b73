using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>Real threads at once, also while the queue fails: what holds of the RISC-V driver, of VT-d's.</summary>
public sealed class ThreadTests
{
    private const uint Rounds = 200;

    /// <summary>What goes wrong with the queue.</summary>
    public enum QueueTrouble
    {
        /// <summary>The hardware cannot read a descriptor: IQE.</summary>
        Unreadable,

        /// <summary>The hardware reads a descriptor that there is not: IQE.</summary>
        Illegal,

        /// <summary>A device lets an invalidation time out: ITE.</summary>
        TimedOut,

        /// <summary>All of it.</summary>
        Everything,
    }

    [Theory]
    [InlineData("scalable")]
    [InlineData("first stage")]
    [InlineData("legacy")]
    [InlineData("caching mode")]
    [Trait("Requirement", "S4.11")]
    public void Maps_unmaps_attaches_and_DMA_at_once_never_reach_a_revoked_page(string kind)
    {
        using Rig rig = new(AttachTests.OptionsOf(kind));
        IommuDevice steady = rig.AddDevice(0x10);
        VtdPagingDomain domain = rig.Attached(steady);
        VtdPagingDomain other = rig.NewDomain(steady);
        Threads(rig).MapUnmapAndAttach(steady, rig.AddDevice(0x18), domain, other, 1500);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
        (domain.BondCount, other.BondCount, rig.Driver.Usage.AddressSpaces).ShouldBe((0, 0, 0));
    }

    [Theory]
    [InlineData("scalable")]
    [InlineData("caching mode")]
    [Trait("Requirement", "S4.11")]
    [Trait("Requirement", "S4.17")]
    public void A_guest_its_host_and_switches_at_once_never_reach_what_either_has_taken(string kind)
    {
        const ulong memory = 0x3_0000_0000;
        const ulong gva = 0x40_0000;
        const ulong ofHost = 0x9_0000;
        using Rig rig = new(AttachTests.OptionsOf(kind));
        IommuDevice steady = rig.AddDevice(0x10);
        IommuDevice restless = rig.AddDevice(0x18);
        VtdPagingDomain parent = rig.NewDomain(steady, new() { NestParent = true });
        for (ulong page = 0; page < 0x10_0000; page += Rig.Page)
        {
            parent.ShouldMap(page, memory + page);
        }

        // The tables of the guest: one for each level, from guest-physical 0 on.
        for (ulong level = 0; level < 3; level++)
        {
            ulong index = (gva >> (int)(39 - (9 * level))) & 0x1ff;
            Store((level * Rig.Page) + (index * 8), ((level + 1) * Rig.Page) | 7);
        }

        void Store(ulong at, ulong value) => rig.Memory.Write64(new(memory + at), value).ShouldBe(MemoryStatus.Success);

        ulong Leaf(ulong address) => (3 * Rig.Page) + (((address >> 12) & 0x1ff) * 8);

        Store(Leaf(gva + Rig.Page), ofHost | 7);
        NestedDomain nested = Nest(steady);
        NestedDomain other = Nest(restless);
        steady.Group.Attach(nested).ShouldBe(Errno.Success);
        Threads(rig).GuestAndHost(
            steady,
            restless,
            parent,
            new(gva, 0x8_0000, gva + Rig.Page, ofHost, page => memory + page, (address, page) => Store(Leaf(address), page | 7), address =>
            {
                Store(Leaf(address), 0);
                IommuHwptVtdS1Invalidate entry = new() { Address = address, PageCount = 1 };
                uint count = 1;
                nested.Invalidate(
                    VtdUapi.InvalidateDataType, MemoryMarshal.AsBytes(new ReadOnlySpan<IommuHwptVtdS1Invalidate>(in entry)), 24, ref count)
                    .ShouldBe(Errno.Success);
            }),
            [other, parent, nested, BlockedDomain.Instance],
            1000);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
        (parent.BondCount, rig.Driver.Usage.AddressSpaces).ShouldBe((0, 0));

        NestedDomain Nest(IommuDevice device)
        {
            IommuHwptVtdS1 data = new() { AddressWidth = 48 };
            rig.Driver.TryAllocateNestedDomain(
                device, parent, VtdUapi.HwptDataType, MemoryMarshal.AsBytes(new ReadOnlySpan<IommuHwptVtdS1>(in data)), out NestedDomain? made)
                .ShouldBe(Errno.Success);
            return made!;
        }
    }

    [Theory]
    [InlineData("scalable", QueueTrouble.Unreadable, 1)]
    [InlineData("first stage", QueueTrouble.Unreadable, 2)]
    [InlineData("legacy", QueueTrouble.Illegal, 3)]
    [InlineData("scalable", QueueTrouble.Illegal, 4)]
    [InlineData("scalable", QueueTrouble.TimedOut, 5)]
    [InlineData("first stage", QueueTrouble.Everything, 6)]
    [InlineData("scalable", QueueTrouble.Everything, 7)]
    [Trait("Requirement", "S4.15")]
    public void An_unmap_that_succeeds_has_taken_place_whatever_befell_the_queue(string kind, QueueTrouble trouble, int seed)
    {
        // Time passes only where a test waits for it: a busy machine looks like a slow unit otherwise.
        ManualTime time = new();
        TroubledMemory? memory = null;

        // Bits 3:0 and 11:9 of a descriptor are its type. The model reads a descriptor in several pieces: troubles are rarer than with RISC-V.
        RigOptions options = AttachTests.OptionsOf(kind);
        using Rig rig = new(options with
        {
            HardwareMemory = inner => memory = new(inner, seed, 0xe0f, rarity: 150, readsOfCommand: 2),
            Driver = options.Driver with { QueueSizeLog2 = 7, TimeProvider = time },
        });
        memory!.Locate(rig.Hardware.Read64(RegisterOffset.InvalidationQueueAddress) & ~0xffful, 4096);
        bool misses = trouble is QueueTrouble.TimedOut or QueueTrouble.Everything;
        IommuDevice device = rig.AddDevice(0x10, ats: misses);
        IommuDevice other = rig.AddDevice(0x18);
        VtdPagingDomain first = rig.Attached(device);
        VtdPagingDomain second = rig.Attached(other, new() { NestParent = rig.Driver.IsScalable });
        memory.IsUnreadable = trouble is QueueTrouble.Unreadable or QueueTrouble.Everything;
        memory.IsIllegal = trouble is QueueTrouble.Illegal or QueueTrouble.Everything;
        long unconfirmed = Threads(rig).UnmapInTrouble(
            [(first, device), (first, device), (second, other)],
            Rounds,
            (index, round) => rig.Misses = misses && index == 0 && round % 50 == 7 ? 1 : rig.Misses,
            () =>
            {
                time.Advance(options.Driver.CommandTimeout);
                _ = Thread.Yield();
            });
        memory.IsUnreadable = memory.IsIllegal = false;
        rig.Driver.Statistics.QueueRecoveries.ShouldBeGreaterThan(0);

        // An error is an exception, not the rule: most was made good by trying again.
        unconfirmed.ShouldBeLessThan(3 * Rounds / 10);
        device.Group.Detach().ShouldBe(Errno.Success);
        other.Group.Detach().ShouldBe(Errno.Success);
        rig.Driver.Usage.AddressSpaces.ShouldBe(0);
        first.Dispose();
        second.Dispose();
    }

    private static ThreadsOnDriver Threads(Rig rig) => new(rig.Hardware, rig.HandleInterrupts, TestContext.Current.CancellationToken);
}
