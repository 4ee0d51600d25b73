using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Kernel.Tests;

/// <summary>What holds on the whole way, from the client down to the hardware model, on one kind of IOMMU.</summary>
public abstract class EndToEndSuite
{
    private static long s_nextPlace = 0x1000_0000_0000;

    /// <summary>The IOMMU of the machines.</summary>
    private protected abstract IommuSlot Slot { get; }

    [Fact]
    public void Memory_that_the_client_frees_while_it_is_mapped_gives_faults_and_no_crash()
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        ulong region = MapAnonymous(16 * 4096);
        machine.Space.Map(new(region, 16 * 4096), new(0x100000), Access.ReadWrite);
        machine.Endpoint.Write(new(0x100000), "before"u8).ShouldBe(DmaStatus.Success);
        UnmapMemory(region, 16 * 4096);
        byte[] buffer = new byte[64];
        machine.Endpoint.Read(new(0x100000), buffer).ShouldNotBe(DmaStatus.Success);
        machine.Endpoint.Write(new(0x105000), buffer).ShouldNotBe(DmaStatus.Success);
        machine.Space.Unmap(new(0x100000), 16 * 4096).ShouldBe(16ul * 4096);

        // And memory that was never there, or may not be written, is refused when it is mapped.
        machine.Space.MapErrno(new(region, 4096), new(0x100000), Access.Read).ShouldBe(Errno.BadAddress);
        machine.Space.MapErrno(new(0x1000, 4096), new(0x100000), Access.Read).ShouldBe(Errno.BadAddress);
        machine.Space.MapErrno(new(0xffff_8000_0000_0000, 4096), new(0x100000), Access.Read).ShouldBe(Errno.BadAddress);
        machine.Space.MapErrno(new(1ul << 54, 4096), new(0x100000), Access.Read).ShouldBe(Errno.BadAddress);
    }

    [Fact]
    public void Read_only_memory_of_the_client_can_be_mapped_to_read_only()
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        ulong region = MapAnonymous(4096);
        Protect(region, 4096, 1);
        machine.Space.MapErrno(new(region, 4096), new(0x100000), Access.ReadWrite).ShouldBe(Errno.BadAddress);
        machine.Space.Map(new(region, 4096), new(0x100000), Access.Read);
        byte[] buffer = new byte[16];
        machine.Endpoint.Read(new(0x100000), buffer).ShouldBe(DmaStatus.Success);
        machine.Endpoint.Write(new(0x100000), buffer).ShouldNotBe(DmaStatus.Success);
        UnmapMemory(region, 4096);
    }

    [Fact]
    public void Attach_detach_and_replace_take_effect_for_dma_at_once()
    {
        using Machine machine = new(new() { Iommus = [Slot], Caching = CachingMode.Hostile, UserMemory = new IdentityUserMemory() });
        using IoAddressSpace other = machine.Iommu.AllocateAddressSpace();
        machine.Space.Map(new(0x10000, 4096), new(0x1000), Access.ReadWrite);
        other.Map(new(0x20000, 4096), new(0x1000), Access.ReadWrite);
        machine.Endpoint.Translate(new(0x1000), true).Address.Value.ShouldBe(0x10000ul);
        _ = machine.Device.Attach(other);
        machine.Endpoint.Translate(new(0x1000), true).Address.Value.ShouldBe(0x20000ul);
        machine.Device.Detach();
        machine.Endpoint.Translate(new(0x1000), true).Status.ShouldNotBe(DmaStatus.Success);
        _ = machine.Device.Attach(machine.Space);
        machine.Endpoint.Translate(new(0x1000), true).Address.Value.ShouldBe(0x10000ul);
    }

    [Fact]
    public void Devices_do_not_see_each_others_spaces()
    {
        using Machine machine = new(new() { Iommus = [Slot], Caching = CachingMode.Hostile, UserMemory = new IdentityUserMemory() });
        EmbeddedEndpoint second = machine.Platform.AddEndpoint(DeviceId.FromPci(0, 0, 4, 0));
        using VfioDevice device = VfioDevice.Open(machine.Platform.Kernel, second.DevicePath);
        _ = device.Bind(machine.Iommu);
        using IoAddressSpace space = machine.Iommu.AllocateAddressSpace();
        _ = device.Attach(space);
        machine.Space.Map(new(0x10000, 4096), new(0x1000), Access.ReadWrite);
        space.Map(new(0x20000, 4096), new(0x1000), Access.Read);
        machine.Endpoint.Translate(new(0x1000), false).Address.Value.ShouldBe(0x10000ul);
        second.Translate(new(0x1000), false).Address.Value.ShouldBe(0x20000ul);
        second.Translate(new(0x1000), true).Status.ShouldNotBe(DmaStatus.Success);
        _ = machine.Space.Unmap(new(0x1000), 4096);
        machine.Endpoint.Translate(new(0x1000), false).Status.ShouldNotBe(DmaStatus.Success);
        second.Translate(new(0x1000), false).Address.Value.ShouldBe(0x20000ul);
    }

    [Fact]
    public void Without_its_invalidation_the_driver_is_caught_by_hostile_caching()
    {
        foreach (bool skip in (bool[])[false, true])
        {
            CommandFilter filter = Slot is VtdIommuSlot ? CommandFilter.LosesVtdInvalidations() : CommandFilter.LosesInvalidations();
            filter.IsOn = skip;
            using Machine machine = new(new()
            {
                Iommus = [Slot],
                Caching = CachingMode.Hostile,
                UserMemory = new IdentityUserMemory(),
                DriverRegisters = filter.Registers,
                DriverMemory = filter.Memory,
            });
            machine.Space.Map(new(0x10000, 4096), new(0x5000), Access.ReadWrite);
            machine.Endpoint.Translate(new(0x5000), true).Status.ShouldBe(DmaStatus.Success);
            _ = machine.Space.Unmap(new(0x5000), 4096);
            (machine.Endpoint.Translate(new(0x5000), true).Status == DmaStatus.Success).ShouldBe(skip);
        }
    }

    [Fact]
    public void Lazy_unmaps_are_reachable_until_the_flush_and_never_after()
    {
        using Machine machine = new(new() { Iommus = [Slot], Caching = CachingMode.Hostile, UserMemory = new IdentityUserMemory() });
        machine.Space.SetLazyInvalidation(true);
        machine.Space.Map(new(0x10000, 4096), new(0x5000), Access.ReadWrite);
        machine.Endpoint.Translate(new(0x5000), true).Status.ShouldBe(DmaStatus.Success);
        _ = machine.Space.Unmap(new(0x5000), 4096);
        machine.Endpoint.Translate(new(0x5000), true).Address.Value.ShouldBe(0x10000ul);
        machine.Platform.Audit.PinnedBytes.ShouldBe(4096);
        machine.Space.Flush();
        machine.Endpoint.Translate(new(0x5000), true).Status.ShouldNotBe(DmaStatus.Success);
        machine.Platform.Audit.PinnedBytes.ShouldBe(0);
    }

    [Fact]
    public void A_reserved_region_of_the_platform_is_in_the_ranges_and_a_direct_one_passes_unchanged()
    {
        using Machine machine = new(
            new() { Iommus = [Slot], UserMemory = new IdentityUserMemory() },
            new()
            {
                ReservedRegions =
                [
                    new(new(0x2800_0000, 0x28ff_ffff), ReservedRegionKind.Msi),
                    new(new(0x7000_0000, 0x7000_1fff), ReservedRegionKind.Direct),
                ],
            });
        machine.Space.GetIovaRanges().ShouldNotContain(static range => range.Overlaps(new(0x2800_0000, 0x28ff_ffff)));
        machine.Endpoint.Translate(new(0x7000_1234), true).Address.Value.ShouldBe(0x7000_1234ul);
        machine.Space.MapErrno(new(0x1000, 4096), new(0x7000_0000), Access.Read).ShouldBe(Errno.InvalidArgument);
        machine.Device.Detach();
        machine.Endpoint.Translate(new(0x7000_1234), true).Status.ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    public void A_gibibyte_is_mapped_with_few_leaves()
    {
        using Machine machine = new(new() { Iommus = [Slot], UserMemory = new IdentityUserMemory() });
        long before = machine.Platform.TableBytes;
        machine.Space.Map(new(1ul << 30, 1ul << 30), new(1ul << 30), Access.ReadWrite);
        (machine.Platform.TableBytes - before).ShouldBeLessThanOrEqualTo(3 * 4096);
        machine.Endpoint.Translate(new((1ul << 30) + 0x1234_5678), true).Address.Value.ShouldBe((1ul << 30) + 0x1234_5678);
    }

    [Fact]
    public void A_platform_that_is_disposed_with_everything_open_leaves_no_table()
    {
        EmbeddedPlatform platform = new(new() { Iommus = [Slot], UserMemory = new IdentityUserMemory() });
        EmbeddedEndpoint endpoint = platform.AddEndpoint(new(8));
        IommuFd iommu = IommuFd.Open(platform.Kernel);
        VfioDevice device = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        _ = device.Bind(iommu);
        IoAddressSpace space = iommu.AllocateAddressSpace();
        _ = device.Attach(space);
        space.Map(new(0x10000, 1 << 20), new(0x10000), Access.Read);
        platform.Dispose();
        platform.Audit.ShouldBe(default);
        platform.TableBytes.ShouldBe(0);
        device.Dispose();
        space.Dispose();
        iommu.Dispose();
    }

    // Far from where the system puts memory that asks for no place: what is unmapped here stays unmapped, whatever other threads map.
    private static ulong MapAnonymous(nuint length)
    {
        nint address = mmap((nint)Interlocked.Add(ref s_nextPlace, 1L << 32), length, 3, 0x22, -1, 0);
        address.ShouldNotBe(-1);
        return (ulong)address;
    }

    private static void UnmapMemory(ulong address, nuint length) => munmap((nint)address, length).ShouldBe(0);

    private static void Protect(ulong address, nuint length, int protection) =>
        mprotect((nint)address, length, protection).ShouldBe(0);

#pragma warning disable SYSLIB1054, CA5392, MA0084 // Three calls of libc, for tests.
    [DllImport("libc")]
    private static extern nint mmap(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc")]
    private static extern int munmap(nint address, nuint length);

    [DllImport("libc")]
    private static extern int mprotect(nint address, nuint length, int protection);
#pragma warning restore SYSLIB1054, CA5392, MA0084
}
