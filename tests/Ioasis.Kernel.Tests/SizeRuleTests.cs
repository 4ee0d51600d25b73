using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>The rule of extensible arguments, for every ioctl of <c>/dev/iommu</c>.</summary>
public sealed class SizeRuleTests
{
    public static TheoryData<uint, int, int> Calls { get; } = new()
    {
        { IommufdRequests.Destroy, IommuDestroy.MinimumSize, Unsafe.SizeOf<IommuDestroy>() },
        { IommufdRequests.IoasAlloc, IommuIoasAlloc.MinimumSize, Unsafe.SizeOf<IommuIoasAlloc>() },
        { IommufdRequests.IoasAllowIovas, IommuIoasAllowIovas.MinimumSize, Unsafe.SizeOf<IommuIoasAllowIovas>() },
        { IommufdRequests.IoasCopy, IommuIoasCopy.MinimumSize, Unsafe.SizeOf<IommuIoasCopy>() },
        { IommufdRequests.IoasIovaRanges, IommuIoasIovaRanges.MinimumSize, Unsafe.SizeOf<IommuIoasIovaRanges>() },
        { IommufdRequests.IoasMap, IommuIoasMap.MinimumSize, Unsafe.SizeOf<IommuIoasMap>() },
        { IommufdRequests.IoasUnmap, IommuIoasUnmap.MinimumSize, Unsafe.SizeOf<IommuIoasUnmap>() },
        { IommufdRequests.Option, IommuOption.MinimumSize, Unsafe.SizeOf<IommuOption>() },
        { IommufdRequests.VfioIoas, IommuVfioIoas.MinimumSize, Unsafe.SizeOf<IommuVfioIoas>() },
        { IommufdRequests.HwptAlloc, IommuHwptAlloc.MinimumSize, Unsafe.SizeOf<IommuHwptAlloc>() },
        { IommufdRequests.GetHwInfo, IommuHwInfo.MinimumSize, Unsafe.SizeOf<IommuHwInfo>() },
    };

    [Theory]
    [MemberData(nameof(Calls))]
    public void A_size_below_the_oldest_version_is_EINVAL(uint request, int minimum, int known)
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        for (int size = 0; size < minimum; size++)
        {
            byte[] argument = new byte[known];
            BinaryPrimitives.WriteInt32LittleEndian(argument, size);
            rig.Kernel.Ioctl(fd, request, argument).ShouldBe(-(int)Errno.InvalidArgument);
        }
    }

    [Theory]
    [MemberData(nameof(Calls))]
    public void An_unknown_tail_is_E2BIG_if_any_byte_of_it_is_not_zero(uint request, int minimum, int known)
    {
        _ = minimum;
        Rig rig = new();
        int fd = rig.OpenIommu();
        foreach (int tail in (int[])[1, 7, 8, 300, 5000])
        {
            byte[] argument = new byte[known + tail];
            BinaryPrimitives.WriteInt32LittleEndian(argument, known + tail);
            int whole = rig.Kernel.Ioctl(fd, request, argument);
            whole.ShouldNotBe(-(int)Errno.ArgumentTooBig);
            foreach (int at in (int[])[0, tail / 2, tail - 1])
            {
                byte[] broken = new byte[known + tail];
                BinaryPrimitives.WriteInt32LittleEndian(broken, known + tail);
                broken[known + at] = 1;
                rig.Kernel.Ioctl(fd, request, broken).ShouldBe(-(int)Errno.ArgumentTooBig);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Calls))]
    public void A_size_that_reaches_beyond_the_memory_is_EFAULT(uint request, int minimum, int known)
    {
        _ = minimum;
        Rig rig = new();
        int fd = rig.OpenIommu();
        rig.Kernel.Ioctl(fd, request, []).ShouldBe(-(int)Errno.BadAddress);
        rig.Kernel.Ioctl(fd, request, new byte[3]).ShouldBe(-(int)Errno.BadAddress);
        rig.Kernel.Ioctl(fd, request, (nint)0).ShouldBe(-(int)Errno.BadAddress);
        byte[] argument = new byte[known];
        BinaryPrimitives.WriteInt32LittleEndian(argument, known + 1);
        rig.Kernel.Ioctl(fd, request, argument).ShouldBe(-(int)Errno.BadAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(argument, uint.MaxValue);
        rig.Kernel.Ioctl(fd, request, argument).ShouldBe(-(int)Errno.BadAddress);
    }

    [Fact]
    public void A_missing_tail_counts_as_zero_and_is_not_written()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        IommuHwptAlloc full = new() { DeviceId = attached.Vfio.Id, PageTableId = attached.Space.Id };
        byte[] argument = new byte[48];
        MemoryMarshal.Write(argument, full);
        BinaryPrimitives.WriteInt32LittleEndian(argument, IommuHwptAlloc.MinimumSize);

        // What lies beyond the caller's structure is somebody else's and would be refused if it were read.
        argument.AsSpan(IommuHwptAlloc.MinimumSize).Fill(0xff);
        rig.Kernel.Ioctl(attached.Fd, IommufdRequests.HwptAlloc, argument).ShouldBe(0);
        argument.AsSpan(IommuHwptAlloc.MinimumSize).ToArray().ShouldAllBe(static value => value == 0xff);
        BinaryPrimitives.ReadUInt32LittleEndian(argument.AsSpan(16)).ShouldNotBe(0u);
        BinaryPrimitives.ReadInt32LittleEndian(argument).ShouldBe(IommuHwptAlloc.MinimumSize);
    }

    [Theory]
    [InlineData(0x3b00u)]
    [InlineData(0x3b7fu)]
    [InlineData(0x3b95u)]
    [InlineData(0x3bffu)]
    [InlineData(0x3a85u)]
    [InlineData(0xc0283b85u)]
    public void A_request_that_the_descriptor_does_not_know_is_ENOTTY(uint request)
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        byte[] argument = new byte[64];
        argument[0] = 64;
        rig.Kernel.Ioctl(fd, request, argument).ShouldBe(-(int)Errno.NotTypewriter);
    }
}
