using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Client.Tests;

/// <summary>Memory of a file (IOMMU_IOAS_MAP_FILE), seen by the client and by a device.</summary>
public sealed class FileMappingTests
{
    private const ulong Length = 4 * 4096;

    [Fact]
    public void A_device_and_the_client_see_the_same_bytes_by_every_IOVA_of_a_file()
    {
        using Machine machine = new();
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "ring", Length);
        Iova whole = new(0x4000_0000);
        memory.MapErrno(machine.Space, 0, Length, whole, Access.ReadWrite).ShouldBe(Errno.Success);
        memory.MapErrno(machine.Space, 0x2000, 0x1000, Access.Read, out Iova part).ShouldBe(Errno.Success);
        part.ShouldNotBe(default);
        machine.Endpoint.Write(whole + 0x2ffe, "across"u8).ShouldBe(DmaStatus.Success);
        memory.Slice(0x2ffe, 6).SequenceEqual("across"u8).ShouldBeTrue();
        "client"u8.CopyTo(memory.Slice(0x2100, 6));
        byte[] read = new byte[6];
        machine.Endpoint.Read(part + 0x100, read).ShouldBe(DmaStatus.Success);
        read.ShouldBe("client"u8.ToArray());

        // Read-only by this IOVA, and not there once it is unmapped, whatever the other one is.
        machine.Endpoint.Write(part, [1]).ShouldNotBe(DmaStatus.Success);
        memory.Slice(0x2000, 1)[0].ShouldBe((byte)0);
        machine.Space.Unmap(part, 0x1000).ShouldBe(0x1000ul);
        machine.Endpoint.Read(part, read).ShouldNotBe(DmaStatus.Success);
        machine.Endpoint.Read(whole + 0x2100, read).ShouldBe(DmaStatus.Success);
        read.ShouldBe("client"u8.ToArray());
        machine.Space.Unmap(whole, Length).ShouldBe(Length);
        machine.Endpoint.Write(whole, [1]).ShouldNotBe(DmaStatus.Success);
        machine.Platform.Audit.PinnedBytes.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void The_bytes_live_as_long_as_a_device_can_reach_them()
    {
        using Machine machine = new(new() { Caching = CachingMode.Hostile });
        Iova iova = new(0x10_0000);
        using (SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "short-lived", Length))
        {
            memory.MapErrno(machine.Space, 0x1000, 0x2000, iova, Access.ReadWrite).ShouldBe(Errno.Success);
            "kept"u8.CopyTo(memory.Slice(0x1000, 4));
        }

        byte[] read = new byte[4];
        machine.Endpoint.Read(iova, read).ShouldBe(DmaStatus.Success);
        read.ShouldBe("kept"u8.ToArray());
        machine.Endpoint.Write(iova + 0x1ffc, [1, 2, 3, 4]).ShouldBe(DmaStatus.Success);
        machine.Space.Unmap(iova, 0x2000).ShouldBe(0x2000ul);
        machine.Endpoint.Read(iova, read).ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    public void A_part_that_the_file_does_not_have_and_a_file_that_is_none_are_refused()
    {
        using Machine machine = new();
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "small", Length);
        Iova iova = new(0x10_0000);
        memory.MapErrno(machine.Space, Length, 0x1000, iova, Access.Read).ShouldBe(Errno.InvalidArgument);
        memory.MapErrno(machine.Space, 0x1000, Length, iova, Access.Read).ShouldBe(Errno.InvalidArgument);
        memory.MapErrno(machine.Space, ulong.MaxValue - 0xfff, 0x2000, iova, Access.Read).ShouldBe(Errno.Overflow);
        memory.MapErrno(machine.Space, 0, 0, iova, Access.Read).ShouldBe(Errno.InvalidArgument);
        memory.MapErrno(machine.Space, 8, 0x1000, iova, Access.Read).ShouldBe(Errno.InvalidArgument);
        memory.MapErrno(machine.Space, 0, 0x1000, iova, Access.None).ShouldBe(Errno.InvalidArgument);
        using SafeFileHandle none = new(machine.Iommu.Descriptor.Number, ownsHandle: false);
        Iova? place = iova;
        machine.Space.MapFileErrno(none, 0, 0x1000, Access.Read, ref place).ShouldBe(Errno.InvalidArgument);
        place.ShouldBe(iova);
        IommuException refusal = Should.Throw<IommuException>(() => machine.Space.MapFile(none, 0x3000, 0x1000, Access.Read));
        (refusal.Error, refusal.Call).ShouldBe((Errno.InvalidArgument, "IOMMU_IOAS_MAP_FILE"));
        refusal.Values.ShouldContain("0x3000");
        machine.Platform.Audit.Areas.ShouldBe(0);
    }

    [Fact]
    public void A_file_that_came_as_a_handle_is_mapped_like_one_that_was_made_here()
    {
        using Machine machine = new();
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "passed on", Length);
        using SafeFileHandle handle = new(memory.Descriptor.Number, ownsHandle: false);
        Iova iova = machine.Space.MapFile(handle, 0x1000, 0x1000, Access.ReadWrite);
        machine.Endpoint.Write(iova, "by handle"u8).ShouldBe(DmaStatus.Success);
        memory.Slice(0x1000, 9).SequenceEqual("by handle"u8).ShouldBeTrue();
        machine.Space.Unmap(iova, 0x1000).ShouldBe(0x1000ul);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void Pages_that_their_owner_takes_away_fault_the_device_and_harm_nobody()
    {
        using Machine machine = new();
        SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "shrinking", Length);
        Iova iova = new(0x10_0000);
        memory.MapErrno(machine.Space, 0, Length, iova, Access.ReadWrite).ShouldBe(Errno.Success);

        // Files of the embedded kernel keep their length; what can happen is that somebody takes their memory away.
        nint lost = memory.Address + 0x2000;
        NativePages.TakeAway(lost, 0x2000);
        try
        {
            machine.Endpoint.Write(iova + 0x1000, [1]).ShouldBe(DmaStatus.Success);
            machine.Endpoint.Write(iova + 0x2000, [1]).ShouldNotBe(DmaStatus.Success);
            machine.Endpoint.Read(iova + 0x3000, new byte[1]).ShouldNotBe(DmaStatus.Success);
            machine.Space.Unmap(iova, Length).ShouldBe(Length);
            memory.MapErrno(machine.Space, 0x2000, 0x1000, iova, Access.Read).ShouldBe(Errno.BadAddress);
            memory.MapErrno(machine.Space, 0x1000, 0x1000, iova, Access.Read).ShouldBe(Errno.Success);
        }
        finally
        {
            NativePages.GiveBack(lost, 0x2000);
            memory.Dispose();
        }
    }
}
