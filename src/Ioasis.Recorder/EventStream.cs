using System.Collections.Concurrent;
using System.Diagnostics;
using Ioasis.Primitives;

namespace Ioasis.Recorder;

/// <summary>
/// The way of the events from the kernel's pipe to the file. A thread of its own takes them, so that the kernel's buffers do
/// not fill while they are compressed and written.
/// </summary>
internal sealed class EventStream : IDisposable
{
    private const int ChunkBytes = 1 << 18;
    private const int ChunksAhead = 64;
    private const int MuchText = 64 << 20;

    // How long the reader may be held up between two CPUs' buffers.
    private const long LateMicroseconds = 200_000;

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan ReleaseTime = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan MemberTime = TimeSpan.FromSeconds(1);

    private readonly ITracePipe _pipe;
    private readonly BlockingCollection<byte[]> _chunks = new(ChunksAhead);
    private readonly TimeOrder _order = new();
    private readonly byte[] _chunk = new byte[ChunkBytes];
    private volatile bool _isBroken;

    /// <summary>Makes it on a pipe, which it owns.</summary>
    public EventStream(ITracePipe pipe) => _pipe = pipe;

    /// <summary>Events so far.</summary>
    public long Events => _order.Events;

    /// <summary>What went wrong with the reading, in words, or null.</summary>
    public string? ReadProblem { get; private set; }

    /// <summary>Adds text that belongs before all that the pipe still holds.</summary>
    public void Add(ReadOnlySpan<byte> text) => _order.Add(text);

    /// <summary>As much as the pipe gives now, at most a chunk; empty if there is nothing.</summary>
    public byte[] Take()
    {
        int length = 0;
        while (length < _chunk.Length)
        {
            Errno error = _pipe.TryRead(_chunk.AsSpan(length), out int count);
            if (error != Errno.Success)
            {
                ReadProblem = $"the kernel's events cannot be read: {MachineChanges.Describe(error)}";
                break;
            }

            if (count == 0)
            {
                break;
            }

            length += count;
        }

        return _chunk.AsSpan(0, length).ToArray();
    }

    /// <summary>Writes events to a file until they end.</summary>
    /// <param name="file">The file.</param>
    /// <param name="endReason">Whether the recording is over and why, asked again and again; once it is, no more events may come.</param>
    /// <returns>Why it ended.</returns>
    /// <exception cref="IOException">The file takes no more.</exception>
    public string CopyTo(RecordingFile file, Func<string?> endReason)
    {
        string reason = "error";
        Thread reader = new(() => reason = Read(endReason)) { IsBackground = true, Name = "ioasis record" };
        reader.Start();
        try
        {
            Write(file);
        }
        finally
        {
            // After a failure there may be chunks left, and a reader that waits for room.
            _isBroken = true;
            while (_chunks.TryTake(out _, Timeout.Infinite, CancellationToken.None))
            {
            }

            reader.Join();
        }

        _order.Finish(file.Add);
        return reason;
    }

    /// <summary>Closes the pipe.</summary>
    public void Dispose()
    {
        _pipe.Dispose();
        _chunks.Dispose();
    }

    private void Write(RecordingFile file)
    {
        var sinceRelease = Stopwatch.StartNew();
        var sinceMember = Stopwatch.StartNew();
        while (!_chunks.IsCompleted)
        {
            bool isQuiet = !_chunks.TryTake(out byte[]? chunk, ReleaseTime);
            if (!isQuiet)
            {
                _order.Add(chunk);
            }

            // Once the pipe was empty for a while nothing early can come any more.
            if (isQuiet || sinceRelease.Elapsed >= ReleaseTime || _order.Waiting >= MuchText)
            {
                _order.Release(isQuiet ? 0 : LateMicroseconds, file.Add);
                sinceRelease.Restart();
            }

            if (sinceMember.Elapsed >= MemberTime)
            {
                file.Write();
                sinceMember.Restart();
            }
        }
    }

    // Takes what the kernel has until the recording is over, and then what is left.
    private string Read(Func<string?> endReason)
    {
        try
        {
            string? reason = null;
            while (true)
            {
                byte[] taken = Take();
                if (taken.Length > 0)
                {
                    _chunks.Add(taken);
                }
                else if (reason is not null)
                {
                    return reason;
                }
                else
                {
                    Thread.Sleep(Pause);
                }

                reason ??= _isBroken ? "disk-full" : ReadProblem is not null ? "error" : endReason();
            }
        }
#pragma warning disable CA1031 // A thread's exception would end the process, and leave the machine changed.
        catch (Exception error)
#pragma warning restore CA1031
        {
            ReadProblem = error.Message;
            return "error";
        }
        finally
        {
            _chunks.CompleteAdding();
        }
    }
}
