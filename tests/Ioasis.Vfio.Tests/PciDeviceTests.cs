using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>A PCI device behind VFIO: information, configuration space, registers, memory, reset, features.</summary>
public sealed class PciDeviceTests
{
    [Fact]
    public void Information_has_vfio_pcis_numbers_of_regions_and_interrupts()
    {
        using PciRig rig = new(new TestPciDevice());
        VfioDeviceInfo info = rig.Device.GetInfo();
        info.Flags.ShouldBe(VfioDeviceFlags.Pci | VfioDeviceFlags.Reset);
        (info.NumRegions, info.NumIrqs).ShouldBe((9u, 5u));
        const VfioRegionFlags Both = VfioRegionFlags.Read | VfioRegionFlags.Write;
        (ulong Size, VfioRegionFlags Flags)[] expected =
        [
            (4096, Both), (0, 0), (65536, Both | VfioRegionFlags.Mmap | VfioRegionFlags.Caps), (0, 0), (32, Both), (0, 0), (0, 0),
            (4096, Both),
        ];
        for (int i = 0; i < expected.Length; i++)
        {
            VfioRegion region = rig.Device.GetRegion(i);
            (region.Size, region.Flags).ShouldBe(expected[i], $"region {i}");
            region.HasMsiXTable.ShouldBe(i == 2);
        }

        rig.Device.GetRegionErrno(8, out _).ShouldBe(Errno.InvalidArgument);
        rig.Device.GetRegionErrno(9, out _).ShouldBe(Errno.InvalidArgument);
        (uint Count, VfioIrqInfoFlags Flags)[] interrupts =
        [
            (1, (VfioIrqInfoFlags)7), (4, (VfioIrqInfoFlags)9), (8, (VfioIrqInfoFlags)1), (1, (VfioIrqInfoFlags)9),
            (1, (VfioIrqInfoFlags)9),
        ];
        for (int i = 0; i < interrupts.Length; i++)
        {
            VfioIrqInfo interrupt = rig.Device.GetInterrupt((VfioPciInterrupt)i);
            (interrupt.Count, interrupt.Flags).ShouldBe(interrupts[i], $"interrupt {i}");
        }

        rig.Device.GetInterruptErrno(5, out _).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void A_conventional_device_has_256_bytes_of_configuration_and_no_error_interrupt()
    {
        using EduDevice edu = new();
        using PciRig rig = new(edu);
        rig.Device.GetRegion(VfioPciRegion.Config).Size.ShouldBe(256ul);
        rig.Device.GetInterruptErrno((int)VfioPciInterrupt.Error, out _).ShouldBe(Errno.InvalidArgument);
        rig.Device.GetInfo().Flags.ShouldBe(VfioDeviceFlags.Pci);
        rig.Device.ResetErrno().ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    [Trait("Requirement", "S3.9")]
    public void A_region_whose_capabilities_do_not_fit_tells_how_much_they_need()
    {
        using PciRig rig = new(new TestPciDevice());
        for (int argsz = 0; argsz <= 64; argsz++)
        {
            byte[] bytes = new byte[64];
            bytes.AsSpan().Fill(0xcc);
            MemoryMarshal.Write(bytes, argsz);
            MemoryMarshal.Write(bytes.AsSpan(8), 2);
            int result = rig.Kernel.Ioctl(rig.Device.Descriptor.Number, VfioRequests.DeviceGetRegionInfo, bytes);
            if (argsz < 32)
            {
                result.ShouldBe(-(int)Errno.InvalidArgument);
                continue;
            }

            result.ShouldBe(0);
            VfioRegionInfo info = MemoryMarshal.Read<VfioRegionInfo>(bytes);
            info.Flags.ShouldBe((VfioRegionFlags)15);
            info.Offset.ShouldBe(2ul << 40);
            info.Argsz.ShouldBe((uint)Math.Max(argsz, 40));
            info.CapOffset.ShouldBe(argsz < 40 ? 0u : 32);
            if (argsz >= 40)
            {
                MemoryMarshal.Read<VfioInfoCapHeader>(bytes.AsSpan(32)).ShouldBe(new() { Id = 3, Version = 1 });
            }

            bytes.AsSpan(argsz < 40 ? 32 : 40).ToArray().ShouldAllBe(static value => value == 0xcc);
        }
    }

    [Fact]
    public void Configuration_space_says_what_the_device_is_and_keeps_what_is_the_kernels()
    {
        using PciRig rig = new(new TestPciDevice());
        VfioRegion config = rig.Config;
        config.Read<uint>(0).ShouldBe(0x4321_1af4u);
        config.Write(0, 0xffff_ffffu);
        config.Read<uint>(0).ShouldBe(0x4321_1af4u);
        config.Read<uint>(8).ShouldBe(0x1234_5607u);
        config.Read<uint>(0x2c).ShouldBe(0x2222_1111u);
        config.Read<byte>(0x3d).ShouldBe((byte)1);

        // Memory and I/O are enabled, bus mastering is not.
        config.Read<ushort>(4).ShouldBe((ushort)0x103);
        config.Write(4, ushort.MaxValue);
        config.Read<ushort>(4).ShouldBe((ushort)0x507);
        config.Write(0x3c, (byte)11);
        config.Read<byte>(0x3c).ShouldBe((byte)11);
        config.ReadErrno(4095, new byte[2]).ShouldBe(Errno.OutOfRange);
        rig.Kernel.Read(rig.Device.Descriptor.Number, new byte[2], (7ul << 40) + 4095).ShouldBe(-(int)Errno.BadAddress);
    }

    [Fact]
    public void Base_addresses_can_be_sized_and_moved()
    {
        using PciRig rig = new(new TestPciDevice());
        VfioRegion config = rig.Config;
        uint Size(ulong register)
        {
            uint before = config.Read<uint>(register);
            config.Write(register, uint.MaxValue);
            uint size = config.Read<uint>(register);
            config.Write(register, before);
            config.Read<uint>(register).ShouldBe(before);
            return size;
        }

        Size(0x10).ShouldBe(0xffff_f000u);
        Size(0x14).ShouldBe(0u);
        Size(0x18).ShouldBe(0xffff_000cu);
        Size(0x1c).ShouldBe(uint.MaxValue);
        Size(0x20).ShouldBe(0xffff_ffe1u);
        Size(0x30).ShouldBe(0u);
        (config.Read<uint>(0x10) & ~15u).ShouldNotBe(0u);
        config.Write(0x10, 0x1234_5678u);
        config.Read<uint>(0x10).ShouldBe(0x1234_5000u);
    }

    [Fact]
    public void Capabilities_form_chains_and_enables_that_belong_to_the_kernel_cannot_be_written()
    {
        using PciRig rig = new(new TestPciDevice());
        VfioRegion config = rig.Config;
        Dictionary<int, int> found = [];
        for (int at = config.Read<byte>(0x34); at != 0; at = config.Read<byte>((ulong)at + 1))
        {
            found.Add(config.Read<byte>((ulong)at), at);
        }

        found.Keys.Order().ShouldBe([0x05, 0x10, 0x11]);
        Dictionary<int, int> extended = [];
        for (int at = 0x100; at != 0; at = (int)(config.Read<uint>((ulong)at) >> 20))
        {
            extended.Add((int)(config.Read<uint>((ulong)at) & 0xffff), at);
        }

        extended.Keys.Order().ShouldBe([0x0f, 0x13, 0x1b]);
        ((config.Read<ushort>((ulong)extended[0x1b] + 4) >> 8) & 31).ShouldBe(8);
        config.Write((ulong)extended[0x0f] + 6, (ushort)0);
        config.Write((ulong)extended[0x13] + 4, 0u);
        config.Write((ulong)extended[0x1b] + 6, (ushort)0);
        config.Read<ushort>((ulong)extended[0x0f] + 6).ShouldBe((ushort)0x8000);
        config.Read<uint>((ulong)extended[0x13] + 4).ShouldBe(0x8000_0001u);
        config.Read<ushort>((ulong)extended[0x1b] + 6).ShouldBe((ushort)1);

        ulong msi = (ulong)found[5];
        config.Write(msi + 2, ushort.MaxValue);
        (config.Read<ushort>(msi + 2) & 1).ShouldBe(0);
        ((config.Read<ushort>(msi + 2) >> 1) & 7).ShouldBe(2);
        config.Write(msi + 4, 0x1234_5677u);
        config.Read<uint>(msi + 4).ShouldBe(0x1234_5674u);
        ulong x = (ulong)found[0x11];
        config.Write(x + 2, (ushort)0x8000);
        config.Read<ushort>(x + 2).ShouldBe((ushort)7);
        config.Read<uint>(x + 4).ShouldBe(0x1002u);
        config.Read<uint>(x + 8).ShouldBe(0x2002u);

        // What the kernel enables, shows.
        int counter = rig.NewEvent();
        rig.Connect(VfioPciInterrupt.MsiX, 0, counter).ShouldBe(Errno.Success);
        config.Read<ushort>(x + 2).ShouldBe((ushort)0x8007);
        rig.Act(VfioPciInterrupt.MsiX, VfioIrqSetFlags.ActionTrigger, 0, 0).ShouldBe(Errno.Success);
        rig.Connect(VfioPciInterrupt.Msi, 0, counter).ShouldBe(Errno.Success);
        (config.Read<ushort>(msi + 2) & 1).ShouldBe(1);
        config.Read<ushort>(x + 2).ShouldBe((ushort)7);
    }

    [Fact]
    public void Register_accesses_arrive_as_the_largest_aligned_ones()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        VfioRegion bar = rig.Device.GetRegion(VfioPciRegion.Bar0);
        bar.ReadErrno(1, new byte[14]).ShouldBe(Errno.Success);
        device.Accesses.ShouldBe([(0, 1, 1, null), (0, 2, 2, null), (0, 4, 4, null), (0, 8, 4, null), (0, 12, 2, null), (0, 14, 1, null)]);
        device.Accesses.Clear();
        bar.Write(8, 0x1122_3344_5566_7788ul);
        bar.Read<ulong>(16).ShouldBe(0x8877_6655_4433_2211ul);
        bar.Write(4094, (ushort)0xabcd);
        device.Accesses.ShouldBe([(0, 8, 8, 0x1122_3344_5566_7788ul), (0, 16, 8, null), (0, 4094, 2, 0xabcdul)]);

        // A read beyond the end gets what is there; one that begins there nothing.
        int fd = rig.Device.Descriptor.Number;
        rig.Kernel.Read(fd, new byte[8], 4092).ShouldBe(4);
        rig.Kernel.Read(fd, new byte[8], 4096).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Read(fd, new byte[8], 1ul << 40).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Read(fd, new byte[8], 9ul << 40).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Read(fd, new byte[8], ulong.MaxValue).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Read(fd, [], 0).ShouldBe(0);

        // A plain read goes on where the last one ended, from 0: that is the first region.
        device.Accesses.Clear();
        rig.Kernel.Read(fd, new byte[4]).ShouldBe(4);
        rig.Kernel.Write(fd, new byte[4]).ShouldBe(4);
        device.Accesses.ShouldBe([(0, 0, 4, null), (0, 4, 4, 0ul)]);
    }

    [Fact]
    public void With_memory_disabled_registers_do_not_answer_and_io_does()
    {
        using PciRig rig = new(new TestPciDevice());
        rig.Config.Write(4, (ushort)1);
        rig.Device.GetRegion(VfioPciRegion.Bar0).ReadErrno(0, out uint _).ShouldBe(Errno.IoError);
        rig.Device.GetRegion(VfioPciRegion.Bar0).WriteErrno(0, 1u).ShouldBe(Errno.IoError);
        rig.Device.GetRegion(VfioPciRegion.Bar4).ReadErrno(0, out uint _).ShouldBe(Errno.Success);
        rig.Config.Write(4, (ushort)2);
        rig.Device.GetRegion(VfioPciRegion.Bar0).ReadErrno(0, out uint _).ShouldBe(Errno.Success);
    }

    [Fact]
    public void Memory_can_be_mapped_and_is_the_memory_that_reads_and_writes_see()
    {
        PciRig rig = new(new TestPciDevice());
        VfioRegion bar = rig.Device.GetRegion(VfioPciRegion.Bar2);
        VfioMapping mapping = bar.Map(0x4000, 0x3000);
        (Marshal.ReadByte(mapping.DangerousGetHandle()), mapping.DangerousGetHandle() % 4096).ShouldBe(((byte)0, (nint)0));
        mapping.Write32(8, 0xdead_beef);
        bar.Read<uint>(0x4008).ShouldBe(0xdead_beefu);
        bar.Write(0x6ff8, 0x0123_4567_89ab_cdeful);
        mapping.Read64(0x2ff8).ShouldBe(0x0123_4567_89ab_cdeful);
        mapping.Span.Length.ShouldBe(0x3000);

        // The MSI-X table is the kernel's: reads give ones, writes go nowhere.
        bar.Write(0x1000, 0u);
        bar.Read<uint>(0x1000).ShouldBe(uint.MaxValue);
        bar.Read<uint>(0x1080).ShouldBe(0u);

        bar.MapErrno(0, 65537, MemoryProtection.Read, out _).ShouldBe(Errno.InvalidArgument);
        bar.MapErrno(0x8001, 16, MemoryProtection.Read, out _).ShouldBe(Errno.InvalidArgument);
        rig.Device.GetRegion(VfioPciRegion.Bar0).MapErrno(0, 4096, MemoryProtection.Read, out _).ShouldBe(Errno.InvalidArgument);
        rig.Config.MapErrno(0, 4096, MemoryProtection.Read, out _).ShouldBe(Errno.InvalidArgument);
        rig.Kernel.Map(rig.Container.Descriptor.Number, 0, 4096, MemoryProtection.Read, out _).ShouldBe(-(int)Errno.NoDevice);
        rig.Kernel.Unmap(mapping.DangerousGetHandle(), 1).ShouldBe(-(int)Errno.InvalidArgument);

        // The mapping keeps the device open, and so the group in its container, until it goes.
        int container = rig.Container.Descriptor.Number;
        rig.Device.Dispose();
        rig.Group.LeaveErrno().ShouldBe(Errno.Busy);
        mapping.Write32(0, 5);
        mapping.Dispose();
        rig.Group.LeaveErrno().ShouldBe(Errno.Success);
        Should.Throw<ObjectDisposedException>(() => mapping.Span.Length);
        container.ShouldBeGreaterThan(2);
        rig.Dispose();
    }

    [Fact]
    public unsafe void DMA_needs_bus_mastering_and_carries_the_requester_and_the_PASID()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        void* page = NativeMemory.AlignedAlloc(4096, 4096);
        rig.Container.Map(new((ulong)page, 4096), new(0x7000), Access.ReadWrite);
        byte[] bytes = [1, 2, 3];
        device.DoWrite(new(0x7010), bytes).ShouldBe(DmaStatus.UnsupportedRequest);
        rig.Config.Write(4, (ushort)6);
        device.DoWrite(new(0x7010), bytes).ShouldBe(DmaStatus.Success);
        new Span<byte>(page, 4096).Slice(0x10, 3).ToArray().ShouldBe(bytes);
        device.DoRead(new(0x7011), bytes.AsSpan(0, 2)).ShouldBe(DmaStatus.Success);
        bytes.ShouldBe([2, 3, 3]);

        // A PASID that nobody attached faults, though the same IOVA is mapped without one.
        device.DoRead(new(0x7011), bytes, new(5)).ShouldBe(DmaStatus.UnsupportedRequest);
        rig.Platform.TryDequeueFault(out Core.IommuFault fault).ShouldBeTrue();
        fault.Device!.Id.ShouldBe(rig.Endpoint.Id);
        fault.Pasid.ShouldBe(new Pasid(5));
        _ = rig.Container.Unmap(new(0x7000), 4096);
        device.DoRead(new(0x7011), bytes).ShouldBe(DmaStatus.UnsupportedRequest);
        NativeMemory.AlignedFree(page);
    }

