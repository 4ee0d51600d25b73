using Ioasis.Linux;
using Ioasis.Primitives;

namespace Ioasis.Recorder;

/// <summary>A stream of a kernel's events, in which what was read is gone.</summary>
internal interface ITracePipe : IDisposable
{
    /// <summary>Takes what is there, without waiting.</summary>
    /// <param name="into">Where to.</param>
    /// <param name="count">Bytes taken; 0 if there is nothing at present.</param>
    /// <returns>Success, or the kernel's error.</returns>
    Errno TryRead(Span<byte> into, out int count);
}

/// <summary><c>trace_pipe</c> of tracefs.</summary>
internal sealed unsafe class TracePipe : ITracePipe
{
    private const int NonBlocking = 0x800;
    private const int CloseOnExec = 0x80000;

    private int _descriptor;

    private TracePipe(int descriptor) => _descriptor = descriptor;

    public static Errno Open(string path, out TracePipe? pipe)
    {
        int descriptor = LibC.Open(path, NonBlocking | CloseOnExec, 0);
        pipe = descriptor < 0 ? null : new(descriptor);
        return LibC.Result(descriptor);
    }

    public Errno TryRead(Span<byte> into, out int count)
    {
        count = 0;
        nint read;
        fixed (byte* buffer = into)
        {
            read = LibC.Read(_descriptor, buffer, (nuint)into.Length);
        }

        if (read >= 0)
        {
            count = (int)read;
            return Errno.Success;
        }

        Errno error = LibC.Result(-1);
        return error is Errno.TryAgain or Errno.Interrupted ? Errno.Success : error;
    }

    public void Dispose()
    {
        if (_descriptor >= 0)
        {
            _ = LibC.Close(_descriptor);
            _descriptor = -1;
        }
    }
}
