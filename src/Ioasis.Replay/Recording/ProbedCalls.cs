namespace Ioasis.Replay.Recording;

/// <summary>
/// The calls of one task, and of the interrupts that came to it, that probes saw begin and that may not have ended. Which call is in which
/// is told by their stack pointers: the stack grows downwards, so a call begins below the one that it is in, and what began at
/// the same place or below has ended. An interrupt has a stack of its own, or begins further down on the one that it came to.
/// </summary>
internal sealed class ProbedCalls
{
    /// <summary>No stack of the kernel's is larger.</summary>
    private const ulong StackBytes = 1 << 14;

    /// <summary>More than can be under way; the oldest are forgotten.</summary>
    private const int Most = 64;

    private readonly List<Call> _calls = [];

    private enum CallKind : byte
    {
        /// <summary>A function of the DMA API, which says the device, or one that maps past it, which says none.</summary>
        Dma,
        Map,
        MapList,
        Unmap,
    }

    /// <summary>A call of the DMA API for a device begins, or with -1 one that maps without it.</summary>
    public void BeginDma(ulong stack, int device) => Begin(new(CallKind.Dma, stack, 0, 0, 0, device));

    /// <summary>A map begins.</summary>
    /// <param name="stack">The stack pointer.</param>
    /// <param name="domain">Its domain.</param>
    /// <param name="isForDmaApi">Whether the domain is one of the DMA API.</param>
    /// <param name="iova">Its first IOVA.</param>
    /// <param name="length">Its length; 0 for a list's, which is not known.</param>
    public void BeginMap(ulong stack, ulong domain, bool isForDmaApi, ulong iova, ulong length) =>
        BeginRange(length == 0 ? CallKind.MapList : CallKind.Map, stack, domain, isForDmaApi, iova, length);

    /// <summary>An unmap begins.</summary>
    /// <inheritdoc cref="BeginMap"/>
    public void BeginUnmap(ulong stack, ulong domain, bool isForDmaApi, ulong iova, ulong length) =>
        BeginRange(CallKind.Unmap, stack, domain, isForDmaApi, iova, length);

    /// <summary>Finds the call that did a map or an unmap: the newest that is for its range.</summary>
    /// <param name="unmap">Which.</param>
    /// <param name="iova">Its first IOVA.</param>
    /// <param name="length">Its length.</param>
    /// <param name="domain">The call's domain.</param>
    /// <param name="device">The device of the DMA call that it is in, or -1.</param>
    public bool TryTake(bool unmap, ulong iova, ulong length, out ulong domain, out int device)
    {
        ulong last = iova + (Math.Max(length, 1) - 1);
        for (int i = _calls.Count - 1; i >= 0; i--)
        {
            Call call = _calls[i];
            bool isOne = call.Kind switch
            {
                CallKind.Dma => false,
                CallKind.Unmap => unmap && iova >= call.Start && last <= call.Last,
                CallKind.Map => !unmap && iova >= call.Start && last <= call.Last,
                _ => !unmap && iova == call.Start,
            };
            if (!isOne)
            {
                continue;
            }

            (domain, device) = (call.Domain, call.Device);
            if (last == call.Last)
            {
                _calls.RemoveAt(i);
            }
            else if (call.Kind is CallKind.MapList)
            {
                _calls[i] = call with { Start = last + 1 };
            }

            return true;
        }

        (domain, device) = (0, -1);
        return false;
    }

    private void BeginRange(CallKind kind, ulong stack, ulong domain, bool isForDmaApi, ulong iova, ulong length)
    {
        // VFIO and iommufd map for their users, whatever DMA the task did before.
        int device = isForDmaApi ? DeviceAround(stack) : -1;
        Begin(new(kind, stack, domain, iova, length == 0 ? ulong.MaxValue : iova + (length - 1), device));
    }

    private int DeviceAround(ulong stack)
    {
        for (int i = _calls.Count - 1; i >= 0; i--)
        {
            if (_calls[i].Kind is CallKind.Dma && _calls[i].Stack > stack && _calls[i].Stack - stack < StackBytes)
            {
                return _calls[i].Device;
            }
        }

        return -1;
    }

    private void Begin(Call call)
    {
        _calls.RemoveAll(other => other.Stack <= call.Stack && call.Stack - other.Stack < StackBytes);
        if (_calls.Count == Most)
        {
            _calls.RemoveAt(0);
        }

        _calls.Add(call);
    }

    private readonly record struct Call(CallKind Kind, ulong Stack, ulong Domain, ulong Start, ulong Last, int Device);
}
