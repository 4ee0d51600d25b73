using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.VfioUser;

/// <summary>The way of a function's DMA where no IOMMU of ours is before it: its addresses are those that its client has mapped.</summary>
internal sealed class UntranslatedPort(IPhysicalMemory memory) : IDmaPort
{
    /// <inheritdoc/>
    public void Translate(in DmaRequest request, out DmaTranslation translation) =>
        translation = new(new(request.Address.Value), DmaStatus.Success);

    /// <inheritdoc/>
    public DmaStatus Read(in DmaRequest request, Span<byte> destination) => ToStatus(memory.Read(new(request.Address.Value), destination));

    /// <inheritdoc/>
    public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source) => ToStatus(memory.Write(new(request.Address.Value), source));

    // Nothing answers at an address that nobody mapped.
    private static DmaStatus ToStatus(MemoryStatus status) =>
        status == MemoryStatus.Success ? DmaStatus.Success : DmaStatus.UnsupportedRequest;
}
