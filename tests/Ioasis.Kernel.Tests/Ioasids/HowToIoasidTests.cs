using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;
using PasidSet = Ioasis.Client.PasidSet;

#pragma warning disable xUnit1051 // The code stands as in the page, which has no test's token.

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>The sequences of docs/how-to-ioasid.md, run as they stand there; and what holds around them.</summary>
public unsafe class HowToIoasidTests : IDisposable
{
    /// <summary>The IOMMU of the machines.</summary>
    private protected virtual IommuSlot Slot => new RiscVIommuSlot();

    private readonly byte* _memory = (byte*)NativeMemory.AlignedAlloc(4 * 4096, 4096);

    public HowToIoasidTests()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "This process's memory can be mapped on Linux only.");
        new Span<byte>(_memory, 4 * 4096).Clear();
    }

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing) => NativeMemory.AlignedFree(_memory);

    [Fact]
    [Trait("Requirement", "S1.13")]
    public void Programming_the_table_that_ENQCMD_uses()
    {
        byte* memory = _memory;
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using DsaDevice accelerator = new(new() { IsStepped = true });
        EmbeddedEndpoint endpoint = platform.AddDevice(accelerator, DeviceId.FromPci(0, 0, 3, 0));

        // The monitor: memory, the device, a quota of PASIDs, and the machine's descriptor.
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice device = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        device.Bind(iommu);
        DsaSetup.Enable(accelerator, new DsaQueueSetup { IsShared = true });
        using IoAddressSpace guestMemory = iommu.AllocateAddressSpace();
        guestMemory.Map(new((ulong)memory, 3 * 4096), new Iova(0x10000), Access.ReadWrite);
        using PasidFd pasids = PasidFd.Open(platform.Kernel);
        using VirtualMachinePasids machine = pasids.CreateVirtualMachine();
        using PasidSet set = pasids.CreateSet(quota: 16);

        // A PASID of the host for PASID 5 of the guest: allocate, give it memory, allow it on the device, map it.
        using PasidHandle pasid = set.Allocate(new() { Guest = new GuestPasid(5) });
        pasid.Bind(guestMemory);
        device.Allow(pasid);
        machine.Map(new GuestPasid(5), pasid);

        // The guest: a copy from the first page to the second, with a completion record in the third.
        "hello"u8.CopyTo(new Span<byte>(memory, 5));
        platform.TryGetVmPasidTable(machine.Descriptor.Number, out VmPasidTable? table);
        byte[] command = new byte[DsaDescriptor.Size];
        new DsaDescriptor(
            DsaOperation.Move,
            DsaFlags.CompletionAddressValid | DsaFlags.RequestCompletion,
            Completion: 0x12000,
            Source: 0x10000,
            Destination: 0x11000,
            Length: 5).WriteTo(command);
        DeferrableWriteResult sent = DeferrableWrite.ExecuteInGuest(table!, new GuestPasid(5), accelerator.GetPortal(0), command);     // Accepted
        accelerator.Run();
        DsaCompletion done = DsaCompletion.Read(new ReadOnlySpan<byte>(memory + 0x2000, 32));

        // PASID 6 of the guest is nobody's: the processor exits, and the device sees nothing.
        DeferrableWriteResult missed = DeferrableWrite.ExecuteInGuest(table!, new GuestPasid(6), accelerator.GetPortal(0), command);   // VmExit
        machine.ReadErrno(TimeSpan.Zero, out IoasidVmEvent exit);                                                     // PasidMiss, 6

        sent.ShouldBe(DeferrableWriteResult.Accepted);
        done.Status.ShouldBe(DsaStatus.Success);
        new ReadOnlySpan<byte>(memory + 0x1000, 5).SequenceEqual("hello"u8).ShouldBeTrue();
        missed.ShouldBe(DeferrableWriteResult.VmExit);
        (exit.Kind, exit.Guest).ShouldBe((IoasidVmEventKind.PasidMiss, 6u));
        accelerator.Statistics.Accepted.ShouldBe(1);

        // And back: the machine's entry goes with the PASID, and the device refuses what would come late.
        pasid.FreeErrno().ShouldBe(Errno.Success);
        DeferrableWrite.ExecuteInGuest(table!, new GuestPasid(5), accelerator.GetPortal(0), command).ShouldBe(DeferrableWriteResult.VmExit);
        endpoint.Port.Write(new DmaRequest(endpoint.Id, new(0x10000), DmaFlags.Write | DmaFlags.PasidValid, Pasid: pasid.Pasid), "late"u8)
            .ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    [Trait("Requirement", "S1.14")]
    [Trait("Requirement", "S1.12")]
    public void Dynamic_authorisation_driven_by_the_guests_virtual_IOMMU()
    {
        byte* memory = _memory;
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        EmbeddedEndpoint endpoint = platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0), new() { PasidBits = 20 });
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice device = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        device.Bind(iommu);
        using IoAddressSpace guestMemory = iommu.AllocateAddressSpace();
        guestMemory.Map(new((ulong)memory, 4096), new Iova(0x10000), Access.ReadWrite);
        using PasidFd pasids = PasidFd.Open(platform.Kernel);
        using VirtualMachinePasids machine = pasids.CreateVirtualMachine();
        using PasidSet set = pasids.CreateSet(quota: 16);
        Dictionary<uint, PasidHandle> given = [];

        // The monitor's thread: waits for what the guest lacks, and gives it while DMA is running.
        const uint Authorise = 1, Withdraw = 2, Stop = 3;
        Thread monitor = new(() =>
        {
            while (machine.ReadErrno(Timeout.InfiniteTimeSpan, out IoasidVmEvent next) == Errno.Success && next.Code != Stop)
            {
                switch (next.Code)
                {
                    case Authorise:
                        PasidHandle pasid = set.Allocate(new() { Guest = new GuestPasid(next.Guest) });
                        device.Allow(pasid);                    // either order will do
                        pasid.Bind(guestMemory);
                        machine.Map(new GuestPasid(next.Guest), pasid);
                        given.Add(next.Guest, pasid);
                        break;
                    case Withdraw:
                        given.Remove(next.Guest, out PasidHandle? withdrawn);
                        machine.UnmapErrno(new GuestPasid(next.Guest));
                        device.DisallowErrno(withdrawn!.Pasid);
                        withdrawn.Dispose();
                        break;
                }
            }
        });
        monitor.Start();

        // The guest's virtual IOMMU: its driver has attached PASID 7 to the device.
        platform.TryGetVmPasidTable(machine.Descriptor.Number, out VmPasidTable? table);
        machine.PostErrno(new GuestPasid(7), Authorise, data: 0);
        Pasid host;
        while (!table!.TryTranslate(new GuestPasid(7), out host))
        {
            Thread.Yield();
        }

        // DMA of PASID 7 runs on, while PASIDs 8 to 40 come and go.
        DmaRequest seven = new(endpoint.Id, new Iova(0x10000), DmaFlags.Write | DmaFlags.PasidValid, Pasid: host);
        int failures = 0;
        for (uint guest = 8; guest <= 40; guest++)
        {
            machine.PostErrno(new GuestPasid(guest), Authorise, 0);
            while (!table.TryTranslate(new GuestPasid(guest), out host))
            {
                failures += endpoint.Port.Write(seven, "x"u8) == DmaStatus.Success ? 0 : 1;
            }

            DmaRequest other = seven with { Pasid = host };
            endpoint.Port.Write(other, "y"u8).ShouldBe(DmaStatus.Success);
            machine.PostErrno(new GuestPasid(guest), Withdraw, 0);
            while (platform.Pasids.Find(host) is { } still && still.Pasid == host && set.FindErrno(new GuestPasid(guest), out _) == Errno.Success)
            {
                failures += endpoint.Port.Write(seven, "x"u8) == DmaStatus.Success ? 0 : 1;
            }

            endpoint.Port.Write(other, "z"u8).ShouldNotBe(DmaStatus.Success, "withdrawn");
        }

        machine.PostErrno(new GuestPasid(0), Stop, 0);
        monitor.Join();
        failures.ShouldBe(0);
        given.Keys.ShouldBe([7u]);
        set.GetInfoErrno(out PasidSetInfo info).ShouldBe(Errno.Success);
        (info.Count, info.Parked, info.Allocations).ShouldBe((1u, 0u, 34ul));
        given[7].Dispose();
        endpoint.Port.Write(seven, "x"u8).ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    [Trait("Requirement", "S1.5")]
    [Trait("Requirement", "S1.8")]
    public void Real_DMA_reaches_memory_while_it_is_allowed_and_bound_and_faults_otherwise()
    {
        byte* memory = _memory;
        using EmbeddedPlatform platform = new(new() { Caching = CachingMode.Hostile, Iommus = [Slot] });
        EmbeddedEndpoint endpoint = platform.AddEndpoint(new(0x18), new() { PasidBits = 20 });
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice device = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        device.Bind(iommu);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        space.Map(new((ulong)memory, 4096), new Iova(0x10000), Access.ReadWrite);
        using PasidFd pasids = PasidFd.Open(platform.Kernel);
        using PasidSet set = pasids.CreateSet(4);
        PasidHandle pasid = set.Allocate();
        DmaRequest request = new(endpoint.Id, new Iova(0x10000), DmaFlags.Write | DmaFlags.PasidValid, Pasid: pasid.Pasid);
        bool Works() => endpoint.Port.Write(request, "x"u8) == DmaStatus.Success;
        Works().ShouldBeFalse();
        device.Allow(pasid);
        Works().ShouldBeFalse();
        pasid.Bind(space);
        Works().ShouldBeTrue();
        pasid.UnbindErrno().ShouldBe(Errno.Success);
        Works().ShouldBeFalse();
        pasid.Bind(space);
        Works().ShouldBeTrue();
        device.DisallowErrno(pasid.Pasid).ShouldBe(Errno.Success);
        Works().ShouldBeFalse();
        device.Allow(pasid);
        Works().ShouldBeTrue();
        device.GetPasidsErrno(out Pasid[] allowed).ShouldBe(Errno.Success);
        allowed.ShouldBe([pasid.Pasid]);
        (request with { Pasid = new(pasid.Pasid.Value + 1) }).ShouldSatisfyAllConditions(
            other => endpoint.Port.Write(other, "x"u8).ShouldNotBe(DmaStatus.Success));
        pasid.FreeErrno().ShouldBe(Errno.Success);
        Works().ShouldBeFalse();
        device.Dispose();
        set.GetInfoErrno(out PasidSetInfo info).ShouldBe(Errno.Success);
        (info.Count, info.Parked).ShouldBe((0u, 0u));
    }

    [Fact]
    public void A_PASID_that_is_bound_to_the_process_uses_its_own_pointers()
    {
        byte* memory = _memory;
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using DsaDevice accelerator = new(new() { IsStepped = true });
        EmbeddedEndpoint endpoint = platform.AddDevice(accelerator, new(0x18));
        HostAddressSpace.CreateErrno(platform, out HostAddressSpace? process).ShouldBe(Errno.Success);
        platform.ClientProcess = process;
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice device = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        device.Bind(iommu);
        DsaSetup.Enable(accelerator, new DsaQueueSetup { IsShared = true, BlockOnFault = true });
        using PasidFd pasids = PasidFd.Open(platform.Kernel);
        using PasidSet set = pasids.CreateSet(1);
        using PasidHandle pasid = set.Allocate();
        pasid.BindProcessErrno().ShouldBe(Errno.Success);
        device.Allow(pasid);
        "hello"u8.CopyTo(new Span<byte>(memory, 5));
        byte[] command = new byte[DsaDescriptor.Size];
        new DsaDescriptor(
            DsaOperation.Move,
            DsaFlags.CompletionAddressValid | DsaFlags.RequestCompletion | DsaFlags.BlockOnFault,
            (ulong)memory + 0x2000, (ulong)memory, (ulong)memory + 0x1000, 5).WriteTo(command);
        DeferrableWrite.ExecuteSupervisor(accelerator.GetPortal(0), WithPasid(command, pasid.Pasid)).ShouldBe(DeferrableWriteResult.Accepted);
        SpinWait.SpinUntil(() =>
        {
            accelerator.Run();
            return accelerator.Pending == 0;
        });
        DsaCompletion.Read(new ReadOnlySpan<byte>(memory + 0x2000, 32)).Status.ShouldBe(DsaStatus.Success);
        new ReadOnlySpan<byte>(memory + 0x1000, 5).SequenceEqual("hello"u8).ShouldBeTrue();
        pasid.FreeErrno().ShouldBe(Errno.Success);
    }

    private static byte[] WithPasid(byte[] command, Pasid pasid)
    {
        MemoryMarshal.Write(command, pasid.Value);
        return command;
    }

    [Fact]
    public void Following_what_happens_in_a_set()
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using IoAddressSpace memory = iommu.AllocateAddressSpace();
        using PasidFd pasids = PasidFd.Open(platform.Kernel);
        using PasidSet set = pasids.CreateSet(quota: 4);
        List<uint> seen = [];

        using PasidSetEvents events = set.Subscribe();
        HashSet<uint> bound = [];
        Thread mirror = new(() =>
        {
            while (events.ReadErrno(Timeout.InfiniteTimeSpan, out IoasidSetEvent next) == Errno.Success)
            {
                if (next.Lost > 0)
                {
                    bound.Clear();                                  // too slow: begin again from what IOASID_FIND says
                }

                switch (next.Kind)
                {
                    case IoasidSetEventKind.Bound:
                        bound.Add(next.Ioasid);
                        seen.AddRange(bound);
                        break;
                    case IoasidSetEventKind.Unbound:
                        bound.Remove(next.Ioasid);
                        break;
                    case IoasidSetEventKind.Recycled:               // nobody uses the number any more
                        return;
                }
            }
        });
        mirror.Start();

        PasidHandle pasid = set.Allocate();
        pasid.Bind(memory);
        pasid.Dispose();
        mirror.Join();
        seen.ShouldBe([pasid.Pasid.Value]);
        bound.ShouldBeEmpty();
    }
}
