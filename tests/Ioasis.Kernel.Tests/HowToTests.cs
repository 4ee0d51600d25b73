using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

/// <summary>The example of docs/how-to.md, "Test a user-space driver", run as it stands there.</summary>
public sealed class HowToTests
{
    [Fact]
    public unsafe void The_example_for_a_user_space_driver_does_what_its_comments_say()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "This process's memory can be mapped on Linux only.");
        byte* buffer = (byte*)NativeMemory.AlignedAlloc(4096, 4096);
        try
        {
            using EmbeddedPlatform platform = new(new());
            EmbeddedEndpoint disk = platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0));

            using IommuFd iommu = IommuFd.Open(platform.Kernel);
            using VfioDevice device = VfioDevice.Open(platform.Kernel, disk.DevicePath);
            device.Bind(iommu);
            using IoAddressSpace space = iommu.AllocateAddressSpace();
            device.Attach(space);
            Iova iova = new(0x10000);
            space.Map(new((ulong)buffer, 4096), iova, Access.ReadWrite);

            disk.Write(iova + 8, "hello"u8).ShouldBe(DmaStatus.Success);
            new ReadOnlySpan<byte>(buffer + 8, 5).SequenceEqual("hello"u8).ShouldBeTrue();

            space.Unmap(iova, 4096);
            disk.Write(iova + 8, "again"u8).ShouldBe(DmaStatus.UnsupportedRequest);
            platform.TryDequeueFault(out IommuFault fault).ShouldBeTrue();
            fault.Cause.ShouldBe(15);
            fault.Iova.ShouldBe(iova + 8);
            new ReadOnlySpan<byte>(buffer + 8, 5).SequenceEqual("hello"u8).ShouldBeTrue();
        }
        finally
        {
            NativeMemory.AlignedFree(buffer);
        }
    }
}
