using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// For a driver: the identifiers under which one IOMMU caches address spaces (S4.1). 0 is never given: contexts without an address
/// space carry it. An identifier comes back only when the flush of it has completed (S4.8), so that it is clean when it is given again.
/// </summary>
/// <param name="bits">Bits of an identifier, 1 to 31.</param>
internal sealed class IdentifierAllocator(int bits)
{
    private readonly IoLock _lock = new();
    private readonly Stack<uint> _free = new();
    private readonly Stack<uint> _unflushed = new();
    private readonly uint _last = (1u << bits) - 1;
    private uint _next = 1;
    private int _inUse;

    /// <summary>How many are given.</summary>
    public int InUse => Volatile.Read(ref _inUse);

    /// <summary>Gives an identifier.</summary>
    /// <param name="identifier">From 1.</param>
    /// <param name="isUnflushed">
    /// Whether the driver has not flushed it since it took the IOMMU over: an earlier owner may have left something under it.
    /// </param>
    /// <returns>Success, or <see cref="Errno.NoSpace"/>.</returns>
    public Errno TryAllocate(out uint identifier, out bool isUnflushed)
    {
        identifier = 0;
        isUnflushed = false;
        Errno error = Injection.Hit(InjectionKind.Allocate);
        if (error != Errno.Success)
        {
            return error;
        }

        using (_lock.Acquire())
        {
            if (!_free.TryPop(out identifier))
            {
                isUnflushed = true;
                if (!_unflushed.TryPop(out identifier))
                {
                    if (_next > _last)
                    {
                        return Errno.NoSpace;
                    }

                    identifier = _next++;
                }
            }

            _inUse++;
            return Errno.Success;
        }
    }

    /// <summary>Takes an identifier back.</summary>
    /// <param name="identifier">One that was given.</param>
    /// <param name="isUnflushed">It was given as such and its flush has failed.</param>
    public void Free(uint identifier, bool isUnflushed = false)
    {
        using (_lock.Acquire())
        {
            (isUnflushed ? _unflushed : _free).Push(identifier);
            _inUse--;
        }
    }
}
