using System.Diagnostics;
using System.Runtime.InteropServices;
using Ioasis.Linux.Discovery;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Linux;

/// <summary>
/// The transport to the kernel that this process runs on: <c>/dev/iommu</c> and <c>/dev/vfio</c> through the C library. It adds
/// nothing to the system calls and hides nothing of them: results are theirs, errors are <c>-errno</c>. Where the machine has
/// no IOMMU, opens fail with the kernel's own error.
/// </summary>
public sealed unsafe class LinuxKernelAbi : IKernelAbi
{
    /// <summary>The name that <see cref="Register"/> gives it.</summary>
    public const string TransportName = "linux";

    // No structure of the ABI has an oldest version that is larger: a kernel never reads more than this, or than the structure
    // says, whichever is more.
    private const int LargestMinimum = 64;
    private static readonly Sysfs s_sysfs = new();

    private LinuxKernelAbi()
    {
    }

    /// <summary>The kernel. There is one, so all share it.</summary>
    /// <exception cref="PlatformNotSupportedException">This is not Linux.</exception>
    public static LinuxKernelAbi Instance { get; } = OperatingSystem.IsLinux()
        ? new()
        : throw new PlatformNotSupportedException("The transport to Linux' kernel needs Linux.");

    /// <summary>Makes the kernel available to <see cref="Client.Iommu.Open(string)"/>.</summary>
    public static void Register() => Client.Iommu.Register(TransportName, static () => Instance);

    /// <inheritdoc/>
    public int Open(string path, OpenFlags flags)
    {
        if (path is null)
        {
            return -(int)Errno.BadAddress;
        }

        int fd = LibC.Open(path, (int)flags, 0);
        return fd < 0 ? LibC.NegativeErrno : fd;
    }

    /// <inheritdoc/>
    public int FindDevice(string address, out string? path) => -(int)LinuxDevice.FindVfioNode(s_sysfs, address, out path);

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, Span<byte> argument)
    {
        if (argument.Length >= LargestMinimum && MemoryMarshal.Read<uint>(argument) <= (uint)argument.Length)
        {
            fixed (byte* pointer = argument)
            {
                return Ioctl(fd, request, (nint)pointer);
            }
        }

        return IoctlGuarded(fd, request, argument);
    }

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, nint argument)
    {
        int result = LibC.Ioctl(fd, request, argument);
        return result < 0 ? LibC.NegativeErrno : result;
    }

    /// <inheritdoc/>
    public nint Read(int fd, Span<byte> destination)
    {
        fixed (byte* pointer = destination)
        {
            return Result(LibC.Read(fd, pointer, (nuint)destination.Length));
        }
    }

    /// <inheritdoc/>
    public nint Write(int fd, ReadOnlySpan<byte> source)
    {
        fixed (byte* pointer = source)
        {
            return Result(LibC.Write(fd, pointer, (nuint)source.Length));
        }
    }

    /// <inheritdoc/>
    public nint Read(int fd, Span<byte> destination, ulong offset)
    {
        fixed (byte* pointer = destination)
        {
            return Result(LibC.ReadAt(fd, pointer, (nuint)destination.Length, (long)offset));
        }
    }

    /// <inheritdoc/>
    public nint Write(int fd, ReadOnlySpan<byte> source, ulong offset)
    {
        fixed (byte* pointer = source)
        {
            return Result(LibC.WriteAt(fd, pointer, (nuint)source.Length, (long)offset));
        }
    }

    /// <inheritdoc/>
    public int Map(int fd, ulong offset, nuint length, MemoryProtection protection, out nint address)
    {
        nint result = LibC.Map(0, length, (int)protection, LibC.MapShared, fd, (long)offset);
        if (result == -1)
        {
            address = 0;
            return LibC.NegativeErrno;
        }

        address = result;
        return 0;
    }

    /// <inheritdoc/>
    public int Unmap(nint address, nuint length) => LibC.Unmap(address, length) < 0 ? LibC.NegativeErrno : 0;

    /// <inheritdoc/>
    public int CreateEvent(uint initialValue, EventFlags flags)
    {
        int fd = LibC.EventFd(initialValue, (int)flags);
        return fd < 0 ? LibC.NegativeErrno : fd;
    }

    /// <inheritdoc/>
    public int CreateMemory(string name, ulong length)
    {
        if (length is 0 or > long.MaxValue)
        {
            return -(int)Errno.InvalidArgument;
        }

        int fd = LibC.MemoryFd(name, LibC.MemoryCloseOnExec);
        if (fd < 0)
        {
            return LibC.NegativeErrno;
        }

        if (LibC.Truncate(fd, (long)length) < 0)
        {
            int error = LibC.NegativeErrno;
            _ = LibC.Close(fd);
            return error;
        }

        return fd;
    }

    /// <inheritdoc/>
    /// <remarks>A signal that interrupts the wait does not end it: .NET uses some of its own.</remarks>
    public int Poll(Span<PollDescriptor> descriptors, int timeoutMilliseconds)
    {
        long start = Stopwatch.GetTimestamp();
        int remaining = timeoutMilliseconds;
        while (true)
        {
            int result;
            fixed (PollDescriptor* pointer = descriptors)
            {
                result = LibC.Poll(pointer, (nuint)descriptors.Length, remaining);
            }

            if (result >= 0)
            {
                return result;
            }

            int error = LibC.NegativeErrno;
            if (error != -(int)Errno.Interrupted)
            {
                return error;
            }

            if (timeoutMilliseconds > 0)
            {
                remaining = Math.Max(0, timeoutMilliseconds - (int)Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            }
        }
    }

    /// <inheritdoc/>
    public int Dup(int fd)
    {
        int result = LibC.Control(fd, LibC.DuplicateCloseOnExec, 0);
        return result < 0 ? LibC.NegativeErrno : result;
    }

    /// <inheritdoc/>
    public int Close(int fd) => LibC.Close(fd) < 0 ? LibC.NegativeErrno : 0;

    private static nint Result(nint result) => result < 0 ? LibC.NegativeErrno : result;

    // The argument, in memory that ends with it.
    private int IoctlGuarded(int fd, uint request, Span<byte> argument)
    {
        ArgumentGuard guard = ArgumentGuard.Current;
        if (guard.IsInvalid || argument.Length > ArgumentGuard.Capacity)
        {
            return -(int)Errno.OutOfMemory;
        }

        Span<byte> copy = guard.Take(argument.Length);
        argument.CopyTo(copy);
        fixed (byte* pointer = &MemoryMarshal.GetReference(copy))
        {
            int result = Ioctl(fd, request, (nint)pointer);
            copy.CopyTo(argument);
            return result;
        }
    }
}
