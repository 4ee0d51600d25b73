using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Scenarios.Checks;
using Ioasis.Testing;

namespace Ioasis.Scenarios.Drivers;

/// <summary>How a device answers invalidation requests.</summary>
internal enum Answer
{
    /// <summary>When it has forgotten the translations and its accesses with them have ended, as PCIe ATS demands.</summary>
    Proper,

    /// <summary>Never: the IOMMU finds that the request timed out.</summary>
    Never,

    /// <summary>Never, and the IOMMU waits for ever: only the driver's own patience has an end.</summary>
    Silence,

    /// <summary>At once, with an access under way: what a test does wrong on purpose.</summary>
    TooEarly,
}

/// <summary>A device with a cache of translations (PCIe ATS), which uses a cached address until it is told to forget it.</summary>
internal sealed class CachingDevice(ScenarioIommu iommu, IommuDevice device, Answer answer, Func<bool>? passes = null)
{
    private readonly Dictionary<ulong, ulong> _cache = [];
    private readonly List<PcieMessage> _owed = [];
    private int _accesses;
    private int _invalidations;

    /// <summary>Tags of requests that it does not answer.</summary>
    public uint Ignored { get; private set; }

    public DmaStatus Access(ulong iova)
    {
        _accesses++;
        DmaStatus status = DmaStatus.UnsupportedRequest;
        if (TryFetch(iova, out ulong address))
        {
            _ = Injection.Hit(InjectionKind.MemoryRead);
            Oracle.Requester = device.Id.Value;
            status = iommu.Port.Write(new(device.Id, new(address), DmaFlags.Write, DmaKind.Translated), [1, 2, 3, 4]);
            Oracle.Requester = null;
        }

        Scenario.Note($"translated DMA to 0x{iova:x}: {status}");
        if (--_accesses == 0)
        {
            AnswerWhatIsOwed();
        }

        return status;
    }

    public void Invalidate(in PcieMessage message)
    {
        Scenario.Note("the device is told to forget");
        if (answer is Answer.Never or Answer.Silence)
        {
            Ignored |= 1u << message.Tag;
            return;
        }

        _invalidations++;
        _cache.Clear();
        _owed.Add(message);
        if (_accesses == 0 || answer == Answer.TooEarly)
        {
            AnswerWhatIsOwed();
        }
    }

    public void TimeOut()
    {
        uint tags = Ignored;
        Ignored = 0;
        iommu.Ats.HandleInvalidationTimeout(tags);
    }

    // A translation that was asked for before an invalidation and comes after it is not used.
    private bool TryFetch(ulong iova, out ulong address)
    {
        if (_cache.TryGetValue(iova, out address))
        {
            return true;
        }

        int before = _invalidations;
        iommu.Port.Translate(new(device.Id, new(iova), DmaFlags.None, DmaKind.TranslationRequest), out DmaTranslation translation);
        if (translation.Status != DmaStatus.Success || (translation.Flags & DmaTranslationFlags.Write) == 0 || before != _invalidations)
        {
            return false;
        }

        address = translation.Address.Value;
        _cache[iova] = address;
        return true;
    }

    private void AnswerWhatIsOwed()
    {
        PcieMessage[] owed = [.. _owed];
        _owed.Clear();
        foreach (PcieMessage message in owed)
        {
            Scenario.Note("the device has forgotten");
            if (passes is not null && !passes())
            {
                // Answers of a device whose context is invalid are lost (section 2.1.2.1).
                Scenario.Note("its answer is lost");
                Ignored |= 1u << message.Tag;
                continue;
            }

            iommu.Ats.HandleInvalidationCompletion(new(
                PcieMessageCode.InvalidationCompletion, message.RequesterId, message.Segment, Pasid.Invalid,
                (1ul << 32) | (1ul << message.Tag))).ShouldBeTrue();
        }
    }
}

/// <summary>What happens to the domain of a device that caches translations.</summary>
internal enum Revocation
{
    /// <summary>A page is unmapped.</summary>
    Unmap,

    /// <summary>The device is switched to another domain.</summary>
    Replace,

    /// <summary>The device is detached.</summary>
    Detach,

    /// <summary>The device is unplugged while a page is unmapped.</summary>
    Unplug,
}

/// <summary>
/// Pages are taken from a device that caches translations and uses them: once the call has returned, it reaches them neither
/// by IOVA nor by an address that it was given before; a device that does not answer is cut off (S4.5, S4.15).
/// </summary>
internal sealed class RevokeFromCachingDevice : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _domain;
    private readonly CachingDevice _cache;
    private int _left = 2;

    public RevokeFromCachingDevice(
        Revocation revocation, Answer answer, bool isSecondStage = false, IommuKind kind = IommuKind.RiscV)
        : base(ats: true, kind: kind)
    {
        _device = AddDevice(1, ats: true);
        _domain = isSecondStage ? NewSecondStage(_device, (X, P1), (Y, P2)) : NewDomain(_device, (X, P1), (Y, P2));
        TablePagingDomain other = NewDomain(_device, (Z, P3));
        _cache = new(Iommus[0], _device, answer, () => Iommus[0].LetsAnswersPass(PlainMemory, _device));
        _device.Group.Attach(_domain).ShouldBe(Errno.Success);
        _cache.Access(X).ShouldBe(DmaStatus.Success);
        AddThread("revoke", () =>
        {
            switch (revocation)
            {
                case Revocation.Replace:
                    _device.Group.Attach(other).ShouldBe(Errno.Success);
                    Oracle.Revoke(P1);
                    Oracle.Revoke(P2);
                    break;
                case Revocation.Detach:
                    _device.Group.Detach().ShouldBe(Errno.Success);
                    Oracle.Revoke(P1);
                    Oracle.Revoke(P2);
                    break;
                default:
                    Unmap(X, P1, answer);
                    break;
            }

            _left--;
        });
        AddThread("device", () => DmaUntil(() => _left == 0, () =>
        {
            _cache.Access(X);
            _cache.Access(Y);
        }));
        if (revocation == Revocation.Unplug)
        {
            AddThread("unplug", () =>
            {
                Core.RemoveDevice(_device);
                Oracle.Revoke(P2);
                _left--;
            });
        }
        else
        {
            AddThread("second unmap", () =>
            {
                Unmap(Y, P2, answer);
                _left--;
            });
        }

        if (answer == Answer.Never)
        {
            AddThread("time-outs", () =>
            {
                while (_left > 0)
                {
                    if (_cache.Ignored != 0)
                    {
                        _cache.TimeOut();
                    }

                    _ = Injection.Hit(InjectionKind.Wait);
                }
            });
        }
    }

    public override void CheckAtEnd()
    {
        // Whatever the device still knows and whatever it asks for.
        _cache.Access(X);
        _cache.Access(Y);
        Dma(_device, X);
        Dma(_device, Y);
        CheckAlways();
    }

    // With hardware that waits for ever the driver gives the queue up, says so, and the pages stay the device's.
    private void Unmap(ulong iova, ulong page, Answer answer)
    {
        InvalidationGather gather = default;
        _domain.Unmap(new(iova), 4096, ref gather).ShouldBe(4096ul);
        Errno error = _domain.Sync(ref gather);
        if (answer != Answer.Silence || error != Errno.IoError)
        {
            error.ShouldBe(Errno.Success);
            Oracle.Revoke(page);
        }
    }

    protected override void OnInvalidationRequest(in PcieMessage message) => _cache.Invalidate(message);
}
