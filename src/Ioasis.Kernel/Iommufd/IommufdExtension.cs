using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A part of the kernel side that is built on iommufd and has calls of its own on <c>/dev/iommu</c> (Linux: drivers that use
/// <c>iommufd_device_bind</c> and what belongs to it). Thread-safe.
/// </summary>
internal abstract class IommufdExtension
{
    /// <summary>A call that iommufd does not know.</summary>
    /// <param name="context">The descriptor that it is made on.</param>
    /// <param name="request">Which call.</param>
    /// <param name="argument">Its argument, as far as the caller's memory reaches; the answer goes there too.</param>
    /// <param name="result">What a call that succeeds returns, 0 or more.</param>
    /// <returns>Success or an error; <see cref="Errno.NotTypewriter"/> if nobody knows the call.</returns>
    public abstract Errno Ioctl(IommufdContext context, uint request, Span<byte> argument, out int result);

    /// <summary>Where a call's argument has descriptors. As a rule nowhere.</summary>
    public virtual ExtensionDescriptors FindDescriptors(uint request, ReadOnlySpan<byte> argument) => default;
}

/// <summary>An object of an extension among those of a descriptor: <c>IOMMU_DESTROY</c> and the last close take it down.</summary>
internal abstract class IommufdExtensionObject
{
    /// <summary>Its number, from <see cref="IommufdContext.Add"/> on.</summary>
    public uint Id { get; internal set; }

    /// <summary>It is gone from the table and nobody uses it.</summary>
    protected internal abstract void Destroy();
}

/// <summary>A descriptor of <c>/dev/iommu</c> as an extension sees it (Linux: <c>iommufd_ctx</c>). Thread-safe.</summary>
internal sealed class IommufdContext
{
    private readonly IommufdFile _file;
    private readonly KernelProcess _caller;

    internal IommufdContext(IommufdFile file, KernelProcess caller)
    {
        _file = file;
        _caller = caller;
    }

    /// <summary>The memory of the process that calls.</summary>
    public IUserMemory Memory => _caller.Memory;

    /// <summary>What the kernel holds for all its processes.</summary>
    public KernelAudit Audit => _file.Kernel.Audit;

    /// <summary>Takes a device, and its group, under the descriptor's control.</summary>
    /// <returns>Success; <see cref="Errno.Busy"/> if the group is under another's; <see cref="Errno.OutOfMemory"/>.</returns>
    public Errno Bind(IommuDevice device, out IommufdDevice? bound)
    {
        ArgumentNullException.ThrowIfNull(device);
        Errno error = _file.Bind(device, out DeviceObject? added);
        bound = error == Errno.Success ? new(_file, added!) : null;
        return error;
    }

    /// <summary>Gives an object a number.</summary>
    /// <returns>Success or <see cref="Errno.OutOfMemory"/>.</returns>
    public Errno Add(IommufdExtensionObject added)
    {
        ArgumentNullException.ThrowIfNull(added);
        ExtensionObject holder = new(added);
        Errno error = _file.Objects.Add(holder);
        added.Id = holder.Id;
        return error;
    }

    /// <summary>Does something with an object of the extension, which stays while it is done.</summary>
    /// <returns>What <paramref name="use"/> returns; <see cref="Errno.NoEntry"/> if there is no such object.</returns>
    public Errno UseObject<T>(uint id, Func<T, Errno> use)
        where T : IommufdExtensionObject
    {
        ArgumentNullException.ThrowIfNull(use);
        return Use<ExtensionObject>(id, found => found.Object is T wanted ? use(wanted) : Errno.NoEntry);
    }

    /// <summary>Does something with a device that is bound to the descriptor, by whomever.</summary>
    /// <returns>What <paramref name="use"/> returns; <see cref="Errno.NoEntry"/> if there is no such device.</returns>
    public Errno UseDevice(uint id, Func<IommuDevice, Errno> use)
    {
        ArgumentNullException.ThrowIfNull(use);
        return Use<DeviceObject>(id, found => use(found.Device));
    }

    /// <summary>Does something with the domain of a page table.</summary>
    /// <returns>What <paramref name="use"/> returns; <see cref="Errno.NoEntry"/> if there is no such table.</returns>
    public Errno UseDomain(uint id, Func<Domain, Errno> use)
    {
        ArgumentNullException.ThrowIfNull(use);
        return Use<HwptObject>(id, found => use(found.Domain));
    }

    /// <summary>Keeps IOVAs of an address space free, for as long as it is there; all of them, if the range is that large.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> for another number; <see cref="Errno.AddressInUse"/> over a mapping or an allowed range.
    /// </returns>
    public Errno Reserve(uint addressSpace, AddressRange range) =>
        Use<IoasObject>(addressSpace, found => found.Space.ReserveFor(range, found));

    /// <summary>Makes a way to what an address space maps.</summary>
    /// <param name="addressSpace">The address space.</param>
    /// <param name="user">Who pins pages; null if nobody does, so that mappings need not be aligned to pages.</param>
    /// <param name="made">The way; to be disposed.</param>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> for another number; <see cref="Errno.AddressInUse"/> if a mapping is not aligned to pages but must
    /// be; <see cref="Errno.OutOfMemory"/>.
    /// </returns>
    public Errno CreateAccess(uint addressSpace, IIommufdAccessUser? user, out IommufdAccess? made) =>
        IommufdAccess.TryCreate(_file, addressSpace, user, out made);

    /// <summary>Gives the process that calls a descriptor of a file.</summary>
    /// <returns>Success, or <see cref="Errno.TooManyOpenFiles"/>; the file is not released then.</returns>
    public Errno AddFile(IommufdExtensionFile file, out int descriptor)
    {
        ArgumentNullException.ThrowIfNull(file);
        return _caller.Descriptors.Add(new ExtensionFile(file), out descriptor);
    }

    /// <summary>Does something with a file of the process that calls, which stays while it is done.</summary>
    /// <returns>What <paramref name="use"/> returns; <see cref="Errno.BadDescriptor"/> if it is no such file.</returns>
    public Errno UseFile<T>(int descriptor, Func<T, Errno> use)
        where T : IommufdExtensionFile
    {
        ArgumentNullException.ThrowIfNull(use);
        return UseOpenFile<ExtensionFile>(descriptor, found => found.Inner is T wanted ? use(wanted) : Errno.BadDescriptor);
    }

    /// <summary>Gives the process that calls a descriptor of memory of a device, which it may map for others (Linux: a dma-buf).</summary>
    /// <param name="address">Where it is.</param>
    /// <param name="length">Bytes: whole pages.</param>
    /// <param name="descriptor">The descriptor.</param>
    /// <returns>Success, or <see cref="Errno.TooManyOpenFiles"/>.</returns>
    public Errno ExportMemory(PhysicalAddress address, ulong length, out int descriptor) =>
        _caller.AddFile(new DmaBufferFile(null, [(address, length)]), out descriptor);

    /// <summary>Takes such memory back from whoever has it mapped, or lets it be mapped again.</summary>
    /// <returns>
    /// Success; <see cref="Errno.BadDescriptor"/>; <see cref="Errno.InvalidArgument"/> if it is no such memory;
    /// <see cref="Errno.NotSupported"/> if it is a VFIO device's.
    /// </returns>
    public Errno SetRevoked(int descriptor, bool isRevoked) => UseOpenFile<OpenFile>(descriptor, found =>
    {
        if (found is not DmaBufferFile buffer)
        {
            return Errno.InvalidArgument;
        }

        if (buffer.Node is not null)
        {
            return Errno.NotSupported;
        }

        if (isRevoked)
        {
            buffer.Revoke(forGood: false);
        }
        else
        {
            buffer.Restore();
        }

        return Errno.Success;
    });

    private Errno UseOpenFile<T>(int descriptor, Func<T, Errno> use)
        where T : OpenFile
    {
        using FileUse found = _caller.Descriptors.Use(descriptor);
        return found.FileOrNull is T wanted ? use(wanted) : Errno.BadDescriptor;
    }

    private Errno Use<T>(uint id, Func<T, Errno> use)
        where T : KernelObject
    {
        using ObjectUse<T> found = _file.Objects.Use<T>(id, out Errno error);
        return error == Errno.Success ? use(found.Object) : error;
    }

    private sealed class ExtensionObject(IommufdExtensionObject inner) : KernelObject
    {
        public IommufdExtensionObject Object => inner;

        /// <inheritdoc/>
        public override void Destroy() => inner.Destroy();
    }
}

/// <summary>A device that an extension has bound to a descriptor. Whoever bound it unbinds it before the descriptor goes.</summary>
internal sealed class IommufdDevice
{
    private readonly IommufdFile _file;
    private readonly DeviceObject _device;

    internal IommufdDevice(IommufdFile file, DeviceObject device)
    {
        _file = file;
        _device = device;
        Id = device.Id;
    }

    /// <summary>Its number among the descriptor's objects.</summary>
    public uint Id { get; }

    /// <summary>Attaches it to a table or an address space, or switches it there.</summary>
    /// <param name="pageTable">In: a table or an address space. Out: the table.</param>
    public Errno Attach(ref uint pageTable) => _file.Attach(_device, ref pageTable);

    /// <summary>As <see cref="Attach"/>, for one PASID, 1 to 2^20-1.</summary>
    public Errno AttachPasid(uint pasid, ref uint pageTable) => _file.AttachPasid(_device, pasid, ref pageTable);

    /// <summary>Detaches it, if it is attached.</summary>
    public Errno Detach() => _file.Detach(_device);

    /// <summary>Detaches a PASID of it, if that is attached.</summary>
    public Errno DetachPasid(uint pasid) => _file.DetachPasid(_device, pasid);

    /// <summary>Gives it back, whatever it is attached to.</summary>
    public void Unbind() => _file.Unbind(_device);
}
