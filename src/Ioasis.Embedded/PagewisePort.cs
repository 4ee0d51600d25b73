using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// A way through an IOMMU on which each page of an access is looked at before it is made: what is refused by its translation goes no further, so that its fault is recorded once.
/// </summary>
/// <param name="port">The IOMMU.</param>
internal abstract class PagewisePort(IDmaPort port) : IDmaPort
{
    private const int PageSize = 4096;

    /// <summary>The IOMMU.</summary>
    protected IDmaPort Inner => port;

    /// <inheritdoc/>
    public void Translate(in DmaRequest request, out DmaTranslation translation) => port.Translate(request, out translation);

    /// <inheritdoc/>
    public virtual DmaStatus Read(in DmaRequest request, Span<byte> destination)
    {
        DmaRequest piece = request with { Flags = request.Flags & ~DmaFlags.Write };
        DmaStatus status = DmaStatus.Success;
        for (int done = 0, length; done < destination.Length && status == DmaStatus.Success; done += length)
        {
            piece = piece with { Address = request.Address + (ulong)done };
            length = LengthOf(piece, destination.Length - done);
            status = Look(piece);
            status = status == DmaStatus.Success ? port.Read(piece, destination.Slice(done, length)) : status;
        }

        return status;
    }

    /// <inheritdoc/>
    public virtual DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        DmaRequest piece = request with { Flags = request.Flags | DmaFlags.Write };
        DmaStatus status = DmaStatus.Success;
        for (int done = 0, length; done < source.Length && status == DmaStatus.Success; done += length)
        {
            piece = piece with { Address = request.Address + (ulong)done };
            length = LengthOf(piece, source.Length - done);
            status = Look(piece);
            status = status == DmaStatus.Success ? port.Write(piece, source.Slice(done, length)) : status;
        }

        return status;
    }

    /// <summary>Translates a page and looks at what comes of it.</summary>
    /// <param name="page">The part of the access that is in it.</param>
    /// <returns>How the translation ended.</returns>
    protected abstract DmaStatus Look(in DmaRequest page);

    private static int LengthOf(in DmaRequest request, int left) => Math.Min(left, PageSize - (int)(request.Address.Value & (PageSize - 1)));
}
