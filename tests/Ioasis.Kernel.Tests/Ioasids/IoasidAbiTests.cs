using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;
using PasidSet = Ioasis.Client.PasidSet;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>The family's bytes: sizes, flags, reserved fields, events; and whatever comes at random.</summary>
public sealed class IoasidAbiTests
{
    private static readonly (uint Request, int Size, int Node)[] s_calls =
    [
        (IoasidRequests.SetCreate, Unsafe.SizeOf<IoasidSetCreate>(), 0),
        (IoasidRequests.SetAdjust, Unsafe.SizeOf<IoasidSetAdjust>(), 0),
        (IoasidRequests.SetDestroy, Unsafe.SizeOf<IoasidSetDestroy>(), 0),
        (IoasidRequests.SetInfo, Unsafe.SizeOf<IoasidSetInfo>(), 0),
        (IoasidRequests.Alloc, Unsafe.SizeOf<IoasidAlloc>(), 0),
        (IoasidRequests.Free, Unsafe.SizeOf<IoasidFree>(), 0),
        (IoasidRequests.Bind, Unsafe.SizeOf<IoasidBind>(), 0),
        (IoasidRequests.Unbind, Unsafe.SizeOf<IoasidUnbind>(), 0),
        (IoasidRequests.MapGuest, Unsafe.SizeOf<IoasidMapGuest>(), 0),
        (IoasidRequests.Find, Unsafe.SizeOf<IoasidFind>(), 0),
        (IoasidRequests.VmCreate, Unsafe.SizeOf<IoasidVmCreate>(), 0),
        (IoasidRequests.VmMap, Unsafe.SizeOf<IoasidVmMap>(), 1),
        (IoasidRequests.VmUnmap, Unsafe.SizeOf<IoasidVmUnmap>(), 1),
        (IoasidRequests.VmPost, Unsafe.SizeOf<IoasidVmPost>(), 1),
        (IoasidRequests.DeviceAllow, Unsafe.SizeOf<IoasidDeviceAllow>(), 2),
        (IoasidRequests.DeviceDisallow, Unsafe.SizeOf<IoasidDeviceDisallow>(), 2),
        (IoasidRequests.DeviceList, Unsafe.SizeOf<IoasidDeviceListArgument>(), 2),
        (IoasidRequests.SetEvents, Unsafe.SizeOf<IoasidSetEvents>(), 0),
    ];

    // Places in the list: making a set, allocating, binding, mapping in a machine, allowing on a device.
    private static readonly int[] s_builders = [0, 4, 4, 4, 6, 10, 11, 11, 14, 14];

    [Fact]
    public void Every_call_follows_the_size_rule_and_refuses_unknown_flags()
    {
        using IoasidRig rig = new();
        using VirtualMachinePasids machine = rig.Pasids.CreateVirtualMachine();
        int[] descriptors = [rig.Fd, machine.Descriptor.Number, rig.Devices[0].Descriptor.Number];
        foreach ((uint request, int known, int node) in s_calls)
        {
            for (int size = 0; size < known; size++)
            {
                byte[] small = new byte[known];
                BinaryPrimitives.WriteInt32LittleEndian(small, size);
                rig.Rig.Kernel.Ioctl(descriptors[node], request, small).ShouldBe(-(int)Errno.InvalidArgument);
            }

            byte[] tail = new byte[known + 9];
            BinaryPrimitives.WriteInt32LittleEndian(tail, tail.Length);
            tail[^1] = 1;
            rig.Rig.Kernel.Ioctl(descriptors[node], request, tail).ShouldBe(-(int)Errno.ArgumentTooBig);
            rig.Rig.Kernel.Ioctl(descriptors[node], request, new byte[3]).ShouldBe(-(int)Errno.BadAddress);
            byte[] flags = new byte[known];
            BinaryPrimitives.WriteInt32LittleEndian(flags, known);
            BinaryPrimitives.WriteUInt32LittleEndian(flags.AsSpan(4), 1u << 31);
            rig.Rig.Kernel.Ioctl(descriptors[node], request, flags).ShouldBe(-(int)Errno.NotSupported);

            // A call belongs to one kind of descriptor.
            for (int other = 0; other < 2; other++)
            {
                if (other != node)
                {
                    rig.Rig.Kernel.Ioctl(descriptors[other], request, flags).ShouldBe(-(int)Errno.NotTypewriter);
                }
            }

            (request >> 8).ShouldBe(0x3bu);
        }

        s_calls.Select(static call => call.Request).ShouldBeUnique();
    }

