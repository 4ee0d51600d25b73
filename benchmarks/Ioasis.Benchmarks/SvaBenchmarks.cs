using BenchmarkDotNet.Attributes;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.PageTables.Formats;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Benchmarks;

/// <summary>Binding processes, and the round trip of an I/O page fault, in one process.</summary>
[MemoryDiagnoser]
public class SvaBenchmarks : IDisposable
{
    private const ulong Base = 0x40_0000;
    private const int Batch = 256;
    private static readonly byte[] s_byte = [1];

    private readonly DemandPagedAddressSpace[] _fresh = new DemandPagedAddressSpace[Batch];
    private readonly SvaBinding?[] _bindings = new SvaBinding?[Batch];
    private EmbeddedPlatform _platform = null!;
    private EmbeddedEndpoint _device = null!;
    private PageFrames _frames = null!;
    private SvaManager _manager = null!;
    private DemandPagedAddressSpace _process = null!;
    private SvaBinding _binding = null!;

    /// <summary>Where the handler of page requests runs.</summary>
    [Params(nameof(PageRequestDispatch.Inline), nameof(PageRequestDispatch.Worker))]
    public string Dispatch { get; set; } = nameof(PageRequestDispatch.Inline);

    [GlobalSetup]
    public void SetUp()
    {
        _platform = new(new() { UserMemory = new IdentityUserMemory(), PhysicalBits = 46, Caching = CachingMode.Realistic });
        _platform.Driver.PageRequests.Options = new() { Dispatch = Enum.Parse<PageRequestDispatch>(Dispatch) };
        _device = _platform.AddEndpoint(new(0x18), new() { PasidBits = 20, PageRequests = true });
        _frames = new(_platform.PhysicalMemory, new RangePageAllocator(_platform.PhysicalMemory, new(1ul << 32, (1ul << 34) - 1)));
        PasidAllocator allocator = new();
        Must(allocator.TryCreateSet(new() { Quota = 100_000 }, out PasidSet? set));
        _manager = new(set!);
        _process = NewProcess();
        Must(_manager.Bind(_device.Device, _process, null, out SvaBinding? binding));
        _binding = binding!;
        Must(_process.Write(Base, s_byte));
    }

    [IterationSetup(Target = nameof(FirstBind))]
    public void MakeProcesses()
    {
        for (int i = 0; i < Batch; i++)
        {
            _fresh[i] = NewProcess();
        }
    }

    /// <summary>The first bind of a process: PASID, domain, PSCID, process context.</summary>
    [Benchmark(OperationsPerInvoke = Batch)]
    public void FirstBind()
    {
        for (int i = 0; i < Batch; i++)
        {
            Must(_manager.Bind(_device.Device, _fresh[i], null, out _bindings[i]));
        }
    }

    [IterationCleanup(Target = nameof(FirstBind))]
    public void EndProcesses()
    {
        for (int i = 0; i < Batch; i++)
        {
            Must(_fresh[i].Exit());
            Must(_bindings[i]!.Unbind());
        }
    }

    /// <summary>One more handle for a device that is attached, and its end.</summary>
    [Benchmark]
    public void RepeatedBind()
    {
        Must(_manager.Bind(_device.Device, _process, null, out SvaBinding? binding));
        Must(binding!.Unbind());
    }

    /// <summary>
    /// A device's access to a page that is in memory and not in the table: translation request, page request, queue, handler,
    /// response, retry. The page is taken out of the table between the accesses, which is part of the time.
    /// </summary>
    [Benchmark]
    public void FaultRoundTrip()
    {
        Must(_process.Protect(Base, 4096, Access.ReadWrite));
        TouchPage();
    }

    /// <summary>What <see cref="FaultRoundTrip"/> spends on taking the page out and telling IOMMU and device.</summary>
    [Benchmark(Baseline = true)]
    public void TakePageAway()
    {
        Must(_process.Protect(Base, 4096, Access.ReadWrite));
        Must(_process.HandleFault(Base, Access.Write));
        _ = _device.Ats!.Write(_binding.Pasid, Base, s_byte, out _);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _platform?.Dispose();
        GC.SuppressFinalize(this);
    }

    private void TouchPage()
    {
        while (_device.Ats!.Write(_binding.Pasid, Base, s_byte, out _) != AtsStatus.Success)
        {
            Must(_device.Ats.RequestPage(_binding.Pasid, Base, Access.Write, out PageTicket? ticket));
            SpinWait spin = default;
            while (!ticket!.IsAnswered)
            {
                spin.SpinOnce(sleep1Threshold: -1);
            }
        }
    }

    private DemandPagedAddressSpace NewProcess()
    {
        Must(DemandPagedAddressSpace.TryCreate(_frames, PageTableFormat.Of<Sv48>(), out DemandPagedAddressSpace? process));
        Must(process!.Map(Base, 16 * 4096, Access.ReadWrite));
        return process;
    }

    private static void Must(Errno error)
    {
        if (error != Errno.Success)
        {
            throw new InvalidOperationException($"{error}");
        }
    }
}
