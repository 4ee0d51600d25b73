using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>A device is attached to a domain while a page of it is unmapped (S4.7).</summary>
internal sealed class AttachAgainstUnmap : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _domain;
    private bool _unmapped;

    public AttachAgainstUnmap(bool keepsInvalidContexts = false, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1);
        if (keepsInvalidContexts)
        {
            Iommus[0].KeepInvalidContexts(HardwareMemory);
            Dma(_device, X);
        }

        _domain = NewDomain(_device, (X, P1), (Y, P2));
        AddThread("attach", () => _device.Group.Attach(_domain).ShouldBe(Errno.Success));
        AddThread("unmap", () =>
        {
            UnmapAndRevoke(_domain, X, P1);
            _unmapped = true;
        });
        AddThread("device", () => DmaUntil(() => _unmapped, () => Dma(_device, X)));
    }

    public override void CheckAtEnd()
    {
        Dma(_device, X).ShouldNotBe(DmaStatus.Success);
        Dma(_device, Y).ShouldBe(DmaStatus.Success);
        CheckAlways();
    }
}

/// <summary>A device is detached from a domain while another page is mapped into it.</summary>
internal sealed class DetachAgainstMap : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _domain;
    private bool _detached;

    public DetachAgainstMap(bool isSecondStage = false, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1);
        _domain = NewDomainWith(_device, new() { NestParent = isSecondStage }, (X, P1));
        _device.Group.Attach(_domain).ShouldBe(Errno.Success);
        Dma(_device, X);
        AddThread("detach", () =>
        {
            _device.Group.Detach().ShouldBe(Errno.Success);
            Oracle.Revoke(P1, _device);
            Oracle.Revoke(P2, _device);
            _detached = true;
        });
        AddThread("map", () =>
        {
            _domain.Map(new(Y), new(P2), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
            UnmapAndRevoke(_domain, X, P1);
        });
        AddThread("device", () => DmaUntil(() => _detached, () =>
        {
            Dma(_device, X);
            Dma(_device, Y);
        }));
    }

    public override void CheckAtEnd()
    {
        Drivers[0].Usage.AddressSpaces.ShouldBe(0);
        _domain.BondCount.ShouldBe(0);
    }
}

/// <summary>A device goes from one domain to another while both are unmapped and invalidated.</summary>
internal sealed class ReplaceAgainstInvalidate : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _before;
    private readonly TablePagingDomain _after;
    private bool _replaced;
    private bool _unmapped;

    public ReplaceAgainstInvalidate(IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1);
        _before = NewDomain(_device, (X, P1), (Z, P3));
        _after = NewDomain(_device, (X, P2));
        _device.Group.Attach(_before).ShouldBe(Errno.Success);
        Dma(_device, X);
        AddThread("replace", () =>
        {
            _device.Group.Attach(_after).ShouldBe(Errno.Success);
            Oracle.Revoke(P1, _device);
            Oracle.Revoke(P3, _device);
            _replaced = true;
        });
        AddThread("unmap", () =>
        {
            UnmapAndRevoke(_before, X, P1);
            UnmapAndRevoke(_after, X, P2);
            _unmapped = true;
        });
        AddThread("device", () => DmaUntil(() => _replaced && _unmapped, () =>
        {
            Dma(_device, X);
            Dma(_device, Z);
        }));
    }

    public override void CheckAtEnd()
    {
        Drivers[0].Usage.AddressSpaces.ShouldBe(1);
        _before.BondCount.ShouldBe(0);
    }
}

/// <summary>
/// One device leaves a domain and so gives its number (PSCID, GSCID, domain-ID) back, another enters a domain and so may get it (S4.8): neither may see
/// the other's pages.
/// </summary>
internal sealed class PscidReuse : DriverScenario
{
    private readonly IommuDevice _leaves;
    private readonly IommuDevice _enters;
    private readonly TablePagingDomain _left;
    private readonly TablePagingDomain _entered;
    private bool _isOut;
    private bool _isIn;

