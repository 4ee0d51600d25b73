using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;
using Ioasis.Testing;

namespace Ioasis.RiscV.Hardware.Tests.Schedules;

/// <summary>What software changes to take the page from the device.</summary>
public enum Change
{
    /// <summary>The leaf leads to the new page.</summary>
    LeafToNewPage,

    /// <summary>The leaf goes.</summary>
    LeafCleared,

    /// <summary>The leaf table goes, and is reused for something that looks like a table and leads to where nobody may go.</summary>
    TableFreed,

    /// <summary>The device's (or the process's) context leads to other tables.</summary>
    ContextToOtherTables,

    /// <summary>The context becomes invalid.</summary>
    ContextCleared,
}

/// <summary>A mistake that the test makes on purpose.</summary>
public enum Mistake
{
    /// <summary>None: nothing may be found.</summary>
    None,

    /// <summary>No invalidation.</summary>
    NoInvalidation,

    /// <summary>No fence.</summary>
    NoFence,

    /// <summary>Invalidation and fence come before the change.</summary>
    InvalidatedBeforeChange,

    /// <summary>The invalidation names another address space.</summary>
    WrongAddressSpace,

    /// <summary>The device (or a model that is wrong so) holds a translation while a fence completes.</summary>
    TranslationOutlivesFence,
}

/// <summary>
/// A device accesses a page while software takes it away: change, invalidate, fence, reuse. From the moment at which the
/// fence has completed, no access may touch the old page, be it one that began before (invariant 1, section 3.1.2).
/// </summary>
internal sealed class Revocation : Scenario
{
    private const ulong Secret = 0x5ec2e7;
    private const ulong Marker = 0xde71ce;

    private readonly ModelBench _bench;
    private readonly Change _change;
    private readonly Mistake _mistake;
    private bool _revoked;

    public Revocation(Path path, Change change, CachingMode caching, Mistake mistake = Mistake.None, bool warm = true, int devices = 1)
    {
        _bench = new(path, caching);
        _change = change;
        _mistake = mistake;
        if (warm)
        {
            _bench.Read(out _).ShouldBe(DmaStatus.Success);
            _bench.Write(Marker).ShouldBe(DmaStatus.Success);
            _bench.Peek(ModelBench.OldPage).ShouldBe(Marker);
        }

        for (int i = 0; i < devices; i++)
        {
            AddThread(devices == 1 ? "device" : $"device{i}", DeviceSide);
        }

        AddThread("software", SoftwareSide);
    }

    public override void CheckAlways()
    {
        if (_revoked)
        {
            _bench.Peek(ModelBench.OldPage).ShouldBe(Secret, "a DMA write landed in the old page after the fence");
        }

        _bench.Peek(ModelBench.ForbiddenPage).ShouldBe(0ul, "a DMA write landed in a page that no table ever named");
    }

    public override void CheckAtEnd()
    {
        bool reachesNew = _change is Change.LeafToNewPage or Change.ContextToOtherTables;
        _bench.Poke(ModelBench.NewPage + 8, Marker);
        DmaStatus status = _bench.Read(out ulong value);
        status.ShouldBe(reachesNew ? DmaStatus.Success : DmaStatus.UnsupportedRequest);
        value.ShouldBe(reachesNew ? Marker : 0);
    }

    public override string? Describe(InjectionKind kind, ulong detail) => ModelBench.Describe(kind, detail);

    private void DeviceSide()
    {
        if (_mistake == Mistake.TranslationOutlivesFence)
        {
            _bench.Model.Translate(_bench.Request with { Flags = _bench.Request.Flags | DmaFlags.Write }, out DmaTranslation translation);
            if (translation.Status == DmaStatus.Success)
            {
                _bench.Store(translation.Address.Value, Marker);
            }

            return;
        }

        _ = _bench.Write(Marker);
        if (_bench.Path != Path.Interrupt)
        {
            _ = _bench.Read(out ulong value);
            value.ShouldNotBe(Secret, "a DMA read saw what was written to the old page after the fence");
        }
    }

