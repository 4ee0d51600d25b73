using System.Diagnostics;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Kernel;

/// <content>The calls on descriptors.</content>
internal sealed partial class KernelProcess
{
    /// <inheritdoc/>
    public int Open(string path, OpenFlags flags)
    {
        if (path is null)
        {
            return -(int)Errno.BadAddress;
        }

        Errno error = Kernel.OpenFile(path, out OpenFile? file);
        return error == Errno.Success ? Add(file!) : -(int)error;
    }

    /// <inheritdoc/>
    public int FindDevice(string address, out string? path) => Kernel.FindDevice(address, out path);

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, Span<byte> argument)
    {
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        using Activity? activity = CallActivity.Start(file!, request);
        try
        {
            Errno error = file!.Ioctl(this, request, argument, out int result);
            activity?.End(error);
            return error == Errno.Success ? result : -(int)error;
        }
        catch (Exception e) when (Contain(e, request))
        {
            return -(int)Errno.IoError;
        }
        finally
        {
            file!.Dereference();
        }
    }

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, nint argument)
    {
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        using Activity? activity = CallActivity.Start(file!, request);
        try
        {
            Errno error = file!.Ioctl(this, request, argument, out int result);
            activity?.End(error);
            return error == Errno.Success ? result : -(int)error;
        }
        catch (Exception e) when (Contain(e, request))
        {
            return -(int)Errno.IoError;
        }
        finally
        {
            file!.Dereference();
        }
    }

    /// <inheritdoc/>
    public nint Read(int fd, Span<byte> destination)
    {
        using FileUse file = Descriptors.Use(fd);
        int count = 0;
        Errno error = file.FileOrNull?.Read(destination, out count) ?? Errno.BadDescriptor;
        return ToResult(error, count);
    }

    /// <inheritdoc/>
    public nint Write(int fd, ReadOnlySpan<byte> source)
    {
        using FileUse file = Descriptors.Use(fd);
        int count = 0;
        Errno error = file.FileOrNull?.Write(source, out count) ?? Errno.BadDescriptor;
        return ToResult(error, count);
    }

    /// <inheritdoc/>
    public nint Read(int fd, Span<byte> destination, ulong offset)
    {
        // An offset of files is a signed number.
        if (offset > long.MaxValue)
        {
            return -(int)Errno.InvalidArgument;
        }

        using FileUse file = Descriptors.Use(fd);
        int count = 0;
        Errno error = file.FileOrNull?.Read(destination, offset, out count) ?? Errno.BadDescriptor;
        return ToResult(error, count);
    }

    /// <inheritdoc/>
    public nint Write(int fd, ReadOnlySpan<byte> source, ulong offset)
    {
        if (offset > long.MaxValue)
        {
            return -(int)Errno.InvalidArgument;
        }

        using FileUse file = Descriptors.Use(fd);
        int count = 0;
        Errno error = file.FileOrNull?.Write(source, offset, out count) ?? Errno.BadDescriptor;
        return ToResult(error, count);
    }

    /// <inheritdoc/>
    public int CreateEvent(uint initialValue, EventFlags flags)
    {
        if ((flags & ~(EventFlags.Semaphore | EventFlags.NonBlocking | EventFlags.CloseOnExec)) != 0)
        {
            return -(int)Errno.InvalidArgument;
        }

        return Add(new EventFile(initialValue, flags));
    }

    /// <inheritdoc/>
    public int CreateMemory(string name, ulong length)
    {
        if (Kernel.Options.MemoryFiles is not { } source)
        {
            return -(int)Errno.NotImplemented;
        }

        if (name is null)
        {
            return -(int)Errno.BadAddress;
        }

        if (length is 0 or > long.MaxValue)
        {
            return -(int)Errno.InvalidArgument;
        }

        Errno error = Injection.Hit(InjectionKind.Allocate);
        ulong address = 0;
        error = error == Errno.Success ? source.Allocate(length, out address) : Errno.OutOfMemory;
        if (error != Errno.Success)
        {
            return -(int)error;
        }

        return Add(new MemoryFile(source, address, length));
    }

    /// <inheritdoc/>
    public int Dup(int fd)
    {
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        // The reference of the look-up becomes the new descriptor's.
        return Add(file!);
    }

    /// <inheritdoc/>
    public int Close(int fd)
    {
        OpenFile? file = Descriptors.Remove(fd);
        file?.Dereference();
        return file is null ? -(int)Errno.BadDescriptor : 0;
    }

    /// <inheritdoc/>
    public int Poll(Span<PollDescriptor> descriptors, int timeoutMilliseconds)
    {
        OpenFile?[] files = new OpenFile?[descriptors.Length];
        try
        {
            for (int i = 0; i < files.Length; i++)
            {
                if (descriptors[i].Descriptor >= 0)
                {
                    _ = Descriptors.TryGet(descriptors[i].Descriptor, out files[i]);
                }
            }

            int count = Look(descriptors, files);
            return count > 0 || timeoutMilliseconds == 0 ? count : Wait(descriptors, files, timeoutMilliseconds);
        }
        finally
        {
            foreach (OpenFile? file in files)
            {
                file?.Dereference();
            }
        }
    }

    private static int Wait(Span<PollDescriptor> descriptors, OpenFile?[] files, int timeoutMilliseconds)
    {
        using WaitQueue.Waiter waiter = new();
        foreach (OpenFile? file in files)
        {
            if (file?.Waiters is { } queue)
            {
                waiter.Add(queue);
            }
        }

        while (true)
        {
            int count = Look(descriptors, files);
            if (count > 0)
            {
                return count;
            }

            Errno error = waiter.Wait(timeoutMilliseconds);
            if (error != Errno.Success)
            {
                return error == Errno.TimedOut ? 0 : -(int)error;
            }
        }
    }

    private static int Look(Span<PollDescriptor> descriptors, OpenFile?[] files)
    {
        int count = 0;
        for (int i = 0; i < files.Length; i++)
        {
            ref PollDescriptor descriptor = ref descriptors[i];
            descriptor.Ready = descriptor.Descriptor < 0 ? PollEvents.None
                : files[i] is { } file ? file.Poll() & (descriptor.Events | PollEvents.Error | PollEvents.HangUp)
                : PollEvents.Invalid;
            count += descriptor.Ready == PollEvents.None ? 0 : 1;
        }

        return count;
    }

    // Whatever goes wrong inside stays inside (invariant 7), and is told.
    private bool Contain(Exception exception, uint request)
    {
        Kernel.Options.Logger.LogError(exception, "ioctl 0x{Request:x} failed inside the kernel", request);
        return true;
    }
}
