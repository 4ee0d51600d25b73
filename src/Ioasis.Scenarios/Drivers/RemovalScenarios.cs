using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>A device is removed while its domain is unmapped and invalidated and while it does DMA (S4.3).</summary>
internal sealed class UnplugAgainstInvalidate : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly IommuDevice _staying;
    private readonly TablePagingDomain _domain;
    private bool _gone;

    public UnplugAgainstInvalidate(int pasidBits = 0, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1, pasidBits: pasidBits);
        _staying = AddDevice(2);
        _domain = NewDomain(_device, (X, P1), (Y, P2));
        _device.Group.Attach(_domain).ShouldBe(Errno.Success);
        _staying.Group.Attach(_domain).ShouldBe(Errno.Success);
        Dma(_device, X);
        Dma(_staying, X);
        AddThread("unplug", () =>
        {
            Core.RemoveDevice(_device);
            Oracle.Revoke(P2, _device);
            _gone = true;
        });
        AddThread("unmap", () => UnmapAndRevoke(_domain, X, P1));
        AddThread("device", () => DmaUntil(() => _gone, () =>
        {
            Dma(_device, Y);
            Dma(_staying, X);
        }));
    }

    public override void CheckAtEnd()
    {
        Drivers[0].Usage.AddressSpaces.ShouldBe(1);
        _domain.BondCount.ShouldBe(1);
        Dma(_staying, X).ShouldNotBe(DmaStatus.Success);
        Dma(_staying, Y).ShouldBe(DmaStatus.Success);
        CheckAlways();
    }
}

/// <summary>What else happens while an IOMMU is removed.</summary>
internal enum RemovalVariant
{
    /// <summary>The devices are removed by the core first, as they should; another device is attached meanwhile.</summary>
    DevicesFirst,

    /// <summary>The driver is disposed of with devices attached; another is attached meanwhile.</summary>
    DriverOnly,

    /// <summary>The driver is disposed of and an attached device is unplugged meanwhile.</summary>
    Unplug,

    /// <summary>The driver is disposed of while an interrupt of a fault is handled.</summary>
    Interrupt,
}

/// <summary>An IOMMU is removed while a device behind it is attached, a domain is unmapped and devices do DMA.</summary>
internal sealed class IommuRemoval : DriverScenario
{
    private readonly IommuDevice _attached;
    private readonly IommuDevice _attaching;
    private readonly TablePagingDomain _domain;
    private bool _removed;

    public IommuRemoval(RemovalVariant variant, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _attached = AddDevice(1);
        _attaching = AddDevice(2);
        _domain = NewDomain(_attached, (X, P1), (Y, P2));
        _attached.Group.Attach(_domain).ShouldBe(Errno.Success);
        Dma(_attached, X);
        AddThread("remove", () =>
        {
            if (variant == RemovalVariant.DevicesFirst)
            {
                Core.RemoveIommu(Drivers[0]);
            }

            Iommus[0].RemoveDriver();
            RegistersAreGone = true;
            Oracle.Revoke(P2);
            _removed = true;
        });
        AddThread("unmap", () => UnmapAndRevoke(_domain, X, P1));
        if (variant == RemovalVariant.Unplug)
        {
            AddThread("unplug", () => Core.RemoveDevice(_attached));
        }
        else if (variant == RemovalVariant.Interrupt)
        {
            Dma(_attaching, Z).ShouldNotBe(DmaStatus.Success);
            AddThread("interrupt", () => Iommus[0].HandleFaults());
        }
        else
        {
            AddThread("attach", () => _attaching.Group.Attach(_domain).ShouldBeOneOf(Errno.Success, Errno.NoDevice));
        }

        AddThread("device", () => DmaUntil(() => _removed, () =>
        {
            Dma(_attached, X);
            Dma(_attached, Y);
            Dma(_attaching, Y);
        }));
    }