    public PscidReuse(bool isSecondStage = false, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _leaves = AddDevice(1);
        _enters = AddDevice(2);
        _left = NewDomainWith(_leaves, new() { NestParent = isSecondStage }, (X, P1));
        _entered = NewDomainWith(_enters, new() { NestParent = isSecondStage }, (X, P2));
        _leaves.Group.Attach(_left).ShouldBe(Errno.Success);
        Dma(_leaves, X);
        Oracle.Revoke(P1, _enters);
        Oracle.Revoke(P2, _leaves);
        AddThread("leave", () =>
        {
            _leaves.Group.Detach().ShouldBe(Errno.Success);
            Oracle.Revoke(P1);
            _isOut = true;
        });
        AddThread("enter", () =>
        {
            _enters.Group.Attach(_entered).ShouldBe(Errno.Success);
            _isIn = true;
        });
        AddThread("leaving", () => DmaUntil(() => _isOut, () => Dma(_leaves, X)));
        AddThread("entering", () => DmaUntil(() => _isIn, () => Dma(_enters, X)));
    }

    public override void CheckAtEnd() => Dma(_enters, X).ShouldBe(DmaStatus.Success);
}

/// <summary>Two devices are attached to one fresh domain at the same time, behind one IOMMU or two, and then it is unmapped.</summary>
internal sealed class TwoAttaches : DriverScenario
{
    private readonly IommuDevice[] _devices;
    private readonly TablePagingDomain _domain;
    private readonly int _iommus;
    private int _attached;
    private bool _unmapped;

    public TwoAttaches(int iommus, IommuKind kind = IommuKind.RiscV)
        : base(iommus, kind: kind)
    {
        _iommus = iommus;
        _devices = [AddDevice(1), AddDevice(2, iommus - 1)];
        _domain = NewDomain(_devices[0]);
        foreach (IommuDevice device in _devices)
        {
            AddThread($"attach{device.Id.Value}", () =>
            {
                device.Group.Attach(_domain).ShouldBe(Errno.Success);
                _attached++;
            });
        }

        AddThread("map", () =>
        {
            _domain.Map(new(X), new(P1), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
            UnmapAndRevoke(_domain, X, P1);
            _unmapped = true;
        });
        AddThread("devices", () => DmaUntil(() => _unmapped, () =>
        {
            Dma(_devices[0], X);
            Dma(_devices[1], X);
        }));
    }

    public override void CheckAtEnd()
    {
        _attached.ShouldBe(2);
        _domain.BondCount.ShouldBe(_iommus);
        foreach (IommuInstance driver in Drivers)
        {
            driver.Usage.AddressSpaces.ShouldBe(1);
        }

        // Both see what is mapped later, and neither what is then unmapped.
        _domain.Map(new(Y), new(P2), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
        foreach (IommuDevice device in _devices)
        {
            Dma(device, Y).ShouldBe(DmaStatus.Success);
        }

        UnmapAndRevoke(_domain, Y, P2);
        foreach (IommuDevice device in _devices)
        {
            Dma(device, Y).ShouldNotBe(DmaStatus.Success);
        }

        CheckAlways();
    }
}

/// <summary>A PASID is taken from a device that uses it, and given to another domain (S4.17).</summary>
internal sealed class PasidFree : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _first;
    private readonly TablePagingDomain _second;
    private bool _moved;

    public PasidFree(IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1, pasidBits: 8);
        _first = NewDomain(_device, (X, P1));
        _second = NewDomain(_device, (X, P2));
        Pasid pasid = new(3);
        _device.Group.AttachPasid(pasid, _first).ShouldBe(Errno.Success);
        Dma(_device, X, pasid).ShouldBe(DmaStatus.Success);
        AddThread("free", () =>
        {
            _device.Group.DetachPasid(pasid).ShouldBe(Errno.Success);
            Oracle.Revoke(P1);
            _device.Group.AttachPasid(pasid, _second).ShouldBe(Errno.Success);
            _moved = true;
        });
        AddThread("unmap", () => UnmapAndRevoke(_first, X, P1));
        AddThread("device", () => DmaUntil(() => _moved, () => Dma(_device, X, pasid)));
    }

    public override void CheckAtEnd() => Dma(_device, X, new(3)).ShouldBe(DmaStatus.Success);
}
