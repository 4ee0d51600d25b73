using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>What a batch of commands is counted as.</summary>
[Flags]
internal enum BatchKind
{
    None = 0,

    /// <summary>A synchronisation of a domain.</summary>
    Synchronisation = 1,

    /// <summary>It invalidates a whole address space.</summary>
    Flush = 2,

    /// <summary>It does so in place of too many commands.</summary>
    Collapse = 4,
}

/// <summary>
/// Where a thread that finds the command queue taken leaves its commands for whoever has the queue, and finds the answer
/// (D. Hendler, I. Incze, N. Shavit, M. Tzafrir, "Flat combining", SPAA 2010). It holds the requests and nothing of the queue.
/// </summary>
/// <remarks>
/// Each place is free, claimed by one thread, posted, or answered. Only its thread claims, posts and frees it, and only who has
/// the queue's lock answers it. A request of one or two commands is one cache line, which goes from thread to thread in one piece.
/// There are few places, because whoever has the queue looks at all of them; who finds none waits for the lock.
/// </remarks>
internal sealed unsafe class CommandBoard
{
    /// <summary>Most commands of a request; longer ones wait for the lock.</summary>
    public const int MaxCommands = 6;

    /// <summary>Requests at a time.</summary>
    public const int Places = 4;

    private const int LineBytes = 128;

    // Bits, so that one look tells whether a place is posted.
    private const int Free = 0;
    private const int Claimed = 1;
    private const int Posted = 2;
    private const int Answered = 4;

    private readonly byte[] _room;
    private readonly Place* _places;

    public CommandBoard()
    {
        _room = GC.AllocateArray<byte>(LineBytes * (Places + 1), pinned: true);
        byte* start = (byte*)(((nuint)Marshal.UnsafeAddrOfPinnedArrayElement(_room, 0) + LineBytes - 1) & ~(nuint)(LineBytes - 1));
        _places = (Place*)start;
    }

    /// <summary>Whether there are requests.</summary>
    public bool HasPosts
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            Place* at = _places;
            return ((Volatile.Read(ref at[0].State) | Volatile.Read(ref at[1].State)
                | Volatile.Read(ref at[2].State) | Volatile.Read(ref at[3].State)) & Posted) != 0;
        }
    }

    /// <summary>The requests that are posted: a mask of places. They stay so until they are answered.</summary>
    public ulong Posts
    {
        get
        {
            ulong posted = 0;
            for (int i = 0; i < Places; i++)
            {
                posted |= Volatile.Read(ref _places[i].State) == Posted ? 1ul << i : 0;
            }

            return posted;
        }
    }

    /// <summary>Posts a request, if it is short and there is a place.</summary>
    /// <returns>Whether it is posted; then <see cref="TryGetAnswer"/> must be asked until it says so.</returns>
    public bool TryPost(ReadOnlySpan<Command> commands, BatchKind kind, out int place)
    {
        // A processor of its own for each thread that runs; explored schedules must not depend on where they run.
        uint first = Injection.Current is null ? (uint)Thread.GetCurrentProcessorId() : 0;
        place = 0;
        if (commands.Length > MaxCommands)
        {
            return false;
        }

        for (uint i = 0; i < Places; i++)
        {
            place = (int)((first + i) % Places);
            Place* at = _places + place;
            if (Volatile.Read(ref at->State) == Free && Interlocked.CompareExchange(ref at->State, Claimed, Free) == Free)
            {
                at->Count = commands.Length;
                at->Kind = kind;
                commands.CopyTo(new(&at->First, MaxCommands));
                Volatile.Write(ref at->State, Posted);
                return true;
            }
        }

        return false;
    }

    /// <summary>Fetches the answer to a posted request; the place is free then.</summary>
    /// <param name="place">The place.</param>
    /// <param name="error">Whether the commands were queued, and if <paramref name="ticket"/> is 0, what became of them.</param>
    /// <param name="ticket">What to wait for, or 0.</param>
    public bool TryGetAnswer(int place, out Errno error, out ulong ticket)
    {
        Place* at = _places + place;
        error = default;
        ticket = 0;
        if (Volatile.Read(ref at->State) != Answered)
        {
            return false;
        }

        error = at->Error;
        ticket = at->Ticket;
        Volatile.Write(ref at->State, Free);
        return true;
    }

    /// <summary>The commands of a request.</summary>
    public ReadOnlySpan<Command> CommandsAt(int place) => new(&_places[place].First, _places[place].Count);

    /// <summary>What a request is counted as.</summary>
    public BatchKind KindAt(int place) => _places[place].Kind;

    /// <summary>Answers a request; its thread may post the next one at once.</summary>
    /// <param name="place">The place.</param>
    /// <param name="error">Whether the commands were queued, and if <paramref name="ticket"/> is 0, what became of them.</param>
    /// <param name="ticket">What its thread has to wait for, or 0.</param>
    public void Answer(int place, Errno error, ulong ticket)
    {
        Place* at = _places + place;
        at->Error = error;
        at->Ticket = ticket;
        Volatile.Write(ref at->State, Answered);
    }

    [StructLayout(LayoutKind.Explicit, Size = LineBytes)]
    private struct Place
    {
        [FieldOffset(0)]
        public int State;

        [FieldOffset(4)]
        public int Count;

        [FieldOffset(8)]
        public Errno Error;

        [FieldOffset(12)]
        public BatchKind Kind;

        [FieldOffset(16)]
        public ulong Ticket;

        // The first of MaxCommands.
        [FieldOffset(32)]
        public Command First;
    }
}
