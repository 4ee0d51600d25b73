using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Who pays for what is mapped.</content>
internal sealed partial class AddressSpace
{
    /// <summary>
    /// Has another process pay for everything that address spaces map, which must all be of files. All or nothing.
    /// </summary>
    /// <param name="spaces">The address spaces, each once, in the order in which everybody locks them.</param>
    /// <param name="owner">Who pays from now on.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if something else than a file is mapped;
    /// <see cref="Errno.OutOfMemory"/> over the limit.
    /// </returns>
    public static Errno MoveTo(ReadOnlySpan<AddressSpace> spaces, MemoryOwner owner)
    {
        if (spaces.Length > 0)
        {
            // All stay locked until all are done.
            using (spaces[0]._lock.Acquire())
            {
                return MoveToRest(spaces[0], spaces[1..], owner, new(ReferenceEqualityComparer.Instance));
            }
        }

        return Errno.Success;
    }

    private static Errno MoveToRest(
        AddressSpace first, ReadOnlySpan<AddressSpace> rest, MemoryOwner owner, HashSet<ClientMemory> memories)
    {
        bool allFiles = true;
        first._areas.Visit((_, area) =>
        {
            // What waits for an invalidation is pinned, and so counts too.
            if (area.Memory is { } memory)
            {
                allFiles &= memory.IsFile;
                memories.Add(memory);
            }

            return allFiles;
        });

        if (!allFiles)
        {
            return Errno.InvalidArgument;
        }

        if (rest.Length > 0)
        {
            using (rest[0]._lock.Acquire())
            {
                return MoveToRest(rest[0], rest[1..], owner, memories);
            }
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        List<(ClientMemory Memory, MemoryOwner From)> moved = [];
        foreach (ClientMemory memory in memories)
        {
            MemoryOwner from = memory.Owner;
            if (!memory.TryMoveTo(owner))
            {
                foreach ((ClientMemory back, MemoryOwner to) in moved)
                {
                    back.MoveBack(to);
                }

                return Errno.OutOfMemory;
            }

            moved.Add((memory, from));
        }

        return Errno.Success;
    }
}
