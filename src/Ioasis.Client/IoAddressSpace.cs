using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// An I/O address space: what devices that are attached to it see of the client's memory. Every mapping is in every page
/// table of the space. Thread-safe; the <c>Try</c> forms do not allocate or throw for what the kernel refuses.
/// </summary>
public sealed partial class IoAddressSpace : IDisposable
{
    private readonly KernelDescriptor _descriptor;

    internal IoAddressSpace(IommuFd iommu, KernelObject handle)
    {
        _descriptor = iommu.Descriptor;
        Handle = handle;
        Id = handle.Id;
    }

    /// <summary>The object.</summary>
    public KernelObject Handle { get; }

    /// <summary>Its number in the descriptor.</summary>
    public uint Id { get; }

    /// <summary>The descriptor that it is in.</summary>
    internal KernelDescriptor Owner => _descriptor;

    /// <summary>Maps the client's memory at an IOVA of the caller's choice.</summary>
    /// <param name="memory">The memory; address and length are multiples of the alignment of <see cref="GetIovaRangesErrno"/>.</param>
    /// <param name="iova">Where devices shall see it, aligned alike.</param>
    /// <param name="access">What devices may do; <see cref="Access.Execute"/> counts as a read.</param>
    /// <returns>
    /// Success; <see cref="Errno.Exists"/> over a live mapping; <see cref="Errno.InvalidArgument"/> outside the ranges, for
    /// alignment, for no access or no length; <see cref="Errno.Overflow"/> past 2^64; <see cref="Errno.BadAddress"/> for
    /// memory that is not there; <see cref="Errno.OutOfMemory"/> over the limit of pinned memory.
    /// </returns>
    public Errno MapErrno(UserMemory memory, Iova iova, Access access)
    {
        IommuIoasMap argument = new()
        {
            Flags = IoasMapFlags.FixedIova | ToFlags(access),
            IoasId = Id,
            UserVa = memory.Address,
            Length = memory.Length,
            Iova = iova.Value,
        };
        return _descriptor.Call(ref argument);
    }

    /// <summary>Maps the client's memory at an IOVA that the kernel chooses within the ranges.</summary>
    /// <param name="memory">The memory; its offset in its page is kept.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">Where devices see it.</param>
    /// <returns>As the other form; <see cref="Errno.NoSpace"/> if no gap is large enough.</returns>
    public Errno MapErrno(UserMemory memory, Access access, out Iova iova)
    {
        IommuIoasMap argument = new() { Flags = ToFlags(access), IoasId = Id, UserVa = memory.Address, Length = memory.Length };
        Errno error = _descriptor.Call(ref argument);
        iova = new(argument.Iova);
        return error;
    }

    /// <summary>Maps the client's memory at an IOVA of the caller's choice; see <see cref="MapErrno(UserMemory, Iova, Access)"/>.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Map(UserMemory memory, Iova iova, Access access)
    {
        Errno error = MapErrno(memory, iova, access);
        if (error != Errno.Success)
        {
            throw new IommuException(
                error,
                "IOMMU_IOAS_MAP",
                FormattableString.Invariant($"memory {memory}, IOVA {iova}, {access}"));
        }
    }

    /// <summary>Maps the client's memory at an IOVA that the kernel chooses.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public Iova Map(UserMemory memory, Access access)
    {
        Errno error = MapErrno(memory, access, out Iova iova);
        IommuException.ThrowIf(error, "IOMMU_IOAS_MAP", $"memory {memory}, {access}");
        return iova;
    }

    /// <summary>
    /// Unmaps every mapping that lies within a range. When it returns, no device reaches the memory any more, unless
    /// invalidation is lazy (<see cref="SetLazyInvalidation"/>).
    /// </summary>
    /// <param name="iova">First IOVA.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="unmapped">Bytes that were mapped.</param>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> if nothing is mapped there, or a mapping reaches beyond the range (those below
    /// it are gone then, as in Linux); <see cref="Errno.InvalidArgument"/> for no length; <see cref="Errno.Overflow"/>.
    /// </returns>
    public Errno UnmapErrno(Iova iova, ulong length, out ulong unmapped)
    {
        IommuIoasUnmap argument = new() { IoasId = Id, Iova = iova.Value, Length = length };
        Errno error = _descriptor.Call(ref argument);
        unmapped = error == Errno.Success ? argument.Length : 0;
        return error;
    }

