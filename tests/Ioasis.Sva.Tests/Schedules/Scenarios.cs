using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;

namespace Ioasis.Sva.Tests.Schedules;

/// <summary>A process ends while a device writes to its memory (S2.1).</summary>
internal sealed class ExitAgainstDma : SvaScenario
{
    private readonly SvaBinding _binding;
    private bool _ended;

    public ExitAgainstDma()
    {
        (EndpointAts ats, IommuDevice device) = AddDevice(1);
        DemandPagedAddressSpace mm = NewProcess();
        _binding = Bind(device, mm);
        Dma(ats, _binding.Pasid, Base).ShouldBeTrue();
        AddThread("exit", () =>
        {
            mm.Exit().ShouldBe(Errno.Success);
            _ended = true;
        });
        AddThread("device", () => Until(() => _ended, () =>
        {
            _ = Dma(ats, _binding.Pasid, Base);
            _ = Dma(ats, _binding.Pasid, Base + Size);
        }));
    }

    public override void CheckAtEnd()
    {
        _binding.Ioasid.State.ShouldBe(IoasidState.Parked);
        _binding.Unbind().ShouldBe(Errno.Success);
        ShouldBeEmpty(devices: 1);
    }
}

/// <summary>A process ends under a domain that was attached by hand, while a device writes to its memory.</summary>
internal sealed class ExitUnderDomain : SvaScenario
{
    private static readonly Pasid s_pasid = new(9);

    private readonly IommuDevice _device;
    private readonly SvaDomain _domain;
    private bool _ended;

    public ExitUnderDomain()
    {
        (EndpointAts ats, _device) = AddDevice(1);
        DemandPagedAddressSpace mm = NewProcess();
        Driver.TryAllocateSvaDomain(_device, mm, out SvaDomain? domain).ShouldBe(Errno.Success);
        _domain = domain!;
        _device.Group.AttachPasid(s_pasid, _domain).ShouldBe(Errno.Success);
        Dma(ats, s_pasid, Base).ShouldBeTrue();
        AddThread("exit", () =>
        {
            mm.Exit().ShouldBe(Errno.Success);
            _ended = true;
        });
        AddThread("device", () => Until(() => _ended, () => Dma(ats, s_pasid, Base)));
        AddThread("detach", () =>
        {
            _device.Group.DetachPasid(s_pasid).ShouldBe(Errno.Success);
            _domain.Dispose();
        });
    }

    public override void CheckAtEnd() => ShouldBeEmpty(devices: 1);
}

/// <summary>A process is bound while it ends.</summary>
internal sealed class BindAgainstExit : SvaScenario
{
    private readonly DemandPagedAddressSpace _mm;
    private SvaBinding? _binding;

    public BindAgainstExit(bool isPrivate)
    {
        (EndpointAts ats, IommuDevice device) = AddDevice(1);
        _mm = NewProcess();
        AddThread("bind", () =>
        {
            Errno error = isPrivate
                ? Manager.BindPrivate(device, _mm, null, out _binding)
                : Manager.Bind(device, _mm, null, out _binding);
            error.ShouldBeOneOf(Errno.Success, Errno.NoEntry);
            if (error == Errno.Success)
            {
                _ = Dma(ats, _binding!.Pasid, Base);
            }
        });
        AddThread("exit", () => _mm.Exit().ShouldBe(Errno.Success));
    }

    public override void CheckAtEnd()
    {
        (_binding?.IsAttached ?? false).ShouldBeFalse();
        (_binding?.Unbind() ?? Errno.Success).ShouldBe(Errno.Success);
        ShouldBeEmpty(devices: 1);
    }
}

/// <summary>Two first binds of a process, and its end.</summary>
internal sealed class TwoBindsAgainstExit : SvaScenario
{
    private readonly SvaBinding?[] _bindings = new SvaBinding?[2];

