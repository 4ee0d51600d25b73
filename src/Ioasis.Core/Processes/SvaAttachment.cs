using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// A device that is attached to a process under a PASID: the user in hardware that the IOASID's drain knows. Stopping detaches
/// the PASID, which blocks its DMA, waits for what is in flight, empties the device's cache and answers its page requests;
/// then the descriptors that the device has accepted are waited for.
/// </summary>
internal sealed class SvaAttachment(IommuDevice device, Ioasid ioasid, bool isPrivate) : IPasidDrain
{
    private readonly IoLock _lock = new();
    private bool _isAttached;

    public IommuDevice Device { get; } = device;

    public Ioasid Ioasid { get; } = ioasid;

    public bool IsPrivate { get; } = isPrivate;

    /// <summary>The handles; under the binder's lock.</summary>
    public List<SvaBinding> Bindings { get; } = [];

    public SvaDomain? Domain { get; private set; }

    public bool IsAttached => Volatile.Read(ref _isAttached);

    public string Name => Device.Name;

    /// <summary>Attaches the PASID.</summary>
    public Errno Attach(SvaDomain domain)
    {
        using (_lock.Acquire())
        {
            Errno error = Device.Group.AttachPasid(Ioasid.Pasid, domain);
            if (error == Errno.Success)
            {
                Domain = domain;
                Volatile.Write(ref _isAttached, true);
                Device.PasidDevice?.Begin(Ioasid);
            }

            return error;
        }
    }

    public Errno Stop(Ioasid ended)
    {
        using (_lock.Acquire())
        {
            if (!_isAttached)
            {
                return Errno.Success;
            }

            // First nothing new is taken, then what is under way loses its memory.
            Errno error = Device.PasidDevice?.Stop(Ioasid) ?? Errno.Success;
            if (error == Errno.Success)
            {
                error = Device.Group.DetachPasid(Ioasid.Pasid);
            }

            if (error == Errno.Success)
            {
                Volatile.Write(ref _isAttached, false);
            }

            return error;
        }
    }

    public bool IsDrained(Ioasid ended, out string? holds)
    {
        holds = null;
        return Device.PasidDevice?.IsDrained(Ioasid, out holds) ?? true;
    }
}
