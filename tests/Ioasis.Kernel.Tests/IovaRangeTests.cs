using System.Runtime.InteropServices;
using FsCheck;
using FsCheck.Fluent;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>The usable IOVAs of an address space, against a bitmap.</summary>
public sealed class IovaRangeTests
{
    // The bitmap: 64 cells at the bottom of the address space, one for everything between, 64 at the top.
    private const int Cells = 64;

    // What can be described exactly: starts and ends within the first and the last 64 bytes.
    private static ulong ToAddress(int cell) => cell < Cells ? (ulong)cell : ulong.MaxValue - (ulong)((2 * Cells) - 1 - cell);

    private static List<AddressRange> RangesOf(bool[] usable, bool middle)
    {
        List<AddressRange> ranges = [];
        ulong? start = null;
        for (int i = 0; i < 2 * Cells; i++)
        {
            if (i == Cells && !middle && start is { } open)
            {
                ranges.Add(new(open, Cells - 1));
                start = null;
            }

            if (i == Cells && middle)
            {
                start ??= Cells;
            }

            if (usable[i])
            {
                start ??= ToAddress(i);
            }
            else if (start is { } first)
            {
                ranges.Add(new(first, ToAddress(i) - 1));
                start = null;
            }
        }

        if (start is { } rest)
        {
            ranges.Add(new(rest, ulong.MaxValue));
        }

        return ranges;
    }

    [Fact]
    [Trait("Requirement", "S3.12")]
    [Trait("Requirement", "S3.4")]
    public void Ranges_equal_a_bitmap_for_any_regions_and_any_order_of_owners_coming_and_going()
    {
        Prop.ForAll(Arb.From(Gen.Choose(0, int.MaxValue)), static seed =>
        {
            Random random = new(seed);
            IovaLimits limits = new();
            List<(object Owner, List<(int First, int Last)> Regions)> owners = [];
            for (int round = 0; round < 25; round++)
            {
                if (owners.Count == 0 || random.Next(3) > 0)
                {
                    // Unsorted, overlapping, touching, at 0 and at 2^64-1, some across the whole middle.
                    List<(int First, int Last)> regions = [];
                    for (int i = 0; i < random.Next(1, 6); i++)
                    {
                        int first = random.Next(2 * Cells);
                        int last = Math.Min((2 * Cells) - 1, first + random.Next(random.Next(5) == 0 ? 2 * Cells : 9));
                        regions.Add((first, last));
                    }

                    object owner = new();
                    List<AddressRange> before = [.. limits.Usable];
                    Errno error = limits.Reserve(
                        [.. regions.Select(static region => new AddressRange(ToAddress(region.First), ToAddress(region.Last)))],
                        owner);
                    if (error == Errno.Success)
                    {
                        owners.Add((owner, regions));
                    }
                    else
                    {
                        error.ShouldBe(Errno.InvalidArgument);
                        limits.Usable.ShouldBe(before);
                        Expected([.. owners, (owner, regions)]).ShouldBeEmpty();
                    }
                }
                else
                {
                    int victim = random.Next(owners.Count);
                    limits.Release(owners[victim].Owner);
                    owners.RemoveAt(victim);
                }

                limits.Usable.ShouldBe(Expected(owners));
            }
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(200));
    }

    private static List<AddressRange> Expected(List<(object Owner, List<(int First, int Last)> Regions)> owners)
    {
        bool[] usable = new bool[2 * Cells];
        usable.AsSpan().Fill(true);
        bool middle = true;
        foreach ((int first, int last) in owners.SelectMany(static owner => owner.Regions))
        {
            usable.AsSpan(first, last - first + 1).Clear();
            middle &= first >= Cells || last < Cells;
        }

        return RangesOf(usable, middle);
    }

    [Fact]
    [Trait("Requirement", "S3.1")]
    [Trait("Requirement", "S3.6")]
    public void Ranges_are_the_intersection_of_all_domains_and_regions_and_widen_again()
    {
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value };
        Rig rig = new(iommu: hardware);
        hardware.Aperture = new(0, (1ul << 47) - 1);
        using Rig.Attached attached = rig.Attach(
            new(new(0xfee0_0000, 0xfeef_ffff), ReservedRegionKind.Msi), new(new(0, 0xfff), ReservedRegionKind.Reserved));
        AddressRange[] alone = [new(0x1000, 0xfedf_ffff), new(0xfef0_0000, (1ul << 47) - 1)];
        rig.Ranges(attached.Fd, attached.Space.Id, out _).ShouldBe(alone);
        _ = rig.Ranges(attached.Fd, attached.Space.Id, out ulong alignment);
        alignment.ShouldBe(4096ul);

        hardware.Aperture = new(0x10_0000, (1ul << 39) - 1);
        (_, string path) = rig.AddDevice(null, new ReservedRegion(new(0xfee8_0000, 0xffff_ffff), ReservedRegionKind.SoftwareMsi));
        int second = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        _ = VfioTests.Bind(rig, second, attached.Fd);
        VfioTests.Attach(rig, second, attached.Space.Id).Result.ShouldBe(0);
        rig.Ranges(attached.Fd, attached.Space.Id, out _).ShouldBe(
            [new AddressRange(0x10_0000, 0xfedf_ffff), new AddressRange(0x1_0000_0000, (1ul << 39) - 1)]);

        VfioTests.Detach(rig, second).ShouldBe(0);
        rig.Ranges(attached.Fd, attached.Space.Id, out _).ShouldBe(alone);
        attached.Vfio.Detach();
        rig.Ranges(attached.Fd, attached.Space.Id, out _).ShouldBe([AddressRange.All]);
        _ = rig.Ranges(attached.Fd, attached.Space.Id, out alignment);
        alignment.ShouldBe(1ul);
    }

