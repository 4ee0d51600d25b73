using System.Globalization;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Cli.Demo;

/// <summary>How the story is told.</summary>
internal sealed record SvaDemoOptions
{
    /// <summary>Decides everything that is not said.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Less of everything.</summary>
    public bool Quick { get; init; }

    /// <summary>The IOMMU.</summary>
    public IommuSlot Iommu { get; init; } = new RiscVIommuSlot();

    /// <summary>Changes the machine before it is made.</summary>
    public Func<EmbeddedPlatformOptions, EmbeddedPlatformOptions> Machine { get; init; } = static options => options;
}

/// <summary>
/// Shared virtual addressing, told and checked: guests with quotas, ENQCMD through their PASID tables, authorisation at run
/// time, demand faults, pages taken away, a process killed with its jobs in flight, and nothing reused early.
/// </summary>
internal sealed class SvaDemo : IDisposable
{
    private const byte CanaryByte = 0xC5;
    private const ulong CanaryBase = 0x7000_0000;

    private readonly SvaDemoOptions _options;
    private readonly TextWriter _out;
    private readonly Random _random;
    private readonly EmbeddedPlatform _platform;
    private readonly RangePageAllocator _pages;
    private readonly PageFrames _frames;
    private readonly PasidAllocator _allocator = new();
    private readonly EmbeddedEndpoint _endpoint;
    private readonly DsaDevice _accelerator = new(new() { IsStepped = true });
    private readonly ISharedWorkQueue _portal;
    private readonly SvaGuest _red;
    private readonly SvaGuest _blue;
    private readonly List<SvaWorker> _workers = [];
    private readonly DemandPagedAddressSpace _canary;
    private int _canaryPages;
    private int _failures;
    private int _checks;

    public SvaDemo(SvaDemoOptions options, TextWriter output)
    {
        _options = options;
        _out = output;
        _random = new(options.Seed);
        _platform = new(options.Machine(
            new()
            {
                Iommus = [options.Iommu], UserMemory = new IdentityUserMemory(), PhysicalBits = 46, Caching = CachingMode.Hostile,
            }));
        _platform.Driver.PageRequests.Options = new() { Dispatch = PageRequestDispatch.Manual };
        _pages = new(_platform.PhysicalMemory, new(1ul << 32, (1ul << 33) - 1));
        _frames = new(_platform.DriverMemory, _pages);
        _endpoint = _platform.AddDevice(_accelerator, DeviceId.FromPci(0, 0, 6, 0), new() { PageResponsesNeedPasid = true });
        DsaSetup.Enable(_accelerator, new DsaQueueSetup { IsShared = true, Entries = 4, BlockOnFault = true });
        _portal = _accelerator.GetPortal(0);
        _red = new("red", _allocator, 4);
        _blue = new("blue", _allocator, 2);
        _canary = NewMemory();
    }

    /// <summary>What the story needs and the IOMMU has not; null if it has everything.</summary>
    public static string? ReasonToRefuse(SvaDemoOptions options)
    {
        using EmbeddedPlatform platform = new(options.Machine(new() { Iommus = [options.Iommu], UserMemory = new IdentityUserMemory(), PhysicalBits = 46 }));
        IommuCapabilities has = platform.Driver.Capabilities;
        return has.PasidBits == 0 ? "PASIDs"
            : !has.PageRequests ? "page requests"
            : has.ProcessFormats.Count == 0 ? "page tables that it shares with processes"
            : null;
    }

    /// <summary>Tells the story.</summary>
    /// <returns>Whether every check held.</returns>
    public bool Run()
    {
        Say($"An IOMMU ({_platform.Iommu.Kind}) whose caches never forget by themselves, and a Data Streaming Accelerator with a shared work queue of 4.");
        Say($"Guest red may have {_red.Set.Quota} PASIDs, guest blue {_blue.Set.Quota}. Processes work with their own addresses; seed {_options.Seed}.");
        Say("Every line that begins with ok was checked.");
        for (int i = 0; i < 3; i++)
        {
            AddWorker(_red, $"red/{i}", new((uint)(5 + i)));
        }

        for (int i = 0; i < 3; i++)
        {
            AddWorker(_blue, $"blue/{i}", new((uint)(5 + i)));
        }

        Title("Authorisation at run time");
        int jobs = _options.Quick ? 10 : 120;
        Say("A process gives the device a job by ENQCMD, with the PASID that its guest knows. While the machine's table has no entry for");
        Say("it, the processor leaves the guest: the monitor takes a PASID from the guest's quota, binds the process's page table to the");
        Say("device under it, and fills the entry in; the process tries again, while the jobs of the others go on.");
        Work(jobs, takesPages: false);
        Check(_workers.Count(static w => w.Binding is not null) == 5, "five processes have a PASID, each since its first ENQCMD");
        Check(_workers.Count(static w => w.IsRefused) == 1 && _blue.Set.Count == 2, "the sixth would exceed blue's quota of 2 and was refused");
        Check(_workers.Where(static w => w.Binding is not null).Select(static w => w.Binding!.Pasid).Distinct().Count() == 5, "guests use the same guest PASIDs, the device sees five different ones");
        CheckMemory();

        Title("Memory that comes and goes");
        Say($"Each process has {jobs} jobs more done. Meanwhile its pages are swapped out, or given back and handed to somebody else, who fills");
        Say("them with a pattern: a translation that anybody had kept would spoil it.");
        Work(jobs, takesPages: true);
        Say($"{_canaryPages} pages that were taken from processes belong to somebody else now.");
        CheckMemory();

        Title("A process is killed with its jobs in flight");
        Kill(_workers[1]);
        Work(jobs, takesPages: true);
        CheckMemory();

        Title("The end");
        Finish();
        DsaStatistics done = _accelerator.Statistics;
        PageRequestStatistics pages = _platform.Driver.PageRequests.Statistics;
        Say($"{done.Completed} jobs with {done.Bytes / 1024} KiB; {done.Refused} times the queue was full and ENQCMD was tried again.");
        Say($"{pages.Requests} page requests: {pages.Answered} answered by their process, {pages.Canceled} because it was killed, {pages.Unhandled} with the PASID of the dead.");
        Say(_failures == 0 ? $"All {_checks} checks hold." : $"{_failures} of {_checks} checks FAILED.");
        return _failures == 0;
    }

