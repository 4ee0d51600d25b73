using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices.Nvme;

/// <content>The PASID that its requests carry, if it was made with one.</content>
public sealed partial class NvmeController : IPasidUser
{
    /// <inheritdoc/>
    public override IPasidUser? PasidUser => _options.Pasid.IsPresent ? this : null;

    /// <inheritdoc/>
    string IPasidUser.Name => $"NVMe controller {Connection?.Id}";

    /// <inheritdoc/>
    void IPasidUser.BeginPasid(Pasid pasid)
    {
        if (pasid == _pasid)
        {
            Volatile.Write(ref _pasidStopped, false);
        }
    }

    /// <inheritdoc/>
    Errno IPasidUser.StopPasid(Pasid pasid)
    {
        if (pasid == _pasid)
        {
            Volatile.Write(ref _pasidStopped, true);
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    bool IPasidUser.IsPasidDrained(Pasid pasid, out string? holds)
    {
        holds = null;
        if (pasid != _pasid)
        {
            return true;
        }

        // What still works has begun before the stop; who begins after it moves nothing.
        if (_lock.IsHeld || !_lock.TryAcquire(out IoLock.Scope scope))
        {
            holds = "a command under way";
            return false;
        }

        scope.Dispose();
        RunPosted();
        return true;
    }
}
