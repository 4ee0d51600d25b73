using FsCheck;
using FsCheck.Fluent;
using Ioasis.Primitives;

namespace Ioasis.Primitives.Tests;

public sealed class AddressRangeTests
{
    private static readonly Gen<(AddressRange Left, AddressRange Right)> s_pair =
        from top in Gen.Elements(true, false)
        from a in Gen.Choose(0, 15)
        from b in Gen.Choose(0, 15)
        from c in Gen.Choose(0, 15)
        from d in Gen.Choose(0, 15)
        let start = top ? ulong.MaxValue - 15 : 0
        select (
            new AddressRange(start + (ulong)Math.Min(a, b), start + (ulong)Math.Max(a, b)),
            new AddressRange(start + (ulong)Math.Min(c, d), start + (ulong)Math.Max(c, d)));

    [Fact]
    public void Relations_of_two_ranges_are_those_of_their_sets_of_addresses() =>
        Prop.ForAll(s_pair.ToArbitrary(), pair =>
        {
            ulong[] left = [.. Addresses(pair.Left)];
            ulong[] right = [.. Addresses(pair.Right)];
            ulong[] common = [.. left.Intersect(right)];
            bool intersects = pair.Left.TryIntersect(pair.Right, out AddressRange both);
            return pair.Left.Overlaps(pair.Right) == (common.Length > 0)
                && pair.Left.Contains(pair.Right) == (common.Length == right.Length)
                && intersects == (common.Length > 0)
                && (!intersects || Addresses(both).SequenceEqual(common))
                && pair.Left.Length == (ulong)left.Length
                && right.All(address => pair.Left.Contains(address) == left.Contains(address));
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));

    [Fact]
    public void Ranges_sort_by_start_then_by_last() =>
        Prop.ForAll(s_pair.ToArbitrary(), pair =>
        {
            int expected = (pair.Left.Start, pair.Left.Last).CompareTo((pair.Right.Start, pair.Right.Last));
            return Math.Sign(pair.Left.CompareTo(pair.Right)) == expected
                && (pair.Left < pair.Right) == (expected < 0) && (pair.Left > pair.Right) == (expected > 0)
                && (pair.Left <= pair.Right) == (expected <= 0) && (pair.Left >= pair.Right) == (expected >= 0);
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(1000));

    [Theory]
    [Trait("Requirement", "S3.12")]
    [InlineData(0, 0, false, 0)]
    [InlineData(0, 1, true, 0)]
    [InlineData(ulong.MaxValue, 1, true, ulong.MaxValue)]
    [InlineData(ulong.MaxValue, 2, false, 0)]
    [InlineData(1, ulong.MaxValue, true, ulong.MaxValue)]
    [InlineData(2, ulong.MaxValue, false, 0)]
    [InlineData(ulong.MaxValue - 4095, 4096, true, ulong.MaxValue)]
    [InlineData(ulong.MaxValue - 4095, 4097, false, 0)]
    public void A_length_makes_a_range_if_it_ends_within_64_bits(ulong start, ulong length, bool ok, ulong last)
    {
        AddressRange.TryFromLength(start, length, out AddressRange range).ShouldBe(ok);
        if (ok)
        {
            (range.Start, range.Last, range.Length).ShouldBe((start, last, length));
        }
    }

    [Fact]
    public void The_whole_space_has_length_0() => (AddressRange.All.Length, AddressRange.All.Contains(ulong.MaxValue)).ShouldBe((0ul, true));

    [Fact]
    public void A_range_cannot_end_before_it_starts() => Should.Throw<ArgumentOutOfRangeException>(() => new AddressRange(2, 1));

    [Fact]
    public void A_range_prints_both_ends() => new AddressRange(0x1000, 0x1fff).ToString().ShouldBe("[0x1000, 0x1fff]");

    private static IEnumerable<ulong> Addresses(AddressRange range)
    {
        for (ulong address = range.Start; ; address++)
        {
            yield return address;
            if (address == range.Last)
            {
                yield break;
            }
        }
    }
}

public sealed class IdentifierTests
{
    [Fact]
    public void A_device_id_reads_what_it_prints() =>
        Prop.ForAll(ArbMap.Default.GeneratorFor<ulong>().ToArbitrary(), value =>
        {
            DeviceId id = new(value & DeviceId.MaxValue);
            return DeviceId.TryParse(id.ToString(), out DeviceId parsed) && parsed == id
                && DeviceId.FromPci(id.Domain, id.Bus, id.Device, id.Function) == id
                && id.Value == (((ulong)id.Domain << 16) | id.RequesterId)
                && id.Segment == (id.Domain & 0xffff) && id.HasSegment == (id.Domain <= 0xffff);
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(1000));

    [Theory]
    [InlineData("0000:00:02.0", 0x10u)]
    [InlineData("00:02.0", 0x10u)]
    [InlineData("0100:00:02.0", 0x100_0010u)]
    [InlineData("3f7a:00:00.0", 0x3f7a_0000u)]
    [InlineData("ffff:ff:1f.7", 0xffff_ffffu)]
    [InlineData("10000:01:00.0", 0x1_0000_0100ul)]
    [InlineData("ffffffff:ff:1f.7", 0xffff_ffff_fffful)]
    [InlineData("000010000:01:00.0", 0x1_0000_0100ul)]
    [InlineData("00:02.00", 0x10u)]
    [InlineData("00:1f.7", 0xffu)]
    [InlineData("ff:1f.7", 0xffffu)]
    [InlineData("00ff:FF:1F.7", 0xffffffu)]
    [InlineData("0001:02:03.4", 0x1021cu)]
    [InlineData("0000:02.0", 0x10u)]
    public void Names_of_pci_functions_are_read(string text, ulong expected)
    {
        DeviceId.TryParse(text, out DeviceId id).ShouldBeTrue();
        id.Value.ShouldBe(expected);
    }

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("02.0")]
    [InlineData(":02.0")]
    [InlineData("00:.0")]
    [InlineData("00:02.")]
    [InlineData("00:02.8")]
    [InlineData("00:20.0")]
    [InlineData("100:02.0")]
    [InlineData("100000000:00:02.0")]
    [InlineData("ffffffffff:00:02.0")]
    [InlineData("0x10000:00:02.0")]
    [InlineData("-1:00:02.0")]
    [InlineData("0000:100:02.0")]
    [InlineData("0:0:0:02.0")]
    [InlineData(" 00:02.0")]
    [InlineData("00:02.0 ")]
    [InlineData("00: 2.0")]
    [InlineData("00:-2.0")]
    [InlineData("0x00:02.0")]
    [InlineData("00:02.100000000")]
    public void What_is_no_name_of_a_pci_function_is_refused(string text)
    {
        DeviceId.TryParse(text, out DeviceId id).ShouldBeFalse();
        id.ShouldBe(default);
    }

