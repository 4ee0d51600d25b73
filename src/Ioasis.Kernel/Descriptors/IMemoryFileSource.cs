using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>Where the memory of memory files comes from (<see cref="Uapi.IKernelAbi.CreateMemory"/>). Thread-safe.</summary>
internal interface IMemoryFileSource
{
    /// <summary>Where what is allocated can be pinned and accessed.</summary>
    IUserMemory Memory { get; }

    /// <summary>Allocates zeroed memory.</summary>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="address">Where it is in <see cref="Memory"/>, aligned to 4 KiB.</param>
    /// <returns>Success, or <see cref="Errno.OutOfMemory"/>.</returns>
    Errno Allocate(ulong length, out ulong address);

    /// <summary>Gives it back. Nothing is pinned any more.</summary>
    void Free(ulong address, ulong length);
}
