using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// A device is switched to another domain and the n-th step that can fail does, while its old domain is unmapped and it does
/// DMA: fail at step n and every order at once. A switch that fails has changed nothing (invariant 3).
/// </summary>
internal sealed class FailingReplace : DriverScenario
{
    private const string Switcher = "replace";
    private const ulong Other = P3 + 0x1000;

    private readonly IommuDevice _device;
    private readonly TablePagingDomain _before;
    private readonly TablePagingDomain _after;
    private readonly bool _fromBlocked;
    private int _stepsLeft;
    private readonly Action _onFailure;
    private Errno? _result;

    public FailingReplace(int step, bool fromBlocked, Action onFailure, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _stepsLeft = step;
        _fromBlocked = fromBlocked;
        _onFailure = onFailure;
        _device = AddDevice(1);
        _before = NewDomain(_device, (X, P1), (Z, P3));
        _after = NewDomain(_device, (X, Other), (Y, P2));
        if (!fromBlocked)
        {
            _device.Group.Attach(_before).ShouldBe(Errno.Success);
            Dma(_device, X);
        }

        AddThread(Switcher, () =>
        {
            _result = _device.Group.Attach(_after);
            if (_result == Errno.Success)
            {
                Oracle.Revoke(P1, _device);
                Oracle.Revoke(P3, _device);
            }
        });
        AddThread("unmap", () =>
        {
            UnmapAndRevoke(_before, X, P1);
            UnmapAndRevoke(_after, X, Other);
        });
        AddThread("device", () => DmaUntil(() => _result is not null, () =>
        {
            Dma(_device, X);
            Dma(_device, Z);
        }));
    }

    public override Errno Fail(InjectionKind kind, ulong detail)
    {
        bool counts = kind is InjectionKind.Allocate or InjectionKind.QueueSpace
            && string.Equals(RunningThread, Switcher, StringComparison.Ordinal);
        if (!counts || --_stepsLeft != 0)
        {
            return Errno.Success;
        }

        _onFailure();
        return Errno.OutOfMemory;
    }

    public override void CheckAtEnd()
    {
        bool done = _result == Errno.Success;
        _result.ShouldNotBeNull();
        (done || _stepsLeft <= 0).ShouldBeTrue("a switch fails only because a step did");
        _device.Group.Domain.ShouldBeSameAs(done ? _after : _fromBlocked ? BlockedDomain.Instance : _before);
        Drivers[0].Usage.AddressSpaces.ShouldBe(done || !_fromBlocked ? 1 : 0);
        (_before.BondCount, _after.BondCount).ShouldBe((done || _fromBlocked ? 0 : 1, done ? 1 : 0));
        Dma(_device, X).ShouldNotBe(DmaStatus.Success);
        Dma(_device, Z).ShouldBe(!done && !_fromBlocked ? DmaStatus.Success : DmaStatus.UnsupportedRequest);
        Dma(_device, Y).ShouldBe(done ? DmaStatus.Success : DmaStatus.UnsupportedRequest);
        CheckAlways();
    }
}

/// <summary>A device faults while it is unplugged and while its fault is handled: the report names no device that is gone.</summary>
internal sealed class FaultsAgainstUnplug : DriverScenario
{
    private readonly IommuDevice _device;
    private int _made;
    private bool _gone;

    public FaultsAgainstUnplug(IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1);
        TablePagingDomain domain = NewDomain(_device, (Y, P2));
        _device.Group.Attach(domain).ShouldBe(Errno.Success);
        AddThread("unplug", () =>
        {
            Core.RemoveDevice(_device);
            _gone = true;
        });
        AddThread("interrupt", () =>
        {
            for (int i = 0; i < 2; i++)
            {
                bool wasGone = _gone;
                int before = Sink.Faults.Count;
                Iommus[0].HandleFaults();
                if (wasGone)
                {
                    Sink.Faults.Skip(before).ShouldAllBe(static fault => fault.Device == null);
                }
            }
        });
        AddThread("device", () =>
        {
            for (int i = 0; i < 2; i++)
            {
                Dma(_device, X).ShouldBe(DmaStatus.UnsupportedRequest);
                _made++;
            }
        });
    }

    public override void CheckAtEnd()
    {
        Iommus[0].HandleFaults();
        Sink.Faults.Count.ShouldBe(_made, "each fault is reported, once");
        foreach (IommuFault fault in Sink.Faults)
        {
            fault.DeviceId.ShouldBe(_device.Id);
            (fault.Device is null || ReferenceEquals(fault.Device, _device)).ShouldBeTrue();
            fault.Iova.Value.ShouldBe(X);
            fault.Reason.ShouldBeOneOf(IommuFaultReason.NotMapped, IommuFaultReason.Blocked);
        }
    }
}
