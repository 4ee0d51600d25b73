using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// Unmaps in two domains, and a detach, meet at the one command queue, so that some may carry out the commands of others: each
/// returns only when its own invalidation is done, whoever queued it and whichever fence was behind it (S4.8, S4.15).
/// </summary>
internal sealed class UnmapsTogether : DriverScenario
{
    private readonly IommuDevice[] _devices;
    private readonly TablePagingDomain[] _domains;
    private int _done;

    public UnmapsTogether(bool detaches, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _devices = [AddDevice(1), AddDevice(2)];
        _domains = [NewDomain(_devices[0], (X, P1)), NewDomain(_devices[1], (X, P2), (Z, P3))];
        for (int i = 0; i < 2; i++)
        {
            _devices[i].Group.Attach(_domains[i]).ShouldBe(Errno.Success);
            Dma(_devices[i], X);
        }

        Dma(_devices[1], Z);
        AddThread("first", () => Unmap(_domains[0], P1));
        AddThread("second", () => Unmap(_domains[1], P2));
        if (detaches)
        {
            AddThread("detach", () =>
            {
                _devices[1].Group.Detach().ShouldBe(Errno.Success);
                Oracle.Revoke(P3, _devices[1]);
                _done++;
            });
        }
        else
        {
            AddThread("third", () =>
            {
                UnmapAndRevoke(_domains[1], Z, P3);
                _done++;
            });
        }

        AddThread("devices", () => DmaUntil(() => _done == 3, () =>
        {
            Dma(_devices[0], X);
            Dma(_devices[1], X);
            Dma(_devices[1], Z);
        }));
    }

    public override void CheckAtEnd()
    {
        Dma(_devices[0], X).ShouldNotBe(DmaStatus.Success);
        Dma(_devices[1], X).ShouldNotBe(DmaStatus.Success);
        Dma(_devices[1], Z).ShouldNotBe(DmaStatus.Success);
        if (Drivers[0] is RiscVIommuInstance driver)
        {
            driver.Commands.PostedCount.ShouldBe(0);
        }

        CheckAlways();
    }

    private void Unmap(TablePagingDomain domain, ulong page)
    {
        UnmapAndRevoke(domain, X, page);
        _done++;
    }
}