    [Fact]
    public void A_device_id_has_48_bits()
    {
        new DeviceId(DeviceId.MaxValue).Domain.ShouldBe(uint.MaxValue);
        Should.Throw<ArgumentOutOfRangeException>(() => new DeviceId(DeviceId.MaxValue + 1));
    }

    [Theory]
    [InlineData("3f7a:00:00.0")]
    [InlineData("10000:01:00.0")]
    [InlineData("ffffffff:00:00.0")]
    public void The_name_of_a_device_in_a_large_domain_is_written_as_Linux_writes_it(string name)
    {
        DeviceId.TryParse(name, out DeviceId id).ShouldBeTrue();
        id.ToString().ShouldBe(name);
    }

    [Theory]
    [InlineData(-1, 0, 0, 0)]
    [InlineData(1L << 32, 0, 0, 0)]
    [InlineData(0, 256, 0, 0)]
    [InlineData(0, 0, 32, 0)]
    [InlineData(0, 0, 0, 8)]
    [InlineData(0, 0, 0, -1)]
    public void Coordinates_out_of_range_make_no_device_id(long segment, int bus, int device, int function) =>
        Should.Throw<ArgumentOutOfRangeException>(() => DeviceId.FromPci(segment, bus, device, function));

    [Theory]
    [Trait("Requirement", "S2.4")]
    [Trait("Requirement", "S2.6")]
    [InlineData(0u, true, false)]
    [InlineData(1u, true, true)]
    [InlineData((1u << 20) - 1, true, true)]
    [InlineData(1u << 20, false, false)]
    [InlineData(0x8000_0000u, false, false)]
    [InlineData(uint.MaxValue, false, false)]
    public void A_pasid_has_20_bits_and_0_is_absent(uint value, bool valid, bool present)
    {
        Pasid pasid = new(value);
        (pasid.IsValid, pasid.IsPresent).ShouldBe((valid, present));
        pasid.ToString().ShouldBe(valid ? value.ToString() : "invalid");
    }

    [Fact]
    [Trait("Requirement", "S2.4")]
    public void The_invalid_pasid_is_the_only_named_one_out_of_range() =>
        (Pasid.Invalid.IsValid, Pasid.None.IsValid, Pasid.None.IsPresent).ShouldBe((false, true, false));

    [Fact]
    public void Addresses_of_both_kinds_count_in_bytes_and_wrap()
    {
        (new Iova(ulong.MaxValue) + 1).ShouldBe(new Iova(0));
        (new Iova(5) - new Iova(7)).ShouldBe(ulong.MaxValue - 1);
        (new PhysicalAddress(ulong.MaxValue) + 2).ShouldBe(new PhysicalAddress(1));
        (new PhysicalAddress(9) - new PhysicalAddress(4)).ShouldBe(5ul);
        new Iova(0xabc).ToString().ShouldBe("0xabc");
        new PhysicalAddress(0x1000).ToString().ShouldBe("0x1000");
        (new Iova(1) < new Iova(2) && new Iova(2) > new Iova(1) && new Iova(2) <= new Iova(2) && new Iova(2) >= new Iova(2))
            .ShouldBeTrue();
        (new PhysicalAddress(1) < new PhysicalAddress(2) && new PhysicalAddress(2) > new PhysicalAddress(1)).ShouldBeTrue();
    }

    [Theory]
    [InlineData(Errno.NotPermitted, 1)]
    [InlineData(Errno.ArgumentTooBig, 7)]
    [InlineData(Errno.OutOfMemory, 12)]
    [InlineData(Errno.BadAddress, 14)]
    [InlineData(Errno.Exists, 17)]
    [InlineData(Errno.InvalidArgument, 22)]
    [InlineData(Errno.NotTypewriter, 25)]
    [InlineData(Errno.NoSpace, 28)]
    [InlineData(Errno.Overflow, 75)]
    [InlineData(Errno.MessageTooLong, 90)]
    [InlineData(Errno.NotSupported, 95)]
    [InlineData(Errno.AddressInUse, 98)]
    [InlineData(Errno.TimedOut, 110)]
    public void Errors_have_the_numbers_of_linux(Errno errno, int number) => ((int)errno).ShouldBe(number);
}
