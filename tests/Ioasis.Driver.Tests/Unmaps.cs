using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Driver.Tests;

/// <summary>Unmaps that a test expects to succeed.</summary>
internal static class Unmaps
{
    /// <returns>Bytes that were mapped.</returns>
    public static ulong Unmap(this PagingDomain domain, Iova iova, ulong length, ref InvalidationGather gather)
    {
        domain.Unmap(iova, length, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
        return unmapped;
    }
}