    [Fact]
    [Trait("Requirement", "S3.5")]
    public void Mapping_is_refused_at_the_byte_where_the_ranges_end()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach(new ReservedRegion(new(0x8800, 0x97ff), ReservedRegionKind.Reserved));
        ulong memory = FakeUserMemory.Start;
        attached.Space.MapErrno(new(memory, 0x1000), new(0x7000), Access.Read).ShouldBe(Errno.Success);
        attached.Space.MapErrno(new(memory, 0x1000), new(0x8000), Access.Read).ShouldBe(Errno.InvalidArgument);
        attached.Space.MapErrno(new(memory, 0x1000), new(0x9000), Access.Read).ShouldBe(Errno.InvalidArgument);
        attached.Space.MapErrno(new(memory, 0x4000), new(0x8000), Access.Read).ShouldBe(Errno.InvalidArgument);
        attached.Space.MapErrno(new(memory, 0x1000), new(0xa000), Access.Read).ShouldBe(Errno.Success);
        rig.Ranges(attached.Fd, attached.Space.Id, out _)[0].ShouldBe(new AddressRange(0, 0x87ff));
        rig.Ranges(attached.Fd, attached.Space.Id, out _)[1].Start.ShouldBe(0x9800ul);
    }

    [Fact]
    [Trait("Requirement", "S3.12")]
    public void An_attach_that_would_leave_no_iova_is_refused()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        (_, string path) = rig.AddDevice(
            null,
            new(new(1ul << 40, (1ul << 50) - 1), ReservedRegionKind.Reserved),
            new(new(0, (1ul << 40) - 1), ReservedRegionKind.Reserved));
        int device = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        _ = VfioTests.Bind(rig, device, iommu);
        VfioTests.Attach(rig, device, ioas).Result.ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S3.2")]
    public void An_aperture_that_excludes_a_live_mapping_refuses_the_attach()
    {
        Rig rig = new(iommu: new() { Aperture = new(0x10000, 0xf_ffff) });
        foreach (ulong iova in (ulong[])[0xf000, 0x10_0000, 0xff000 - 0x1000])
        {
            int iommu = rig.OpenIommu();
            uint ioas = rig.AllocateSpace(iommu);
            rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 0x1000, iova).ShouldBe(0);
            int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
            _ = VfioTests.Bind(rig, device, iommu);
            VfioTests.Attach(rig, device, ioas).Result.ShouldBe(iova == 0xfe000 ? 0 : -(int)Errno.AddressInUse);
        }

        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    public void A_short_array_gets_EMSGSIZE_with_the_needed_count_and_what_fits()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach(
            new(new(0x1000, 0x1fff), ReservedRegionKind.Reserved), new(new(0x4000, 0x4fff), ReservedRegionKind.Reserved));
        rig.Memory.Arguments[..64].Fill(0xaa);
        IommuIoasIovaRanges argument = new()
        {
            IoasId = attached.Space.Id, NumIovas = 2, AllowedIovas = FakeUserMemory.ArgumentStart,
        };
        rig.Call(attached.Fd, ref argument).ShouldBe(-(int)Errno.MessageTooLong);
        argument.NumIovas.ShouldBe(3u);
        argument.OutIovaAlignment.ShouldBe(4096ul);
        IommuIovaRange[] ranges = MemoryMarshal.Cast<byte, IommuIovaRange>(rig.Memory.Arguments[..32]).ToArray();
        (ranges[0].Start, ranges[0].Last, ranges[1].Start, ranges[1].Last).ShouldBe((0ul, 0xffful, 0x2000ul, 0x3ffful));
        rig.Memory.Arguments[32].ShouldBe((byte)0xaa);

        // Asking for the count alone needs no array.
        argument = new() { IoasId = attached.Space.Id };
        rig.Call(attached.Fd, ref argument).ShouldBe(-(int)Errno.MessageTooLong);
        argument.NumIovas.ShouldBe(3u);
        argument = new() { IoasId = attached.Space.Id, NumIovas = 3, AllowedIovas = 8 };
        rig.Call(attached.Fd, ref argument).ShouldBe(-(int)Errno.BadAddress);
        argument = new() { IoasId = attached.Space.Id, Reserved = 1 };
        rig.Call(attached.Fd, ref argument).ShouldBe(-(int)Errno.NotSupported);
        argument = new() { IoasId = 99 };
        rig.Call(attached.Fd, ref argument).ShouldBe(-(int)Errno.NoEntry);
    }

    [Fact]
    public void Allowed_iovas_stay_usable_and_bound_the_kernels_choice()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        int Allow(params (ulong Start, ulong Last)[] ranges)
        {
            for (int i = 0; i < ranges.Length; i++)
            {
                MemoryMarshal.Write(
                    rig.Memory.Arguments[(i * 16)..], new IommuIovaRange { Start = ranges[i].Start, Last = ranges[i].Last });
            }

            IommuIoasAllowIovas argument = new()
            {
                IoasId = ioas, NumIovas = (uint)ranges.Length, AllowedIovas = FakeUserMemory.ArgumentStart,
            };
            return rig.Call(iommu, ref argument);
        }

        Allow((5, 5)).ShouldBe(-(int)Errno.InvalidArgument);
        Allow((5, 4)).ShouldBe(-(int)Errno.InvalidArgument);
        Allow((0x2000, 0x3fff), (0x3000, 0x4fff)).ShouldBe(-(int)Errno.InvalidArgument);
        Allow((0x50000, 0x5ffff), (0x8000, 0x9fff)).ShouldBe(0);

        (_, string path) = rig.AddDevice(null, new ReservedRegion(new(0x9fff, 0xafff), ReservedRegionKind.Reserved));
        int device = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        _ = VfioTests.Bind(rig, device, iommu);
        VfioTests.Attach(rig, device, ioas).Result.ShouldBe(-(int)Errno.AddressInUse);
        rig.Iommu.Domains.ShouldBeEmpty();

        int other = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        _ = VfioTests.Bind(rig, other, iommu);
        VfioTests.Attach(rig, other, ioas).Result.ShouldBe(0);
        ulong iova = 0;
        foreach (ulong expected in (ulong[])[0x8000, 0x9000, 0x50000])
        {
            rig.Map(iommu, ioas, FakeUserMemory.Start + 4096, 4096, ref iova, IoasMapFlags.Readable).ShouldBe(0);
            iova.ShouldBe(expected);
        }

        // A fixed address elsewhere is still allowed; and a list that is not usable is refused as a whole.
        rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 4096, 0x100000).ShouldBe(0);
        Allow((0x8000, 0x9fff), (1ul << 47, (1ul << 47) + 1)).ShouldBe(-(int)Errno.AddressInUse);
        rig.Map(iommu, ioas, FakeUserMemory.Start + 4096, 4096, ref iova, IoasMapFlags.Readable).ShouldBe(0);
        iova.ShouldBe(0x51000ul);
        Allow().ShouldBe(0);
        rig.Map(iommu, ioas, FakeUserMemory.Start + 4096, 4096, ref iova, IoasMapFlags.Readable).ShouldBe(0);
        iova.ShouldBe(0x1000ul);
        IommuIoasAllowIovas bad = new() { IoasId = ioas, NumIovas = uint.MaxValue, AllowedIovas = FakeUserMemory.ArgumentStart };
        rig.Call(iommu, ref bad).ShouldBeLessThan(0);
    }

    [Fact]
    public void Any_history_of_attach_detach_and_map_keeps_ranges_and_mappings_consistent()
    {
        Prop.ForAll(Arb.From(Gen.Choose(0, int.MaxValue)), static seed =>
        {
            Random random = new(seed);
            FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value };
            Rig rig = new(iommu: hardware);
            int iommu = rig.OpenIommu();
            uint ioas = rig.AllocateSpace(iommu);
            List<(int Fd, List<AddressRange> Taken)> devices = [];
            for (int i = 0; i < 4; i++)
            {
                List<AddressRange> taken = [];
                for (int j = 0; j < random.Next(3); j++)
                {
                    ulong start = (ulong)random.Next(64) << 12;
                    taken.Add(new(start, start + ((ulong)random.Next(1, 8) << 12) - 1));
                }

                hardware.Aperture = new(0, (1ul << random.Next(18, 40)) - 1);
                (_, string path) = rig.AddDevice(
                    null, [.. taken.Select(static range => new ReservedRegion(range, ReservedRegionKind.Reserved))]);
                int fd = rig.Kernel.Open(path, OpenFlags.ReadWrite);
                _ = VfioTests.Bind(rig, fd, iommu);
                devices.Add((fd, taken));
            }

            Dictionary<int, ulong> attached = [];
            Dictionary<ulong, ulong> live = [];
            for (int step = 0; step < 60; step++)
            {
                int who = random.Next(4);
                ulong iova = (ulong)random.Next(80) << 12;
                ulong length = (ulong)random.Next(1, 5) << 12;
                AddressRange range = new(iova, iova + length - 1);
                bool Usable(AddressRange wanted) => attached.All(entry =>
                    wanted.Last <= entry.Value && !devices[entry.Key].Taken.Exists(taken => taken.Overlaps(wanted)));
                switch (random.Next(5))
                {
                    case 0 when !attached.ContainsKey(who):
                        ulong last = (1ul << random.Next(17, 40)) - 1;
                        hardware.Aperture = new(0, last);
                        bool fits = live.All(area =>
                            area.Value <= last
                            && !devices[who].Taken.Exists(taken => taken.Overlaps(new(area.Key, area.Value))));
                        VfioTests.Attach(rig, devices[who].Fd, ioas).Result.ShouldBe(fits ? 0 : -(int)Errno.AddressInUse);
                        if (fits)
                        {
                            attached.Add(who, last);
                        }

                        break;
                    case 1:
                        VfioTests.Detach(rig, devices[who].Fd).ShouldBe(0);
                        _ = attached.Remove(who);
                        break;
                    case 2 or 3:
                        bool taken = live.Any(area => range.Overlaps(new(area.Key, area.Value)));
                        int expected = !Usable(range) ? -(int)Errno.InvalidArgument : taken ? -(int)Errno.Exists : 0;
                        rig.MapFixed(iommu, ioas, FakeUserMemory.Start, length, iova).ShouldBe(expected);
                        if (expected == 0)
                        {
                            live.Add(range.Start, range.Last);
                        }

                        break;
                    default:
                        if (live.Count > 0)
                        {
                            (ulong start, ulong end) = live.ElementAt(random.Next(live.Count));
                            rig.Unmap(iommu, ioas, start, end - start + 1, out _).ShouldBe(0);
                            _ = live.Remove(start);
                        }

                        break;
                }

                int pages = live.Sum(static area => (int)((area.Value - area.Key + 1) >> 12));
                hardware.Domains.Count.ShouldBe(attached.Count);
                hardware.Domains.ShouldAllBe(domain => domain.MappedPages == pages);
                rig.Memory.PinnedPages.ShouldBeLessThanOrEqualTo(attached.Count == 0 ? 0 : pages);
            }

            rig.Kernel.CloseAll();
            rig.ShouldBeClean();
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(60));
    }

    [Fact]
    public void Ten_thousand_reserved_regions_are_no_burden()
    {
        IovaLimits limits = new();
        AddressRange[] regions = [.. Enumerable.Range(0, 10_000).Select(static i => new AddressRange(
            ((ulong)(i * 7919 % 10_000) << 20) + 0x1000, ((ulong)(i * 7919 % 10_000) << 20) + 0x1fff))];
        limits.Reserve(regions, this).ShouldBe(Errno.Success);
        limits.Usable.Count.ShouldBe(10_001);
        limits.Release(this);
        limits.Usable.ShouldBe([AddressRange.All]);
    }
}
