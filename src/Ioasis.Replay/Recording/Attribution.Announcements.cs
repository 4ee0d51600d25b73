namespace Ioasis.Replay.Recording;

// Events that the kernel traces before the unmap that they cause: dma_unmap_sg, dma_free, dma_free_pages, dma_free_sgt.
internal sealed partial class Attribution
{
    /// <summary>
    /// Notes that the task is about to unmap for a device. The unmap is the next one of the same task in the same context
    /// (an interrupt in between is another), in the announced range where there is one: <c>dma_unmap_sg</c> names no IOVA.
    /// </summary>
    public static void Announce(TaskState task, in KernelEvent e, int device, Evidence evidence)
    {
        EndAnnouncements(task, e.Context);
        ulong start = e.Address & ~PageMask;
        bool list = e.Kind == KernelEventKind.DmaUnmapSg;
        task.Announced.Add(new(
            device,
            evidence,
            e.Context,
            start,
            list ? ulong.MaxValue : (e.Address + (Math.Max(e.Length, 1) - 1)) | PageMask,

            // One unmap ends a whole list, unless its entries were bounced; then each has one. Each entry is a page or more.
            list ? (ulong)Math.Max(e.Entries, 1) << 12 : Math.Max(e.Length, 1)));
    }

    private static bool TryAnnounced(TaskState task, ExecutionContextKind context, ref MappingEvent unmap)
    {
        for (int i = task.Announced.Count - 1; i >= 0; i--)
        {
            Announcement a = task.Announced[i];
            bool other = a.Context != context && a.Context != ExecutionContextKind.Unknown && context != ExecutionContextKind.Unknown;
            if (other || !Overlaps(unmap, a.Start, a.Last))
            {
                continue;
            }

            unmap.Device = a.Device;
            unmap.Evidence = a.Evidence;
            task.Given = a;
            if (unmap.Length >= a.BytesLeft)
            {
                task.Announced.RemoveAt(i);
            }
            else
            {
                task.Announced[i] = a with { BytesLeft = a.BytesLeft - unmap.Length };
            }

            return true;
        }

        return false;
    }

    /// <summary>A further DMA call of the same task and context shows that those before it are over.</summary>
    private static void EndAnnouncements(TaskState task, ExecutionContextKind context)
    {
        for (int i = task.Announced.Count - 1; i >= 0; i--)
        {
            if (task.Announced[i].Context == context)
            {
                task.Announced.RemoveAt(i);
            }
        }
    }

    /// <summary>An unmap that was taken for an announced one is another's, of an interrupt that came between: the announcement stands again.</summary>
    private void GiveBack(TaskState task, long number)
    {
        if (task.Given is { } given && At(number).Device == given.Device)
        {
            task.Announced.Add(given);
            task.Given = null;
        }
    }

    /// <summary>An unmap to come.</summary>
    internal readonly record struct Announcement(
        int Device, Evidence Evidence, ExecutionContextKind Context, ulong Start, ulong Last, ulong BytesLeft);
}