    /// <summary>Unmaps every mapping that lies within a range; see <see cref="UnmapErrno"/>.</summary>
    /// <returns>Bytes that were mapped.</returns>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public ulong Unmap(Iova iova, ulong length)
    {
        Errno error = UnmapErrno(iova, length, out ulong unmapped);
        if (error != Errno.Success)
        {
            throw new IommuException(
                error, "IOMMU_IOAS_UNMAP", FormattableString.Invariant($"IOVA {iova}, length 0x{length:x}"));
        }

        return unmapped;
    }

    /// <summary>Unmaps everything.</summary>
    /// <returns>Bytes that were mapped.</returns>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public ulong UnmapAll() => Unmap(default, ulong.MaxValue);

    /// <summary>Maps here what is mapped in another address space of the same descriptor, without pinning it again.</summary>
    /// <param name="source">The other space, or this one.</param>
    /// <param name="sourceIova">Where it is mapped there.</param>
    /// <param name="length">Bytes; all mapped there, without a hole.</param>
    /// <param name="iova">Where to map it here.</param>
    /// <param name="access">What devices may do; not more than the original mapping's memory permits.</param>
    /// <returns>As <see cref="MapErrno(UserMemory, Iova, Access)"/>, and <see cref="Errno.NoEntry"/> for a hole.</returns>
    public Errno CopyErrno(IoAddressSpace source, Iova sourceIova, ulong length, Iova iova, Access access)
    {
        ArgumentNullException.ThrowIfNull(source);
        IommuIoasCopy argument = new()
        {
            Flags = IoasMapFlags.FixedIova | ToFlags(access),
            DestinationIoasId = Id,
            SourceIoasId = source.Id,
            Length = length,
            DestinationIova = iova.Value,
            SourceIova = sourceIova.Value,
        };
        return _descriptor.Call(ref argument);
    }

    /// <summary>Maps here what is mapped in another address space, at an IOVA that the kernel chooses.</summary>
    /// <returns>As the other form; <see cref="Errno.NoSpace"/> if no gap is large enough.</returns>
    public Errno CopyErrno(IoAddressSpace source, Iova sourceIova, ulong length, Access access, out Iova iova)
    {
        ArgumentNullException.ThrowIfNull(source);
        IommuIoasCopy argument = new()
        {
            Flags = ToFlags(access),
            DestinationIoasId = Id,
            SourceIoasId = source.Id,
            Length = length,
            SourceIova = sourceIova.Value,
        };
        Errno error = _descriptor.Call(ref argument);
        iova = new(argument.DestinationIova);
        return error;
    }

    /// <summary>The IOVAs that can be mapped now, sorted, disjoint and maximal (S3.1).</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public IReadOnlyList<AddressRange> GetIovaRanges()
    {
        IommuException.ThrowIf(
            GetIovaRangesErrno(out IReadOnlyList<AddressRange> ranges, out _), "IOMMU_IOAS_IOVA_RANGES", $"address space {Id}");
        return ranges;
    }

    /// <summary>The IOVAs that can be mapped now, sorted, disjoint and maximal (S3.1).</summary>
    /// <param name="ranges">The ranges.</param>
    /// <param name="alignment">What starts and lengths of mappings must be multiples of, in bytes.</param>
    /// <returns>Success, or what the kernel answered.</returns>
    public unsafe Errno GetIovaRangesErrno(out IReadOnlyList<AddressRange> ranges, out ulong alignment)
    {
        uint count = 16;
        while (true)
        {
            IommuIovaRange[] buffer = GC.AllocateUninitializedArray<IommuIovaRange>((int)count, pinned: true);
            fixed (IommuIovaRange* pointer = buffer)
            {
                IommuIoasIovaRanges argument = new() { IoasId = Id, NumIovas = count, AllowedIovas = (ulong)pointer };
                Errno error = _descriptor.Call(ref argument);
                if (error == Errno.MessageTooLong && argument.NumIovas > count)
                {
                    // Ranges may grow between the two calls: ask again with what is needed now.
                    count = argument.NumIovas;
                    continue;
                }

                alignment = argument.OutIovaAlignment;
                AddressRange[] result = new AddressRange[error == Errno.Success ? argument.NumIovas : 0];
                for (int i = 0; i < result.Length; i++)
                {
                    result[i] = new(buffer[i].Start, buffer[i].Last);
                }

                ranges = result;
                return error;
            }
        }
    }

