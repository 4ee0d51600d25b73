using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Client;

/// <summary>Mapping what .NET programs have: <see cref="Memory{T}"/>, native buffers, files.</summary>
public sealed partial class IoAddressSpace
{
    /// <summary>What starts and lengths of mappings are multiples of on every IOMMU that Linux or Ioasis drives.</summary>
    internal const ulong PageSize = 4096;

    /// <summary>
    /// Maps managed or native memory until the mapping is disposed; meanwhile the garbage collector does not move it. Devices
    /// reach whole pages: what else lies in the first and in the last page of the memory is in their reach too.
    /// </summary>
    /// <param name="memory">The memory, not empty.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">
    /// Where devices shall see it, or null for the kernel's choice. It has the memory's offset in its page: 0 to 4,095.
    /// </param>
    /// <returns>The mapping, whose IOVA is that of the memory's first byte.</returns>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public DmaMapping Map<T>(Memory<T> memory, Access access, Iova? iova = null)
        where T : unmanaged
    {
        Errno error = MapErrno(memory, access, iova, out DmaMapping? mapping);
        IommuException.ThrowIf(
            error,
            "IOMMU_IOAS_MAP",
            $"memory of {memory.Length} × {Unsafe.SizeOf<T>()} bytes, IOVA {Describe(iova)}, {access}");
        return mapping!;
    }

    /// <summary>Maps managed or native memory until the mapping is disposed; see <see cref="Map{T}(Memory{T}, Access, Iova?)"/>.</summary>
    /// <returns>
    /// As <see cref="MapErrno(UserMemory, Iova, Access)"/>, and <see cref="Errno.InvalidArgument"/> for memory that is empty or
    /// an IOVA whose offset in its page is not the memory's.
    /// </returns>
    public unsafe Errno MapErrno<T>(Memory<T> memory, Access access, Iova? iova, out DmaMapping? mapping)
        where T : unmanaged
    {
        mapping = null;
        if (memory.IsEmpty)
        {
            return Errno.InvalidArgument;
        }

        MemoryHandle pin = memory.Pin();
        ulong first = (ulong)pin.Pointer;
        ulong offset = first % PageSize;
        ulong bytes = (ulong)memory.Length * (ulong)Unsafe.SizeOf<T>();
        ulong length = (offset + bytes + PageSize - 1) & ~(PageSize - 1);
        Errno error;
        Iova start = default;
        if (iova is { } wanted)
        {
            start = new(wanted.Value - offset);
            error = wanted.Value % PageSize == offset
                ? MapErrno(new UserMemory(first - offset, length), start, access)
                : Errno.InvalidArgument;
        }
        else
        {
            error = MapErrno(new UserMemory(first - offset, length), access, out start);
        }

        if (error != Errno.Success)
        {
            pin.Dispose();
            return error;
        }

        mapping = new(this, start, length, start + offset, bytes, pin);
        return Errno.Success;
    }

    /// <summary>Maps a part of a file of shared memory (<c>memfd</c>), which no process needs to have in its own memory.</summary>
    /// <param name="file">The file. The kernel holds it while it is mapped; the handle may be closed.</param>
    /// <param name="start">Offset in the file, in bytes; a multiple of the alignment of <see cref="GetIovaRangesErrno"/>.</param>
    /// <param name="length">Bytes, aligned alike.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">In: where to map it, or null for the kernel's choice. Out: where it is.</param>
    /// <returns>
    /// As <see cref="MapErrno(UserMemory, Iova, Access)"/>; <see cref="Errno.BadDescriptor"/> for a file that is closed or that a
    /// kernel cannot map; <see cref="Errno.NotTypewriter"/> from a kernel that maps no files.
    /// </returns>
    public Errno MapFileErrno(SafeFileHandle file, ulong start, ulong length, Access access, ref Iova? iova)
    {
        ArgumentNullException.ThrowIfNull(file);
        return MapDescriptor(file, start, length, access, ref iova);
    }