    public TwoBindsAgainstExit()
    {
        DemandPagedAddressSpace mm = NewProcess();
        (EndpointAts Ats, IommuDevice Device)[] devices = [AddDevice(1), AddDevice(2)];
        for (int i = 0; i < 2; i++)
        {
            int who = i;
            AddThread($"bind{i}", () =>
                Manager.Bind(devices[who].Device, mm, null, out _bindings[who]).ShouldBeOneOf(Errno.Success, Errno.NoEntry));
        }

        AddThread("exit", () => mm.Exit().ShouldBe(Errno.Success));
    }

    public override void CheckAtEnd()
    {
        _bindings.ShouldAllBe(static binding => binding == null || !binding.IsAttached);
        _bindings.ShouldAllBe(static binding => binding == null || binding.Unbind() == Errno.Success);
        ShouldBeEmpty(devices: 2);
    }
}

/// <summary>The last handle goes while the process ends.</summary>
internal sealed class UnbindAgainstExit : SvaScenario
{
    public UnbindAgainstExit(bool isPrivate)
    {
        (EndpointAts ats, IommuDevice device) = AddDevice(1);
        DemandPagedAddressSpace mm = NewProcess();
        SvaBinding? binding = null;
        (isPrivate ? Manager.BindPrivate(device, mm, null, out binding) : Manager.Bind(device, mm, null, out binding))
            .ShouldBe(Errno.Success);
        Dma(ats, binding!.Pasid, Base).ShouldBeTrue();
        AddThread("unbind", () => binding.Unbind().ShouldBe(Errno.Success));
        AddThread("exit", () => mm.Exit().ShouldBe(Errno.Success));
        AddThread("device", () => _ = Dma(ats, binding.Pasid, Base));
    }

    public override void CheckAtEnd() => ShouldBeEmpty(devices: 1);
}

/// <summary>The last handle goes while a device's page request is being served.</summary>
internal sealed class UnbindAgainstPageResponse : SvaScenario
{
    private readonly DemandPagedAddressSpace _mm;
    private readonly PageTicket?[] _tickets = new PageTicket?[2];
    private int _answers;
    private bool _unbound;

    public UnbindAgainstPageResponse()
        : base(dispatch: PageRequestDispatch.Manual)
    {
        (EndpointAts ats, IommuDevice device) = AddDevice(1);
        _mm = NewProcess();
        SvaBinding binding = Bind(device, _mm);
        AddThread("device", () =>
        {
            for (int i = 0; i < 2; i++)
            {
                ats.RequestPage(binding.Pasid, Base + ((ulong)i * Size), Access.Write, out _tickets[i], _ => _answers++).ShouldBe(Errno.Success);
            }
        });
        AddThread("handler", () => Until(() => _unbound, () => Driver.PageRequests.TryRun()));
        AddThread("unbind", () =>
        {
            binding.Unbind().ShouldBe(Errno.Success);
            _unbound = true;
        });
    }

    public override void CheckAtEnd()
    {
        _tickets.ShouldAllBe(static ticket => ticket!.IsAnswered);
        _answers.ShouldBe(2, "each request is answered once");
        Driver.PageRequests.Statistics.Waiting.ShouldBe(0);
        _mm.Exit().ShouldBe(Errno.Success);
        ShouldBeEmpty(devices: 1);
    }
}

/// <summary>Two threads bind a process for the first time, on two devices (S2.2).</summary>
internal sealed class TwoFirstBinds : SvaScenario
{
    private readonly DemandPagedAddressSpace _mm;
    private readonly SvaBinding?[] _bindings = new SvaBinding?[2];

    public TwoFirstBinds(bool sameDevice)
    {
        _mm = NewProcess();
        (EndpointAts Ats, IommuDevice Device)[] devices = [AddDevice(1), AddDevice(2)];
        for (int i = 0; i < 2; i++)
        {
            int who = i;
            AddThread($"bind{i}", () =>
            {
                (EndpointAts ats, IommuDevice device) = devices[sameDevice ? 0 : who];
                Manager.Bind(device, _mm, null, out _bindings[who]).ShouldBe(Errno.Success);
                Dma(ats, _bindings[who]!.Pasid, Base).ShouldBeTrue();
            });
        }
    }

