using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace Ioasis.Replay.Engine;

/// <summary>
/// A plan block by block: worked out in the caller's thread, or in one of its own that reads and plans a few blocks ahead. Both give
/// the same blocks.
/// </summary>
internal sealed class PlanFeed : IDisposable
{
    private const int BlocksAhead = 8;

    private readonly BlockingCollection<PlanBlock>? _full;
    private readonly BlockingCollection<PlanBlock>? _empty;
    private readonly Thread? _thread;
    private readonly CancellationTokenSource _stop = new();
    private ExceptionDispatchInfo? _failure;
    private PlanBlock? _given;

    /// <summary>Makes a feed; begins to read if it does so in a thread of its own.</summary>
    /// <param name="stage">Who plans.</param>
    /// <param name="inThread">Whether in a thread of its own.</param>
    public PlanFeed(PlanStage stage, bool inThread)
    {
        Stage = stage;
        if (!inThread)
        {
            return;
        }

        _full = new(BlocksAhead);
        _empty = new(BlocksAhead);
        for (int i = 0; i < BlocksAhead; i++)
        {
            _empty.Add(new());
        }

        _thread = new(PlanAll) { IsBackground = true, Name = "recording" };
        _thread.Start();
    }

    /// <summary>Who plans: to be asked only for what is known with the first block, until the last one was given out.</summary>
    public PlanStage Stage { get; }

    /// <summary>The next block, valid until the next call; there is at least one, and none after <see cref="PlanBlock.IsLast"/>.</summary>
    /// <exception cref="Input.TraceInputException">The recording cannot be read.</exception>
    public PlanBlock Next()
    {
        PlanBlock block;
        if (_full is null)
        {
            block = _given ?? new();
            Stage.Next(block);
        }
        else
        {
            if (_given is not null)
            {
                _empty!.Add(_given);
            }

            if (!_full.TryTake(out block!, Timeout.Infinite))
            {
                _failure!.Throw();
            }
        }

        return _given = block;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Who waits for standard input may wait for ever: the thread is a background thread, and uses nothing that is disposed of here.
        _stop.Cancel();
        _thread?.Join(TimeSpan.FromSeconds(1));
    }

    private void PlanAll()
    {
        try
        {
            bool more = true;
            while (more)
            {
                PlanBlock block = _empty!.Take(_stop.Token);
                Stage.Next(block);
                more = !block.IsLast;
                _full!.Add(block, _stop.Token);
            }
        }
#pragma warning disable CA1031 // Whatever it is, it is thrown again in the thread that waits for the block.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _failure = ExceptionDispatchInfo.Capture(e);
        }

        _full!.CompleteAdding();
    }
}
