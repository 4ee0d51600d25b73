using System.Numerics;
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

    /// <summary>Handles what is asserted. Costs one read if nothing is.</summary>
    public void Run()
    {
        if (Volatile.Read(ref _asserted) != 0)
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
            Handler?.Invoke(0);
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
                int asserted = Volatile.Read(ref _asserted);
                if (asserted == 0)
                {
                    return;
                }

                Handler?.Invoke(BitOperations.TrailingZeroCount(asserted));
            }
        }
    }
}