    public override void CheckAtEnd()
    {
        _bindings[1]!.Pasid.ShouldBe(_bindings[0]!.Pasid);
        Allocator.Audit.Live.ShouldBe(1);
        Driver.Statistics.PscidsInUse.ShouldBe(1);
        _bindings.ShouldAllBe(static binding => binding!.Unbind() == Errno.Success);
        _mm.Exit().ShouldBe(Errno.Success);
        ShouldBeEmpty(devices: 2);
    }
}

/// <summary>A process takes memory away while a device uses it (S2.11).</summary>
internal sealed class ChangeAgainstDevice : SvaScenario
{
    private readonly DemandPagedAddressSpace _mm;
    private readonly SvaBinding _binding;
    private DemandPagedAddressSpace? _child;
    private byte _atFork;
    private bool _changed;

    public ChangeAgainstDevice(MemoryChange change)
    {
        (EndpointAts ats, IommuDevice device) = AddDevice(1);
        _mm = NewProcess();
        _binding = Bind(device, _mm);
        Dma(ats, _binding.Pasid, Base).ShouldBeTrue();
        AddThread("process", () =>
        {
            switch (change)
            {
                case MemoryChange.Unmap:
                    _mm.Unmap(Base, Size).ShouldBe(Errno.Success);
                    break;
                case MemoryChange.SwapOut:
                    _mm.SwapOut(Base, Size, out _).ShouldBe(Errno.Success);
                    break;
                default:
                    _mm.TryFork(out _child).ShouldBe(Errno.Success);
                    Span<byte> seen = stackalloc byte[1];
                    _child!.Read(Base, seen).ShouldBe(Errno.Success);
                    _atFork = seen[0];
                    break;
            }

            _changed = true;
        });
        byte value = 1;
        AddThread("device", () => Until(() => _changed, () => _ = Dma(ats, _binding.Pasid, Base, ++value)));
    }

    public override void CheckAtEnd()
    {
        if (_child is { } child)
        {
            // What the device wrote after the fork went to the parent's page.
            Span<byte> seen = stackalloc byte[1];
            child.Read(Base, seen).ShouldBe(Errno.Success);
            seen[0].ShouldBe(_atFork);
            child.Exit().ShouldBe(Errno.Success);
        }

        _binding.Unbind().ShouldBe(Errno.Success);
        _mm.Exit().ShouldBe(Errno.Success);
        ShouldBeEmpty(devices: 1);
    }
}

/// <summary>What a process does to its memory.</summary>
public enum MemoryChange
{
    /// <summary>It gives the page back.</summary>
    Unmap,

    /// <summary>The page goes to swap space.</summary>
    SwapOut,

    /// <summary>It forks: the page is shared from then on, until somebody writes.</summary>
    Fork,
}

/// <summary>A process ends while a thread of it executes ENQCMD and the accelerator works.</summary>
internal sealed class ExitAgainstEnqcmd : SvaScenario
{
    private readonly DsaDevice _accelerator;
    private readonly SvaBinding _binding;
    private bool _ended;

    public ExitAgainstEnqcmd()
    {
        (_accelerator, IommuDevice device) = AddAccelerator(1);
        UserProcess process = new("process", NewProcess());
        _binding = Bind(device, process.AddressSpace);
        AddThread("exit", () =>
        {
            process.Exit().ShouldBe(Errno.Success);
            _ended = true;
        });
        AddThread("thread", () =>
        {
            Span<byte> command = stackalloc byte[64];
            new DsaDescriptor(DsaOperation.Fill, DsaFlags.BlockOnFault, 0, 1, Base, 5000).WriteTo(command);
            _ = process.MainThread.Submit(_accelerator.GetPortal(0), command);
        });
        AddThread("accelerator", () => Until(() => _ended, () => _accelerator.Run()));
    }

    public override void CheckAtEnd()
    {
        _accelerator.Pending.ShouldBe(0);
        _binding.Unbind().ShouldBe(Errno.Success);
        ShouldBeEmpty(devices: 1);
    }

    protected override void Dispose(bool disposing)
    {
        _accelerator.Dispose();
        base.Dispose(disposing);
    }
}