    [Fact]
    public void Fields_that_contradict_each_other_are_EINVAL()
    {
        using IoasidRig rig = new();
        uint set = rig.Set.Id.Value;
        int einval = -(int)Errno.InvalidArgument, enotsup = -(int)Errno.NotSupported;
        rig.Raw(rig.Fd, new IoasidAlloc { SetId = set, Flags = IoasidAllocFlags.Fixed }).ShouldBe(einval);
        rig.Raw(rig.Fd, new IoasidAlloc { SetId = set, Flags = IoasidAllocFlags.Fixed, First = 1, Last = 1 }).ShouldBe(einval);
        rig.Raw(rig.Fd, new IoasidAlloc { SetId = set, Flags = IoasidAllocFlags.Fixed | IoasidAllocFlags.LowestFirst, First = 1 }).ShouldBe(einval);
        rig.Raw(rig.Fd, new IoasidAlloc { SetId = set, Guest = 1 }).ShouldBe(einval);
        rig.Raw(rig.Fd, new IoasidAlloc { SetId = set, Flags = IoasidAllocFlags.GuestValid, Guest = 1u << 20 }).ShouldBe(einval);
        rig.Raw(rig.Fd, new IoasidAlloc { SetId = set, First = 9, Last = 8 }).ShouldBe(einval);
        rig.Raw(rig.Fd, new IoasidAlloc { SetId = set, Last = 1u << 20 }).ShouldBe(einval);
        rig.Raw(rig.Fd, new IoasidAlloc { SetId = set, Reserved = 1 }).ShouldBe(enotsup);
        rig.Raw(rig.Fd, new IoasidFind { SetId = set, Id = 1 }).ShouldBe(einval);
        uint pasid = rig.Set.Allocate().Pasid.Value;
        rig.Raw(rig.Fd, new IoasidBind { Ioasid = pasid, Kind = IoasidBindKind.Process }).ShouldBe(einval);
        rig.Raw(rig.Fd, new IoasidBind { Ioasid = pasid, Kind = (IoasidBindKind)9 }).ShouldBe(enotsup);
        rig.Raw(rig.Fd, new IoasidBind { Ioasid = pasid, Kind = IoasidBindKind.Ioas, Iommufd = 999 }).ShouldBe(-(int)Errno.BadDescriptor);
        rig.Raw(rig.Fd, new IoasidBind { Ioasid = pasid, Kind = IoasidBindKind.Ioas, Iommufd = rig.Fd }).ShouldBe(-(int)Errno.WrongDescriptor);
        rig.Raw(rig.Fd, new IoasidBind { Ioasid = pasid, Kind = IoasidBindKind.Ioas, Iommufd = rig.Iommu.Descriptor.Number, ObjectId = 99 })
            .ShouldBe(-(int)Errno.NoEntry);
        rig.Raw(rig.Fd, new IoasidBind { Ioasid = pasid, Kind = IoasidBindKind.Hwpt, Iommufd = rig.Iommu.Descriptor.Number, ObjectId = rig.Space.Id })
            .ShouldBe(-(int)Errno.NoEntry);
        rig.Raw(rig.Fd, new IoasidMapGuest { Ioasid = pasid, Flags = IoasidMapGuestFlags.Unmap, Guest = 1 }).ShouldBe(einval);
    }

