using System.Numerics;
using System.Runtime.CompilerServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <content>
/// Threads that invalidate at once. Who finds the queue taken posts its commands; who has the queue queues them with its own or
/// behind them, and one fence and one look at the head do for all of a batch. So the queue, and what the hardware has to say of
/// it, stay in the caches of one processor, and the others wait for one line of memory. A request is complete when the fence
/// behind it is, and in no other case (S4.15).
/// </content>
internal sealed unsafe partial class CommandQueue
{
    // How often a thread looks for its answer before it tries to get the queue itself: about as long as a map, an unmap and a
    // batch take, so that the queue stays with who has it. Plain looks: nobody knows how long a pause of the processor is.
    private const int Looks = 600;

    // How often it tries that before it sleeps until the queue is free.
    private const int Tries = 20;

    private readonly CommandBoard _board = new();

    /// <summary>Requests of other threads that whoever has the queue will carry out with its own.</summary>
    public int PostedCount => BitOperations.PopCount(_board.Posts);

    /// <summary>Queues commands and a fence behind them and waits until the fence has completed.</summary>
    /// <param name="commands">At most <see cref="BatchLimit"/>; none in devices, whose silence others must not share.</param>
    /// <param name="kind">What they are counted as.</param>
    /// <returns>As <see cref="Submit"/> and <see cref="Wait"/>.</returns>
    public Errno SubmitAndWait(ReadOnlySpan<Command> commands, BatchKind kind = BatchKind.None)
    {
        Errno error = Injection.Hit(InjectionKind.QueueSpace);
        if (error != Errno.Success)
        {
            return error;
        }

        ulong ticket;
        if (_lock.TryAcquire(out IoLock.Scope scope))
        {
            using (scope)
            {
                error = SubmitWithOthers(commands, kind, out ticket);
            }
        }
        else
        {
            error = SubmitThroughOthers(commands, kind, out ticket);
        }

        return ticket == 0 ? error : Wait(ticket);
    }

    // The queue is taken: by somebody who looks at the board before and after his own batch, or by somebody who waits.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private Errno SubmitThroughOthers(ReadOnlySpan<Command> commands, BatchKind kind, out ulong ticket)
    {
        if (commands.Length > BatchLimit || !_board.TryPost(commands, kind, out int place))
        {
            using (_lock.Acquire())
            {
                return SubmitWithOthers(commands, kind, out ticket);
            }
        }

        Errno error;
        for (int tries = 0; !HasAnswer(place, out error, out ticket); tries++)
        {
            if (tries >= Tries)
            {
                using (_lock.Acquire())
                {
                    _ = SubmitBatch([], BatchKind.None, out _);
                }
            }
            else if (_lock.TryAcquire(out IoLock.Scope scope))
            {
                using (scope)
                {
                    _ = SubmitBatch([], BatchKind.None, out _);
                }
            }
            else
            {
                _ = Injection.Hit(InjectionKind.Wait);
            }
        }

        return error;
    }

    private bool HasAnswer(int place, out Errno error, out ulong ticket)
    {
        for (int looks = 1; looks < Looks; looks++)
        {
            if (_board.TryGetAnswer(place, out error, out ticket))
            {
                return true;
            }
        }

        return _board.TryGetAnswer(place, out error, out ticket);
    }

    // Under the lock. A ticket of 0 says that there is nothing to wait for. What is posted meanwhile is served too, once, so that
    // nobody works for others for ever.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Errno SubmitWithOthers(ReadOnlySpan<Command> commands, BatchKind kind, out ulong ticket)
    {
        Errno error;
        if (_board.HasPosts)
        {
            error = SubmitBatch(commands, kind, out ticket);
        }
        else
        {
            ticket = 0;
            error = Prepare((uint)commands.Length + 1);
            if (error == Errno.Success)
            {
                error = Ring(commands, kind, 0, out ticket);
                Advance();
            }
        }

        if (_board.HasPosts)
        {
            _ = SubmitBatch([], BatchKind.None, out _);
        }

        return error;
    }

    private Errno SubmitBatch(ReadOnlySpan<Command> commands, BatchKind kind, out ulong ticket)
    {
        uint count = (uint)commands.Length + 1;
        ulong posts = WhatFits(ref count);
        ticket = 0;
        if (count == 1)
        {
            // Somebody else was faster.
            return Errno.Success;
        }

        Errno error = Prepare(count);
        error = error == Errno.Success ? Ring(commands, kind, posts, out ticket) : error;
        if (error == Errno.Success)
        {
            Advance();
            if (TryGetResult(ticket, out Errno result))
            {
                error = result;
                ticket = 0;
            }
        }

        Answer(posts, error, ticket);
        return error;
    }

    // Those that a batch has room for; at least one, if the batch is not full with the thread's own. The others stay posted.
    private ulong WhatFits(ref uint count)
    {
        ulong fitting = 0;
        for (ulong posts = _board.Posts; posts != 0; posts &= posts - 1)
        {
            uint more = (uint)_board.CommandsAt(BitOperations.TrailingZeroCount(posts)).Length;
            if (count + more > BatchLimit + 1)
            {
                break;
            }

            count += more;
            fitting |= posts & (0 - posts);
        }

        return fitting;
    }

    private void Answer(ulong posts, Errno error, ulong ticket)
    {
        for (; posts != 0; posts &= posts - 1)
        {
            _board.Answer(BitOperations.TrailingZeroCount(posts), error, ticket);
        }
    }
}