    /// <summary><c>IOMMU_IOAS_MAP_FILE</c> of any descriptor.</summary>
    /// <exception cref="ObjectDisposedException">The handle is closed.</exception>
    internal Errno MapDescriptor(SafeHandle descriptor, ulong start, ulong length, Access access, ref Iova? iova)
    {
        using HandleHold held = new(descriptor);
        IommuIoasMapFile argument = new()
        {
            Flags = ToFlags(access) | (iova is null ? 0 : IoasMapFlags.FixedIova),
            IoasId = Id,
            Fd = (int)descriptor.DangerousGetHandle(),
            Start = start,
            Length = length,
            Iova = iova?.Value ?? 0,
        };
        Errno error = _descriptor.Call(ref argument);
        iova = error == Errno.Success ? new Iova(argument.Iova) : iova;
        return error;
    }

    /// <summary>Maps a part of a file of shared memory; see <see cref="MapFileErrno"/>.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public Iova MapFile(SafeFileHandle file, ulong start, ulong length, Access access, Iova? iova = null)
    {
        Errno error = MapFileErrno(file, start, length, access, ref iova);
        IommuException.ThrowIf(
            error, "IOMMU_IOAS_MAP_FILE", $"offset 0x{start:x}, length 0x{length:x}, IOVA {Describe(iova)}, {access}");
        return iova!.Value;
    }

    /// <summary>Allocates memory for DMA and maps it; see <see cref="DmaBuffer"/>.</summary>
    /// <param name="length">Bytes, from 1; rounded up to whole pages.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">Where devices shall see it, a multiple of 4,096, or null for the kernel's choice.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public DmaBuffer AllocateBuffer(nuint length, Access access = Access.ReadWrite, Iova? iova = null)
    {
        Errno error = AllocateBufferErrno(length, access, iova, out DmaBuffer? buffer);
        IommuException.ThrowIf(
            error, "IOMMU_IOAS_MAP", $"buffer of {length} bytes, IOVA {Describe(iova)}, {access}");
        return buffer!;
    }

    /// <summary>Allocates memory for DMA and maps it; see <see cref="AllocateBuffer"/>.</summary>
    /// <returns>As <see cref="MapErrno(UserMemory, Iova, Access)"/>.</returns>
    public Errno AllocateBufferErrno(nuint length, Access access, Iova? iova, out DmaBuffer? buffer) =>
        DmaBuffer.AllocateErrno(this, _descriptor, length, access, iova, out buffer);

    /// <summary>
    /// Unmaps what a handle of the client mapped, and makes sure that no device reaches it any more when it returns, whatever
    /// the invalidation: the memory is about to be used for something else.
    /// </summary>
    /// <returns>Whether the memory is out of every device's reach.</returns>
    internal static bool TryRelease(KernelDescriptor descriptor, uint space, Iova iova, ulong length)
    {
        // A finalizer runs this after the descriptor's owner let go.
        IommuIoasUnmap unmap = new() { IoasId = space, Iova = iova.Value, Length = length };
        Errno error = descriptor.CallHeld(ref unmap);

        // An address space that is gone has unmapped everything itself; a mapping that is gone was unmapped by other means.
        if (error is not (Errno.Success or Errno.NoEntry))
        {
            return false;
        }

        IommuOption flush = new()
        {
            OptionId = IommuOptionId.Flush,
            Operation = IommuOptionOperation.Set,
            ObjectId = space,
            Value = 1,
        };
        error = descriptor.CallHeld(ref flush);

        // A kernel that does not know the option (EOPNOTSUPP) has no lazy invalidation: the unmap itself was the end of it.
        return error is Errno.Success or Errno.NotSupported or Errno.NoEntry;
    }

    private static string Describe(Iova? iova) =>
        iova is { } chosen ? FormattableString.Invariant($"{chosen}") : "of the kernel's choice";

    internal bool TryRelease(Iova iova, ulong length)
    {
        try
        {
            using HandleHold held = new(_descriptor);
            return TryRelease(_descriptor, Id, iova, length);
        }
        catch (ObjectDisposedException)
        {
            // The descriptor is closed, and with it everything is unmapped.
            return true;
        }
    }
}
