using Ioasis.Primitives;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>The table by which ENQCMD of a guest becomes one with a PASID of the host (S1.13).</summary>
[Trait("Requirement", "S1.13")]
public sealed class VmPasidTableTests
{
    [Fact]
    public void A_guest_number_leads_to_its_PASID_and_an_unmapped_one_exits()
    {
        List<GuestPasid> exits = [];
        using VmPasidTable table = new(exits.Add);
        PasidSet set = Support.NewAllocator().NewSet(8);
        Ioasid a = set.Allocate(), b = set.Allocate();
        table.Map(new(0), a).ShouldBe(Errno.Success);
        table.Map(new(Pasid.MaxValue), b).ShouldBe(Errno.Success);
        table.Map(new(1u << 20), b).ShouldBe(Errno.InvalidArgument);
        table.Map(new(0), b).ShouldBe(Errno.Exists);
        (table.TryTranslateOrExit(new(0), out Pasid host), host).ShouldBe((true, a.Pasid));
        (table.TryTranslateOrExit(new(Pasid.MaxValue), out host), host).ShouldBe((true, b.Pasid));
        table.TryTranslate(new(1), out _).ShouldBeFalse();
        exits.ShouldBeEmpty();
        table.TryTranslateOrExit(new(1), out host).ShouldBeFalse();
        table.TryTranslateOrExit(new(uint.MaxValue), out host).ShouldBeFalse();
        host.IsPresent.ShouldBeFalse();
        exits.ShouldBe([new(1), new(uint.MaxValue)]);
        table.Unmap(new(0)).ShouldBe(Errno.Success);
        table.Unmap(new(0)).ShouldBe(Errno.NoEntry);
        table.TryTranslate(new(0), out _).ShouldBeFalse();
        a.State.ShouldBe(IoasidState.Allocated);
        table.Count.ShouldBe(1);
    }

    [Fact]
    public void Freeing_the_IOASID_empties_the_entry_and_parks_until_the_table_lets_go()
    {
        using VmPasidTable table = new();
        PasidSet set = Support.NewAllocator().NewSet(8);
        Ioasid a = set.Allocate(), b = set.Allocate();
        table.Map(new(5), a).ShouldBe(Errno.Success);
        a.Free().ShouldBe(Errno.Success);
        table.TryTranslate(new(5), out _).ShouldBeFalse();
        a.State.ShouldBe(IoasidState.Parked);
        table.Map(new(5), a).ShouldBe(Errno.NoEntry);
        table.Map(new(5), b).ShouldBe(Errno.Success, "a dead entry gives way");
        a.State.ShouldBe(IoasidState.Free);
        (table.TryTranslate(new(5), out Pasid host), host).ShouldBe((true, b.Pasid));
        table.Dispose();
        b.State.ShouldBe(IoasidState.Allocated);
        table.TryTranslate(new(5), out _).ShouldBeFalse();
        table.Map(new(5), b).ShouldBe(Errno.NoEntry);
    }

    [Fact]
    public void An_unmap_waits_for_those_who_translated_and_have_not_submitted()
    {
        using VmPasidTable table = new();
        Ioasid a = Support.NewAllocator().NewSet(8).Allocate();
        table.Map(new(5), a).ShouldBe(Errno.Success);
        using ManualResetEventSlim translated = new(), go = new();
        bool submitted = false;
        Thread cpu = new(() =>
        {
            using (table.Enter())
            {
                _ = table.TryTranslate(new(5), out _);
                translated.Set();
                go.Wait();
                Volatile.Write(ref submitted, true);
            }
        });
        cpu.Start();
        translated.Wait(TestContext.Current.CancellationToken);
        bool seen = false;
        Thread monitor = new(() =>
        {
            table.Unmap(new(5)).ShouldBe(Errno.Success);
            seen = Volatile.Read(ref submitted);
        });
        monitor.Start();

        // The entry is gone for new submissions long before the unmap returns.
        SpinWait.SpinUntil(() => !table.TryTranslate(new(5), out _));
        a.State.ShouldBe(IoasidState.Active);
        go.Set();
        monitor.Join();
        cpu.Join();
        seen.ShouldBeTrue("the unmap returned while a submission with the old number was on its way");
        a.State.ShouldBe(IoasidState.Allocated);
    }
}
