using System.Collections.Concurrent;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded.Sanitizing;

/// <summary>
/// Looks at the DMA of devices that the IOMMU lets pass, for mistakes that it cannot see: a translation that the program changed without having it forgotten, and memory that
/// is mapped still and gone. Thread-safe.
/// </summary>
/// <param name="platform">The machine.</param>
/// <param name="iommu">The IOMMU that the devices are behind.</param>
/// <param name="journal">What takes the mistakes.</param>
/// <param name="isInProcess">Whether the program's memory is this process's.</param>
internal sealed class DmaWatch(EmbeddedPlatform platform, EmbeddedIommu iommu, DmaJournal journal, bool isInProcess)
    : PagewisePort(iommu.Port), ITranslationUse
{
    private readonly ConcurrentDictionary<DeviceId, IommuDevice> _devices = new();
    private readonly Lazy<UncachedModel> _tables = new(iommu.CreateUncached);

    /// <inheritdoc/>
    public override DmaStatus Read(in DmaRequest request, Span<byte> destination)
    {
        if (FindNested(request) is not null)
        {
            return base.Read(request, destination);
        }

        DmaStatus status = Inner.Read(request, destination);
        Judge(request, destination.Length, isWrite: false, status);
        return status;
    }

    /// <inheritdoc/>
    public override DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        if (FindNested(request) is not null)
        {
            return base.Write(request, source);
        }

        DmaStatus status = Inner.Write(request, source);
        Judge(request, source.Length, isWrite: true, status);
        return status;
    }

    /// <inheritdoc/>
    public long? Begin() => journal.BeginUse();

    /// <inheritdoc/>
    public void Used(in DmaRequest request, PhysicalAddress reached, long begun)
    {
        if (FindNested(request) is { } nested)
        {
            // As the device asked, so that the answer is of the same kind: an address of the guest's where the IOMMU gives such.
            bool isWrite = (request.Flags & DmaFlags.Write) != 0;
            DmaRequest question = request with
            {
                Kind = DmaKind.TranslationRequest, Flags = (request.Flags & DmaFlags.PasidValid) | (isWrite ? DmaFlags.None : DmaFlags.NoWrite),
            };
            Compare(request, question, reached, nested, begun);
        }
    }

    // The page tables that the program itself writes, if the device is behind such.
    private NestedDomain? FindNested(in DmaRequest request)
    {
        if (request.Kind != DmaKind.Untranslated)
        {
            return null;
        }

        return FindDevice(request.Device) is not { } device ? null
            : device.Group.Domain as NestedDomain ?? (request.HasPasid ? device.Group.GetPasidDomain(request.Pasid) as NestedDomain : null);
    }

    // The one that was found before, unless another has taken its place since.
    private IommuDevice? FindDevice(DeviceId id)
    {
        if (_devices.TryGetValue(id, out IommuDevice? known) && platform.Subsystem.TryGetDevice(known.Name, out IommuDevice? present) && ReferenceEquals(known, present))
        {
            return known;
        }

        IommuDevice? device = platform.Subsystem.Devices.FirstOrDefault(device => device.Id == id && ReferenceEquals(device.Iommu, iommu.Driver));
        if (device is not null)
        {
            _devices[id] = device;
        }

        return device;
    }

    /// <inheritdoc/>
    protected override DmaStatus Look(in DmaRequest page)
    {
        long? begun = journal.BeginUse();
        Inner.Translate(page, out DmaTranslation translation);
        if (begun is { } moment && translation.Status == DmaStatus.Success && (translation.Flags & DmaTranslationFlags.Interrupt) == 0
            && FindNested(page) is { } nested)
        {
            Compare(page, page, translation.Address, nested, moment);
        }

        return translation.Status;
    }

    private void Compare(in DmaRequest request, in DmaRequest question, PhysicalAddress reached, NestedDomain nested, long begun)
    {
        _tables.Value.Translate(question, out DmaTranslation now);
        bool isWrite = (request.Flags & DmaFlags.Write) != 0;
        bool isThere = now.Status == DmaStatus.Success
            && (question.Kind == DmaKind.Untranslated || (now.Flags & (isWrite ? DmaTranslationFlags.Write : DmaTranslationFlags.Read)) != 0);
        if (!isThere || now.Address != reached)
        {
            List<PageMapping> pages = [];
            nested.Parent.AddMappingsTo(pages);
            journal.UsedStale(
                request.Device, isWrite ? Access.Write : Access.Read, request.Address.Value,
                FindPage(pages, reached), isThere ? FindPage(pages, now.Address) : null, begun);
        }
    }

    // The IOVA of the second stage that leads to an address.
    private static ulong? FindPage(List<PageMapping> pages, PhysicalAddress address)
    {
        foreach (PageMapping page in pages)
        {
            if (address.Value - page.Address.Value <= page.Range.Last - page.Range.Start)
            {
                return page.Range.Start + (address.Value - page.Address.Value);
            }
        }

        return null;
    }

    private void Judge(in DmaRequest request, int length, bool isWrite, DmaStatus status)
    {
        if (request.Kind == DmaKind.Untranslated && length > 0)
        {
            Access access = isWrite ? Access.Write : Access.Read;
            if (status == DmaStatus.Success)
            {
                journal.JudgeUsed(request.Device, access, request.Address.Value, (ulong)length);
            }
            else if (isInProcess && status == DmaStatus.CompleterAbort)
            {
                journal.JudgeGone(request.Device, access, request.Address.Value, (ulong)length, IsGone);
            }
        }
    }

    private bool IsGone(ulong address)
    {
        Span<byte> one = stackalloc byte[1];
        return platform.ClientMemory.Read(address, one) != Errno.Success;
    }
}
