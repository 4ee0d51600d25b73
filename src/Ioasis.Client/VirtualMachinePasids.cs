using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// A virtual machine's PASIDs as its monitor sees them: the table by which ENQCMD of the guest gets the host's PASIDs (S1.13),
/// and the events that ask for what is missing (S1.14). Thread-safe.
/// </summary>
public sealed class VirtualMachinePasids : IDisposable
{
    internal VirtualMachinePasids(KernelDescriptor descriptor) => Descriptor = descriptor;

    /// <summary>The descriptor; it polls readable while there are events.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Has ENQCMD of the guest with one PASID use another.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Map(GuestPasid guest, PasidHandle pasid)
    {
        ArgumentNullException.ThrowIfNull(pasid);
        IommuException.ThrowIf(MapErrno(guest, pasid), "IOASID_VM_MAP", $"guest PASID {guest}, PASID {pasid.Pasid}");
    }

    /// <summary>Has ENQCMD of the guest with one PASID use another.</summary>
    /// <returns>Success; <see cref="Errno.Exists"/> if the guest's is mapped.</returns>
    public Errno MapErrno(GuestPasid guest, PasidHandle pasid)
    {
        ArgumentNullException.ThrowIfNull(pasid);
        IoasidVmMap argument = new() { Guest = guest.Value, IoasidFd = pasid.DescriptorNumber, Ioasid = pasid.Pasid.Value };
        return Descriptor.Call(ref argument);
    }

    /// <summary>Has ENQCMD of the guest with this PASID exit; when it returns, none is on its way with the old one.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/>.</returns>
    public Errno UnmapErrno(GuestPasid guest)
    {
        IoasidVmUnmap argument = new() { Guest = guest.Value };
        return Descriptor.Call(ref argument);
    }

    /// <summary>For whoever emulates the guest's IOMMU: asks the monitor for something.</summary>
    /// <param name="guest">The guest's PASID.</param>
    /// <param name="code">What is asked; the two sides agree on it.</param>
    /// <param name="data">More of it.</param>
    /// <returns>Success, or <see cref="Errno.TryAgain"/> if the monitor does not read.</returns>
    public Errno PostErrno(GuestPasid guest, uint code, ulong data)
    {
        IoasidVmPost argument = new() { Guest = guest.Value, Code = code, Data = data };
        return Descriptor.Call(ref argument);
    }

    /// <summary>Waits for an event and reads it.</summary>
    /// <param name="timeout">How long; 0 does not wait, <see cref="Timeout.InfiniteTimeSpan"/> waits for ever.</param>
    /// <param name="next">The event.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Success; <see cref="Errno.TimedOut"/>; or what the kernel answered.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A time that is negative, or more than <see cref="int.MaxValue"/> milliseconds.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public Errno ReadErrno(TimeSpan timeout, out IoasidVmEvent next, CancellationToken cancellationToken = default) =>
        Descriptor.ReadErrno(timeout, out next, cancellationToken);

    /// <summary>Waits for an event and reads it, without a thread of the caller's.</summary>
    /// <param name="cancellationToken">Ends the wait; no event is lost by that.</param>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The descriptor is, or becomes, closed.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public Task<IoasidVmEvent> ReadAsync(CancellationToken cancellationToken = default) => Descriptor.ReadAsync<IoasidVmEvent>(cancellationToken);

    /// <summary>Closes the descriptor: the guest's ENQCMD find nothing any more.</summary>
    public void Dispose() => Descriptor.Dispose();
}
