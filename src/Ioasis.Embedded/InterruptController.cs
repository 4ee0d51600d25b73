using System.Numerics;
using System.Runtime.CompilerServices;
using Ioasis.Platform;

namespace Ioasis.Embedded;

/// <summary>
/// The platform's wires: remembers which are asserted, and runs the handler when somebody asks. The handler never runs inside
/// the device that raised the interrupt, and a program with one thread sees everything in one order.
/// </summary>
internal sealed class InterruptController : IInterruptLines
{
    private readonly IoLock _lock = new();
    private int _asserted;
    private int _messages;

    /// <summary>How many vectors have a handler that looks for work by itself: 0 and up.</summary>
    public int Vectors { get; init; } = 1;

    /// <summary>What handles a vector.</summary>
    public Action<int>? Handler { get; set; }

    /// <inheritdoc/>
    public void SetLevel(int vector, bool asserted)
    {
        if (asserted)
        {
            _ = Interlocked.Or(ref _asserted, 1 << vector);
        }
        else
        {
            _ = Interlocked.And(ref _asserted, ~(1 << vector));
        }
    }

    /// <summary>Takes an interrupt that came as a message: the handler runs once for it, or once for several.</summary>
    public void Signal(int vector) => Interlocked.Or(ref _messages, 1 << vector);

    /// <summary>Handles what is asserted or was signalled. Costs two reads if nothing is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Run()
    {
        if ((Volatile.Read(ref _asserted) | Volatile.Read(ref _messages)) != 0)
        {
            RunAll();
        }
    }

    /// <summary>
    /// Has the handler look even if nothing is asserted yet: what this thread raised may be on its way to the wire on another
    /// thread, which will not run the handler.
    /// </summary>
    public void RunAlways()
    {
        using (_lock.Acquire())
        {
            for (int vector = 0; vector < Vectors; vector++)
            {
                Handler?.Invoke(vector);
            }
        }

        Run();
    }

    private void RunAll()
    {
        using (_lock.Acquire())
        {
            // A level that its handler cannot lower must not hang us: every vector gets a bounded number of turns.
            for (int turn = 0; turn < 64; turn++)
            {
                int due = Interlocked.Exchange(ref _messages, 0) | Volatile.Read(ref _asserted);
                if (due == 0)
                {
                    return;
                }

                for (; due != 0; due &= due - 1)
                {
                    Handler?.Invoke(BitOperations.TrailingZeroCount(due));
                }
            }
        }
    }
}
