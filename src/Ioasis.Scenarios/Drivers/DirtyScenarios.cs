using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// Dirty pages are read and made clean while a device writes them: each write is reported by a read that returned after it
/// began.
/// </summary>
internal sealed class DirtyReadAgainstWrite : DriverScenario
{
    private const int Reads = 2;

    private readonly TablePagingDomain _domain;

    // For each read that has returned, whether it reported the page; for each write, how many had returned when it began.
    private readonly List<bool> _reported = [];
    private readonly List<int> _writes = [];

    public DirtyReadAgainstWrite(bool isSecondStage, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        IommuDevice device = AddDevice(1);
        _domain = NewDomainWith(device, new() { NestParent = isSecondStage, DirtyTracking = true }, (X, P1), (Y, P2));
        device.Group.Attach(_domain).ShouldBe(Errno.Success);
        _domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
        AddThread("reader", () =>
        {
            for (int i = 0; i < Reads; i++)
            {
                _reported.Add(Read());
            }
        });
        AddThread("device", () =>
        {
            for (int i = 0; i < 3; i++)
            {
                int begun = _reported.Count;
                Dma(device, X).ShouldBe(DmaStatus.Success);
                _writes.Add(begun);
            }
        });
    }

    public override void CheckAtEnd()
    {
        _reported.Add(Read());
        foreach (int begun in _writes)
        {
            _reported.Skip(begun).ShouldContain(true, $"a write that began after {begun} reads was not reported");
        }

        Read().ShouldBeFalse("nothing was written since");
    }

    private bool Read()
    {
        ulong[] words = new ulong[1];
        _domain.ReadDirty(new(X), 0x2000, clear: true, new DirtyBitmap(words, new(X), 12)).ShouldBe(Errno.Success);
        (words[0] & ~1ul).ShouldBe(0ul);
        Note($"read: {words[0]}");
        return words[0] != 0;
    }
}

/// <summary>Dirty tracking starts, which walks all tables, while another thread unmaps so much that tables go (S4.14).</summary>
internal sealed class DirtyStartAgainstUnmap : DriverScenario
{
    private readonly TablePagingDomain _domain;

    public DirtyStartAgainstUnmap(IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        IommuDevice device = AddDevice(1);
        _domain = NewDomainWith(device, new() { DirtyTracking = true }, (X, P1), (Z, P3));
        device.Group.Attach(_domain).ShouldBe(Errno.Success);
        Dma(device, X).ShouldBe(DmaStatus.Success);
        Dma(device, Z).ShouldBe(DmaStatus.Success);
        AddThread("start", () => _domain.SetDirtyTracking(true).ShouldBe(Errno.Success));
        AddThread("unmap", () => UnmapAndRevoke(_domain, X, P1, 1ul << 21));
    }

    public override void CheckAtEnd()
    {
        ulong[] words = new ulong[1];
        _domain.ReadDirty(new(Z), 0x1000, clear: false, new DirtyBitmap(words, new(Z), 12)).ShouldBe(Errno.Success);
        words[0].ShouldBe(0ul, "everything is clean when it starts");
        CheckAlways();
    }
}
