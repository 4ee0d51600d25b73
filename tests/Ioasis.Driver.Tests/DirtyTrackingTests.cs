using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>Which pages devices wrote, by the dirty bits that the hardware sets.</summary>
[Trait("Requirement", "S4.17")]
public class DirtyTrackingTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 8)]
    [InlineData(true, 8)]
    public void Each_write_after_a_page_was_made_clean_is_reported_again(bool isSecondStage, int pasidBits)
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1, pasidBits);
        RiscVPagingDomain domain = NewDomain(rig, device, isSecondStage);
        domain.ShouldMap(Iova, Target, 0x4000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova + 0x3000, Target + 0x3000, write: true);
        domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
        Read(domain).ShouldBe(0ul, "what was written before does not count");
        for (int i = 0; i < 3; i++)
        {
            rig.ShouldReach(device, Iova, Target);
            rig.ShouldReach(device, Iova + 0x1000, Target + 0x1000, write: true);
            rig.ShouldReach(device, Iova + 0x3000, Target + 0x3000, write: true);
            Read(domain, clear: false).ShouldBe(0b1010ul);
            Read(domain).ShouldBe(0b1010ul);
            Read(domain).ShouldBe(0ul);
        }
    }

    [Fact]
    public void Tracking_is_switched_on_and_off_while_a_device_writes()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = NewDomain(rig, device, false);
        domain.ShouldMap(Iova, Target);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.ReadDirty(new(Iova), 0x1000, true, Bits([0])).ShouldBe(Errno.InvalidArgument);
        for (int i = 0; i < 3; i++)
        {
            rig.ShouldReach(device, Iova, Target, write: true);
            domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
            domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
            Read(domain).ShouldBe(0ul);
            rig.ShouldReach(device, Iova, Target, write: true);
            Read(domain).ShouldBe(1ul);
            domain.SetDirtyTracking(false).ShouldBe(Errno.Success);
            domain.ReadDirty(new(Iova), 0x1000, true, Bits([0])).ShouldBe(Errno.InvalidArgument);
        }
    }

    [Fact]
    public void A_large_leaf_is_dirty_as_a_whole_and_stays_so_until_it_is_read_whole()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = NewDomain(rig, device, false);
        domain.ShouldMap(Iova, Target, 1ul << 21);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova + 0x5000, Target + 0x5000, write: true);
        Read(domain).ShouldBe(ulong.MaxValue);
        Read(domain).ShouldBe(ulong.MaxValue);
        ulong[] whole = new ulong[8];
        domain.ReadDirty(new(Iova), 1ul << 21, true, Bits(whole)).ShouldBe(Errno.Success);
        whole.ShouldAllBe(word => word == ulong.MaxValue);
        Read(domain).ShouldBe(0ul);
    }

    [Fact]
    public void Small_leaves_make_it_exact()
    {
        using Rig rig = new(new() { Driver = new() { DirtyTrackingLeafSizes = 1ul << 12, UseNapot = false } });
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = NewDomain(rig, device, true);
        domain.ShouldMap(Iova, Target, 1ul << 21);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova + 0x5000, Target + 0x5000, write: true);
        Read(domain).ShouldBe(1ul << 5);
    }

    [Fact]
    public void What_a_guest_writes_through_its_own_stage_is_dirty_for_the_host_and_so_are_its_tables()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain parent = NewDomain(rig, device, true);
        using Guest guest = new(rig.Memory, parent);
        IoPageTable table = guest.NewTable(hardwareDirty: true);
        guest.Map(0x5000, Guest.Data + 0x2000, table);
        RiscVNestedDomain nested = guest.Nest(device, 3, table, DeviceTranslationControl.FirstStageAdUpdateBit);
        device.Group.Attach(nested).ShouldBe(Errno.Success);
        parent.SetDirtyTracking(true).ShouldBe(Errno.Success);
        ulong[] words = new ulong[1];
        rig.ShouldReach(device, 0x5000, guest.ToHost(Guest.Data + 0x2000));
        parent.ReadDirty(new(Guest.Data), 0x8000, true, new DirtyBitmap(words, new(Guest.Data), 12)).ShouldBe(Errno.Success);
        words[0].ShouldBe(0ul);
        rig.ShouldReach(device, 0x5000, guest.ToHost(Guest.Data + 0x2000), write: true);
        parent.ReadDirty(new(Guest.Data), 0x8000, true, new DirtyBitmap(words, new(Guest.Data), 12)).ShouldBe(Errno.Success);
        words[0].ShouldBe(0b100ul);
    }

    [Fact]
    public void A_device_that_caches_translations_asks_again_after_pages_were_made_clean()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, ats: true);
        rig.Driver.TryAllocatePagingDomain(device, new() { DirtyTracking = true }, out PagingDomain? made).ShouldBe(Errno.Success);
        var domain = (RiscVPagingDomain)made!;
        domain.ShouldMap(Iova, Target, 0x2000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        DeviceCache cache = rig.CacheOf(device);
        cache.Fetch(Iova, Pasid.None).ShouldBeTrue();
        domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
        cache.Knows(Iova, Pasid.None).ShouldBeFalse();

        // A translation that permits writes counts as a write.
        rig.Hardware.Translate(
            new(device.Id, new(Iova), DmaFlags.Write, DmaKind.TranslationRequest), out DmaTranslation translation);
        (translation.Flags & DmaTranslationFlags.Write).ShouldNotBe(default);
        cache.Fetch(Iova, Pasid.None).ShouldBeTrue();
        Read(domain).ShouldBe(1ul);
        cache.Knows(Iova, Pasid.None).ShouldBeFalse();
    }

    [Fact]
    [Trait("Requirement", "S4.13")]
    public void Every_IOMMU_of_the_domain_is_told_and_one_that_cannot_track_is_refused()
    {
        using Rig one = new(new() { Driver = new() { Name = "one" } });
        using Rig two = new(new() { Driver = new() { Name = "two" } }, one);
        using Rig unable = new(
            new() { Capabilities = RiscVIommuOptions.FullCapabilities & ~Capabilities.AmoHwadBit, Driver = new() { Name = "unable" } },
            one);
        IommuDevice left = one.AddDevice(1);
        IommuDevice right = two.AddDevice(1);
        IommuDevice other = unable.AddDevice(1);
        RiscVPagingDomain domain = NewDomain(one, left, false);
        domain.ShouldMap(Iova, Target, 0x2000);
        left.Group.Attach(domain).ShouldBe(Errno.Success);
        right.Group.Attach(domain).ShouldBe(Errno.Success);
        other.Group.Attach(domain).ShouldBe(Errno.InvalidArgument);
        other.Group.Domain.ShouldBeSameAs(BlockedDomain.Instance);
        domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
        for (int i = 0; i < 2; i++)
        {
            one.ShouldReach(left, Iova, Target, write: true);
            two.ShouldReach(right, Iova + 0x1000, Target + 0x1000, write: true);
            Read(domain).ShouldBe(0b11ul);
        }

        unable.Driver.Capabilities.DirtyTracking.ShouldBeFalse();
        unable.Driver.TryAllocatePagingDomain(other, new() { DirtyTracking = true }, out _).ShouldBe(Errno.NotSupported);
    }

    [Fact]
    public void A_domain_that_was_not_made_for_it_does_not_track_and_bad_ranges_are_refused()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain plain = rig.NewDomain(device);
        plain.SupportsDirtyTracking.ShouldBeFalse();
        plain.SetDirtyTracking(true).ShouldBe(Errno.NotSupported);
        plain.ReadDirty(new(0), 0x1000, true, Bits([0])).ShouldBe(Errno.NotSupported);
        RiscVPagingDomain domain = NewDomain(rig, device, false);
        domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
        domain.ReadDirty(new(0x1000), 0, true, Bits([0])).ShouldBe(Errno.InvalidArgument);
        domain.ReadDirty(new(ulong.MaxValue - 0xfff), 0x2000, true, Bits([0])).ShouldBe(Errno.InvalidArgument);
        domain.ReadDirty(new(domain.Aperture.Last), 0x2000, true, Bits([0])).ShouldBe(Errno.OutOfRange);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_read_that_fails_at_any_step_loses_no_write(bool isSecondStage) => FailAtEveryStep.Run(
        () => new TrackedState(isSecondStage),
        state => state.Domain.ReadDirty(new(Iova), 0x4000, true, Bits(state.Words)),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0, $"step {step}");
            state.Words[0].ShouldBe(0b10ul);
            state.Rig.ShouldReach(state.Device, Iova + 0x1000, Target + 0x1000, write: true);
            Read(state.Domain).ShouldBe(0b10ul);
            Read(state.Domain).ShouldBe(0ul);
            state.Rig.ShouldReach(state.Device, Iova + 0x1000, Target + 0x1000, write: true);
            Read(state.Domain).ShouldBe(0b10ul);
            state.Dispose();
        }).ShouldBeGreaterThanOrEqualTo(1);

    [Fact]
    public void A_start_that_fails_at_any_step_can_be_repeated() => FailAtEveryStep.Run(
        () => new TrackedState(false, starts: false),
        state => state.Domain.SetDirtyTracking(true),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0, $"step {step}");
            if (step != 0)
            {
                state.Domain.ReadDirty(new(Iova), 0x1000, true, Bits([0])).ShouldBe(Errno.InvalidArgument);
                state.Domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
            }

            Read(state.Domain).ShouldBe(0ul);
            state.Rig.ShouldReach(state.Device, Iova + 0x1000, Target + 0x1000, write: true);
            Read(state.Domain).ShouldBe(0b10ul);
            state.Dispose();
        }).ShouldBeGreaterThanOrEqualTo(1);

    private static RiscVPagingDomain NewDomain(Rig rig, IommuDevice device, bool isSecondStage)
    {
        rig.Driver.TryAllocatePagingDomain(
            device, new() { DirtyTracking = true, NestParent = isSecondStage }, out PagingDomain? domain).ShouldBe(Errno.Success);
        domain!.SupportsDirtyTracking.ShouldBeTrue();
        return (RiscVPagingDomain)domain;
    }

    private static DirtyBitmap Bits(Span<ulong> words) => new(words, new(Iova), 12);

    private static ulong Read(PagingDomain domain, bool clear = true)
    {
        ulong[] words = new ulong[1];
        domain.ReadDirtyWords(new(Iova), 64 * 4096, clear, words, new(Iova), 12).ShouldBe(Errno.Success);
        return words[0];
    }

    private sealed class TrackedState : IDisposable
    {
        public TrackedState(bool isSecondStage, bool starts = true)
        {
            Device = Rig.AddDevice(1);
            Domain = NewDomain(Rig, Device, isSecondStage);
            Domain.ShouldMap(Iova, Target, 0x4000);
            Device.Group.Attach(Domain).ShouldBe(Errno.Success);
            if (starts)
            {
                Domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
            }

            Rig.ShouldReach(Device, Iova + 0x1000, Target + 0x1000, write: true);
        }

        public Rig Rig { get; } = new();

        public IommuDevice Device { get; }

        public RiscVPagingDomain Domain { get; }

        public ulong[] Words { get; } = new ulong[1];

        public void Dispose() => Rig.Dispose();
    }
}