    /// <summary>
    /// Keeps IOVAs usable: a device that would make one of them unusable can no longer attach, and the kernel's own choice
    /// stays within them. Replaces the list before; an empty list lifts it.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.AddressInUse"/> if one is unusable already; <see cref="Errno.InvalidArgument"/> for ranges
    /// that overlap or have one byte.
    /// </returns>
    public unsafe Errno AllowIovasErrno(ReadOnlySpan<AddressRange> ranges)
    {
        IommuIovaRange[] buffer = GC.AllocateUninitializedArray<IommuIovaRange>(ranges.Length, pinned: true);
        for (int i = 0; i < buffer.Length; i++)
        {
            buffer[i] = new() { Start = ranges[i].Start, Last = ranges[i].Last };
        }

        fixed (IommuIovaRange* pointer = buffer)
        {
            IommuIoasAllowIovas argument = new()
            {
                IoasId = Id,
                NumIovas = (uint)buffer.Length,
                AllowedIovas = (ulong)pointer,
            };
            return _descriptor.Call(ref argument);
        }
    }

    /// <summary>Keeps IOVAs usable; see <see cref="AllowIovasErrno"/>.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void AllowIovas(ReadOnlySpan<AddressRange> ranges) =>
        IommuException.ThrowIf(AllowIovasErrno(ranges), "IOMMU_IOAS_ALLOW_IOVAS", $"{ranges.Length} ranges");

    /// <summary>
    /// Whether later unmaps return before the IOMMU has forgotten the range (Linux' <c>iommu.strict=0</c> for DMA). The
    /// memory stays pinned and the IOVAs are not chosen again until the next flush. Off to begin with.
    /// </summary>
    /// <exception cref="IommuException">The kernel refused: it is not an Ioasis kernel (docs/abi.md).</exception>
    public void SetLazyInvalidation(bool lazy) =>
        IommuException.ThrowIf(
            SetOptionErrno(IommuOptionId.LazyInvalidation, lazy ? 1u : 0u), "IOMMU_OPTION", $"lazy invalidation {lazy}");

    /// <summary>Completes every invalidation that is still pending: memory is unpinned, IOVAs become free.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Flush() => IommuException.ThrowIf(FlushErrno(), "IOMMU_OPTION", $"flush");

    /// <summary>Completes every invalidation that is still pending.</summary>
    /// <returns>Success, <see cref="Errno.IoError"/> if an IOMMU failed, or what the kernel answered.</returns>
    public Errno FlushErrno() => SetOptionErrno(IommuOptionId.Flush, 1);

    /// <summary>Whether contiguous pages may be mapped with large leaves; only while nothing is mapped.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void SetHugePages(bool allowed) =>
        IommuException.ThrowIf(
            SetOptionErrno(IommuOptionId.HugePages, allowed ? 1u : 0u), "IOMMU_OPTION", $"huge pages {allowed}");

    /// <summary>Sets an option of the address space.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno SetOptionErrno(IommuOptionId option, ulong value)
    {
        IommuOption argument = new()
        {
            OptionId = option,
            Operation = IommuOptionOperation.Set,
            ObjectId = Id,
            Value = value,
        };
        return _descriptor.Call(ref argument);
    }

    /// <summary>Reads an option of the address space.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno GetOptionErrno(IommuOptionId option, out ulong value)
    {
        IommuOption argument = new() { OptionId = option, Operation = IommuOptionOperation.Get, ObjectId = Id };
        Errno error = _descriptor.Call(ref argument);
        value = argument.Value;
        return error;
    }

    /// <summary>Destroys the address space with all its mappings.</summary>
    /// <exception cref="IommuException">A device or a page table still uses it (<see cref="Errno.Busy"/>).</exception>
    public void Destroy() => IommuException.ThrowIf(DestroyErrno(), "IOMMU_DESTROY", $"address space {Id}");

    /// <summary>Destroys the address space with all its mappings.</summary>
    /// <returns>Success, or <see cref="Errno.Busy"/> while a device or a page table uses it.</returns>
    public Errno DestroyErrno() => Handle.DestroyErrno();

    /// <summary>Destroys the address space; one that is in use goes with the descriptor.</summary>
    public void Dispose() => Handle.Dispose();

    internal static IoasMapFlags ToFlags(Access access) =>
        ((access & (Access.Read | Access.Execute)) != 0 ? IoasMapFlags.Readable : 0)
        | ((access & Access.Write) != 0 ? IoasMapFlags.Writable : 0);
}
