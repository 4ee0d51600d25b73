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

/// <summary>
/// The whole way: client, ABI, kernel, core, driver, page tables, hardware model, memory. On every kind of IOMMU, with every format and
/// every way to cache; and the suite on RISC-V.
/// </summary>
public sealed class EndToEndTests : EndToEndSuite
{
    private protected override IommuSlot Slot => new RiscVIommuSlot();

    /// <summary>Each kind of IOMMU with each of its formats of page tables, and each way to cache.</summary>
    public static TheoryData<string, string, CachingMode> Machines { get; } =
    [
        .. from kind in IommuSlot.Kinds
           from format in SlotOf(kind).Formats
           from caching in Enum.GetValues<CachingMode>()
           select new TheoryDataRow<string, string, CachingMode>(kind, format.Name, caching),
    ];

    private static IommuSlot SlotOf(string kind, string? format = null)
    {
        IommuSlot.TryCreate(kind, out IommuSlot? slot).ShouldBeTrue();
        return slot! with { Format = format is not null && PageTableFormat.TryFind(format, out PageTableFormat? found) ? found : null };
    }

    private static unsafe ulong Allocate(int bytes, int alignment = 4096)
    {
        void* memory = NativeMemory.AlignedAlloc((nuint)bytes, (nuint)alignment);
        new Span<byte>(memory, bytes).Clear();
        return (ulong)memory;
    }

    private static unsafe Span<byte> At(ulong address, int bytes) => new((void*)address, bytes);

    private static unsafe void Free(ulong address) => NativeMemory.AlignedFree((void*)address);

