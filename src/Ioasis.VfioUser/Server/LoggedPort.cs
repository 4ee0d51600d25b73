using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.VfioUser;

/// <summary>A way through an IOMMU that logs each page: what is refused by its translation goes no further, so that its fault is recorded once.</summary>
internal sealed class LoggedPort(IDmaPort port, DeviceId iommu, AccessLog log) : IDmaPort
{
    private const int PageSize = 4096;

    /// <inheritdoc/>
    public void Translate(in DmaRequest request, out DmaTranslation translation) => port.Translate(request, out translation);

    /// <inheritdoc/>
    public DmaStatus Read(in DmaRequest request, Span<byte> destination)
    {
        DmaRequest piece = request with { Flags = request.Flags & ~DmaFlags.Write };
        DmaStatus status = DmaStatus.Success;
        for (int done = 0, length; done < destination.Length && status == DmaStatus.Success; done += length)
        {
            length = Begin(ref piece, request.Address + (ulong)done, destination.Length - done, out status);
            status = status == DmaStatus.Success ? port.Read(piece, destination.Slice(done, length)) : status;
        }

        return status;
    }

    /// <inheritdoc/>
    public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        DmaRequest piece = request with { Flags = request.Flags | DmaFlags.Write };
        DmaStatus status = DmaStatus.Success;
        for (int done = 0, length; done < source.Length && status == DmaStatus.Success; done += length)
        {
            length = Begin(ref piece, request.Address + (ulong)done, source.Length - done, out status);
            status = status == DmaStatus.Success ? port.Write(piece, source.Slice(done, length)) : status;
        }

        return status;
    }

    // Moves the request to a page, and asks what that is: to the page's end at most.
    private int Begin(ref DmaRequest piece, Iova address, int left, out DmaStatus status)
    {
        piece = piece with { Address = address };
        port.Translate(piece, out DmaTranslation translation);
        status = translation.Status;
        log.Access(
            iommu,
            piece.Device,
            (piece.Flags & DmaFlags.PasidValid) != 0 ? piece.Pasid.Value : 0,
            (piece.Flags & DmaFlags.Write) != 0,
            address.Value,
            status == DmaStatus.Success ? translation.Address.Value : null);
        return Math.Min(left, PageSize - (int)(address.Value & (PageSize - 1)));
    }
}
