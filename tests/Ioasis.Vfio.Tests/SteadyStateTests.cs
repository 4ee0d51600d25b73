using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
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
                _ = bar.WriteErrno(4, i);
                _ = bar.ReadErrno(4, out uint _);
            }
        }).ShouldBe(0);

        using EmbeddedPlatform platform = new(new() { UserMemory = new IdentityUserMemory() });
        EmbeddedEndpoint endpoint = platform.AddEndpoint(DeviceId.FromPci(0, 0, 1, 0));
        using VfioContainer container = VfioContainer.Open(platform.Kernel);
        using VfioGroup group = VfioGroup.Open(platform.Kernel, endpoint.Device.Group.Id);
        group.Join(container);
        container.SetIommu();
        container.MapErrno(new(1 << 30, 4096), new(1 << 30), Access.ReadWrite).ShouldBe(Errno.Success);
        SteadyState.AllocatedBytes(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                _ = container.MapErrno(new(1 << 20, 4096), new(1 << 20), Access.ReadWrite);
                _ = container.UnmapErrno(new(1 << 20), 4096, out _);
            }
        }).ShouldBe(0);

        // The device raises MSI, and the counter is there without a wait.
        int counter = rig.NewEvent();
        rig.Connect(VfioPciInterrupt.Msi, 0, counter).ShouldBe(Errno.Success);
        SteadyState.AllocatedBytes(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                _ = bar.WriteErrno(0x60, 1u);
                _ = rig.Take(counter);
                _ = bar.WriteErrno(0x64, 1u);
            }
        }).ShouldBe(0);
    }

    [Theory]
    [InlineData(false, 12)]
    [InlineData(false, 21)]
    [InlineData(true, 12)]
    [InlineData(true, 21)]
    public unsafe void DMA_of_any_length_allocates_nothing_on_pages_of_any_size(bool isVtd, int pageShift)
    {
        const int Bytes = 4 << 20;
        Iova start = new(1ul << 30);
        using EmbeddedPlatform platform = new(isVtd ? new() { Iommus = [new VtdIommuSlot()] } : new());
        EmbeddedEndpoint endpoint = platform.AddEndpoint(DeviceId.FromPci(0, 0, 1, 0));
        using VfioContainer container = VfioContainer.Open(platform.Kernel);
        using VfioGroup group = VfioGroup.Open(platform.Kernel, endpoint.Device.Group.Id);
        group.Join(container);
        container.SetIommu();

        // One page beside its alignment, memory cannot have large pages.
        byte* memory = (byte*)NativeMemory.AlignedAlloc(Bytes + 4096, 2 << 20);
        ulong at = (ulong)memory + (pageShift == 12 ? 4096u : 0u);
        byte[] there = new byte[Bytes];
        new Random(1).NextBytes(there);
        there.CopyTo(new Span<byte>((void*)at, Bytes));
        container.Map(new(at, Bytes), start, Access.ReadWrite);
        byte[] buffer = new byte[256 << 10];
        DmaStatus worst = DmaStatus.Success;
        SteadyState.AllocatedBytes(() =>
        {
            for (int length = 1; length <= buffer.Length; length = (length * 3) + 1)
            {
                for (int place = 0; place + length <= Bytes && worst == DmaStatus.Success; place += (Bytes / 7) + 9)
                {
                    Span<byte> piece = buffer.AsSpan(0, length);
                    DmaStatus read = endpoint.Read(start + (ulong)place, piece);
                    worst = read == DmaStatus.Success && piece.SequenceEqual(there.AsSpan(place, length))
                        ? endpoint.Write(start + (ulong)place, piece)
                        : DmaStatus.CompleterAbort;
                }
            }
        }).ShouldBe(0);
        worst.ShouldBe(DmaStatus.Success);
        ((int)endpoint.Translate(start, write: true).SizeLog2).ShouldBe(pageShift);
        container.Unmap(start, Bytes).ShouldBe((ulong)Bytes);
        endpoint.Read(start + 8, buffer.AsSpan(0, 8)).ShouldBe(DmaStatus.UnsupportedRequest);
        endpoint.Write(start + 8, buffer.AsSpan(0, 8)).ShouldBe(DmaStatus.UnsupportedRequest);
        NativeMemory.AlignedFree(memory);
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
        rig.Container.Map(new((ulong)page, 4096), new(0x10_0000), Access.ReadWrite);
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
