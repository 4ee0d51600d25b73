using Ioasis.Primitives;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Tests;

/// <summary>Names of recordings to requester IDs of the replay, whose IOMMU tells 24 bits apart.</summary>
public sealed class DeviceTableTests
{
    [Fact]
    public void Every_device_has_a_requester_id_of_its_own_whatever_its_domain()
    {
        DeviceTable table = new();
        string[] names = ["0000:00:02.0", "10000:01:00.0", "3f7a:00:00.0", "usb 1-2", "00ff:00:00.0", "00ff:00:00.1", "ffffffff:ff:1f.7"];
        int[] numbers = [.. names.Select(table.Intern)];

        numbers.ShouldBe(Enumerable.Range(0, names.Length));
        numbers.Select(table.Id).Distinct().Count().ShouldBe(names.Length);
        numbers.ShouldAllBe(number => table.Id(number).Value < 1 << 24);
        table.Id(0).ShouldBe(new DeviceId(0x10));
        numbers.ShouldAllBe(number => table.FindRequester(table.Id(number)) == number);
        numbers.Select(table.Name).ShouldBe(names);
    }

    [Fact]
    public void A_device_of_a_large_domain_is_found_by_its_address_in_every_spelling()
    {
        DeviceTable table = new();
        _ = table.Intern("0000:00:02.0");
        int number = table.Intern("3f7a:00:01.0");
        table.Intern("3F7A:00:01.00").ShouldBe(number);
        table.Intern(DeviceId.FromPci(0x3f7a, 0, 1, 0)).ShouldBe(number);
        table.Find(DeviceId.FromPci(0x3f7a, 0, 1, 0)).ShouldBe(number);
        table.Find(table.Id(number)).ShouldBe(-1, "a stand-in is no address");
        table.FindRequester(DeviceId.FromPci(0x3f7a, 0, 1, 0)).ShouldBe(-1);
        table.Count.ShouldBe(2);
    }
}
