using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Native;

/// <content>System calls.</content>
internal static unsafe partial class Exports
{
    private const int PathLimit = 4096;
    private const uint ArgumentLimit = 1 << 16;
    private const uint LargestMinimum = 64;

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_open")]
    private static int Open(nint handle, nint path, int flags)
    {
        const string Call = "ioasis_open";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            Errno error = CallerMemory.ReadText(path, PathLimit, out string text);
            if (error != Errno.Success)
            {
                return LastError.Set(Call, error == Errno.BadAddress ? Failure.BadAddress("path", path) : new(error, $"path is longer than {PathLimit} bytes"));
            }

            int result = platform.Kernel.Open(text, (OpenFlags)flags);
            return result >= 0 ? result : LastError.Set(Call, (Errno)(-result), (Errno)(-result) switch
            {
                Errno.NoEntry => $"\"{text}\" is no node of this platform: /dev/iommu, /dev/ioasid, /dev/vfio/vfio, /dev/vfio/GROUP and /dev/vfio/devices/vfioN are, as far as there are devices",
                Errno.Busy => $"\"{text}\" is open already, or a device of the group is in use",
                Errno.TooManyOpenFiles => $"no descriptor is free for \"{text}\"",
                _ => $"\"{text}\" cannot be opened",
            });
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_close")]
    private static int Close(nint handle, int fd)
    {
        const string Call = "ioasis_close";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            int result = platform.Kernel.Close(fd);
            return result >= 0 ? result : (int)LastError.SetDescriptor(Call, fd, result);
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_dup")]
    private static int Dup(nint handle, int fd)
    {
        const string Call = "ioasis_dup";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            int result = platform.Kernel.Dup(fd);
            return result >= 0 ? result : (int)LastError.SetDescriptor(Call, fd, result);
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_ioctl")]
    private static int Ioctl(nint handle, int fd, nuint number, nint argument)
    {
        const string Call = "ioasis_ioctl";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            // As Linux: the upper half does not count.
            uint request = (uint)number;
            if (RequestNames.TakesNumber(request))
            {
                int result = platform.Kernel.Ioctl(fd, request, argument);
                return result >= 0 ? result : LastError.SetIoctl(fd, request, result, []);
            }

            nuint length = CallerMemory.CountAccessible(argument, LargestMinimum, writable: true);
            if (length >= sizeof(uint))
            {
                nuint wanted = RequestNames.TakesText(request) ? PathLimit : Math.Min(*(uint*)argument, ArgumentLimit);
                if (wanted > length && length == LargestMinimum)
                {
                    length = CallerMemory.CountAccessible(argument, wanted, writable: true);
                }

                Span<byte> structure = new((void*)argument, (int)length);
                int result = platform.Kernel.Ioctl(fd, request, structure);
                return result >= 0 ? result : LastError.SetIoctl(fd, request, result, structure);
            }

            return IoctlCopied(platform, fd, request, argument);
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    // A structure that cannot be written is good for requests that only read it.
    private static int IoctlCopied(NativePlatform platform, int fd, uint request, nint argument)
    {
        nuint length = CallerMemory.CountAccessible(argument, PathLimit, writable: false);
        byte[] copy = new byte[(int)length];
        ReadOnlySpan<byte> original = new((void*)argument, (int)length);
        original.CopyTo(copy);
        int result = platform.Kernel.Ioctl(fd, request, copy.AsSpan());
        if (result >= 0 && !original.SequenceEqual(copy))
        {
            result = -(int)platform.Machine.ClientMemory.Write((ulong)argument, copy);
        }

        return result >= 0 ? result : LastError.SetIoctl(fd, request, result, copy);
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_read")]
    private static nint Read(nint handle, int fd, nint buffer, nuint count) =>
        Transfer("ioasis_read", handle, fd, buffer, count, 0, isWrite: false, hasOffset: false);

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_write")]
    private static nint Write(nint handle, int fd, nint buffer, nuint count) =>
        Transfer("ioasis_write", handle, fd, buffer, count, 0, isWrite: true, hasOffset: false);

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_pread")]
    private static nint ReadAt(nint handle, int fd, nint buffer, nuint count, ulong offset) =>
        Transfer("ioasis_pread", handle, fd, buffer, count, offset, isWrite: false, hasOffset: true);

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_pwrite")]
    private static nint WriteAt(nint handle, int fd, nint buffer, nuint count, ulong offset) =>
        Transfer("ioasis_pwrite", handle, fd, buffer, count, offset, isWrite: true, hasOffset: true);

    private static nint Transfer(
        string call, nint handle, int fd, nint buffer, nuint count, ulong offset, bool isWrite, bool hasOffset)
    {
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(call, handle);
            }

            int length = (int)Math.Min(count, CallerMemory.Most);
            nint result;
            if (CallerMemory.CountAccessible(buffer, (nuint)length, writable: !isWrite) == (nuint)length)
            {
                result = Transfer(platform.Kernel, fd, new Span<byte>((void*)buffer, length), offset, isWrite, hasOffset);
            }
            else
            {
                result = TransferCopied(platform, fd, buffer, length, offset, isWrite, hasOffset);
            }

            return result >= 0 ? result : LastError.SetDescriptor(call, fd, result);
        }
        catch (Exception e)
        {
            return Broken(call, e);
        }
    }

    private static nint Transfer(IKernelAbi kernel, int fd, Span<byte> bytes, ulong offset, bool isWrite, bool hasOffset) =>
        (isWrite, hasOffset) switch
        {
            (false, false) => kernel.Read(fd, bytes),
            (false, true) => kernel.Read(fd, bytes, offset),
            (true, false) => kernel.Write(fd, bytes),
            (true, true) => kernel.Write(fd, bytes, offset),
        };

    // The buffer is not all there: the descriptor's own error comes first, as it would on Linux.
    private static nint TransferCopied(
        NativePlatform platform, int fd, nint buffer, int length, ulong offset, bool isWrite, bool hasOffset)
    {
        length = Math.Min(length, 1 << 20);
        byte[] copy = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            Span<byte> bytes = copy.AsSpan(0, length);
            if (isWrite)
            {
                // Nothing is written of what cannot be read; only whether the descriptor could is asked.
                nint error = Transfer(platform.Kernel, fd, [], offset, isWrite, hasOffset);
                return error == -(int)Errno.BadDescriptor || error == -(int)Errno.IllegalSeek ? error : -(int)Errno.BadAddress;
            }

            nint result = Transfer(platform.Kernel, fd, bytes, offset, isWrite, hasOffset);
            return result > 0 && platform.Machine.ClientMemory.Write((ulong)buffer, bytes[..(int)result]) != Errno.Success
                ? -(int)Errno.BadAddress
                : result;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(copy);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_mmap")]
    private static int Map(nint handle, int fd, ulong offset, nuint length, int protection, nint address)
    {
        const string Call = "ioasis_mmap";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if (CallerMemory.CountAccessible(address, (nuint)sizeof(nint), writable: true) < (nuint)sizeof(nint))
            {
                return LastError.Set(Call, Failure.BadAddress("address", address));
            }

            if ((protection & ~3) != 0)
            {
                return LastError.Set(Call, Errno.InvalidArgument, $"protection is 0x{protection:x}: PROT_READ and PROT_WRITE are possible");
            }

            int result = platform.Kernel.Map(fd, offset, length, (MemoryProtection)protection, out nint where);
            if (result < 0)
            {
                return result switch
                {
                    -(int)Errno.InvalidArgument when length == 0 => LastError.Set(Call, Errno.InvalidArgument, "length is 0"),
                    -(int)Errno.InvalidArgument when (offset & 4095) != 0 =>
                        LastError.Set(Call, Errno.InvalidArgument, $"offset 0x{offset:x} is no multiple of 4096"),
                    -(int)Errno.InvalidArgument =>
                        LastError.Set(Call, Errno.InvalidArgument, $"nothing of descriptor {fd} can be mapped at [0x{offset:x}, +0x{length:x})"),
                    _ => (int)LastError.SetDescriptor(Call, fd, result),
                };
            }

            Unsafe.WriteUnaligned((void*)address, where);
            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_munmap")]
    private static int Unmap(nint handle, nint address, nuint length)
    {
        const string Call = "ioasis_munmap";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            int result = platform.Kernel.Unmap(address, length);
            return result >= 0 ? result : LastError.Set(
                Call, (Errno)(-result), $"ioasis_mmap() of this platform made no mapping [0x{address:x}, +0x{length:x})");
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_poll")]
    private static int Poll(nint handle, nint descriptors, nuint count, int timeout)
    {
        const string Call = "ioasis_poll";
        const int MostDescriptors = 1 << 20;
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if (count > MostDescriptors)
            {
                return LastError.Set(Call, Errno.InvalidArgument, $"count is {count}: at most {MostDescriptors} are possible");
            }

            nuint bytes = count * (nuint)sizeof(PollDescriptor);
            if (CallerMemory.CountAccessible(descriptors, bytes, writable: true) < bytes)
            {
                return LastError.Set(Call, Failure.BadAddress("fds", descriptors));
            }

            int result = platform.Kernel.Poll(new Span<PollDescriptor>((void*)descriptors, (int)count), timeout);
            return result >= 0 ? result : LastError.Set(Call, (Errno)(-result), "the wait was interrupted: the platform ends");
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_eventfd")]
    private static int CreateEvent(nint handle, uint initial, int flags)
    {
        const string Call = "ioasis_eventfd";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            int result = platform.Kernel.CreateEvent(initial, (EventFlags)flags);
            return result >= 0 ? result : LastError.Set(
                Call,
                (Errno)(-result),
                result == -(int)Errno.InvalidArgument
                    ? $"flags are 0x{flags:x}: EFD_SEMAPHORE (1), EFD_NONBLOCK (0x800) and EFD_CLOEXEC (0x80000) are possible"
                    : "no descriptor is free");
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_memfd")]
    private static int CreateMemory(nint handle, nint name, ulong length)
    {
        const string Call = "ioasis_memfd";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if (CallerMemory.ReadText(name, 256, out string text) is not Errno.Success and var error)
            {
                return LastError.Set(Call, error == Errno.BadAddress ? Failure.BadAddress("name", name) : new(Errno.InvalidArgument, "name is longer than 255 bytes"));
            }

            int result = platform.Kernel.CreateMemory(text, length);
            return result >= 0 ? result : LastError.Set(Call, (Errno)(-result), length == 0 ? "length is 0" : $"{length} bytes cannot be had");
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }
}
