using Ioasis.Devices;
using Ioasis.Primitives;

namespace Ioasis.Vfio.Tests;

/// <summary>Devices from a line of text.</summary>
public class DeviceKindTests
{
    [Fact]
    public void A_line_of_text_makes_a_device_and_says_where_it_is_to_be()
    {
        DeviceKinds.CreateDefault().TryCreate(
            "edu,mask=0xffffffff,addr=0001:02:03.4,iommu=1,group=7,name=first", out PciDevice? device, out DeviceLocation location).ShouldBeNull();
        using (device)
        {
            device.ShouldBeOfType<EduDevice>();
            location.Address.ShouldBe(DeviceId.FromPci(1, 2, 3, 4));
            (location.Iommu, location.Group, location.Name).ShouldBe((1, 7, "first"));
        }
    }

    [Theory]
    [InlineData("floppy", "There is no device \"floppy\"")]
    [InlineData("edu,colour=red", "\"edu\" has no key \"colour\"")]
    [InlineData("edu,mask=many", "mask=many: a number is expected")]
    [InlineData("edu,delay=-1", "delay=-1: a number is expected")]
    [InlineData("edu,reset=perhaps", "reset=perhaps: on or off is expected")]
    [InlineData("edu,addr=1", "addr=1: [DDDD:]BB:DD.F")]
    [InlineData("edu,addr=00:20.0", "addr=00:20.0: [DDDD:]BB:DD.F")]
    [InlineData("edu,reset=on,reset=off", "reset is given 2 times")]
    [InlineData("edu,=3", "has no key")]
    [InlineData("", "There is no device \"\"")]
    public void What_is_not_possible_is_a_sentence_that_names_it(string text, string start)
    {
        DeviceKinds.CreateDefault().TryCreate(text, out PciDevice? device, out _).ShouldNotBeNull().ShouldContain(start);
        device.ShouldBeNull();
    }

    [Fact]
    public void A_comma_that_belongs_to_a_value_is_written_twice()
    {
        DeviceSettings settings = new("kind,file=a,,b,size=1K,last");
        settings.Text("file").ShouldBe("a,b");
        settings.Size("size", 0).ShouldBe(1024);
        settings.Switch("last", false).ShouldBeTrue();
        Should.Throw<DeviceSettingException>(() => new DeviceSettings("kind,size=9999999999G").Size("size", 0));
    }
}
