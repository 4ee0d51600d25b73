using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// Calls by which a program takes memory away from itself, or puts other memory in its place. Linux holds pages that are mapped for DMA; we cannot, so
/// before the call goes on the pages are taken from the devices too: what a device does there then reaches nothing, and never what comes later.
/// Thread-safe.
/// </summary>
internal sealed class MemoryCalls(Processes processes, ProgramPages pages)
{
    /// <summary><c>MAP_FIXED</c>.</summary>
    public const uint Fixed = 0x10;

    /// <summary><c>MADV_DONTNEED</c>.</summary>
    public const uint DropPages = 4;

    /// <summary><c>MADV_REMOVE</c>.</summary>
    public const uint RemovePages = 9;

    /// <summary><c>MADV_DONTNEED_LOCKED</c>.</summary>
    public const uint DropLockedPages = 24;

    /// <summary><c>MADV_GUARD_INSTALL</c>.</summary>
    public const uint GuardPages = 102;

    private const ulong Shared = 1;
    private const ulong Anonymous = 0x20;
    private const ulong FixedNoReplace = 0x10_0000;
    private const ulong MayMove = 1;
    private const ulong MoveFixed = 2;
    private const ulong LeaveOld = 4;
    private const ulong PageMask = 4095;
    private const ulong UserEnd = 1ul << 47;

    /// <summary>Whether it is a call of this kind.</summary>
    public static bool Takes(in Notification call) => call.Number switch
    {
        CallNumber.Unmap or CallNumber.Remap or CallNumber.Break or CallNumber.DetachShared => true,
        CallNumber.Advise => call.Argument2 is DropPages or RemovePages or DropLockedPages or GuardPages,
        CallNumber.Map => (call.Argument3 & Fixed) != 0,
        _ => false,
    };

    /// <summary>Whether it maps a shared file as well, which may be a device's.</summary>
    public static bool MapsFile(in Notification call) =>
        call.Number == CallNumber.Map && (call.Argument3 & (Shared | Anonymous)) == Shared && (int)call.Argument4 >= 0;

    /// <summary>Whether it is one that no device can feel. Takes no lock and does not allocate.</summary>
    public bool IsOfNoInterest(in Notification call) => Takes(call) && pages.IsEmpty && !MapsFile(call);

    /// <summary>Takes from the devices what the call is about to take.</summary>
    public void Look(in Notification call, ICallSource source)
    {
        if (pages.IsEmpty || processes.FindKnown(call.Thread) is not { } process)
        {
            return;
        }

        ProgramMemory memory = process.Memory;
        ulong first = call.Argument0;
        switch (call.Number)
        {
            case CallNumber.Unmap:
                Retire(memory, first, call.Argument1);
                break;
            case CallNumber.Map:
                // A call that fails for its descriptor leaves what was there.
                if ((call.Argument3 & FixedNoReplace) == 0
                    && ((call.Argument3 & Anonymous) != 0 || source.TryIdentify(call.Thread, (int)call.Argument4, out _)))
                {
                    Retire(memory, first, call.Argument1);
                }

                break;
            case CallNumber.Remap:
                Remap(memory, call);
                break;
            case CallNumber.Advise:
                Advise(memory, first, call.Argument1, call.Argument2);
                break;
            case CallNumber.Break:
                first = RoundUp(first);
                if (memory.TryFindArea(first, out MemoryArea heap) && heap.IsHeap && heap.Start < first)
                {
                    Retire(memory, first, heap.End - first);
                }

                break;
            default:
                if (memory.TryFindArea(first, out MemoryArea attached) && attached.Start == first && attached.IsShared)
                {
                    Retire(memory, first, attached.End - first);
                }

                break;
        }
    }

    // Where it moves to the kernel decides after us: pages that move are taken, too.
    private void Remap(ProgramMemory memory, in Notification call)
    {
        ulong old = call.Argument0;
        ulong oldLength = RoundUp(call.Argument1);
        ulong length = RoundUp(call.Argument2);
        ulong flags = call.Argument3;
        if (length == 0)
        {
            return;
        }

        if ((flags & (MoveFixed | LeaveOld)) != 0)
        {
            Retire(memory, old, oldLength);
            if ((flags & MoveFixed) != 0)
            {
                Retire(memory, call.Argument4, length);
            }
        }
        else if (length < oldLength)
        {
            Retire(memory, old + length, oldLength - length);
        }
        else if (length > oldLength && (flags & MayMove) != 0 && !CanGrow(memory, old, oldLength, length))
        {
            Retire(memory, old, oldLength);
        }
    }

    private static bool CanGrow(ProgramMemory memory, ulong start, ulong length, ulong wanted) =>
        memory.TryFindArea(start, out MemoryArea area)
        && area.End == start + length
        && (!memory.TryFindArea(area.End, out MemoryArea next) || next.Start >= start + wanted);

    // Pages of a file, or of shared memory, come back as they were, unless they are taken out of that too.
    private void Advise(ProgramMemory memory, ulong start, ulong length, ulong advice)
    {
        if (advice is not (DropPages or DropLockedPages))
        {
            Retire(memory, start, length);
            return;
        }

        ulong end = start + RoundUp(length);
        for (ulong at = start; at < end;)
        {
            MemoryArea area = memory.TryFindArea(at, out MemoryArea found) ? found : new(at, end, false, false);
            if (area.Start >= end)
            {
                return;
            }

            at = Math.Max(at, area.Start);
            ulong next = Math.Min(area.End, end);
            if (!area.IsShared)
            {
                Retire(memory, at, next - at);
            }

            at = next;
        }
    }

    private static ulong RoundUp(ulong value) => (value + PageMask) & ~PageMask;

    // What the kernel refuses changes nothing.
    private void Retire(ProgramMemory memory, ulong start, ulong length)
    {
        length = RoundUp(length);
        if (length != 0 && (start & PageMask) == 0 && start < UserEnd && length <= UserEnd - start)
        {
            pages.Retire(memory, start, length);
        }
    }
}
