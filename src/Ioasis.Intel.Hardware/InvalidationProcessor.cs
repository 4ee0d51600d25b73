using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// The invalidation queue (section 6.5.2): fetches descriptors, checks them, executes them in order, and stops on errors (section 6.5.2.11). A wait
/// descriptor holds the queue until devices have answered; what stands behind it waits too, whether it is a fence or not. Under the register lock.
/// </summary>
internal sealed class InvalidationProcessor(
    VtdIommuOptions options,
    HostMemory memory,
    TranslationCaches caches,
    InterruptRemapper interrupts,
    DeviceTlbs deviceTlbs,
    PageRequests pageRequests,
    FaultRecorder faults,
    UnitOutbox outbox,
    Action waitForAccesses)
{
    private enum Outcome
    {
        /// <summary>Executed: the head moves on.</summary>
        Done,

        /// <summary>The head stays: something has to happen first.</summary>
        Waits,

        /// <summary>A reserved field is not 0, or has a reserved value.</summary>
        Reserved,

        /// <summary>The type is not valid here.</summary>
        InvalidType,
    }

    private readonly Capability _cap = options.Capabilities;
    private readonly ExtendedCapability _ecap = options.ExtendedCapabilities;
    private readonly ushort _domainMask = (ushort)((1u << options.Capabilities.DomainIdBits) - 1);
    private readonly ulong _pageMask = ~(options.Capabilities.MaxGuestAddressWidth >= 64 ? 0 : ~0ul << options.Capabilities.MaxGuestAddressWidth);
    private readonly long[] _executed = new long[16];
    private readonly long[] _removed = new long[16];
    private Configuration _configuration = Configuration.Reset;
    private bool _invalidatedSinceWait;

    /// <summary><c>IQA_REG</c>.</summary>
    public ulong Address { get; set; }

    /// <summary><c>IQH_REG</c>.</summary>
    public ulong Head { get; private set; }

    /// <summary><c>IQT_REG</c>.</summary>
    public ulong Tail { get; private set; }

    /// <summary><c>QIES</c>.</summary>
    public bool IsEnabled { get; private set; }

    /// <summary><c>ICS_REG.IWC</c>.</summary>
    public bool WaitCompleted { get; private set; }

    /// <summary>The invalidation completion event.</summary>
    public EventMessage Event { get; } = new(outbox);

    /// <summary><c>IQERCD_REG.IQEI</c>.</summary>
    public InvalidationQueueError Error { get; private set; }

    /// <summary><c>IQERCD_REG</c>.</summary>
    public ulong ErrorRecord => (ulong)Error
        | ((ulong)deviceTlbs.TimeoutSource << InvalidationQueueErrorRecord.TimeoutSourceShift)
        | ((ulong)deviceTlbs.CompletionErrorSource << InvalidationQueueErrorRecord.CompletionSourceShift);

    /// <summary>The mode decides what descriptors are valid.</summary>
    public void Adopt(Configuration configuration) => _configuration = configuration;

    /// <summary>Switches the queue on or off; off, its head is 0.</summary>
    public void Enable(bool enabled)
    {
        IsEnabled = enabled;
        Head = enabled ? Head : 0;
        Run();
    }

    /// <summary>Writes <c>IQT_REG</c>.</summary>
    public void WriteTail(ulong value)
    {
        Tail = value & InvalidationQueue.OffsetMask;
        Run();
    }

    /// <summary>Writes <c>ICS_REG</c>.</summary>
    public void WriteCompletionStatus(uint value)
    {
        if ((value & 1) != 0)
        {
            WaitCompleted = false;
            Event.Withdraw();
        }
    }

    /// <summary>Descriptors by type.</summary>
    public DescriptorStatistics[] Snapshot() =>
        [.. Enum.GetValues<DescriptorType>().Select(type => new DescriptorStatistics(type, _executed[(int)type], _removed[(int)type]))];

    /// <summary>Executes what is in the queue, until it is empty, waits or stops.</summary>
    public void Run()
    {
        while (IsEnabled && !faults.StopsQueue && Head != Tail)
        {
            bool wide = (Address & InvalidationQueue.WideDescriptorsBit) != 0;
            ulong bytes = 4096ul << (int)(Address & InvalidationQueue.SizeMask);
            InvalidationQueueError error = CheckQueue(wide, bytes);
            if (error != InvalidationQueueError.None)
            {
                Stop(error);
                return;
            }

            ulong place = (Address & ~0xffful) + Head;
            ulong third = 0;
            ulong fourth = 0;
            if (!memory.TryReadPair(place, out ulong low, out ulong high)
                || (wide && !memory.TryReadPair(place + 16, out third, out fourth)))
            {
                Stop(InvalidationQueueError.FetchError);
                return;
            }

            switch (Execute(low, high, (third | fourth) != 0, wide))
            {
                case Outcome.Done:
                    ulong next = Head + (wide ? Descriptor.WideSize : (ulong)Descriptor.NarrowSize);
                    Head = next < bytes ? next : 0;
                    break;
                case Outcome.Waits:
                    return;
                case Outcome.Reserved:
                    Stop(InvalidationQueueError.ReservedField);
                    return;
                default:
                    Stop(InvalidationQueueError.InvalidType);
                    return;
            }
        }
    }

    // Section 11.4.9.9: what of the queue itself is wrong.
    private InvalidationQueueError CheckQueue(bool wide, ulong bytes)
    {
        bool hasWide = (_ecap.Value & (ExtendedCapability.ScalableModeBit | ExtendedCapability.AbortDmaBit)) != 0;
        bool needsWide = _configuration.Mode is TranslationTableMode.Scalable or TranslationTableMode.AbortDma;
        return _configuration.ModeFault == FaultReason.RootTableModeInvalid ? InvalidationQueueError.InvalidTableMode
            : wide ? !hasWide ? InvalidationQueueError.InvalidWidth : CheckTail(bytes, Descriptor.WideSize)
            : needsWide ? InvalidationQueueError.InvalidWidth
            : CheckTail(bytes, Descriptor.NarrowSize);
    }

    private InvalidationQueueError CheckTail(ulong bytes, int size) =>
        (Tail & ((ulong)size - 1)) != 0 ? InvalidationQueueError.MisalignedTail
        : Tail >= bytes || Head >= bytes ? InvalidationQueueError.InvalidTail
        : InvalidationQueueError.None;

    private void Stop(InvalidationQueueError error)
    {
        Error = error;
        faults.SetError(FaultStatus.QueueErrorBit);
    }

    private Outcome Execute(ulong low, ulong high, bool hasUpper, bool wide)
    {
        DescriptorType type = Descriptor.Type(low);
        if (!IsValid(type, wide))
        {
            return Outcome.InvalidType;
        }

        (ulong reservedLow, ulong reservedHigh) = ReservedOf(type);
        if (((low & reservedLow) | (high & reservedHigh)) != 0 || hasUpper)
        {
            return Outcome.Reserved;
        }

        int removed = 0;
        Outcome outcome = type switch
        {
            DescriptorType.ContextCache => InvalidateContexts(low),
            DescriptorType.Iotlb => InvalidateTranslations(low, high, out removed),
            DescriptorType.DeviceTlb => InvalidateDeviceTlb(low, high),
            DescriptorType.InterruptEntryCache => InvalidateInterrupts(low),
            DescriptorType.Wait => Wait(low, high),
            DescriptorType.PasidIotlb => InvalidatePasidTranslations(low, high, out removed),
            DescriptorType.PasidCache => InvalidatePasids(low),
            DescriptorType.PasidDeviceTlb => InvalidatePasidDeviceTlb(low, high),
            _ => Respond(low, high),
        };
        if (outcome == Outcome.Done)
        {
            _executed[(int)type]++;
            _removed[(int)type] += removed;
        }

        return outcome;
    }

    // Table 26, and what capabilities the types need.
    private bool IsValid(DescriptorType type, bool wide)
    {
        bool known = type switch
        {
            DescriptorType.ContextCache or DescriptorType.Iotlb or DescriptorType.Wait => true,
            DescriptorType.DeviceTlb => _ecap.Has(ExtendedCapability.DeviceTlbBit),
            DescriptorType.InterruptEntryCache => _ecap.Has(ExtendedCapability.InterruptRemappingBit),
            DescriptorType.PasidIotlb or DescriptorType.PasidCache => true,
            DescriptorType.PasidDeviceTlb => _ecap.Has(ExtendedCapability.DeviceTlbBit),
            DescriptorType.PageGroupResponse => _ecap.Has(ExtendedCapability.PageRequestBit),
            _ => false,
        };
        return known && (type <= DescriptorType.Wait || (wide && _configuration.Mode != TranslationTableMode.Legacy));
    }

    private (ulong Low, ulong High) ReservedOf(DescriptorType type)
    {
        ulong physicalFunction = _ecap.Has(ExtendedCapability.InvalidationThrottleBit) ? 0 : Descriptor.PhysicalFunctionMask;
        return type switch
        {
            DescriptorType.ContextCache => ((7ul << 6) | (0xful << 12) | (0x3ffful << 50), ulong.MaxValue),
            DescriptorType.Iotlb => ((1ul << 8) | (0xful << 12) | (0xffff_fffful << 32), InvalidateAddress.ReservedMask),
            DescriptorType.DeviceTlb => ((0x1ful << 4) | (0x7fful << 21) | (0xful << 48) | physicalFunction, 0xffe),
            DescriptorType.InterruptEntryCache => ((0xful << 5) | (0x7ffful << 12) | (0xfffful << 48), ulong.MaxValue),
            DescriptorType.Wait => (
                (1ul << 8) | (0xf_fffful << 12) | (_ecap.Has(ExtendedCapability.PageRequestDrainBit) ? 0 : Descriptor.WaitDrainBit), 3),
            DescriptorType.PasidIotlb => ((7ul << 6) | (0xful << 12) | (0xffful << 52), InvalidateAddress.ReservedMask),
            DescriptorType.PasidCache => ((7ul << 6) | (0xful << 12) | (0xffful << 52), ulong.MaxValue),
            DescriptorType.PasidDeviceTlb => (physicalFunction, 0x7fe),
            _ => ((0xful << 5) | (0xffful << 52), 3 | (~0ul << 12)),
        };
    }

    private Outcome InvalidateContexts(ulong low)
    {
        var granularity = (InvalidationGranularity)((low >> Descriptor.GranularityShift) & 3);
        if (granularity == InvalidationGranularity.Reserved)
        {
            return Outcome.Reserved;
        }

        InvalidateContexts(new ContextInvalidation(
            granularity,
            DomainOf(low),
            (ushort)(low >> Descriptor.SourceIdShift),
            (int)(low >> Descriptor.FunctionMaskShift) & 3));
        return Outcome.Done;
    }

    /// <summary>Invalidates the context cache; in scalable mode domains do not tag it (section 6.5.2.1).</summary>
    public void InvalidateContexts(ContextInvalidation invalidation)
    {
        _invalidatedSinceWait = true;
        caches.Invalidate(invalidation);
    }

    private Outcome InvalidateTranslations(ulong low, ulong high, out int removed)
    {
        removed = 0;
        var granularity = (InvalidationGranularity)((low >> Descriptor.GranularityShift) & 3);
        return TryInvalidateTranslations(granularity, DomainOf(low), high, out removed) ? Outcome.Done : Outcome.Reserved;
    }

    /// <summary>Invalidates the IOTLB and paging-structure caches by domain and second-stage address (section 6.5.2.3).</summary>
    /// <param name="granularity">What is meant.</param>
    /// <param name="domainId">The domain.</param>
    /// <param name="address">Address, hint and mask, as <see cref="InvalidateAddress"/> has them.</param>
    /// <param name="removed">How many entries went.</param>
    /// <returns>Whether such an invalidation is supported.</returns>
    public bool TryInvalidateTranslations(InvalidationGranularity granularity, ushort domainId, ulong address, out int removed)
    {
        removed = 0;
        TranslationInvalidation invalidation = new()
        {
            IsGlobal = granularity == InvalidationGranularity.Global,
            DomainId = domainId,
            LeavesOnly = (address & InvalidateAddress.HintBit) != 0,
        };
        if (granularity == InvalidationGranularity.Selective)
        {
            int mask = (int)(address & InvalidateAddress.AddressMaskMask);
            if (!_cap.PageSelective || mask > _cap.MaxAddressMask)
            {
                return false;
            }

            invalidation = TranslationInvalidation.WithRange(invalidation, address & ~0xffful & _pageMask, mask);
        }

        if (granularity == InvalidationGranularity.Reserved)
        {
            return false;
        }

        _invalidatedSinceWait = true;
        removed = caches.Invalidate(invalidation);
        return true;
    }

    private Outcome InvalidatePasidTranslations(ulong low, ulong high, out int removed)
    {
        removed = 0;
        var granularity = (PasidIotlbGranularity)((low >> Descriptor.GranularityShift) & 3);
        if (granularity < PasidIotlbGranularity.Pasid)
        {
            return Outcome.Reserved;
        }

        TranslationInvalidation invalidation = new()
        {
            IsPasidBased = true,
            DomainId = DomainOf(low),
            Pasid = PasidOf(low),
            LeavesOnly = (high & InvalidateAddress.HintBit) != 0,
        };
        if (granularity == PasidIotlbGranularity.Pages)
        {
            invalidation = TranslationInvalidation.WithRange(invalidation, high & ~0xffful, (int)(high & InvalidateAddress.AddressMaskMask));
        }

        _invalidatedSinceWait = true;
        removed = caches.Invalidate(invalidation);
        return Outcome.Done;
    }

    private Outcome InvalidatePasids(ulong low)
    {
        var granularity = (PasidCacheGranularity)((low >> Descriptor.GranularityShift) & 3);
        if (granularity == PasidCacheGranularity.Reserved)
        {
            return Outcome.Reserved;
        }

        _invalidatedSinceWait = true;
        caches.Invalidate(new PasidInvalidation(granularity, DomainOf(low), PasidOf(low)));
        return Outcome.Done;
    }

    private Outcome InvalidateInterrupts(ulong low)
    {
        bool selective = (low & Descriptor.InterruptSelectiveBit) != 0;
        int mask = (int)(low >> Descriptor.InterruptMaskShift) & 0x1f;
        if (selective && mask > _ecap.MaxHandleMask)
        {
            return Outcome.Reserved;
        }

        _invalidatedSinceWait = true;
        interrupts.Invalidate(selective ? (uint)(low >> Descriptor.InterruptIndexShift) & 0xffff : null, mask);
        return Outcome.Done;
    }

    private Outcome InvalidateDeviceTlb(ulong low, ulong high)
    {
        // PCIe has S at bit 11 of the body.
        ulong payload = (high & ~0xffful) | ((high & Descriptor.HighDeviceTlbSizeBit) << 11);
        _invalidatedSinceWait = true;
        return deviceTlbs.TrySend((ushort)(low >> Descriptor.SourceIdShift), Pasid.Invalid, payload) ? Outcome.Done : Outcome.Waits;
    }

    private Outcome InvalidatePasidDeviceTlb(ulong low, ulong high)
    {
        // The body has the same fields at the same places.
        _invalidatedSinceWait = true;
        return deviceTlbs.TrySend((ushort)(low >> Descriptor.LowSourceIdShift), new(PasidOf(low)), high) ? Outcome.Done : Outcome.Waits;
    }

    private Outcome Respond(ulong low, ulong high)
    {
        ushort requester = (ushort)(low >> Descriptor.LowSourceIdShift);
        Pasid pasid = (low & Descriptor.ResponsePasidBit) != 0 ? new(PasidOf(low)) : Pasid.Invalid;
        pageRequests.Respond(
            requester,
            pasid,
            (uint)(high >> Descriptor.HighResponseGroupShift) & 0x1ff,
            (uint)(low >> Descriptor.ResponseCodeShift) & 0xf);
        return Outcome.Done;
    }

    // Completes when all before it has (section 6.5.2.12); it drains what was translated before (section 6.5.4).
    private Outcome Wait(ulong low, ulong high)
    {
        if (deviceTlbs.IsWaiting)
        {
            return Outcome.Waits;
        }

        if (_invalidatedSinceWait)
        {
            waitForAccesses();
            _invalidatedSinceWait = false;
        }

        if ((low & Descriptor.WaitStatusBit) != 0)
        {
            // The text leaves open what becomes of a status that cannot be written.
            _ = memory.TryWrite32(high & ~memory.BeyondMask, (uint)(low >> Descriptor.WaitDataShift));
        }

        if ((low & Descriptor.WaitInterruptBit) != 0 && !WaitCompleted)
        {
            WaitCompleted = true;
            Event.Raise();
        }

        return Outcome.Done;
    }

    private ushort DomainOf(ulong low) => (ushort)((low >> Descriptor.DomainIdShift) & _domainMask);

    private static uint PasidOf(ulong low) => (uint)(low >> Descriptor.PasidShift) & Pasid.MaxValue;
}
