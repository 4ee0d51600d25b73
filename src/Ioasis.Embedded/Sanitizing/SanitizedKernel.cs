using Ioasis.Uapi;

namespace Ioasis.Embedded.Sanitizing;

/// <summary>A kernel whose calls a sanitizer is told of. Which descriptors are of one file is known from the calls that make and end them.</summary>
internal sealed class SanitizedKernel(DmaSanitizer sanitizer, IKernelAbi kernel) : IKernelAbi
{
    private readonly Lock _lock = new();
    private readonly Dictionary<int, OpenFile> _files = [];

    public int Open(string path, OpenFlags flags)
    {
        int descriptor = kernel.Open(path, flags);
        if (descriptor >= 0)
        {
            lock (_lock)
            {
                _files[descriptor] = new();
            }
        }

        return descriptor;
    }

    public int FindDevice(string address, out string? path) => kernel.FindDevice(address, out path);

    public int Ioctl(int fd, uint request, Span<byte> argument)
    {
        sanitizer.Drain();
        bool forgets = DmaJournal.Forgets(request);
        if (!forgets)
        {
            sanitizer.Called();
        }

        byte[]? before = DmaJournal.IsOfInterest(request) ? argument.ToArray() : null;
        int result;
        using (sanitizer.Change())
        {
            result = kernel.Ioctl(fd, request, argument);
        }

        if (forgets)
        {
            sanitizer.Forgot(request, argument);
        }

        if (before is not null && FileOf(fd) is { } file)
        {
            sanitizer.Called(file, request, before, argument, result);
        }

        return result;
    }

    public int Ioctl(int fd, uint request, nint argument)
    {
        sanitizer.Drain();
        sanitizer.Called();
        using (sanitizer.Change())
        {
            return kernel.Ioctl(fd, request, argument);
        }
    }

    public nint Read(int fd, Span<byte> destination)
    {
        sanitizer.Called();
        return kernel.Read(fd, destination);
    }

    public nint Write(int fd, ReadOnlySpan<byte> source)
    {
        sanitizer.Called();
        return kernel.Write(fd, source);
    }

    public nint Read(int fd, Span<byte> destination, ulong offset)
    {
        sanitizer.Called();
        return kernel.Read(fd, destination, offset);
    }

    public nint Write(int fd, ReadOnlySpan<byte> source, ulong offset)
    {
        sanitizer.Called();
        return kernel.Write(fd, source, offset);
    }

    public int Map(int fd, ulong offset, nuint length, MemoryProtection protection, out nint address) => kernel.Map(fd, offset, length, protection, out address);

    public int Unmap(nint address, nuint length) => kernel.Unmap(address, length);

    public int CreateEvent(uint initialValue, EventFlags flags) => kernel.CreateEvent(initialValue, flags);

    public int CreateMemory(string name, ulong length) => kernel.CreateMemory(name, length);

    public int Poll(Span<PollDescriptor> descriptors, int timeoutMilliseconds) => kernel.Poll(descriptors, timeoutMilliseconds);

    public int Dup(int fd)
    {
        // Under the lock, so that the new number cannot be closed and given out again before it stands here.
        lock (_lock)
        {
            int descriptor = kernel.Dup(fd);
            if (descriptor >= 0 && _files.TryGetValue(fd, out OpenFile? file))
            {
                file.Descriptors++;
                _files[descriptor] = file;
            }

            return descriptor;
        }
    }

    public int Close(int fd)
    {
        // Before the number can be given out again; who waits in a call of the descriptor is not waited for.
        OpenFile? last = null;
        sanitizer.Drain();
        lock (_lock)
        {
            if (_files.Remove(fd, out OpenFile? file) && --file.Descriptors == 0)
            {
                last = file;
            }
        }

        if (last is not null)
        {
            sanitizer.Closed(last);
        }

        using (sanitizer.Change())
        {
            return kernel.Close(fd);
        }
    }

    private OpenFile? FileOf(int fd)
    {
        lock (_lock)
        {
            return _files.GetValueOrDefault(fd);
        }
    }

    private sealed class OpenFile
    {
        public int Descriptors { get; set; } = 1;
    }
}
