using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A guest's first stage as an object (Linux: <c>iommufd_hwpt_nested</c>). It keeps what it was made on: its parent, or the
/// virtual IOMMU that keeps the parent.
/// </summary>
internal sealed class NestedTableObject : HwptObject
{
    private readonly KernelObject _base;
    private readonly NestedDomain _domain;

    /// <summary>Makes the object; <paramref name="madeOn"/> is used from now on.</summary>
    public NestedTableObject(NestedDomain domain, PageTableObject parent, KernelObject madeOn, bool allowsPasids)
    {
        madeOn.Keep();
        _base = madeOn;
        _domain = domain;
        Paging = parent;
        AllowsPasids = allowsPasids;
    }

    /// <inheritdoc/>
    public override Domain Domain => _domain;

    /// <inheritdoc/>
    public override PageTableObject Paging { get; }

    /// <inheritdoc/>
    public override bool AllowsPasids { get; }

    /// <summary>Does what the guest asks to be invalidated.</summary>
    public Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count) =>
        _domain.Invalidate(dataType, entries, entryLength, ref count);

    /// <inheritdoc/>
    public override void Destroy()
    {
        _domain.Dispose();
        ReleaseFaults();
        _base.Release();
    }
}
