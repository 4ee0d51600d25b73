using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>A device model's or driver's own part in the life of a PASID: queues of descriptors that carry it.</summary>
internal interface IPasidDevice : IPasidDrain
{
    /// <summary>The IOASID may be used from now on; what was stopped under the same number before was another one.</summary>
    void Begin(Ioasid ioasid);
}

/// <summary>
/// Binds processes to devices: shared virtual addressing. The PASIDs come from one set, that of the host or of a virtual
/// machine. A process has one shared PASID, allocated at its first bind and kept until the process and its last user are gone
/// (S2.1, S2.2); private ones belong to their binding (S2.9).
/// </summary>
/// <remarks>Order of locks: a process's binder, a group's lock, the driver's, the address space's.</remarks>
internal sealed class SvaManager
{
    private readonly PasidSet _set;

    /// <summary>Makes a manager.</summary>
    /// <param name="set">Where PASIDs come from; its quota holds.</param>
    public SvaManager(PasidSet set)
    {
        ArgumentNullException.ThrowIfNull(set);
        _set = set;
    }

    /// <summary>Where PASIDs come from.</summary>
    public PasidSet Set => _set;

    /// <summary>Longest wait for a drain; null for the allocator's.</summary>
    public TimeSpan? DrainPatience { get; init; }

    /// <summary>
    /// Lets a device use a process's addresses under the process's shared PASID. Each call gives a handle of its own; the
    /// device is attached while there is one.
    /// </summary>
    /// <param name="device">The device, in a group of its own.</param>
    /// <param name="addressSpace">The process's memory.</param>
    /// <param name="data">The caller's data, in the handle. No other bind changes it (S2.3).</param>
    /// <param name="binding">The handle.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> if device or IOMMU have no PASIDs, or the device shares its group;
    /// <see cref="Errno.Overflow"/> if the process's PASID is more than the device or its IOMMU can carry (S2.10);
    /// <see cref="Errno.NoSpace"/> without a free PASID; <see cref="Errno.NoEntry"/> if the process ends;
    /// <see cref="Errno.NotPermitted"/> if another manager binds it; <see cref="Errno.InvalidArgument"/> if the IOMMU cannot walk
    /// the process's table; others of the driver. After an error everything is as before (S2.8).
    /// </returns>
    public Errno Bind(IommuDevice device, ProcessAddressSpace addressSpace, object? data, out SvaBinding? binding) =>
        Bind(device, addressSpace, data, isPrivate: false, out binding);

    /// <summary>
    /// As <see cref="Bind(IommuDevice, ProcessAddressSpace, object?, out SvaBinding?)"/>, under a PASID that belongs to the handle
    /// alone: the process does not know it, and it ends with the handle (S2.9).
    /// </summary>
    public Errno BindPrivate(IommuDevice device, ProcessAddressSpace addressSpace, object? data, out SvaBinding? binding) =>
        Bind(device, addressSpace, data, isPrivate: true, out binding);

    /// <summary>The shared PASID of a process; <see cref="Pasid.Invalid"/> before its first bind and after its end.</summary>
    public static Pasid GetPasid(ProcessAddressSpace addressSpace)
    {
        ArgumentNullException.ThrowIfNull(addressSpace);
        return addressSpace.IsExiting ? Pasid.Invalid : (Volatile.Read(ref addressSpace.Binder) as SvaProcess)?.SharedPasid ?? Pasid.Invalid;
    }

    private Errno Bind(
        IommuDevice device, ProcessAddressSpace addressSpace, object? data, bool isPrivate, out SvaBinding? binding)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(addressSpace);
        binding = null;
        int bits = Math.Min(device.PasidBits, device.Iommu.Capabilities.PasidBits);
        if (bits == 0 || device.Group.Devices.Count != 1)
        {
            return Errno.NotSupported;
        }

        Errno error = TryGetProcess(addressSpace, out SvaProcess? process);
        return error == Errno.Success
            ? process!.Bind(device, Math.Min(bits, Pasid.Bits), data, isPrivate, out binding)
            : error;
    }

    private Errno TryGetProcess(ProcessAddressSpace addressSpace, out SvaProcess? process)
    {
        object? present = Volatile.Read(ref addressSpace.Binder);
        if (present is null)
        {
            // It hears of the end before anybody can bind through it.
            SvaProcess made = new(this, addressSpace);
            Errno error = addressSpace.Register(made);
            if (error != Errno.Success)
            {
                process = null;
                return error;
            }

            present = Interlocked.CompareExchange(ref addressSpace.Binder, made, null);
            if (present is not null)
            {
                addressSpace.Unregister(made);
            }

            present ??= made;
        }

        process = (SvaProcess)present;
        return ReferenceEquals(process.Manager, this) ? Errno.Success : Errno.NotPermitted;
    }
}

/// <summary>A device's use of a process's addresses, until <see cref="Unbind"/>.</summary>
internal sealed class SvaBinding : IDisposable
{
    private readonly SvaProcess _process;
    private int _unbound;

    internal SvaBinding(SvaProcess process, SvaAttachment attachment, object? data)
    {
        _process = process;
        Attachment = attachment;
        Data = data;
    }

    /// <summary>The device.</summary>
    public IommuDevice Device => Attachment.Device;

    /// <summary>The process's memory.</summary>
    public ProcessAddressSpace AddressSpace => _process.AddressSpace;

    /// <summary>What the device's requests must carry.</summary>
    public Pasid Pasid => Attachment.Ioasid.Pasid;

    /// <summary>The IOASID. The binding holds a reference.</summary>
    public Ioasid Ioasid => Attachment.Ioasid;

    /// <summary>Whether the PASID is the binding's own.</summary>
    public bool IsPrivate => Attachment.IsPrivate;

    /// <summary>Whether the device still reaches the process: not when the process has ended.</summary>
    public bool IsAttached => Attachment.IsAttached;

    /// <summary>What the caller of the bind gave.</summary>
    public object? Data { get; internal set; }

    internal SvaAttachment Attachment { get; }

    /// <summary>
    /// Ends it. The last binding of a device stops its DMA with the PASID, drains it, and only then lets go of the PASID. Ending
    /// twice is harmless.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.TimedOut"/> or another error if the device could not be stopped or drained: then it can be tried
    /// again, and the PASID stays taken.
    /// </returns>
    public Errno Unbind()
    {
        if (Interlocked.Exchange(ref _unbound, 1) != 0)
        {
            return Errno.Success;
        }

        Errno error = _process.Unbind(this);
        if (error != Errno.Success)
        {
            Volatile.Write(ref _unbound, 0);
        }

        return error;
    }

    /// <summary>As <see cref="Unbind"/>.</summary>
    public void Dispose() => Unbind();
}
