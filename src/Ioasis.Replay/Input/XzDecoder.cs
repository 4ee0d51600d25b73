using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Ioasis.Replay.Input;

/// <summary>
/// Decompresses xz: with the system's liblzma, which practically every Linux has; without it, with an <c>xz</c> program.
/// .NET has no xz of its own.
/// </summary>
internal static class XzDecoder
{
    /// <summary>Wraps a compressed stream.</summary>
    /// <exception cref="TraceInputException">There is neither library nor program.</exception>
    public static Stream Open(string path, Stream compressed)
    {
        try
        {
            return new LzmaStream(path, compressed);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            return OpenProgram(path, compressed, e);
        }
    }

    /// <summary>Decompresses with the <c>xz</c> program.</summary>
    internal static Stream OpenProgram(string path, Stream compressed, Exception? reason)
    {
        try
        {
            ProcessStartInfo start = new("xz") { UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true };
            start.ArgumentList.Add("-dc");
            Process process = Process.Start(start) ?? throw new Win32Exception("xz did not start");
            return new ProgramStream(path, process, compressed);
        }
        catch (Win32Exception e)
        {
            throw new TraceInputException(
                TraceInputError.NoXzDecoder,
                path,
                null,
                "is compressed with xz, and there is neither liblzma.so.5 (package liblzma5 or xz-libs) nor an xz program; "
                + "install one of them, or decompress the file elsewhere",
                reason is null ? e : new AggregateException(reason, e));
        }
    }

    /// <summary>The output of an <c>xz</c> process that is fed from a stream.</summary>
    private sealed class ProgramStream : ReadOnlyStream
    {
        private readonly string _path;
        private readonly Process _process;
        private readonly Task _feed;

        public ProgramStream(string path, Process process, Stream compressed)
        {
            _path = path;
            _process = process;
            _feed = Task.Run(() =>
            {
                try
                {
                    using (compressed)
                    {
                        compressed.CopyTo(process.StandardInput.BaseStream);
                    }

                    process.StandardInput.Close();
                }
                catch (IOException)
                {
                    // The reader stopped early, or xz gave up: its exit status tells.
                }
            });
        }

        public override int Read(Span<byte> buffer)
        {
            int count = _process.StandardOutput.BaseStream.Read(buffer);
            if (count == 0 && buffer.Length > 0)
            {
                _feed.GetAwaiter().GetResult();
                _process.WaitForExit();
                if (_process.ExitCode != 0)
                {
                    throw new TraceInputException(
                        TraceInputError.DamagedCompression, _path, null, "is damaged or ends too early (xz could not decompress it)");
                }
            }

            return count;
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                if (!_process.HasExited)
                {
                    _process.Kill();
                }

                _process.Dispose();
            }

            base.Dispose(disposing);
        }
    }
}

/// <summary>What streams that only read have in common.</summary>
internal abstract class ReadOnlyStream : Stream
{
    /// <inheritdoc/>
    public sealed override bool CanRead => true;

    /// <inheritdoc/>
    public sealed override bool CanSeek => false;

    /// <inheritdoc/>
    public sealed override bool CanWrite => false;

    /// <inheritdoc/>
    public sealed override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public sealed override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public abstract override int Read(Span<byte> buffer);

    /// <inheritdoc/>
    public sealed override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public sealed override void Flush()
    {
    }

    /// <inheritdoc/>
    public sealed override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public sealed override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public sealed override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
