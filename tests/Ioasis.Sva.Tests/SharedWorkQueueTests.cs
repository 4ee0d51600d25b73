using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;

namespace Ioasis.Sva.Tests;

/// <summary>A shared work queue of the Data Streaming Accelerator, and the instructions that feed it.</summary>
public class SharedWorkQueueTests : SvaSuite
{
    private const ulong Base = SvaRig.Base;
    private const ulong Page = SvaRig.Size;
    private const ulong Record = Base + (15 * Page);
    private const DsaFlags Blocking =
        DsaFlags.BlockOnFault | DsaFlags.CompletionAddressValid | DsaFlags.RequestCompletion;

    [Fact]
    public void A_copy_with_demand_faults_moves_the_bytes_and_writes_its_record()
    {
        using Bench bench = new(NewRig());
        byte[] data = Bytes(10_000);
        bench.Memory.Write(Base + 100, data).ShouldBe(Errno.Success);
        bench.Submit(new(DsaOperation.Move, Blocking, Record, Base + 100, Base + (5 * Page) + 77, 10_000)).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Accelerator.Run();
        bench.Completion().ShouldBe(new(DsaStatus.Success, 0, 10_000));
        SvaRig.Get(bench.Memory, Base + (5 * Page) + 77, 10_000).ShouldBe(data);
        bench.Accelerator.Statistics.PageWaits.ShouldBeGreaterThanOrEqualTo(4);
        bench.Accelerator.Pending.ShouldBe(0);
    }