    public void Dispose()
    {
        _accelerator.Dispose();
        _red.Dispose();
        _blue.Dispose();
        _platform.Dispose();
    }

    private DemandPagedAddressSpace NewMemory()
    {
        Errno error = DemandPagedAddressSpace.TryCreate(_frames, _platform.Driver.Capabilities.ProcessFormats[0], out DemandPagedAddressSpace? memory);
        return error == Errno.Success ? memory! : throw new InvalidOperationException($"No memory for a process: {error}.");
    }

    private void AddWorker(SvaGuest guest, string name, GuestPasid pasid) =>
        _workers.Add(new(guest, name, pasid, NewMemory(), _random.Next()));

    // Until every living process has done so many jobs more. What happens next is drawn: a piece of the device's work, a page
    // request on its way, a process that submits or looks.
    private void Work(int jobs, bool takesPages)
    {
        Dictionary<SvaWorker, int> goals = _workers.ToDictionary(static w => w, w => w.JobsDone + jobs);
        bool IsDone(SvaWorker worker) => worker.IsDead || worker.IsRefused || (worker.JobsDone >= goals[worker] && !worker.IsBusy);
        for (int turn = 0; !_workers.TrueForAll(IsDone); turn++)
        {
            if (turn > 10_000_000)
            {
                Check(false, "every job ends");
                return;
            }

            switch (_random.Next(4))
            {
                case 0:
                    _ = _accelerator.Step();
                    break;
                case 1:
                    _ = _platform.Driver.PageRequests.TryRun();
                    break;
                default:
                    SvaWorker worker = _workers[_random.Next(_workers.Count)];
                    if (!IsDone(worker))
                    {
                        Advance(worker, takesPages);
                    }

                    break;
            }
        }
    }

    private void Advance(SvaWorker worker, bool takesPages)
    {
        if (worker.IsBusy)
        {
            if (worker.Poll() is { Length: > 0 } wrong)
            {
                Check(false, $"{worker.Process.Name}: {wrong}");
            }

            return;
        }

        if (takesPages && _random.Next(4) == 0)
        {
            TakePages(worker);
        }

        if (worker.Submit(_portal) == DeferrableWriteResult.VmExit)
        {
            Authorise(worker);
        }
    }

    // What a monitor does when its guest's virtual IOMMU wants a PASID: allocate within the quota, bind, map in the guest's table.
    private void Authorise(SvaWorker worker)
    {
        SvaGuest guest = worker.Guest;
        GuestPasid pasid = guest.LastExit ?? worker.Pasid;
        guest.LastExit = null;
        Errno error = guest.Manager.Bind(_endpoint.Device, worker.Memory, worker, out SvaBinding? binding);
        if (error != Errno.Success)
        {
            worker.IsRefused = true;
            string why = error == Errno.NoSpace ? $"the quota of guest {guest.Name} is used up" : "it cannot be bound";
            Say($"  no    {worker.Process.Name}, guest PASID {pasid}: the processor leaves the guest; the monitor refuses, for {why} ({error})");
            return;
        }

        error = guest.Table.Map(pasid, binding!.Ioasid);
        Check(error == Errno.Success, $"{worker.Process.Name}, guest PASID {pasid}: the processor leaves the guest; the monitor gives PASID {binding.Pasid}");
        worker.Binding = binding;
    }

    // Pages go while the device knows them: to swap space, or to somebody else for good.
    private void TakePages(SvaWorker worker)
    {
        int page = _random.Next(SvaWorker.Pages - 2);
        if (_random.Next(2) == 0)
        {
            _ = worker.Memory.SwapOut(SvaWorker.Base + ((ulong)page * 4096), 8192, out _);
            return;
        }

        int before = _frames.Count;
        if (worker.Renew(page, 2) != Errno.Success)
        {
            Check(false, $"{worker.Process.Name}: pages can be given back");
        }

        GiveToCanary(before - _frames.Count);
    }

