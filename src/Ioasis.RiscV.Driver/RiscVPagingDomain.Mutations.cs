using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <content>Mistakes made on purpose: see <see cref="DriverMutation"/>.</content>
public sealed partial class RiscVPagingDomain
{
    private bool _rootIsMade;

    /// <summary>The first stage for a context; another one than everybody's if a mutation lost its race.</summary>
    internal ulong FirstStageFor(DriverMutation mutations)
    {
        if ((mutations & DriverMutation.RootMadeByAttach) == 0 || _rootIsMade
            || !_pages.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress root))
        {
            return FirstStage;
        }

        if (_rootIsMade)
        {
            // Somebody else was faster: the context gets a root that no map will ever find.
            return (FirstStage & ~TablePointer.PpnMask) | (root.Value >> 12);
        }

        _rootIsMade = true;
        _pages.Free(root, 12);
        return FirstStage;
    }

    // Whether a mutation takes the place of the invalidation.
    private static bool IsMutated(Bond bond, in InvalidationGather gather)
    {
        DriverMutation mutations = bond.Iommu.Mutations;
        if ((mutations & DriverMutation.DeviceFollowedAfterUnplug) != 0 && bond.MadeBy?.DriverData is not DeviceState)
        {
            throw new InvalidOperationException("An invalidation follows a device that is gone.");
        }

        if ((mutations & DriverMutation.InvalidatePerDevice) != 0)
        {
            Span<Command> commands = stackalloc Command[InvalidationPlan.MaxCommands];
            for (int i = 1; i < bond.Attachments; i++)
            {
                int count = Plan(bond, gather, commands);
                _ = bond.Iommu.Commands.SubmitAndWait(commands[..count]);
            }
        }

        return (mutations & DriverMutation.SkipInvalidationAfterUnmap) != 0;
    }
}
