using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>What a program does again and again costs no managed memory; what it gives back too early costs no crash.</summary>
public sealed partial class SteadyStateTests
{
    [Fact]
    public void Registers_mappings_and_interrupts_allocate_nothing()
    {
        using EduDevice edu = new();
        using PciRig rig = new(edu);
        rig.Config.Write(4, (ushort)6);
        VfioRegion bar = rig.Device.GetRegion(VfioPciRegion.Bar0);
        SteadyState.AllocatedBytes(() =>
        {
            for (uint i = 0; i < 1000; i++)
            {
                _ = bar.TryWrite(4, i);
                _ = bar.TryRead(4, out uint _);
            }
        }).ShouldBe(0);

        using EmbeddedPlatform platform = new(new() { UserMemory = new IdentityUserMemory() });
        EmbeddedEndpoint endpoint = platform.AddEndpoint(DeviceId.FromPci(0, 0, 1, 0));
        using VfioContainer container = VfioContainer.Open(platform.Kernel);
        using VfioGroup group = VfioGroup.Open(platform.Kernel, endpoint.Device.Group.Id);
        group.Join(container);
        container.SetIommu();
        container.TryMap(1 << 30, 4096, new(1 << 30), Access.ReadWrite).ShouldBe(Errno.Success);
        SteadyState.AllocatedBytes(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                _ = container.TryMap(1 << 20, 4096, new(1 << 20), Access.ReadWrite);
                _ = container.TryUnmap(new(1 << 20), 4096, out _);
            }
        }).ShouldBe(0);

        // The device raises MSI, and the counter is there without a wait.
        int counter = rig.NewEvent();
        rig.Connect(VfioPciInterrupt.Msi, 0, counter).ShouldBe(Errno.Success);
        SteadyState.AllocatedBytes(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                _ = bar.TryWrite(0x60, 1u);
                _ = rig.Take(counter);
                _ = bar.TryWrite(0x64, 1u);
            }
        }).ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void Memory_that_is_freed_while_it_is_mapped_ends_the_transfer_and_nothing_else()
    {
        using EduDevice edu = new();
        using PciRig rig = new(edu);
        rig.Config.Write(4, (ushort)6);
        VfioRegion bar = rig.Device.GetRegion(VfioPciRegion.Bar0);
        const int ReadWrite = 3;
        const int PrivateAnonymous = 0x22;
        nint page = MemoryMap(0, 4096, ReadWrite, PrivateAnonymous, -1, 0);
        page.ShouldNotBe(-1);
        rig.Container.Map((ulong)page, 4096, new(0x10_0000), Access.ReadWrite);
        bar.Write(0x80, 0x10_0000u);
        bar.Write(0x88, 0x40000u);
        bar.Write(0x90, 64u);
        bar.Write(0x98, 1u);
        edu.FailedTransfers.ShouldBe(0);

        // Gone, and in its place nothing: otherwise another thread of the process might get the address.
        const int Fixed = 0x10;
        MemoryMap(page, 4096, 0, PrivateAnonymous | Fixed, -1, 0).ShouldBe(page);
        bar.Write(0x98, 1u);
        edu.FailedTransfers.ShouldBe(1);
        bar.Read<uint>(0).ShouldBe(0x0100_00edu);
        rig.Container.Unmap(new(0x10_0000), 4096).ShouldBe(4096ul);
        MemoryUnmap(page, 4096).ShouldBe(0);
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MemoryMap(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MemoryUnmap(nint address, nuint length);
}
