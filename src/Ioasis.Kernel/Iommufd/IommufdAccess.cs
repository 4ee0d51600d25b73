using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>Who pins pages by an <see cref="IommufdAccess"/>.</summary>
internal interface IIommufdAccessUser
{
    /// <summary>
    /// A range is about to be unmapped: what is pinned in it must be unpinned when this returns. Called from any thread, without a lock of the
    /// kernel's held; the access is there until it returns.
    /// </summary>
    void OnUnmap(AddressRange range);
}

/// <summary>
/// The way of a part of the kernel to what an address space maps, without DMA: it reads and writes it, or pins its pages (Linux:
/// <c>iommufd_access</c>, which emulated VFIO devices use). It keeps the address space and the descriptor. Thread-safe, but that the user
/// does nothing with it any more when it is disposed.
/// </summary>
internal sealed class IommufdAccess : IDisposable
{
    private readonly IommufdFile _file;
    private readonly AccessObject _object;
    private int _disposed;

    private IommufdAccess(IommufdFile file, AccessObject added)
    {
        _file = file;
        _object = added;
    }

    /// <summary>Its number among the descriptor's objects. <c>IOMMU_DESTROY</c> of it is refused.</summary>
    public uint Id => _object.Id;

    /// <summary>Makes one, on an address space.</summary>
    internal static Errno TryCreate(IommufdFile file, uint addressSpace, IIommufdAccessUser? user, out IommufdAccess? made)
    {
        made = null;
        AccessObject added = new(user);
        Errno error = file.Objects.Add(added);
        if (error != Errno.Success)
        {
            return error;
        }

        // For the user, beside the number's.
        added.Keep();
        error = added.Attach(file, addressSpace);
        if (error != Errno.Success)
        {
            added.Release();
            file.Objects.DestroyAndWait(added);
            return error;
        }

        _ = file.TryReference();
        made = new(file, added);
        return Errno.Success;
    }

    /// <summary>Changes to another address space. What is pinned in the old one is unpinned first, as before an unmap of everything.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/>; <see cref="Errno.AddressInUse"/> if a mapping there is not aligned to pages but must be;
    /// <see cref="Errno.Busy"/> while another thread changes it.
    /// </returns>
    public Errno Replace(uint addressSpace) => _object.Attach(_file, addressSpace);

    /// <summary>Pins whole pages, which stay, wherever their process is, until <see cref="UnpinPages"/>. All or nothing.</summary>
    /// <param name="iova">First IOVA; of memory that begins a page.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="writes">Whether they will be written.</param>
    /// <param name="pages">Gets the physical address of each page of 4 KiB that is touched.</param>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> for a hole; <see cref="Errno.NotPermitted"/> against the mapping's access;
    /// <see cref="Errno.InvalidArgument"/> for length 0, alignment, memory of a device, an access without a user;
    /// <see cref="Errno.Overflow"/>; <see cref="Errno.BadAddress"/>; <see cref="Errno.OutOfMemory"/> over the limit of pinned memory.
    /// </returns>
    /// <remarks>A piece of memory is pinned whole: what was mapped by one call counts with all its pages.</remarks>
    public Errno PinPages(ulong iova, ulong length, bool writes, Span<PhysicalAddress> pages)
    {
        if (length == 0 || _object.User is null || (ulong)pages.Length < ((length - 1) / AddressSpace.PageSize) + 1)
        {
            return Errno.InvalidArgument;
        }

        return AddressRange.TryFromLength(iova, length, out AddressRange range)
            ? _object.PinPages(range, writes, pages)
            : Errno.Overflow;
    }

    /// <summary>Undoes <see cref="PinPages"/> of the same range.</summary>
    public void UnpinPages(ulong iova, ulong length) => _object.UnpinPages(new(iova, iova + (length - 1)));

    /// <summary>Reads.</summary>
    /// <param name="iova">First IOVA.</param>
    /// <param name="destination">Gets the bytes; not empty.</param>
    /// <returns>As <see cref="PinPages"/>.</returns>
    public Errno Read(ulong iova, Span<byte> destination) => Copy(iova, writes: false, destination);

    /// <summary>Writes.</summary>
    /// <param name="iova">First IOVA.</param>
    /// <param name="source">The bytes; not empty.</param>
    /// <returns>As <see cref="PinPages"/>.</returns>
    public Errno Write(ulong iova, ReadOnlySpan<byte> source) => Copy(iova, writes: true, source.ToArray());

    /// <summary>Gives it back. Nothing is pinned any more, or is unpinned now; the user is not told of anything afterwards.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        _object.Release();
        _file.Objects.DestroyAndWait(_object);
        _file.Dereference();
    }

    private Errno Copy(ulong iova, bool writes, Span<byte> bytes) =>
        bytes.IsEmpty ? Errno.InvalidArgument
        : !AddressRange.TryFromLength(iova, (ulong)bytes.Length, out _) ? Errno.Overflow
        : _object.Copy(iova, writes, bytes);

    private sealed class AccessObject(IIommufdAccessUser? user) : KernelObject, IAddressSpaceUser
    {
        // After the user's own locks, before an address space's. Never held while the user is told.
        private readonly IoLock _lock = new();

        // Where pages are pinned, and where they are unpinned: two while it changes, when nothing is pinned.
        private IoasObject? _current;
        private IoasObject? _pinned;

        public IIommufdAccessUser? User => user;

        public ulong Alignment => user is null ? 1 : AddressSpace.PageSize;

        public bool Holds => false;

        public Errno Attach(IommufdFile file, uint id)
        {
            using ObjectUse<IoasObject> next = file.Objects.Use<IoasObject>(id, out Errno error);
            return error == Errno.Success ? Change(next.Object) : error;
        }

        public Errno PinPages(AddressRange range, bool writes, Span<PhysicalAddress> pages)
        {
            using (_lock.Acquire())
            {
                return _current is null ? Errno.NoEntry : _current.Space.PinPages(this, range, writes, pages);
            }
        }

        public void UnpinPages(AddressRange range)
        {
            using (_lock.Acquire())
            {
                _pinned!.Space.UnpinPages(this, range);
            }
        }

        public Errno Copy(ulong iova, bool writes, Span<byte> bytes)
        {
            using (_lock.Acquire())
            {
                return _current is null ? Errno.NoEntry : _current.Space.CopyBytes(iova, writes, bytes);
            }
        }

        public void OnUnmap(AddressRange range)
        {
            if (user is null)
            {
                return;
            }

            using ObjectUse<AccessObject> use = new(this);
            if (use.IsPresent)
            {
                user.OnUnmap(range);
            }
        }

        public override void Destroy() => _ = Change(null);

        // Keeps the next one from now on, and the one before not any more.
        private Errno Change(IoasObject? next)
        {
            IoasObject? before;
            using (_lock.Acquire())
            {
                before = _current;
                Errno error = before != _pinned ? Errno.Busy
                    : next is null || next == before ? Errno.Success
                    : next.Space.AddUser(this);
                if (error != Errno.Success || next == before)
                {
                    return error;
                }

                next?.Keep();
                _current = null;
            }

            if (before is not null)
            {
                user?.OnUnmap(AddressRange.All);
                before.Space.RemoveUser(this);
                before.Release();
            }

            using (_lock.Acquire())
            {
                _current = _pinned = next;
            }

            return Errno.Success;
        }
    }
}