    public override void CheckAtEnd()
    {
        // Nothing of the IOMMU is left, and the domain is as useful as before.
        _domain.BondCount.ShouldBe(0);
        AllocatedBytes.ShouldBe(_domain.TableBytes);
        UnmapAndRevoke(_domain, Y, P2);
        _domain.Dispose();
        AllocatedBytes.ShouldBe(0);
        CheckAlways();
    }
}

/// <summary>How the command queue is made to stop.</summary>
internal enum QueueTrouble
{
    /// <summary>The memory of a command does not answer once (CQMF, IQE).</summary>
    Unreadable,

    /// <summary>It does not answer for more than the driver's first attempts to restart.</summary>
    UnreadableForLong,

    /// <summary>It does not answer until the driver has given the queue up; those who wait are told, and try again later.</summary>
    GivenUp,

    /// <summary>A command reaches the hardware with an opcode that there is not (CMD_ILL, IQE).</summary>
    Illegal,
}

/// <summary>
/// The command queue stops in the middle of invalidations of two threads, and its interrupt is handled besides. Each of the
/// two gets success only if its invalidation was done (S4.15).
/// </summary>
internal sealed class QueueFailure : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _domain;
    private readonly ulong _queue;
    private int _unmapped;
    private int _failures;
    private int _spoils;

    public QueueFailure(QueueTrouble trouble, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1);
        _domain = NewDomain(_device, (X, P1), (Z, P3));
        _device.Group.Attach(_domain).ShouldBe(Errno.Success);
        Dma(_device, X);
        Dma(_device, Z);
        _queue = Iommus[0].QueueStart;
        HardwareMemory.FailsToRead = address =>
        {
            bool fails = _failures > 0 && (address & ~0xffful) == _queue;
            _failures -= fails ? 1 : 0;
            return fails;
        };
        HardwareMemory.Spoil = (address, value) =>
        {
            bool spoils = _spoils > 0 && (address & ~0xffful) == _queue && (address & (Iommus[0].CommandSize - 1)) == 0;
            _spoils -= spoils ? 1 : 0;
            return spoils ? value | Iommus[0].IllegalOpcode : value;
        };
        AddThread("unmap1", () =>
        {
            Unmap(X, P1);
            _unmapped++;
        });
        AddThread("unmap2", () =>
        {
            Unmap(Z, P3);
            _unmapped++;
        });
        AddThread("trouble", () =>
        {
            _ = Injection.Hit(InjectionKind.Allocate);
            _failures = trouble switch { QueueTrouble.Unreadable => 1, QueueTrouble.UnreadableForLong => 3, QueueTrouble.GivenUp => 6, _ => 0 };
            _spoils = trouble == QueueTrouble.Illegal ? Iommus[0].ReadsOfCommand : 0;
            Note("the next commands are in trouble");
            _ = Injection.Hit(InjectionKind.Allocate);
            Iommus[0].HandleQueue();
        });
        AddThread("device", () => DmaUntil(() => _unmapped == 2, () =>
        {
            Dma(_device, X);
            Dma(_device, Z);
        }));
    }

    public override void CheckAtEnd()
    {
        Dma(_device, X).ShouldNotBe(DmaStatus.Success);
        Dma(_device, Z).ShouldNotBe(DmaStatus.Success);
        CheckAlways();
    }

    // An unmap whose invalidation failed has changed the table, but the page still belongs to the device.
    private void Unmap(ulong iova, ulong page)
    {
        InvalidationGather gather = default;
        _domain.Unmap(new(iova), 4096, ref gather).ShouldBe(4096ul);
        Errno error = _domain.Sync(ref gather);
        for (int attempt = 0; error == Errno.IoError && attempt < 20; attempt++)
        {
            Note("the invalidation failed");
            Time.Advance(TimeSpan.FromMilliseconds(300));
            _ = Injection.Hit(InjectionKind.Wait);
            error = _domain.Sync(ref gather);
        }

        error.ShouldBe(Errno.Success);
        Oracle.Revoke(page);
    }
}
