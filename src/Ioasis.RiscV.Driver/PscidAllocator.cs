using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// The PSCIDs of one IOMMU (S4.1). 0 is never given: contexts without a first stage carry it. A PSCID comes back only when
/// the flush of it has completed (S4.8), so that it is clean when it is given again.
/// </summary>
internal sealed class PscidAllocator(int bits)
{
    private readonly IoLock _lock = new();
    private readonly Stack<uint> _free = new();
    private readonly uint _last = (1u << bits) - 1;
    private uint _next = 1;
    private int _inUse;

    public int InUse => Volatile.Read(ref _inUse);

    /// <summary>Gives a PSCID.</summary>
    /// <returns>Success, or <see cref="Errno.NoSpace"/>.</returns>
    public Errno TryAllocate(out uint pscid)
    {
        pscid = 0;
        Errno error = Injection.Hit(InjectionKind.Allocate);
        if (error != Errno.Success)
        {
            return error;
        }

        using (_lock.Acquire())
        {
            if (!_free.TryPop(out pscid))
            {
                if (_next > _last)
                {
                    return Errno.NoSpace;
                }

                pscid = _next++;
            }

            _inUse++;
            return Errno.Success;
        }
    }

    public void Free(uint pscid)
    {
        using (_lock.Acquire())
        {
            _free.Push(pscid);
            _inUse--;
        }
    }
}
