using System.Runtime.InteropServices;

namespace Ioasis.Linux;

/// <summary>
/// Memory in which an argument ends exactly where a page begins that is not there. So a kernel that reads or writes as far as a
/// structure's own size says, and not as far as the caller's buffer reaches, answers EFAULT instead of touching the caller's
/// memory: what <see cref="Uapi.IKernelAbi"/> promises. One for each thread, for its life.
/// </summary>
internal sealed unsafe class ArgumentGuard : SafeHandle
{
    /// <summary>Bytes that fit.</summary>
    public const int Capacity = 64 * 1024;

    // Larger than a page of any architecture that .NET runs on, and a multiple of each.
    private const int GuardBytes = 64 * 1024;

    [ThreadStatic]
    private static ArgumentGuard? s_current;

    /// <summary>Maps the memory.</summary>
    public ArgumentGuard()
        : base(-1, ownsHandle: true)
    {
        nint memory = LibC.Map(
            0, Capacity + GuardBytes, LibC.ProtectRead | LibC.ProtectWrite, LibC.MapPrivate | LibC.MapAnonymous, -1, 0);
        if (memory != -1 && LibC.Protect(memory + Capacity, GuardBytes, LibC.ProtectNone) != 0)
        {
            _ = LibC.Unmap(memory, Capacity + GuardBytes);
            memory = -1;
        }

        SetHandle(memory);
    }

    /// <summary>The calling thread's guard; invalid if there is no memory for one.</summary>
    public static ArgumentGuard Current
    {
        get
        {
            if (s_current is not { IsInvalid: false })
            {
                s_current = new();
            }

            return s_current;
        }
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == -1;

    /// <summary>The last <paramref name="length"/> bytes before the page that is not there; at most <see cref="Capacity"/>.</summary>
    public Span<byte> Take(int length) => new((byte*)handle + Capacity - length, length);

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => LibC.Unmap(handle, Capacity + GuardBytes) == 0;
}
