using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>Which device takes the maps that nothing names.</summary>
internal static class RestRule
{
    /// <summary>Chooses it for a plan that has none yet, if any of the events needs one.</summary>
    /// <param name="plan">The plan, whose <see cref="PlanSummary.RestDevice"/> is set.</param>
    /// <param name="options">What the caller wants.</param>
    /// <param name="devices">The devices, to which one may be added.</param>
    /// <param name="events">Events, their devices numbers in <paramref name="devices"/>.</param>
    /// <param name="candidates">Devices with DMA events.</param>
    public static void Choose(
        PlanSummary plan, PlanOptions options, DeviceTable devices, ReadOnlySpan<MappingEvent> events, int[] candidates)
    {
        if (plan.RestDevice >= 0)
        {
            return;
        }

        bool maps = false;
        bool unmaps = false;
        foreach (ref readonly MappingEvent e in events)
        {
            maps |= e.Device < 0 && !e.IsUnmap;
            unmaps |= e.Device < 0 && e.IsUnmap;
        }

        if (options.Rest is not null)
        {
            if (maps || unmaps)
            {
                Give(plan, options, devices);
            }

            return;
        }

        if (!maps)
        {
            return;
        }

        plan.RestDevice = devices.Intern(DeviceTable.UnattributedName);
        plan.RestChoice = RestChoice.Synthetic;
        if (options.Overrides is null && Infer(plan.RestDevice, devices, events, candidates) is int inferred and >= 0)
        {
            plan.RestDevice = inferred;
            plan.RestChoice = RestChoice.Inferred;
        }
    }

    /// <summary>Gives what nothing names to the device that the caller named, if any.</summary>
    public static void Give(PlanSummary plan, PlanOptions options, DeviceTable devices)
    {
        if (options.Rest is { } name)
        {
            plan.RestDevice = devices.Intern(name);
            plan.RestChoice = options.RestChoice;
        }
    }

    /// <summary>
    /// The one device with DMA events whose own mappings do not overlap those that nothing names, or -1. A stray overlap (an
    /// event that found the wrong map) does not decide: every other device must have fifty times as many, and at least one.
    /// </summary>
    private static int Infer(int rest, DeviceTable devices, ReadOnlySpan<MappingEvent> events, int[] candidates)
    {
        MappingPlanner planner = new(new() { RestDevice = rest }, null, ulong.MaxValue, candidates);
        planner.GrowTo(devices.Count);
        foreach (ref readonly MappingEvent e in events)
        {
            planner.Take(e, e.Device);
        }

        int found = -1;
        long fewest = long.MaxValue;
        long next = long.MaxValue;
        foreach (int device in candidates)
        {
            long conflicts = planner.ConflictsOf(device);
            if (conflicts < fewest)
            {
                (found, next, fewest) = (device, fewest, conflicts);
            }
            else
            {
                next = Math.Min(next, conflicts);
            }
        }

        return found >= 0 && next > 0 && next / 50 >= fewest ? found : -1;
    }
}
