using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Platform;

namespace Ioasis.Hardware;

/// <summary>
/// What one thread is doing between a translation and the end of the access that uses it. A thread writes only its own slot,
/// with plain stores; who waits makes all threads' stores visible by one process-wide barrier (the asymmetric half of a
/// hazard: cheap for translations, dear for fences). It says at which IOMMU it is, so that the fences of others do not wait for it.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 192)]
internal sealed class ReaderSlot
{
    [ThreadStatic]
    private static ReaderSlot? t_current;

    private static readonly Lock s_registration = new();
    private static ReaderSlot[] s_slots = [];
    private static int s_places;

    // A cache line of its own.
    [FieldOffset(64)]
    private long _sequence;

    [FieldOffset(72)]
    private int _depth;

    // Number of the IOMMU; 0 for several at once.
    [FieldOffset(76)]
    private int _place;

    [FieldOffset(128)]
    private Thread _owner;

    private ReaderSlot(Thread owner, int index)
    {
        _owner = owner;
        Index = index;
    }

    /// <summary>A small number of this thread's own, while it lives.</summary>
    [field: FieldOffset(80)]
    public int Index { get; }

    /// <summary>The slot of this thread.</summary>
    public static ReaderSlot Current
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => t_current ?? Register();
    }

    /// <summary>A number of its own for an IOMMU, from 1: its "place".</summary>
    public static int NewPlace() => Interlocked.Increment(ref s_places);

    /// <summary>Begins an access at an IOMMU. Accesses nest, also those at several IOMMUs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Enter(int place)
    {
        if (_depth++ == 0)
        {
            _place = place;

            // Odd: inside. The compiler may not move later loads before it; the processor is held by the waiter's barrier.
            Volatile.Write(ref _sequence, _sequence + 1);
        }
        else if (_place != place)
        {
            Volatile.Write(ref _place, 0);
        }
    }

    /// <summary>Ends an access.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Exit()
    {
        if (--_depth == 0)
        {
            Volatile.Write(ref _sequence, _sequence + 1);
        }
    }

    /// <summary>Waits until every other thread has ended the access at an IOMMU that it was in when the call began.</summary>
    public static void WaitForOthers(int place)
    {
        ReaderSlot? own = t_current;
        ReaderSlot[] slots = Volatile.Read(ref s_slots);
        if (slots.Length == 0 || (slots.Length == 1 && slots[0] == own))
        {
            return;
        }

        Interlocked.MemoryBarrierProcessWide();
        slots = Volatile.Read(ref s_slots);
        foreach (ReaderSlot slot in slots)
        {
            if (slot != own && slot.IsInside(place, out _))
            {
                WaitForAll(slots, own, place);
                return;
            }
        }
    }

    // All at once, not one after the other: how often it waits does not depend on which thread has which slot, which nobody
    // controls, so that a run under a given schedule repeats itself.
    private static void WaitForAll(ReaderSlot[] slots, ReaderSlot? own, int place)
    {
        const int OnStack = 128;
        Span<long> sequences = slots.Length <= OnStack ? stackalloc long[OnStack] : new long[slots.Length];
        for (int i = 0; i < slots.Length; i++)
        {
            sequences[i] = slots[i] != own && slots[i].IsInside(place, out long sequence) ? sequence : 0;
        }

        SpinWait spin = default;
        while (true)
        {
            bool any = false;
            for (int i = 0; i < slots.Length; i++)
            {
                bool isInside = sequences[i] != 0 && Volatile.Read(ref slots[i]._sequence) == sequences[i]
                    && Volatile.Read(ref slots[i]._owner).IsAlive;
                sequences[i] = isInside ? sequences[i] : 0;
                any |= isInside;
            }

            if (!any)
            {
                return;
            }

            _ = Injection.Hit(InjectionKind.Wait);
            spin.SpinOnce();
        }
    }

    // The place was written before the sequence became odd. An access that is entered inside another from now on begins after the
    // barrier, so that it sees what was invalidated.
    private bool IsInside(int place, out long sequence)
    {
        sequence = Volatile.Read(ref _sequence);
        int at = Volatile.Read(ref _place);
        return (sequence & 1) != 0 && (at == 0 || at == place);
    }

    // Slots of threads that are gone are taken over, so that there are no more slots than threads at a time.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static ReaderSlot Register()
    {
        lock (s_registration)
        {
            foreach (ReaderSlot slot in s_slots)
            {
                if (!slot._owner.IsAlive)
                {
                    slot._depth = 0;
                    slot._sequence = (slot._sequence + 1) & ~1L;
                    Volatile.Write(ref slot._owner, Thread.CurrentThread);
                    return t_current = slot;
                }
            }

            ReaderSlot fresh = new(Thread.CurrentThread, s_slots.Length);
            ReaderSlot[] slots = [.. s_slots, fresh];
            Volatile.Write(ref s_slots, slots);
            Interlocked.MemoryBarrierProcessWide();
            return t_current = fresh;
        }
    }
}
