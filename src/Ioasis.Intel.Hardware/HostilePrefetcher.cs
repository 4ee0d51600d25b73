using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// Takes the neighbours of a leaf of 4 KiB into the hostile IOTLB: the entries of its cache line that map a page and need no flag to be set. The text
/// does not forbid translations that nobody asked for; what it says of them is what they must not have (sections 6.2.4, 6.5.3.6; docs/vtd.md).
/// </summary>
internal sealed class HostilePrefetcher(
    HostMemory memory, FirstStageWalker first, SecondStageWalker second, HostileTranslations hostile)
{
    private const ulong LineBytes = 64;

    public void PrefetchSecondStage(in Request request, in Context context, in SecondStageLeaf leaf)
    {
        if (leaf.SizeLog2 != 12 || request.Kind != DmaKind.Untranslated)
        {
            return;
        }

        ulong line = leaf.Place & ~(LineBytes - 1);
        ulong page = (request.Address & ~0xffful) - ((leaf.Place - line) << 9);
        for (ulong offset = 0; offset < LineBytes; offset += 8, page += 4096)
        {
            if (line + offset == leaf.Place
                || !memory.TryRead(line + offset, out ulong entry)
                || second.Check(context, entry, 1, out _) != FaultReason.None
                || (context.SecondDirty && (entry & SecondStageEntry.AccessedBit) == 0))
            {
                continue;
            }

            bool read = leaf.TableRead && (entry & SecondStageEntry.ReadBit) != 0;
            bool write = leaf.TableWrite && (entry & SecondStageEntry.WriteBit) != 0;
            Translation translation = new()
            {
                Address = entry & SecondStageEntry.AddressMask,
                SizeLog2 = 12,
                UserRead = read,
                UserWrite = write,
                SupervisorRead = read && context.AllowsSupervisor,
                SupervisorWrite = write && context.AllowsSupervisor,
                Snoop = (entry & SecondStageEntry.SnoopBit) != 0,
                IsDirty = !context.SecondDirty || (entry & SecondStageEntry.DirtyBit) != 0,
            };
            Add(request, context, page, ref translation, read || write);
        }
    }

    public void PrefetchFirstStage(in Request request, in Context context, in FirstStageLeaf leaf)
    {
        if (leaf.SizeLog2 != 12 || request.Kind != DmaKind.Untranslated || context.Type != PasidTranslationType.FirstStage)
        {
            return;
        }

        ulong flags = FirstStageWalker.AccessedFlags(context) | FirstStageEntry.PresentBit;
        ulong line = leaf.Place & ~(LineBytes - 1);
        ulong page = (request.Address & ~0xffful) - ((leaf.Place - line) << 9);
        for (ulong offset = 0; offset < LineBytes; offset += 8, page += 4096)
        {
            if (line + offset == leaf.Place
                || !memory.TryRead(line + offset, out ulong entry)
                || (entry & flags) != flags
                || (entry & first.ReservedOf(entry, 1, out _)) != 0)
            {
                continue;
            }

            bool user = leaf.TableUser && (entry & FirstStageEntry.UserBit) != 0;
            bool write = leaf.TableWrite && (entry & FirstStageEntry.WriteBit) != 0;
            Translation translation = new()
            {
                Address = entry & FirstStageEntry.AddressMask,
                SizeLog2 = 12,
                FirstSizeLog2 = 12,
                UserRead = user,
                UserWrite = user && write,
                SupervisorRead = context.AllowsSupervisor,
                SupervisorWrite = context.AllowsSupervisor && (write || !context.WriteProtect),
                IsDirty = (entry & FirstStageEntry.DirtyBit) != 0,
            };
            Add(request, context, page, ref translation, user || context.AllowsSupervisor);
        }
    }

    // Only what a request could get without a fault (section 6.2.4.1).
    private void Add(in Request request, in Context context, ulong page, ref Translation translation, bool isValid)
    {
        bool inRange = InterruptAddress.Contains(translation.Address) || (!request.HasPasid && InterruptAddress.Contains(page));
        if (isValid && !inRange)
        {
            Translator.Settle(request, context, ref translation);
            hostile.Add(request, context, page, translation);
        }
    }
}
