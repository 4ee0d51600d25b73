using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// A guest's own first stage on top of a second stage of the host (S4.17): the guest writes its tables in its memory, and the
/// hardware walks them through <see cref="Parent"/>. What the guest says is in bytes whose layout is the driver's.
/// </summary>
internal abstract class NestedDomain : Domain
{
    /// <inheritdoc/>
    public sealed override DomainKind Kind => DomainKind.Nested;

    /// <summary>The second stage. It outlives the nested domain.</summary>
    public abstract PagingDomain Parent { get; }

    /// <summary>
    /// Does what the guest asks its IOMMU to forget: an array of requests, carried out in order. When it returns success, what
    /// the guest invalidated is used no more, by the IOMMUs and by devices that cache translations.
    /// </summary>
    /// <param name="dataType">Which layout the entries have.</param>
    /// <param name="entries">The entries, back to back.</param>
    /// <param name="entryLength">Bytes of one entry.</param>
    /// <param name="count">How many entries there are; afterwards, how many were carried out.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> for a layout that the driver does not know;
    /// <see cref="Errno.InvalidArgument"/> for an entry that is not well-formed: those before it were carried out;
    /// <see cref="Errno.IoError"/> if an IOMMU did not confirm it: then none counts as carried out.
    /// </returns>
    public abstract Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count);
}