    [Theory]
    [InlineData("riscv", "vtd")]
    [InlineData("vtd", "riscv")]
    public void Two_kinds_of_IOMMUs_in_one_machine_serve_one_address_space(string first, string second)
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [SlotOf(first), SlotOf(second)], Caching = CachingMode.Hostile });
        platform.Iommus.Select(static iommu => iommu.Kind).ShouldBe([first, second]);
        platform.Iommus.Select(static iommu => iommu.Name).Distinct().Count().ShouldBe(2);
        ulong buffer = Allocate(4096);
        using (IommuFd iommu = IommuFd.Open(platform.Kernel))
        using (IoAddressSpace space = iommu.AllocateAddressSpace())
        {
            Iova iova = new(0x1234_5000);
            EmbeddedEndpoint[] endpoints =
            [
                .. Enumerable.Range(0, 2).Select(i => platform.AddEndpoint(DeviceId.FromPci(0, 0, (byte)(3 + i), 0), new() { Iommu = i })),
            ];
            List<VfioDevice> devices = [.. endpoints.Select(endpoint => VfioDevice.Open(platform.Kernel, endpoint.DevicePath))];
            foreach (VfioDevice device in devices)
            {
                _ = device.Bind(iommu);
                _ = device.Attach(space);
            }

            space.Map(new(buffer, 4096), iova, Access.ReadWrite);
            endpoints[0].Write(iova, "one"u8).ShouldBe(DmaStatus.Success);
            endpoints[1].Write(iova + 3, "two"u8).ShouldBe(DmaStatus.Success);
            At(buffer, 6).ToArray().ShouldBe("onetwo"u8.ToArray());
            byte[] read = new byte[6];
            endpoints[1].Read(iova, read).ShouldBe(DmaStatus.Success);
            read.ShouldBe("onetwo"u8.ToArray());
            space.Unmap(iova, 4096).ShouldBe(4096ul);
            foreach (EmbeddedEndpoint endpoint in endpoints)
            {
                endpoint.Read(iova, read).ShouldNotBe(DmaStatus.Success);
                platform.TryDequeueFault(out IommuFault fault).ShouldBeTrue();
                (fault.DeviceId, fault.Iova, fault.Reason).ShouldBe((endpoint.Id, iova, IommuFaultReason.NotMapped));
            }

            devices.ForEach(static device => device.Dispose());
        }

        platform.Audit.ShouldBe(default);
        Free(buffer);
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void Dma_reaches_exactly_the_mapped_page_and_faults_after_the_unmap(string iommu, string format, CachingMode caching)
    {
        using Machine machine = new(new() { Iommus = [SlotOf(iommu, format)], Caching = caching });
        ulong buffer = Allocate(3 * 4096);
        At(buffer, 3 * 4096).Fill(0x55);
        Iova iova = new(0x1234_5000);
        machine.Space.Map(new(buffer + 4096, 4096), iova, Access.ReadWrite);

        machine.Endpoint.Write(iova + 8, "hello"u8).ShouldBe(DmaStatus.Success);
        At(buffer + 4096 + 8, 5).ToArray().ShouldBe("hello"u8.ToArray());
        At(buffer, 4096).ToArray().ShouldAllBe(static value => value == 0x55);
        At(buffer + 8192, 4096).ToArray().ShouldAllBe(static value => value == 0x55);
        byte[] read = new byte[5];
        machine.Endpoint.Read(iova + 8, read).ShouldBe(DmaStatus.Success);
        read.ShouldBe("hello"u8.ToArray());
        machine.Platform.TryDequeueFault(out _).ShouldBeFalse();

        machine.Space.Unmap(iova, 4096).ShouldBe(4096ul);
        machine.Endpoint.Read(iova + 8, read).ShouldNotBe(DmaStatus.Success);
        machine.Endpoint.Write(iova + 8, read).ShouldNotBe(DmaStatus.Success);
        machine.Platform.TryDequeueFault(out IommuFault fault).ShouldBeTrue();
        (fault.DeviceId, fault.Iova, fault.Access, fault.Reason)
            .ShouldBe((machine.Endpoint.Id, new Iova((iova + 8).Value & machine.Platform.Iommu.FaultAddressMask), Access.Read, IommuFaultReason.NotMapped));
        machine.Platform.TryDequeueFault(out fault).ShouldBeTrue();
        fault.Access.ShouldBe(Access.Write);
        machine.Platform.TryDequeueFault(out _).ShouldBeFalse();
        Free(buffer);
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void A_random_history_of_maps_and_unmaps_is_what_devices_see(string iommu, string format, CachingMode caching)
    {
        using Machine machine = new(new()
        {
            Iommus = [SlotOf(iommu, format)],
            Caching = caching,
            UserMemory = new IdentityUserMemory(),
        });
        Random random = new(42);
        SortedList<ulong, (ulong Length, ulong Physical, Access Access)> live = [];
        for (int step = 0; step < 3000; step++)
        {
            ulong length = random.Next(4) switch
            {
                0 => 4096,
                1 => (ulong)random.Next(1, 64) << 12,
                2 => 0x10000,
                _ => 2ul << 20,
            };
            ulong iova = (ulong)random.Next(1 << 14) << 12;
            if (length >= 2 << 20)
            {
                iova &= ~((2ul << 20) - 1);
            }

            if (random.Next(3) > 0)
            {
                ulong physical = ((ulong)random.Next(1 << 20) << 12) & ~(length >= 2 << 20 ? (2ul << 20) - 1 : 0xfff);
                Access access = random.Next(3) switch { 0 => Access.Read, 1 => Access.ReadWrite, _ => Access.Read | Access.Write };
                bool free = live.All(area => area.Key + area.Value.Length <= iova || iova + length <= area.Key);
                machine.Space.MapErrno(new(physical, length), new(iova), access).ShouldBe(free ? Errno.Success : Errno.Exists);
                if (free)
                {
                    live.Add(iova, (length, physical, access));
                }
            }
            else if (live.Count > 0)
            {
                int victim = random.Next(live.Count);
                machine.Space.Unmap(new(live.Keys[victim]), live.Values[victim].Length).ShouldBe(live.Values[victim].Length);
                live.RemoveAt(victim);
            }

            // Somewhere inside a live area, and somewhere at random.
            for (int probe = 0; probe < 4; probe++)
            {
                ulong address = (ulong)random.NextInt64(1L << 27);
                if (probe < 2 && live.Count > 0)
                {
                    int which = random.Next(live.Count);
                    address = live.Keys[which] + (ulong)random.NextInt64((long)live.Values[which].Length);
                }

                bool write = random.Next(2) == 0;
                DmaTranslation translation = machine.Endpoint.Translate(new(address), write);
                var area = live.FirstOrDefault(entry => entry.Key <= address && address - entry.Key < entry.Value.Length);
                bool expected = area.Value.Length > 0
                    && (area.Value.Access & (write ? Access.Write : Access.Read)) != 0;
                (translation.Status == DmaStatus.Success).ShouldBe(expected, $"step {step}, 0x{address:x}");
                if (expected)
                {
                    translation.Address.Value.ShouldBe(area.Value.Physical + (address - area.Key));
                }
            }
        }

        machine.Space.UnmapAll().ShouldBe((ulong)live.Values.Sum(static area => (long)area.Length));
    }

    [Theory]
    [InlineData(10)]
    [InlineData(20)]
    public void A_flipped_bit_of_a_leaf_sends_dma_elsewhere(int bit)
    {
        FlippedLeafMemory flipping = null!;
        EmbeddedPlatformOptions options = new() { UserMemory = new IdentityUserMemory() };
        using Machine machine = new(options with
        {
            DriverMemory = memory => flipping = new(memory, options.TableMemory, 3, bit),
        });
        for (ulong i = 0; i < 5; i++)
        {
            machine.Space.Map(new(0x10000 + (i << 12), 4096), new(0x100000 + (i << 12)), Access.ReadWrite);
        }

        flipping.HasFlipped.ShouldBeTrue();
        for (ulong i = 0; i < 5; i++)
        {
            ulong expected = (0x10000 + (i << 12)) ^ (i == 2 ? 1ul << (bit + 2) : 0);
            machine.Endpoint.Translate(new(0x100000 + (i << 12)), false).Address.Value.ShouldBe(expected);
        }
    }
}