    [Fact]
    public void Fill_compare_and_CRC32C_do_what_they_say()
    {
        using Bench bench = new(NewRig());
        bench.Do(new(DsaOperation.Fill, Blocking, Record, 0x0807_0605_0403_0201, Base + 3, 5000)).Status.ShouldBe(DsaStatus.Success);
        byte[] seen = SvaRig.Get(bench.Memory, Base + 3, 5000);
        for (int i = 0; i < seen.Length; i++)
        {
            seen[i].ShouldBe((byte)((i % 8) + 1));
        }

        bench.Do(new(DsaOperation.Move, Blocking, Record, Base + 3, Base + (4 * Page), 5000)).Completed.ShouldBe(5000u);
        bench.Do(new(DsaOperation.Compare, Blocking, Record, Base + 3, Base + (4 * Page), 5000)).Result.ShouldBe((byte)0);
        bench.Memory.Write(Base + (4 * Page) + 4321, [0xff]).ShouldBe(Errno.Success);
        DsaCompletion different = bench.Do(new(DsaOperation.Compare, Blocking, Record, Base + 3, Base + (4 * Page), 5000));
        (different.Result, different.Completed).ShouldBe(((byte)1, 4321u));

        // The check value of CRC-32C.
        bench.Memory.Write(Base, "123456789"u8).ShouldBe(Errno.Success);
        bench.Do(new(DsaOperation.Crc, Blocking, Record, Base, Length: 9)).Value.ShouldBe(0xE306_9283u);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void Without_block_on_fault_it_ends_at_the_missing_page_and_software_goes_on_from_there()
    {
        using Bench bench = new(NewRig());
        const DsaFlags flags = DsaFlags.CompletionAddressValid | DsaFlags.RequestCompletion;
        bench.Memory.Write(Base, Bytes(8192)).ShouldBe(Errno.Success);
        bench.Memory.Write(Base + (5 * Page), [0]).ShouldBe(Errno.Success);
        bench.Memory.Write(Record, [0]).ShouldBe(Errno.Success);
        DsaCompletion first = bench.Do(new(DsaOperation.Move, flags, Record, Base, Base + (5 * Page), 8192));
        first.ShouldBe(new(DsaStatus.PageFault, 0, 4096, Base + (6 * Page)) { IsWriteFault = true });
        bench.Memory.Write(first.FaultAddress, [0]).ShouldBe(Errno.Success);
        bench.Do(new(DsaOperation.Move, flags, Record, Base + 4096, Base + (6 * Page), 4096)).Status.ShouldBe(DsaStatus.Success);
        SvaRig.Get(bench.Memory, Base + (5 * Page), 8192).ShouldBe(Bytes(8192));
        bench.Accelerator.Statistics.PageWaits.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void A_wrong_pointer_ends_the_descriptor_with_its_address_and_nothing_else()
    {
        using Bench bench = new(NewRig());
        bench.Memory.Write(Base, [1]).ShouldBe(Errno.Success);
        bench.Do(new(DsaOperation.Move, Blocking, Record, Base, 0xbad_0000, 100))
            .ShouldBe(new(DsaStatus.PageRefused, 0, 0, 0xbad_0000) { IsWriteFault = true });
        bench.Submit(new(DsaOperation.None, Blocking, 0xbad_0000)).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Accelerator.Run();
        bench.Accelerator.Statistics.LostCompletions.ShouldBe(1);
        bench.Accelerator.Pending.ShouldBe(0);
        bench.Do(new((DsaOperation)99, Blocking, Record)).Status.ShouldBe(DsaStatus.BadOperation);
        bench.Do(new(DsaOperation.None, Blocking | (DsaFlags)0x100, Record)).Status.ShouldBe(DsaStatus.BadFlags);
    }

    [Fact]
    public void A_batch_works_in_order_and_reports_that_one_failed()
    {
        using Bench bench = new(NewRig());
        DsaDescriptor[] batch =
        [
            new(DsaOperation.Fill, Blocking, Record + 32, 0x4141_4141_4141_4141, Base + (2 * Page), 100),
            new(DsaOperation.Move, DsaFlags.BlockOnFault, 0, Base + (2 * Page), Base + (3 * Page), 100),
            new(DsaOperation.Move, Blocking, Record + 64, 0xdead_0000, Base, 8),
            new(DsaOperation.Batch, Blocking, Record + 96, Base, 0, 1),
            new(DsaOperation.Fill, DsaFlags.BlockOnFault, 0, 0x4242_4242_4242_4242, Base + (7 * Page), 8),
        ];
        byte[] bytes = new byte[batch.Length * DsaDescriptor.Size];
        for (int i = 0; i < batch.Length; i++)
        {
            batch[i].WriteTo(bytes.AsSpan(i * DsaDescriptor.Size));
        }

        bench.Memory.Write(Base + Page, bytes).ShouldBe(Errno.Success);
        bench.Do(new(DsaOperation.Batch, Blocking, Record, Base + Page, 0, 5)).ShouldBe(new(DsaStatus.BatchFailed, 0, 5));
        SvaRig.Get(bench.Memory, Base + (3 * Page), 100).ShouldAllBe(value => value == 0x41);
        SvaRig.Get(bench.Memory, Base + (7 * Page), 1)[0].ShouldBe((byte)0x42);
        bench.Completion(32).Status.ShouldBe(DsaStatus.Success);
        bench.Completion(64).ShouldBe(new(DsaStatus.PageRefused, 0, 0, 0xdead_0000));
        bench.Completion(96).Status.ShouldBe(DsaStatus.BadOperation);
        bench.Do(new(DsaOperation.Batch, Blocking, Record, 0xdead_0000, 0, 5)).ShouldBe(
            new(DsaStatus.BatchPageFault, 0, 0, 0xdead_0000));
    }

    [Fact]
    public void ENQCMD_is_retried_while_the_queue_is_full_and_the_PASID_is_the_threads()
    {
        using Bench bench = new(NewRig(), queueSize: 2);
        DsaDescriptor descriptor = new(DsaOperation.None, Blocking, Record);
        bench.Submit(descriptor).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Submit(descriptor).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Submit(descriptor).ShouldBe(DeferrableWriteResult.Retry);
        bench.Accelerator.Run();
        byte[] forged = new byte[64];
        descriptor.WriteTo(forged);
        forged[0] = 0x55;
        Recorder recorder = new();
        bench.Process.MainThread.Submit(recorder, forged).ShouldBe(DeferrableWriteResult.Accepted);
        recorder.First.ShouldBe(bench.Binding.Pasid.Value);
        DeferrableWrite.ExecuteSupervisor(recorder, forged).ShouldBe(DeferrableWriteResult.Accepted);
        recorder.First.ShouldBe(0x55u);
        forged[3] = 0x40;
        DeferrableWrite.ExecuteSupervisor(recorder, forged).ShouldBe(DeferrableWriteResult.Fault);
        bench.Process.MainThread.Submit(recorder, forged.AsSpan(1)).ShouldBe(DeferrableWriteResult.Fault);
    }

    [Fact]
    [Trait("Requirement", "S2.2")]
    [Trait("Requirement", "S2.5")]
    public void A_threads_first_ENQCMD_faults_and_the_fix_up_loads_the_PASID_of_the_process()
    {
        using Bench bench = new(NewRig());
        UserThread thread = bench.Process.StartThread();
        thread.Register.ShouldBe(default);
        byte[] bytes = new byte[64];
        new DsaDescriptor(DsaOperation.None, Blocking, Record).WriteTo(bytes);
        DeferrableWrite.Execute(thread.Register, bench.Portal, bytes).ShouldBe(DeferrableWriteResult.Fault);
        thread.Submit(bench.Portal, bytes).ShouldBe(DeferrableWriteResult.Accepted);
        thread.Submit(bench.Portal, bytes).ShouldBe(DeferrableWriteResult.Accepted);
        thread.FixUps.ShouldBe(1);

        // The hardware's valid bit is no part of the PASID.
        thread.Register.Value.ShouldBe(bench.Binding.Pasid.Value | 0x8000_0000);
        thread.Register.Pasid.ShouldBe(bench.Binding.Pasid);
        UserProcess stranger = new("stranger", bench.Rig.NewProcess());
        stranger.MainThread.Submit(bench.Portal, bytes).ShouldBe(DeferrableWriteResult.Fault);
        stranger.MainThread.FixUps.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S1.13")]
    [Trait("Requirement", "S1.14")]
    public void A_guests_ENQCMD_is_translated_or_exits_and_the_monitor_may_authorise_it_while_DMA_runs()
    {
        using Bench bench = new(NewRig());
        List<GuestPasid> exits = [];
        VmPasidTable? machine = null;
        bool authorises = false;
        machine = new(guest =>
        {
            exits.Add(guest);
            if (authorises)
            {
                machine!.Map(guest, bench.Binding.Ioasid).ShouldBe(Errno.Success);
            }
        });
        using VmPasidTable table = machine;
        byte[] bytes = new byte[64];
        bench.Memory.Write(Base, [7]).ShouldBe(Errno.Success);
        new DsaDescriptor(DsaOperation.Move, Blocking, Record, Base, Base + Page, 1).WriteTo(bytes);
        DeferrableWrite.ExecuteInGuest(table, new(3), bench.Portal, bytes).ShouldBe(DeferrableWriteResult.VmExit);
        exits.ShouldBe([new(3)]);
        bench.Accelerator.Statistics.Accepted.ShouldBe(0);

        // Meanwhile the process's own work is under way; the guest executes the instruction again after the exit.
        bench.Submit(new(DsaOperation.Fill, Blocking, Record + 32, 9, Base + (3 * Page), 20_000)).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Accelerator.Step().ShouldBeTrue();
        authorises = true;
        DeferrableWrite.ExecuteInGuest(table, new(3), bench.Portal, bytes).ShouldBe(DeferrableWriteResult.VmExit);
        DeferrableWrite.ExecuteInGuest(table, new(3), bench.Portal, bytes).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Accelerator.Run();
        SvaRig.Get(bench.Memory, Base + Page, 1)[0].ShouldBe((byte)7);
        table.Unmap(new(3)).ShouldBe(Errno.Success);
        DeferrableWrite.ExecuteInGuest(table, new(3), bench.Portal, bytes).ShouldBe(DeferrableWriteResult.VmExit);
    }

    [Fact]
    public void A_drain_completes_after_what_its_process_gave_before_and_not_after_what_others_gave()
    {
        using Bench bench = new(NewRig(dispatch: PageRequestDispatch.Manual));
        bench.Submit(new(DsaOperation.Fill, Blocking, Record + 32, 1, Base, 100)).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Submit(new(DsaOperation.Drain, Blocking, Record)).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Accelerator.Run();
        bench.Completion().Status.ShouldBe(DsaStatus.None);
        bench.RunWithHandlers();
        bench.Completion().Status.ShouldBe(DsaStatus.Success);
        bench.Completion(32).Status.ShouldBe(DsaStatus.Success);
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void The_end_of_a_process_drops_its_descriptors_and_leaves_those_of_others()
    {
        using Bench bench = new(NewRig(dispatch: PageRequestDispatch.Manual));
        UserProcess other = new("other", bench.Rig.NewProcess());
        using SvaBinding others = bench.Rig.Bind(bench.Endpoint, other.AddressSpace);
        bench.Submit(new(DsaOperation.Fill, Blocking, Record, 1, Base, 8192)).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Submit(new(DsaOperation.Fill, Blocking, Record, 2, Base, 8192), other).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Accelerator.Step().ShouldBeTrue();
        bench.Process.Exit().ShouldBe(Errno.Success);
        bench.Accelerator.Statistics.Aborted.ShouldBe(1);
        bench.Binding.Ioasid.State.ShouldBe(IoasidState.Parked);
        bench.Submit(new(DsaOperation.None, Blocking, Record)).ShouldBe(DeferrableWriteResult.Fault);
        bench.RunWithHandlers();
        SvaRig.Get(other.AddressSpace, Base + 8184, 1)[0].ShouldBe((byte)2);
        bench.Binding.Unbind().ShouldBe(Errno.Success);
        bench.Rig.Allocator.Find(bench.Binding.Pasid).IsNone.ShouldBeTrue();

        // The number may be another's now, whose descriptors are taken.
        UserProcess heir = new("heir", bench.Rig.NewProcess());
        bench.Rig.Set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = bench.Binding.Pasid }, out Ioasid reused).ShouldBe(Errno.Success);
        reused.Free().ShouldBe(Errno.Success);
        using SvaBinding fresh = bench.Rig.Bind(bench.Endpoint, heir.AddressSpace);
        bench.Submit(new(DsaOperation.None, Blocking, Record), heir).ShouldBe(DeferrableWriteResult.Accepted);
    }

    [Fact]
    public void Processes_take_turns_and_a_fault_of_one_holds_up_nobody()
    {
        using Bench bench = new(NewRig(dispatch: PageRequestDispatch.Manual));
        UserProcess other = new("other", bench.Rig.NewProcess());
        using SvaBinding others = bench.Rig.Bind(bench.Endpoint, other.AddressSpace);
        other.AddressSpace.Write(Base, new byte[8192]).ShouldBe(Errno.Success);
        other.AddressSpace.Write(Record, [0]).ShouldBe(Errno.Success);
        bench.Submit(new(DsaOperation.Fill, Blocking, Record, 1, Base, 8192)).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Submit(new(DsaOperation.Fill, Blocking, Record, 2, Base, 8192), other).ShouldBe(DeferrableWriteResult.Accepted);
        bench.Accelerator.Run();
        DsaCompletion.Read(SvaRig.Get(other.AddressSpace, Record, 32)).Status.ShouldBe(DsaStatus.Success);
        bench.Accelerator.Pending.ShouldBe(1);
        bench.RunWithHandlers();
        bench.Completion().Status.ShouldBe(DsaStatus.Success);
    }

    [Fact]
    public void Everything_is_worked_off_by_itself_with_handlers_on_other_threads()
    {
        using Bench bench = new(NewRig(dispatch: PageRequestDispatch.Worker), pages: 400, isStepped: false);
        for (int i = 0; i < 300; i++)
        {
            DsaDescriptor fill = new(DsaOperation.Fill, Blocking, Record + (32ul * (ulong)(i % 100)), (ulong)i, Base + ((20 + (ulong)i) * Page), 4096);
            while (bench.Submit(fill) == DeferrableWriteResult.Retry)
            {
                Thread.Yield();
            }
        }

        SpinWait.SpinUntil(() => bench.Accelerator.Pending == 0, TimeSpan.FromMinutes(5)).ShouldBeTrue(bench.Accelerator.Statistics.ToString());
        for (int i = 0; i < 300; i++)
        {
            BitConverter.ToUInt64(SvaRig.Get(bench.Memory, Base + ((20 + (ulong)i) * Page), 8)).ShouldBe((ulong)i);
        }

        bench.Process.Exit().ShouldBe(Errno.Success);
        bench.Rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void A_device_without_ATS_works_with_pages_that_are_there_and_ends_at_others()
    {
        using Bench bench = new(NewRig(), pageRequests: false);
        bench.Memory.Write(Record, [0]).ShouldBe(Errno.Success);
        bench.Memory.Write(Base, [42]).ShouldBe(Errno.Success);
        bench.Memory.Write(Base + Page, [0]).ShouldBe(Errno.Success);
        const DsaFlags flags = DsaFlags.CompletionAddressValid | DsaFlags.RequestCompletion;
        bench.Do(new(DsaOperation.Move, flags, Record, Base, Base + Page, 1)).Status.ShouldBe(DsaStatus.Success);
        SvaRig.Get(bench.Memory, Base + Page, 1)[0].ShouldBe((byte)42);
        bench.Do(new(DsaOperation.Move, flags, Record, Base, Base + (2 * Page), 1))
            .ShouldBe(new(DsaStatus.BusError, 0, 0, Base + (2 * Page)) { IsWriteFault = true });
        bench.Do(new(DsaOperation.Move, Blocking, Record, Base, Base + Page, 1)).Status.ShouldBe(DsaStatus.BadFlags);
        bench.Rig.Platform.FaultCount.ShouldBeGreaterThan(0);
    }

    private static byte[] Bytes(int count) => [.. Enumerable.Range(0, count).Select(static i => (byte)((i * 31) + (i >> 8)))];

    private sealed class Recorder : ISharedWorkQueue
    {
        public uint First { get; private set; }

        public bool TryEnqueue(ReadOnlySpan<byte> command)
        {
            First = BitConverter.ToUInt32(command);
            return true;
        }
    }

    /// <summary>A process bound to an accelerator.</summary>
    private sealed class Bench : IDisposable
    {
        public Bench(
            SvaRig rig, int queueSize = 64, ulong pages = 16, bool pageRequests = true, bool isStepped = true)
        {
            Rig = rig;
            Accelerator = new(new() { HasAts = pageRequests, HasPageRequests = pageRequests, IsStepped = isStepped });
            Endpoint = Rig.AddAccelerator(Accelerator, queueSize);
            Portal = Accelerator.GetPortal(0);
            Process = new("process", Rig.NewProcess(pages));
            Binding = Rig.Bind(Endpoint, Process.AddressSpace);
        }

        public SvaRig Rig { get; }

        public EmbeddedEndpoint Endpoint { get; }

        public DsaDevice Accelerator { get; }

        public ISharedWorkQueue Portal { get; }

        public UserProcess Process { get; }

        public DemandPagedAddressSpace Memory => Process.AddressSpace;

        public SvaBinding Binding { get; }

        public DeferrableWriteResult Submit(in DsaDescriptor descriptor, UserProcess? process = null)
        {
            Span<byte> bytes = stackalloc byte[64];
            descriptor.WriteTo(bytes);
            return (process ?? Process).StartThread().Submit(Portal, bytes);
        }

        public DsaCompletion Completion(ulong offset = 0) =>
            DsaCompletion.Read(SvaRig.Get(Memory, Record + offset, 32));

        public DsaCompletion Do(in DsaDescriptor descriptor)
        {
            Submit(descriptor).ShouldBe(DeferrableWriteResult.Accepted);
            Accelerator.Run();
            Accelerator.Pending.ShouldBe(0);
            return Completion();
        }

        /// <summary>Device and handlers in turn, until both are done.</summary>
        public void RunWithHandlers()
        {
            while (Accelerator.Run() > 0 || Rig.Platform.Driver.PageRequests.TryRun())
            {
            }
        }

        public void Dispose()
        {
            Accelerator.Dispose();
            Rig.Dispose();
        }
    }
}