    [Fact]
    [Trait("Requirement", "S1.13")]
    [Trait("Requirement", "S1.14")]
    public void A_miss_wakes_the_monitor_once_and_a_request_carries_what_was_said()
    {
        using IoasidRig rig = new();
        using VirtualMachinePasids machine = rig.Pasids.CreateVirtualMachine();
        rig.Rig.Kernel.TryGetVmPasidTable(machine.Descriptor.Number, out VmPasidTable? table).ShouldBeTrue();
        rig.Rig.Kernel.TryGetVmPasidTable(rig.Fd, out _).ShouldBeFalse();
        machine.ReadErrno(TimeSpan.Zero, out _, TestContext.Current.CancellationToken).ShouldBe(Errno.TimedOut);
        for (int i = 0; i < 3; i++)
        {
            table!.TryTranslateOrExit(new(9), out _).ShouldBeFalse();
        }

        machine.PostErrno(new(10), 77, 0x1234_5678_9abc).ShouldBe(Errno.Success);
        machine.PostErrno(new(1u << 20), 0, 0).ShouldBe(Errno.InvalidArgument);
        rig.Rig.Kernel.Read(machine.Descriptor.Number, new byte[23]).ShouldBe(-(int)Errno.InvalidArgument);
        machine.ReadErrno(TimeSpan.Zero, out IoasidVmEvent miss, TestContext.Current.CancellationToken).ShouldBe(Errno.Success);
        (miss.Kind, miss.Guest, miss.Lost).ShouldBe((IoasidVmEventKind.PasidMiss, 9u, 0u));
        machine.ReadErrno(TimeSpan.Zero, out IoasidVmEvent request, TestContext.Current.CancellationToken).ShouldBe(Errno.Success);
        (request.Kind, request.Guest, request.Code, request.Data).ShouldBe((IoasidVmEventKind.Request, 10u, 77u, 0x1234_5678_9abcul));
        machine.ReadErrno(TimeSpan.Zero, out _, TestContext.Current.CancellationToken).ShouldBe(Errno.TimedOut);

        // Once read, the same miss is told again.
        table!.TryTranslateOrExit(new(9), out _).ShouldBeFalse();
        machine.ReadErrno(TimeSpan.Zero, out miss, TestContext.Current.CancellationToken).ShouldBe(Errno.Success);
        miss.Guest.ShouldBe(9u);
    }

