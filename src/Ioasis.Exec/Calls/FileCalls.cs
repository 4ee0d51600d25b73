using System.Runtime.InteropServices;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Exec;

/// <summary>Reads, writes and mappings of descriptors: those that are ours go to our kernel.</summary>
internal static class FileCalls
{
    private const int Chunk = 16384;
    private const int AtCurrent = 1;

    /// <summary><c>pread64</c>, <c>pwrite64</c>.</summary>
    public static Answer TransferAt(in Caller caller, bool writes, int descriptor, ulong address, ulong length, long offset)
    {
        if (caller.FindHandle(descriptor) is not { } handle)
        {
            return Answer.Continue;
        }

        return !TryEnter(caller, handle, out ProgramProcess? process, out int opened, out Answer answer) ? answer
            : offset < 0 ? Answer.Of(Errno.InvalidArgument)
            : Answer.Of(Transfer(caller, process!.Kernel, opened, writes, address, length, (ulong)offset));
    }

    /// <summary><c>read</c>, <c>write</c>.</summary>
    public static Answer TransferHere(in Caller caller, bool writes, int descriptor, ulong address, ulong length)
    {
        if (caller.FindHandle(descriptor) is not { } handle)
        {
            return writes && length == sizeof(ulong) && ProgramCounters.AnyListens
                ? WriteCounter(caller, descriptor, address)
                : Answer.Continue;
        }

        if (!TryEnter(caller, handle, out ProgramProcess? process, out int opened, out Answer answer))
        {
            return answer;
        }

        if (handle.Kind == HandleKind.Queue && !writes)
        {
            Span<byte> events = stackalloc byte[(int)Math.Min(length, CallFilter.LargestTransfer)];
            nint taken = handle.Pump!.Take(process!, descriptor, events);
            return taken > 0 && caller.Write(address, events[..(int)taken]) != Errno.Success ? Answer.Of(Errno.BadAddress) : Answer.Of(taken);
        }

        if (handle.Kind != HandleKind.Device)
        {
            return Answer.Of(TransferBytes(caller, process!.Kernel, opened, writes, address, length));
        }

        // The position is that of the file in the program's place.
        nint file = Caller.TakeDescriptor(process!, descriptor);
        if (file < 0)
        {
            return Answer.Of(file);
        }

        nint position = SystemCalls.Seek((int)file, 0, AtCurrent);
        nint count = position < 0 ? position : Transfer(caller, process!.Kernel, opened, writes, address, length, (ulong)position);
        if (count > 0)
        {
            _ = SystemCalls.Seek((int)file, count, AtCurrent);
        }

        _ = SystemCalls.Close((int)file);
        return Answer.Of(count);
    }

    // A device that listens to a counter has heard of a write before the write returns, as on Linux.
    private static Answer WriteCounter(in Caller caller, int descriptor, ulong address)
    {
        ulong count = 0;
        if (!caller.IsCounter(descriptor)
            || caller.Read(address, MemoryMarshal.AsBytes(new Span<ulong>(ref count))) != sizeof(ulong)
            || count == ulong.MaxValue
            || caller.FindProcess(out ProgramProcess? process) != Errno.Success
            || !caller.IsValid)
        {
            return Answer.Continue;
        }

        nint taken = Caller.TakeDescriptor(process!, descriptor);
        if (taken < 0)
        {
            return Answer.Continue;
        }

        // A counter that is full would wait: the machine's kernel does that.
        bool written = SystemCalls.Poll((int)taken, 4, 0) != 0
            && SystemCalls.Write((int)taken, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in count))) == sizeof(ulong);
        _ = SystemCalls.Close((int)taken);
        if (written)
        {
            ProgramCounters.HearAll();
        }

        return written ? Answer.Of(sizeof(ulong)) : Answer.Continue;
    }

    /// <summary><c>mmap</c> of a shared file: pages of a device that may be mapped lie in the file that the program has.</summary>
    public static Answer Map(in Caller caller, DevicePages pages, RegisterTraps traps, int descriptor, ulong length, ulong offset)
    {
        if (caller.FindHandle(descriptor) is not { } handle)
        {
            return Answer.Continue;
        }

        if (!TryEnter(caller, handle, out ProgramProcess? process, out int opened, out Answer answer))
        {
            return answer;
        }

        if (handle.Kind != HandleKind.Device)
        {
            return Answer.Of(Errno.NoDevice);
        }

        int result = process!.Kernel.Map(opened, offset, (nuint)length, MemoryProtection.Read, out nint address);
        Errno error = Errno.InvalidArgument;
        if (result >= 0)
        {
            // The program's own mapping keeps the file from now on.
            error = pages.Share(handle, offset, (length + 4095) & ~4095ul, address);
            _ = process.Kernel.Unmap(address, (nuint)length);
        }
        else if (result != -(int)Errno.InvalidArgument)
        {
            return Answer.Of(result);
        }

        // No pages, or none that can be shared: registers whose accesses are made one by one.
        if (error == Errno.InvalidArgument && RegisterTraps.CanMap(process.Kernel, opened, offset, length))
        {
            error = pages.KeepOut(handle, offset);
            error = error == Errno.Success ? traps.Watch(process) : error;
        }

        return error == Errno.Success ? Answer.Continue : Answer.Of(error);
    }

    /// <summary>Finds the caller's process, and its descriptor of a handle in our kernel.</summary>
    public static bool TryEnter(in Caller caller, Handle handle, out ProgramProcess? process, out int descriptor, out Answer answer)
    {
        descriptor = -1;
        Errno error = caller.FindProcess(out process);
        if (error != Errno.Success)
        {
            answer = Answer.Of(error);
            return false;
        }

        descriptor = process!.Find(handle, caller.Handles.Holder);
        answer = Answer.Of(descriptor);
        if (descriptor >= 0 && !caller.IsValid)
        {
            answer = Answer.Of(Errno.Interrupted);
            return false;
        }

        return descriptor >= 0;
    }

    private static nint Transfer(in Caller caller, KernelProcess kernel, int opened, bool writes, ulong address, ulong length, ulong offset)
    {
        Span<byte> buffer = stackalloc byte[Chunk];
        nint done = 0;
        do
        {
            Span<byte> part = buffer[..(int)Math.Min(length - (ulong)done, Chunk)];
            nint count;
            if (writes)
            {
                nint read = caller.Read(address + (ulong)done, part);
                count = read < part.Length ? -(int)Errno.BadAddress : kernel.Write(opened, part, offset + (ulong)done);
            }
            else
            {
                count = kernel.Read(opened, part, offset + (ulong)done);
                if (count > 0 && caller.Write(address + (ulong)done, part[..(int)count]) != Errno.Success)
                {
                    count = -(int)Errno.BadAddress;
                }
            }

            if (count <= 0)
            {
                return done > 0 ? done : count;
            }

            done += count;
            if (count < part.Length)
            {
                break;
            }
        }
        while ((ulong)done < length);

        return done;
    }

    private static nint TransferBytes(in Caller caller, KernelProcess kernel, int opened, bool writes, ulong address, ulong length)
    {
        Span<byte> buffer = stackalloc byte[CallFilter.LargestTransfer];
        buffer = buffer[..(int)Math.Min(length, (ulong)buffer.Length)];
        if (writes)
        {
            return caller.Read(address, buffer) < buffer.Length ? -(int)Errno.BadAddress : kernel.Write(opened, buffer);
        }

        nint count = kernel.Read(opened, buffer);
        return count > 0 && caller.Write(address, buffer[..(int)count]) != Errno.Success ? -(int)Errno.BadAddress : count;
    }
}
