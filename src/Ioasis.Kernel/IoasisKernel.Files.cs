using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>The calls of any descriptor beside ioctl: read, write, poll, map, event counters.</content>
internal sealed partial class IoasisKernel
{
    private const ulong PageMask = AddressSpace.PageSize - 1;

    /// <inheritdoc/>
    public nint Read(int fd, Span<byte> destination)
    {
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        Errno error = file!.Read(destination, out int count);
        file.Dereference();
        return error == Errno.Success ? count : -(int)error;
    }

    /// <inheritdoc/>
    public nint Write(int fd, ReadOnlySpan<byte> source)
    {
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        Errno error = file!.Write(source, out int count);
        file.Dereference();
        return error == Errno.Success ? count : -(int)error;
    }

    /// <inheritdoc/>
    public nint Read(int fd, Span<byte> destination, ulong offset)
    {
        // An offset of files is a signed number.
        if (offset > long.MaxValue)
        {
            return -(int)Errno.InvalidArgument;
        }

        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        Errno error = file!.Read(destination, offset, out int count);
        file.Dereference();
        return error == Errno.Success ? count : -(int)error;
    }

    /// <inheritdoc/>
    public nint Write(int fd, ReadOnlySpan<byte> source, ulong offset)
    {
        if (offset > long.MaxValue)
        {
            return -(int)Errno.InvalidArgument;
        }

        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        Errno error = file!.Write(source, offset, out int count);
        file.Dereference();
        return error == Errno.Success ? count : -(int)error;
    }

    /// <inheritdoc/>
    public int Map(int fd, ulong offset, nuint length, MemoryProtection protection, out nint address)
    {
        address = 0;
        if (length == 0 || (offset & PageMask) != 0 || offset > long.MaxValue)
        {
            return -(int)Errno.InvalidArgument;
        }

        if (length > (nuint)nint.MaxValue)
        {
            return -(int)Errno.OutOfMemory;
        }

        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        ulong rounded = ((ulong)length + PageMask) & ~PageMask;
        Errno error = Injection.Hit(InjectionKind.Allocate);
        error = error == Errno.Success ? file!.Map(offset, rounded, protection, out address) : Errno.OutOfMemory;
        if (error != Errno.Success)
        {
            file!.Dereference();
            return -(int)error;
        }

        // The reference of the look-up becomes the mapping's.
        Current.AddMapping(address, rounded, file!);
        return 0;
    }

    /// <inheritdoc/>
    public int Unmap(nint address, nuint length)
    {
        ulong rounded = ((ulong)length + PageMask) & ~PageMask;
        OpenFile? file = Current.RemoveMapping(address, rounded);
        if (file is null)
        {
            return -(int)Errno.InvalidArgument;
        }

        file.Dereference();
        return 0;
    }

    /// <inheritdoc/>
    public int CreateEvent(uint initialValue, EventFlags flags)
    {
        if ((flags & ~(EventFlags.Semaphore | EventFlags.NonBlocking | EventFlags.CloseOnExec)) != 0)
        {
            return -(int)Errno.InvalidArgument;
        }

        EventFile file = new(initialValue, flags);
        Errno error = Descriptors.Add(file, out int descriptor);
        if (error != Errno.Success)
        {
            file.Dereference();
            return -(int)error;
        }

        return descriptor;
    }

    /// <inheritdoc/>
    public int CreateMemory(string name, ulong length)
    {
        if (_options.MemoryFiles is not { } source)
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

        MemoryFile file = new(source, address, length);
        error = Descriptors.Add(file, out int descriptor);
        if (error != Errno.Success)
        {
            file.Dereference();
            return -(int)error;
        }

        return descriptor;
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
}