    [Fact]
    [Trait("Requirement", "S1.13")]
    public void A_guest_that_misses_without_end_fills_nothing_and_the_loss_is_counted()
    {
        using IoasidRig rig = new();
        using VirtualMachinePasids machine = rig.Pasids.CreateVirtualMachine();
        rig.Rig.Kernel.TryGetVmPasidTable(machine.Descriptor.Number, out VmPasidTable? table).ShouldBeTrue();
        for (uint guest = 0; guest < 5000; guest++)
        {
            table!.TryTranslateOrExit(new(guest), out _).ShouldBeFalse();
        }

        machine.PostErrno(new(1), 0, 0).ShouldBe(Errno.TryAgain);
        for (uint guest = 0; guest < 1024; guest++)
        {
            machine.ReadErrno(TimeSpan.Zero, out IoasidVmEvent miss, TestContext.Current.CancellationToken).ShouldBe(Errno.Success);
            (miss.Guest, miss.Lost).ShouldBe((guest, 0u));
        }

        machine.ReadErrno(TimeSpan.Zero, out _, TestContext.Current.CancellationToken).ShouldBe(Errno.TimedOut);
        machine.PostErrno(new(1), 0, 0).ShouldBe(Errno.Success);
        machine.ReadErrno(TimeSpan.Zero, out IoasidVmEvent next, TestContext.Current.CancellationToken).ShouldBe(Errno.Success);
        next.Lost.ShouldBe(3976u);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [Trait("Requirement", "S1.15")]
    public void Random_calls_neither_throw_nor_hang_nor_leave_anything(int seed)
    {
        FuzzTests.Alarm alarm = new();
        Rig rig = new(new() { Size = 1 << 24 }, new FakeIommu(), descriptorLimit: 30, logger: alarm);
        List<string> paths = ["/dev/ioasid", "/dev/ioasid", "/dev/iommu"];
        List<IommuDevice> devices = [];
        for (int i = 0; i < 4; i++)
        {
            (IommuDevice device, string path) = rig.AddCapableDevice(i / 2);
            devices.Add(device);
            paths.Add(path);
        }

        rig.KernelSide.Pasids.TryInstallCapacity(32).ShouldBe(Errno.Success);
        Begin(rig.Kernel);
        int[] successes = new int[256];
        Random random = new(seed);
        for (int i = 0; i < (ExplorerOptions.All ? 3_000_000 : 150_000); i++)
        {
            OneCall(rig.Kernel, fd => rig.Kernel.TryGetVmPasidTable(fd, out VmPasidTable? table) ? table : null, random, paths, successes);
        }

        alarm.Lines.ShouldBeEmpty();

        // It is no test unless each call gets through now and then.
        foreach ((uint request, _, _) in s_calls)
        {
            successes[request & 0xff].ShouldBeGreaterThan(0, $"0x{request:x}");
        }

        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
        rig.KernelSide.Pasids.Audit.IsEmpty.ShouldBeTrue(rig.KernelSide.Pasids.Audit.ToString());
        devices.ForEach(device => Enumerable.Range(1, 255).ShouldAllBe(
            pasid => device.Group.GetPasidDomain(new((uint)pasid)) == BlockedDomain.Instance));
    }

    /// <summary>The whole machine, by three threads: 10,000,000 calls with IOASIS_TEST_ALL=1, 90,000 otherwise.</summary>
    [Theory]
    [InlineData(RiscVIommuSlot.KindName)]
    [InlineData(VtdIommuSlot.KindName)]
    [Trait("Requirement", "S1.15")]
    public void Random_calls_of_several_threads_leave_a_whole_machine_empty(string iommu)
    {
        const int Threads = 3;
        IommuSlot.TryCreate(iommu, out IommuSlot? slot).ShouldBeTrue();
        EmbeddedPlatform platform = new(new() { UserMemory = new IdentityUserMemory(), Iommus = [slot!] });
        List<string> paths = ["/dev/ioasid", "/dev/ioasid", "/dev/iommu"];
        List<EmbeddedEndpoint> endpoints = [];
        for (uint i = 1; i <= 4; i++)
        {
            endpoints.Add(platform.AddEndpoint(new(i << 3), new() { PasidBits = 8, GroupId = (int)i / 2 }));
            paths.Add(endpoints[^1].DevicePath);
        }

        platform.Pasids.TryInstallCapacity(32).ShouldBe(Errno.Success);
        Begin(platform.Kernel);
        int[] successes = new int[256];
        Parallel.For(0, Threads, new() { MaxDegreeOfParallelism = Threads }, thread =>
        {
            Random random = new(thread);
            for (int i = 0; i < (ExplorerOptions.All ? 10_000_000 : 90_000) / Threads; i++)
            {
                OneCall(
                    platform.Kernel, fd => platform.TryGetVmPasidTable(fd, out VmPasidTable? table) ? table : null, random, paths, successes);
            }
        });
        foreach (uint request in (uint[])[IoasidRequests.Alloc, IoasidRequests.Bind, IoasidRequests.DeviceAllow, IoasidRequests.VmMap])
        {
            successes[request & 0xff].ShouldBeGreaterThan(0, $"0x{request:x}");
        }

        for (int fd = 0; fd < 100; fd++)
        {
            _ = platform.Kernel.Close(fd);
        }

        platform.Audit.ShouldBe(default);
        platform.Pasids.Audit.IsEmpty.ShouldBeTrue(platform.Pasids.Audit.ToString());
        endpoints.ForEach(endpoint => Enumerable.Range(1, 255).ShouldAllBe(
            pasid => endpoint.Device.Group.GetPasidDomain(new((uint)pasid)) == BlockedDomain.Instance));
        platform.Dispose();
        platform.TableBytes.ShouldBe(0);
    }

    // Random calls look at low numbers only: what is above would pile up.
    private static void CloseIfHigh(IKernelAbi kernel, int descriptor)
    {
        if (descriptor >= 30)
        {
            kernel.Close(descriptor).ShouldBe(0);
        }
    }

    private static void Begin(IKernelAbi kernel)
    {
        kernel.Open("/dev/ioasid", OpenFlags.ReadWrite).ShouldBe(3);
        kernel.Open("/dev/iommu", OpenFlags.ReadWrite).ShouldBe(4);
        IommuIoasAlloc space = new() { Size = 12 };
        kernel.Ioctl(4, IommuIoasAlloc.Request, MemoryMarshal.AsBytes(new Span<IommuIoasAlloc>(ref space))).ShouldBe(0);
        IoasidSetCreate set = new() { Size = 16, Quota = 12 };
        kernel.Ioctl(3, IoasidSetCreate.Request, MemoryMarshal.AsBytes(new Span<IoasidSetCreate>(ref set))).ShouldBe(0);
        (space.OutIoasId, set.OutSetId).ShouldBe((1u, 1u));
    }

    private static void OneCall(
        IKernelAbi kernel, Func<int, VmPasidTable?> tables, Random random, List<string> paths, int[] successes)
    {
        // 3 is always a /dev/ioasid and 4 a /dev/iommu, so that calls that need several things have a chance.
        int fd = random.Next(3) == 0 ? 3 : random.Next(2, 20);
        switch (random.Next(24))
        {
            case 0 or 1:
                CloseIfHigh(kernel, kernel.Open(paths[random.Next(paths.Count)], OpenFlags.ReadWrite));
                return;
            case 2 when random.Next(6) == 0:
                _ = kernel.Close(random.Next(5, 30));
                return;
            case 3 when random.Next(6) == 0:
                CloseIfHigh(kernel, kernel.Dup(fd));
                return;
            case 4:
                VfioDeviceBindIommufd bind = new() { Argsz = 24, Iommufd = random.Next(2, 20) };
                _ = kernel.Ioctl(fd, VfioRequests.DeviceBindIommufd, MemoryMarshal.AsBytes(new Span<VfioDeviceBindIommufd>(ref bind)));
                return;
            case 5:
                IommuIoasAlloc space = new() { Size = 12 };
                _ = kernel.Ioctl(fd, IommuIoasAlloc.Request, MemoryMarshal.AsBytes(new Span<IommuIoasAlloc>(ref space)));
                return;
            case 6:
                _ = kernel.Read(fd, new byte[random.Next(100)]);
                if (tables(fd) is { } table)
                {
                    _ = table.TryTranslateOrExit(new((uint)random.Next(8)), out _);
                }

                return;
        }

        // More is built up than torn down.
        (uint request, int size, int node) = s_calls[random.Next(2) == 0 ? random.Next(s_calls.Length) : s_builders[random.Next(s_builders.Length)]];
        if (request is IoasidRequests.SetDestroy or IoasidRequests.Free && random.Next(4) > 0)
        {
            return;
        }

        fd = node == 0 ? fd : random.Next(5, 20);
        byte[] bytes = new byte[random.Next(8) == 0 ? random.Next(80) : Math.Max(size, 64)];
        if (random.Next(8) == 0)
        {
            random.NextBytes(bytes);
        }
        else if (bytes.Length >= 64)
        {
            Span<uint> words = MemoryMarshal.Cast<byte, uint>(bytes.AsSpan(0, 64));
            words[0] = (uint)size;
            words[1] = random.Next(4) == 0 ? (uint)random.Next(8) : 0;
            for (int i = 2; i < size / 4; i++)
            {
                words[i] = random.Next(3) == 0 ? 0 : random.Next(12) == 0 ? (uint)random.Next() : (uint)random.Next(40) >> random.Next(6);
            }

            if (request == IoasidRequests.DeviceList)
            {
                (words[3], words[4], words[5]) = (0, unchecked((uint)FakeUserMemory.ArgumentStart), (uint)(FakeUserMemory.ArgumentStart >> 32));
            }
            else if (request == IoasidRequests.Bind)
            {
                (words[3], words[4], words[5]) = random.Next(2) == 0
                    ? (1, 4, 1)
                    : ((uint)random.Next(1, 4), (uint)random.Next(3, 16), (uint)random.Next(1, 5));
            }
            else if (request is IoasidRequests.DeviceAllow or IoasidRequests.VmMap)
            {
                words[request == IoasidRequests.VmMap ? 3 : 2] = random.Next(2) == 0 ? 3 : (uint)random.Next(3, 16);
            }
            else if (request == IoasidRequests.SetInfo)
            {
                words[7] = 0;
            }
        }

        int result = kernel.Ioctl(fd, request, bytes);
        if (result >= 0)
        {
            CloseIfHigh(kernel, result);
            _ = Interlocked.Increment(ref successes[request & 0xff]);
        }
    }
}
