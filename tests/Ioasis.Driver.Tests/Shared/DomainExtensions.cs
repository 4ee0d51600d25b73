using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Driver.Tests.Shared;

/// <summary>Shortcuts that tests read well with.</summary>
internal static class DomainExtensions
{
    public static void ShouldMap(
        this PagingDomain domain, ulong iova, ulong address, ulong length = 4096, Access access = Access.ReadWrite) =>
        domain.Map(new(iova), new(address), length, access).ShouldBe(Errno.Success);

    /// <summary>Attaches a PASID of a device that is alone in its group, or the device itself if there is none.</summary>
    public static Errno Attach(this IommuDevice device, Pasid pasid, PagingDomain domain) =>
        pasid.IsPresent ? device.Group.AttachPasid(pasid, domain) : device.Group.Attach(domain);

    /// <summary>Unmaps and synchronises.</summary>
    public static void ShouldUnmap(this PagingDomain domain, ulong iova, ulong length = 4096)
    {
        InvalidationGather gather = default;
        domain.Unmap(new(iova), length, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
        unmapped.ShouldBe(length);
        domain.Sync(ref gather).ShouldBe(Errno.Success);
        gather.IsEmpty.ShouldBeTrue();
    }
}