    [Fact]
    public void A_reset_clears_the_device_and_keeps_its_configuration()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        VfioRegion bar = rig.Device.GetRegion(VfioPciRegion.Bar2);
        rig.Config.Write(4, (ushort)6);
        bar.Write(0x5000, 1u);
        int before = device.Resets;
        rig.Device.Reset();
        device.Resets.ShouldBe(before + 1);
        bar.Read<uint>(0x5000).ShouldBe(0u);
        rig.Config.Read<ushort>(4).ShouldBe((ushort)6);

        // The same by "initiate function level reset" of the PCI Express capability, which reads as 0.
        ulong express = rig.Config.Read<byte>(0x34);
        rig.Config.Write(express + 8, (ushort)0x8000);
        device.Resets.ShouldBe(before + 2);
        rig.Config.Read<ushort>(express + 8).ShouldBe((ushort)0);
    }

    [Fact]
    public void Features_answer_probes_and_unknown_ones_are_ENOTTY()
    {
        using PciRig rig = new(new TestPciDevice());
        const VfioFeatureFlags Get = VfioFeatureFlags.Get;
        const VfioFeatureFlags Set = VfioFeatureFlags.Set;
        Errno Call(VfioFeature feature, VfioFeatureFlags flags, params int[] data)
        {
            byte[] bytes = new byte[8 + (4 * data.Length)];
            MemoryMarshal.Write(bytes, new VfioDeviceFeature { Argsz = (uint)bytes.Length, Flags = (VfioFeatureFlags)feature | flags });
            MemoryMarshal.AsBytes<int>(data).CopyTo(bytes.AsSpan(8));
            return (Errno)(-rig.Kernel.Ioctl(rig.Device.Descriptor.Number, VfioRequests.DeviceFeature, bytes));
        }

        rig.Device.ProbeFeatureErrno(VfioFeature.LowPowerEntry, Set).ShouldBe(Errno.Success);
        rig.Device.ProbeFeatureErrno(VfioFeature.LowPowerEntry, Get).ShouldBe(Errno.InvalidArgument);
        rig.Device.ProbeFeatureErrno(VfioFeature.LowPowerEntry, Get | Set).ShouldBe(Errno.InvalidArgument);
        foreach (VfioFeature unknown in (VfioFeature[])[VfioFeature.PciVfToken, VfioFeature.Migration, VfioFeature.DmaLoggingStart, (VfioFeature)999])
        {
            rig.Device.ProbeFeatureErrno(unknown, Get).ShouldBe(Errno.NotTypewriter);
        }

        Call(VfioFeature.LowPowerEntry, Get | Set).ShouldBe(Errno.InvalidArgument);
        Call(VfioFeature.LowPowerEntry, (VfioFeatureFlags)(1 << 20)).ShouldBe(Errno.InvalidArgument);
        Call(VfioFeature.LowPowerEntry, 0).ShouldBe(Errno.InvalidArgument);
        Call(VfioFeature.LowPowerEntry, Set).ShouldBe(Errno.Success);
        Call(VfioFeature.LowPowerEntry, Set).ShouldBe(Errno.InvalidArgument);
        Call(VfioFeature.LowPowerExit, Set).ShouldBe(Errno.Success);
        Call(VfioFeature.LowPowerEntryWithWakeup, Set, 3).ShouldBe(Errno.InvalidArgument);
        Call(VfioFeature.LowPowerEntryWithWakeup, Set, 99, 0).ShouldBe(Errno.BadDescriptor);
        Call(VfioFeature.LowPowerEntryWithWakeup, Set, rig.Device.Descriptor.Number, 0).ShouldBe(Errno.InvalidArgument);
        Call(VfioFeature.LowPowerEntryWithWakeup, Set, rig.NewEvent(), 0).ShouldBe(Errno.Success);
        rig.Kernel.Ioctl(rig.Device.Descriptor.Number, VfioRequests.DeviceFeature, new byte[7]).ShouldBe(-(int)Errno.BadAddress);
    }

    [Fact]
    public void A_hot_reset_names_who_is_concerned_and_wants_all_their_groups()
    {
        TestPciDevice device = new();
        TestPciDevice other = new();
        using PciRig rig = new(device);
        int fd = rig.Device.Descriptor.Number;
        int Info(byte[] bytes)
        {
            MemoryMarshal.Write(bytes, bytes.Length);
            return rig.Kernel.Ioctl(fd, VfioRequests.DeviceGetPciHotResetInfo, bytes);
        }

        int Reset(params int[] groups)
        {
            byte[] bytes = new byte[12 + (4 * groups.Length)];
            MemoryMarshal.Write(bytes, new VfioPciHotReset { Argsz = (uint)bytes.Length, Count = (uint)groups.Length });
            MemoryMarshal.AsBytes<int>(groups).CopyTo(bytes.AsSpan(12));
            return rig.Kernel.Ioctl(fd, VfioRequests.DevicePciHotReset, bytes);
        }

        // On the root bus there is nothing that could reset.
        Info(new byte[12]).ShouldBe(-(int)Errno.NoDevice);
        Reset(rig.Group.Descriptor.Number).ShouldBe(-(int)Errno.NoDevice);
        Reset().ShouldBe(-(int)Errno.InvalidArgument);

        EmbeddedEndpoint sibling = rig.Platform.AddDevice(other, DeviceId.FromPci(0, 1, 4, 0));
        PciDevice.PlaceBehindOneBridge(device, other);
        byte[] small = new byte[20];
        Info(small).ShouldBe(-(int)Errno.NoSpace);
        MemoryMarshal.Read<VfioPciHotResetInfo>(small).Count.ShouldBe(2u);
        byte[] enough = new byte[28];
        Info(enough).ShouldBe(0);
        MemoryMarshal.Read<VfioPciHotResetInfo>(enough).Flags.ShouldBe(VfioHotResetFlags.None);
        MemoryMarshal.Read<VfioPciDependentDevice>(enough.AsSpan(20)).ShouldBe(
            new() { GroupOrDeviceId = (uint)sibling.Device.Group.Id, Bus = 1, DeviceFunction = 4 << 3 });

        (int first, int second) = (device.Resets, other.Resets);
        Reset().ShouldBe(-(int)Errno.InvalidArgument);
        Reset(rig.Group.Descriptor.Number).ShouldBe(-(int)Errno.InvalidArgument);
        Reset(99).ShouldBe(-(int)Errno.BadDescriptor);
        Reset(fd).ShouldBe(-(int)Errno.InvalidArgument);
        using VfioGroup group = VfioGroup.Open(rig.Kernel, sibling.Device.Group.Id);
        Reset(rig.Group.Descriptor.Number, group.Descriptor.Number).ShouldBe(0);
        (device.Resets, other.Resets).ShouldBe((first + 1, second + 1));
        Reset(1, 2, 3).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void By_its_own_node_a_hot_reset_goes_by_device_numbers_and_one_owner()
    {
        using EmbeddedPlatform platform = new(new());
        TestPciDevice device = new();
        TestPciDevice other = new();
        EmbeddedEndpoint a = platform.AddDevice(device, DeviceId.FromPci(0, 1, 1, 0));
        EmbeddedEndpoint b = platform.AddDevice(other, DeviceId.FromPci(0, 1, 2, 0));
        PciDevice.PlaceBehindOneBridge(device, other);
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice first = VfioDevice.Open(platform.Kernel, a.DevicePath);
        using VfioDevice second = VfioDevice.Open(platform.Kernel, b.DevicePath);
        uint id = first.Bind(iommu);
        (VfioHotResetFlags, uint, uint) Info()
        {
            byte[] bytes = new byte[28];
            MemoryMarshal.Write(bytes, 28);
            platform.Kernel.Ioctl(first.Descriptor.Number, VfioRequests.DeviceGetPciHotResetInfo, bytes).ShouldBe(0);
            return (
                MemoryMarshal.Read<VfioPciHotResetInfo>(bytes).Flags,
                MemoryMarshal.Read<uint>(bytes.AsSpan(12)),
                MemoryMarshal.Read<uint>(bytes.AsSpan(20)));
        }

        byte[] reset = new byte[12];
        reset[0] = 12;
        Info().ShouldBe((VfioHotResetFlags.DeviceId, id, VfioPciDependentDevice.NotOwned));
        platform.Kernel.Ioctl(first.Descriptor.Number, VfioRequests.DevicePciHotReset, reset).ShouldBe(-(int)Errno.InvalidArgument);
        uint otherId = second.Bind(iommu);
        Info().ShouldBe((VfioHotResetFlags.DeviceId | VfioHotResetFlags.DeviceIdOwned, id, otherId));
        int before = other.Resets;
        platform.Kernel.Ioctl(first.Descriptor.Number, VfioRequests.DevicePciHotReset, reset).ShouldBe(0);
        other.Resets.ShouldBe(before + 1);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_device_that_is_taken_away_while_it_is_open_asks_its_client_to_close_it()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        int counter = rig.NewEvent();
        rig.Platform.RemoveEndpointErrno(rig.Endpoint).ShouldBe(Errno.Busy);
        rig.Connect(VfioPciInterrupt.Request, 0, counter).ShouldBe(Errno.Success);
        rig.Platform.RemoveEndpointErrno(rig.Endpoint).ShouldBe(Errno.Busy);
        rig.Take(counter).ShouldBe(1ul);
        rig.Device.Dispose();
        rig.Group.Leave();
        rig.Platform.RemoveEndpointErrno(rig.Endpoint).ShouldBe(Errno.Success);
        rig.Group.OpenDeviceErrno(rig.Endpoint.Device.Name, out _).ShouldBe(Errno.InvalidArgument);
        VfioDevice.OpenErrno(rig.Kernel, rig.Endpoint.DevicePath, out _).ShouldBe(Errno.NoEntry);
    }

    [Fact]
    [Trait("Requirement", "S1.11")]
    public void What_knows_IOASIDs_sees_no_PCI_device_and_what_is_one_is_behind_its_descriptor()
    {
        const System.Reflection.BindingFlags All = System.Reflection.BindingFlags.Public
            | System.Reflection.BindingFlags.NonPublic
            | System.Reflection.BindingFlags.Instance
            | System.Reflection.BindingFlags.Static;
        Type[] layer = [.. new[] { typeof(Core.IommuSubsystem).Assembly, typeof(Kernel.IoasisKernel).Assembly }
            .SelectMany(static assembly => assembly.GetTypes())
            .Where(static type => type.Name.Contains("Pasid", StringComparison.Ordinal)
                || type.Name.Contains("Ioasid", StringComparison.Ordinal))];
        layer.Length.ShouldBeGreaterThan(4);
        foreach (Type type in layer)
        {
            IEnumerable<Type> seen = type.GetFields(All).Select(static field => field.FieldType)
                .Concat(type.GetMethods(All).SelectMany(static method => method.GetParameters()).Select(static one => one.ParameterType));
            seen.Where(static one => one.Name.Contains("Pci", StringComparison.Ordinal)).ShouldBeEmpty(type.FullName);
        }

        // The kernel side has no type for PCI at all.
        typeof(Kernel.IoasisKernel).Assembly.GetTypes()
            .Where(static type => type.Name.Contains("Pci", StringComparison.Ordinal))
            .ShouldBeEmpty();
    }
}