    private void SoftwareSide()
    {
        if (_mistake != Mistake.InvalidatedBeforeChange)
        {
            MakeChange();
        }

        Span<Command> commands = stackalloc Command[4];
        int count = 0;
        if (_mistake != Mistake.NoInvalidation)
        {
            count = Invalidations(commands);
        }

        if (_mistake != Mistake.NoFence)
        {
            commands[count++] = Command.Fence();
        }

        _bench.Submit(commands[..count]);
        if (_mistake == Mistake.InvalidatedBeforeChange)
        {
            MakeChange();
        }

        // The old page now belongs to somebody else, and so does the table that was freed.
        _bench.Poke(ModelBench.OldPage, Secret);
        _bench.Poke(ModelBench.OldPage + 8, Secret);
        _revoked = true;
        if (_change == Change.TableFreed)
        {
            _bench.Poke(LeafEntry, _bench.Path == Path.Interrupt
                ? ModelBench.InterruptTo(ModelBench.ForbiddenPage)
                : ModelBench.LeafTo(ModelBench.ForbiddenPage, 0));
        }
    }

    private ulong LeafEntry => _bench.Path switch
    {
        Path.SecondStage or Path.BothStages => ModelBench.SecondLeaf + 8,
        Path.Interrupt => ModelBench.InterruptTable,
        _ => ModelBench.FirstLeaf + 8,
    };

    private void MakeChange()
    {
        bool interrupt = _bench.Path == Path.Interrupt;
        switch (_change)
        {
            case Change.LeafToNewPage:
                _bench.Store(LeafEntry, interrupt ? ModelBench.InterruptTo(ModelBench.NewPage) : ModelBench.LeafTo(ModelBench.NewPage, 0));
                break;
            case Change.LeafCleared:
                _bench.Store(LeafEntry, 0);
                break;
            case Change.TableFreed:
                _bench.Store(_bench.Path is Path.SecondStage or Path.BothStages ? ModelBench.SecondMiddle : ModelBench.FirstMiddle, 0);
                break;
            case Change.ContextToOtherTables when _bench.Path == Path.Process:
                _bench.Store(ModelBench.ProcessContext + ProcessContextOffset.FirstStageContext, ModelBench.Satp(ModelBench.OtherRoot));
                break;
            case Change.ContextToOtherTables:
                _bench.Store(ModelBench.Context + DeviceContextOffset.FirstStageContext, ModelBench.Satp(ModelBench.OtherRoot));
                break;
            case Change.ContextCleared when _bench.Path == Path.Process:
                _bench.Store(ModelBench.ProcessContext + ProcessContextOffset.TranslationAttributes, ModelBench.ProcessAttributes(ModelBench.Pscid));
                break;
            default:
                _bench.Store(ModelBench.Context + DeviceContextOffset.TranslationControl, 0);
                break;
        }
    }

    private int Invalidations(Span<Command> commands)
    {
        uint wrong = _mistake == Mistake.WrongAddressSpace ? 1u : 0;
        uint? gscid = _bench.Path is Path.FirstStage or Path.Process ? null : ModelBench.Gscid + wrong;
        uint pscid = ModelBench.Pscid + wrong;
        bool whole = _change is Change.TableFreed or Change.ContextCleared or Change.ContextToOtherTables;
        int count = 0;
        if (_change is Change.ContextToOtherTables or Change.ContextCleared)
        {
            commands[count++] = _bench.Path == Path.Process
                ? Command.InvalidateProcessDirectory(ModelBench.Device + wrong, ModelBench.Process)
                : Command.InvalidateDeviceDirectory(ModelBench.Device + wrong);
        }

        if (gscid is not null)
        {
            // What a second-stage change makes stale in nested translations is invalidated by GVMA and VMA (section 6.2).
            commands[count++] = Command.InvalidateSecondStage(gscid, whole ? null : ModelBench.GuestPage);
            commands[count++] = Command.InvalidateFirstStage(gscid, null, null);
        }
        else
        {
            commands[count++] = Command.InvalidateFirstStage(null, pscid, whole ? null : ModelBench.Page);
        }

        return count;
    }
}
