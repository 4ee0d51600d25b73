using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Scenarios.Drivers;

/// <summary>Unmaps that a test expects to succeed.</summary>
internal static class Unmaps
{
    /// <returns>Bytes that were mapped.</returns>
    public static ulong Unmap(this PagingDomain domain, Iova iova, ulong length, ref InvalidationGather gather)
    {
        // Without an assertion, which allocates: tests that count allocations use it too.
        Errno error = domain.Unmap(iova, length, ref gather, out ulong unmapped);
        return error == Errno.Success ? unmapped : throw new InvalidOperationException($"Unmap: {error}.");
    }
}
