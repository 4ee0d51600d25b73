using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// Memory that belongs to a descriptor instead of a process (Linux: <c>memfd</c>). It lives while a descriptor, a mapping into
/// a process or a mapping for devices holds it.
/// </summary>
internal sealed class MemoryFile(IMemoryFileSource source, ulong address, ulong length) : OpenFile
{
    /// <summary>First byte, an address in <see cref="Memory"/>.</summary>
    public ulong Address => address;

    /// <summary>Bytes.</summary>
    public ulong Length => length;

    /// <summary>Where it can be pinned.</summary>
    public IUserMemory Memory => source.Memory;

    /// <inheritdoc/>
    public override Errno Read(Span<byte> destination, ulong offset, out int count)
    {
        count = offset >= length ? 0 : (int)Math.Min((ulong)destination.Length, length - offset);
        return count == 0 ? Errno.Success : source.Memory.Read(address + offset, destination[..count]);
    }

    /// <inheritdoc/>
    public override Errno Write(ReadOnlySpan<byte> source1, ulong offset, out int count)
    {
        count = offset >= length ? 0 : (int)Math.Min((ulong)source1.Length, length - offset);
        return count == 0
            ? source1.Length == 0 ? Errno.Success : Errno.NoSpace
            : source.Memory.Write(address + offset, source1[..count]);
    }

    /// <inheritdoc/>
    public override Errno Map(ulong offset, ulong mapped, MemoryProtection protection, out nint mappedAt)
    {
        mappedAt = 0;
        if (offset > length || mapped > ((length + AddressSpace.PageSize - 1) & ~(AddressSpace.PageSize - 1)) - offset)
        {
            return Errno.InvalidArgument;
        }

        mappedAt = (nint)(address + offset);
        return Errno.Success;
    }

    /// <inheritdoc/>
    protected override void Release() => source.Free(address, length);
}
