using System.Text;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>What VFIO_GROUP_GET_DEVICE_FD takes as the name of a device.</summary>
public sealed class GroupDeviceNameTests
{
    private const string Name = "0000:01:02.3";
    private const string Token = "vf_token=00112233-4455-6677-8899-aabbccddeeff";

    [Theory]
    [InlineData("", Errno.Success)]
    [InlineData(" ", Errno.Success)]
    [InlineData("    ", Errno.Success)]
    [InlineData("x", Errno.NoDevice)]
    [InlineData("x ", Errno.NoDevice)]
    [InlineData("\t", Errno.NoDevice)]
    [InlineData("\n", Errno.NoDevice)]
    [InlineData(" x", Errno.InvalidArgument)]
    [InlineData(" \t", Errno.InvalidArgument)]
    [InlineData(" " + Token, Errno.InvalidArgument)]
    [InlineData("  " + Token + " ", Errno.InvalidArgument)]
    [InlineData(" vf_token=0011", Errno.InvalidArgument)]
    [InlineData(" " + Token + " " + Token, Errno.InvalidArgument)]
    public void Blanks_after_the_name_are_nothing_and_words_that_the_device_does_not_take_are_refused(string rest, Errno expected)
    {
        using PciRig rig = new(new TestPciDevice());
        Get(rig, Name + rest).ShouldBe(expected);
    }

    [Theory]
    [InlineData("0000:01:02.")]
    [InlineData(" 0000:01:02.3")]
    [InlineData("01:02.3")]
    [InlineData("0000:01:02.33")]
    [InlineData("")]
    public void Another_name_is_no_device(string name)
    {
        using PciRig rig = new(new TestPciDevice());
        Get(rig, name).ShouldBe(Errno.NoDevice);
    }

    [Fact]
    public void A_device_of_another_bus_takes_no_words()
    {
        using PciRig rig = new(new TestPciDevice());
        EmbeddedEndpoint bare = rig.Platform.AddEndpoint(DeviceId.FromPci(0, 5, 0, 0), new() { Name = "dma0", GroupId = rig.Endpoint.Device.Group.Id });
        bare.Device.Group.ShouldBe(rig.Endpoint.Device.Group);
        Get(rig, "dma0").ShouldBe(Errno.Success);
        Get(rig, "dma0 ").ShouldBe(Errno.NoDevice);
        Get(rig, "dma0 x").ShouldBe(Errno.NoDevice);
    }

    private static Errno Get(PciRig rig, string name)
    {
        int result = rig.Kernel.Ioctl(rig.Group.Descriptor.Number, VfioRequests.GroupGetDeviceFd, [.. Encoding.UTF8.GetBytes(name), 0]);
        if (result < 0)
        {
            return (Errno)(-result);
        }

        rig.Kernel.Close(result).ShouldBe(0);
        return Errno.Success;
    }
}