    private void GiveToCanary(int pages)
    {
        for (int i = 0; i < pages; i++)
        {
            ulong at = CanaryBase + ((ulong)_canaryPages++ * 4096);
            byte[] pattern = new byte[4096];
            Array.Fill(pattern, CanaryByte);
            _ = _canary.Map(at, 4096, Access.ReadWrite);
            _ = _canary.Write(at, pattern);
        }
    }

    private void Kill(SvaWorker victim)
    {
        // Several jobs that wait for pages: its memory is in swap space.
        _ = victim.Memory.SwapOut(SvaWorker.Base, SvaWorker.Pages * 4096, out _);
        while (_accelerator.Pending < 3 && victim.Submit(_portal) == DeferrableWriteResult.Accepted)
        {
        }

        _ = _accelerator.Run();

        Ioasid ioasid = victim.Binding!.Ioasid;
        long aborted = _accelerator.Statistics.Aborted;
        int before = _frames.Count;
        Say($"{victim.Process.Name} has PASID {ioasid.Pasid}; {_accelerator.Pending} jobs are with the device, {_endpoint.Ats!.PendingCount} pages asked for.");
        Errno error = victim.Process.Exit();
        victim.IsDead = true;
        Check(error == Errno.Success, "the process ended: its DMA was stopped, its jobs dropped, its page requests answered");
        Check(_platform.Driver.PageRequests.Statistics.Canceled > 0 && _endpoint.Ats.PendingCount == 0, "nothing that the device asked for is left without an answer");
        Check(_accelerator.Statistics.Aborted > aborted, $"{_accelerator.Statistics.Aborted - aborted} jobs were dropped without a completion record");
        GiveToCanary(before - _frames.Count);
        Check(ioasid.State == IoasidState.Parked, "its PASID is parked, because the monitor still holds it");
        Check(
            _red.Set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = ioasid.Pasid }, out _) == Errno.Exists,
            "so its number is given to nobody");
        bool reaches = _endpoint.Ats.Write(ioasid.Pasid, SvaWorker.Base, [1], out _) == AtsStatus.Success;
        _ = _endpoint.Ats.RequestPage(ioasid.Pasid, SvaWorker.Base, Access.Write, out PageTicket? ticket);
        Check(!reaches && ticket is { IsAnswered: true, IsSuccess: false }, "the device gets nowhere with the old PASID, neither by access nor by page request");
        Check(victim.Submit(_portal) == DeferrableWriteResult.VmExit, "and the guest's old PASID no longer reaches the device");
        Check(victim.Binding.Unbind() == Errno.Success && victim.Guest.Table.Unmap(victim.Pasid) is Errno.Success or Errno.NoEntry, "the monitor lets go");
        Check(ioasid.State == IoasidState.Free, "now, after stop and drain, the PASID is free");
        AddWorker(_red, "red/3", new(9));
    }

    private void CheckMemory()
    {
        Check(
            _workers.Where(static w => !w.IsDead && !w.IsBusy).All(static w => w.IsIntact()),
            "every process's memory holds, byte for byte, what it must");
        bool intact = true;
        byte[] seen = new byte[4096];
        for (int i = 0; i < _canaryPages; i++)
        {
            intact &= _canary.Read(CanaryBase + ((ulong)i * 4096), seen) == Errno.Success && seen.AsSpan().IndexOfAnyExcept(CanaryByte) < 0;
        }

        Check(intact, "no page that was taken away was touched again");
    }

    private void Finish()
    {
        foreach (SvaWorker worker in _workers.Where(static w => !w.IsDead))
        {
            Check(worker.Process.Exit() == Errno.Success, worker.IsRefused
                ? $"{worker.Process.Name} ends, which never had a PASID"
                : $"{worker.Process.Name} ends after {worker.JobsDone} jobs, {worker.BytesDone / 1024} KiB");
            _ = worker.Binding?.Unbind();
            _ = worker.Guest.Table.Unmap(worker.Pasid);
        }

        _ = _canary.Exit();
        PasidAudit audit = _allocator.Audit;
        Check(audit is { Live: 0, Parked: 0 }, "no PASID is left");
        Check(_platform.Driver.Usage.AddressSpaces == 0, "no address space is left in the IOMMU");
        Check(_pages.AllocatedBytes == 0 && _frames.SwappedCount == 0, "no page is left in memory or swap space");
        Check(_platform.Driver.PageRequests.Statistics.Waiting == 0, "no page request is left without an answer");
    }

    private void Title(string text)
    {
        _out.WriteLine();
        _out.WriteLine(text);
    }

    private void Say(FormattableString text) => _out.WriteLine(text.ToString(CultureInfo.InvariantCulture));

    private void Say(string text) => _out.WriteLine(text);

    private void Check(bool holds, FormattableString text) => Check(holds, text.ToString(CultureInfo.InvariantCulture));

    private void Check(bool holds, string text)
    {
        _checks++;
        _failures += holds ? 0 : 1;
        _out.WriteLine($"  {(holds ? "ok  " : "FAIL")}  {text}");
    }
}
