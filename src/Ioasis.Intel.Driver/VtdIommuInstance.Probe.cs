using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Intel.Driver;

/// <content>Taking an IOMMU over and giving it back (sections 3.4, 6.6, 11.4.4).</content>
internal sealed partial class VtdIommuInstance
{
    /// <summary>
    /// Takes over an IOMMU, whatever state somebody left it in: sets up its queue, gives it empty tables, so that every DMA faults until a
    /// device is attached, and has it forget what it cached. An IOMMU that translates goes on to do so: no DMA passes in between, unless it
    /// was left in the other mode and cannot abort DMA.
    /// </summary>
    /// <param name="registers">Its registers.</param>
    /// <param name="memory">The memory that it and the driver share.</param>
    /// <param name="pages">Where tables and queues come from; within the host address width.</param>
    /// <param name="options">How to run it.</param>
    /// <param name="instance">The IOMMU.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for options out of range; <see cref="Errno.NotSupported"/> if the hardware lacks what the
    /// driver or the options need (a log line names it); <see cref="Errno.TimedOut"/> if it does not react;
    /// <see cref="Errno.OutOfMemory"/>; <see cref="Errno.IoError"/>. After a failure that is not one of the first two, the IOMMU is off.
    /// </returns>
    public static Errno TryProbe(
        IRegisterWindow registers,
        IPhysicalMemory memory,
        IPageAllocator pages,
        VtdDriverOptions options,
        out VtdIommuInstance? instance)
    {
        ArgumentNullException.ThrowIfNull(registers);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pages);
        ArgumentNullException.ThrowIfNull(options);
        instance = null;
        if (options.FindFault() is { } fault)
        {
            options.Logger.LogError("{Name}: option out of range: {Fault}", options.Name, fault);
            return Errno.InvalidArgument;
        }

        uint version = registers.Read32(RegisterOffset.Version);
        Capability capability = new(registers.Read64(RegisterOffset.Capability));
        ExtendedCapability extended = new(registers.Read64(RegisterOffset.ExtendedCapability));
        if (MissingFrom(version, capability, extended, options) is { } missing)
        {
            options.Logger.LogError(
                "{Name}: not supported: {Missing} (version {Version:x2}, capabilities {Capability:x16} {Extended:x16})",
                options.Name, missing, version, capability.Value, extended.Value);
            return Errno.NotSupported;
        }

        VtdIommuInstance made = new(registers, memory, pages, options, capability, extended);
        Errno error = made.Start();
        if (error != Errno.Success)
        {
            options.Logger.LogError("{Name}: probe failed: {Error}", options.Name, error);
            made.Dispose();
            return error;
        }

        options.Logger.LogInformation(
            "{Name}: {Mode} mode, {Bits} bits of domain-ID, capabilities {Capability:x16} {Extended:x16}",
            options.Name, made.IsScalable ? "scalable" : "legacy", capability.DomainIdBits, capability.Value, extended.Value);
        instance = made;
        return Errno.Success;
    }

    // Scalable mode is of use with a stage of its own, or pass-through.
    private static bool IsScalableWanted(ExtendedCapability extended, VtdDriverOptions options) => options.Mode switch
    {
        VtdMode.Legacy => false,
        VtdMode.Scalable => true,
        _ => extended.Has(ExtendedCapability.ScalableModeBit)
            && (extended.Value & (ExtendedCapability.FirstStageBit | ExtendedCapability.SecondStageBit)) != 0,
    };

    // The first thing that stands in the way, in words; null if nothing does.
    private static string? MissingFrom(uint version, Capability capability, ExtendedCapability extended, VtdDriverOptions options)
    {
        if ((version & 0xff) is 0 or 0xff || capability.Value == ulong.MaxValue)
        {
            return "registers that answer (there is no such version)";
        }

        if (!extended.Has(ExtendedCapability.QueuedInvalidationBit))
        {
            return "queued invalidation (ECAP_REG.QI)";
        }

        if (IsScalableWanted(extended, options))
        {
            return !extended.Has(ExtendedCapability.ScalableModeBit) ? "scalable mode (ECAP_REG.SMTS)"
                : extended.Has(ExtendedCapability.FirstStageBit) ? null
                : !extended.Has(ExtendedCapability.SecondStageBit) ? "a first or a second stage (ECAP_REG.FSTS, SSTS)"
                : capability.LargestAddressWidth == 0 ? "second-stage tables of 3, 4 or 5 levels (CAP_REG.SAGAW)"
                : null;
        }

        return capability.LargestAddressWidth == 0 ? "second-stage tables of 3, 4 or 5 levels (CAP_REG.SAGAW)" : null;
    }

    private Errno Start()
    {
        Errno error = StopQueue();
        if (error == Errno.Success)
        {
            error = ContextTables.TryCreate(_memory, _pages, IsScalable, out _contexts);
        }

        if (error == Errno.Success && !_options.IsWithinHost(_contexts!.Root))
        {
            _options.Logger.LogError(
                "{Name}: not supported: tables at {Root}, beyond {Bits} bits of physical address", Name, _contexts.Root, _options.HostAddressWidth);
            return Errno.NotSupported;
        }

        if (error == Errno.Success)
        {
            error = InvalidationQueue.TryCreate(_hardware, _memory, _pages, _options, IsScalable, DrainBits, out _queue);
        }

        if (error != Errno.Success)
        {
            return error;
        }

        InvalidationLimit = Math.Min(_options.InvalidationLimit, _queue!.BatchLimit);
        _faults = new(_hardware, _capability, _options, FindDevice);
        error = _domainIds.TryAllocate(out _passThroughId, out _);
        _hasPassThroughId = error == Errno.Success;
        if (error == Errno.Success && Capabilities.PageRequests)
        {
            error = PageRequestQueue.TryCreate(
                _hardware, _memory, _pages, _options, _queue, FindDevice, PageRequests, out _pageRequests);
        }

        if (error == Errno.Success)
        {
            error = SetRootTable(_contexts!.Root.Value, IsScalable ? TranslationTableMode.Scalable : TranslationTableMode.Legacy);
        }

        // The caches keep what an earlier owner's tables said, unless ESRTPS says that the new table has emptied them (section 6.6).
        if (error == Errno.Success)
        {
            error = InvalidateEverything();
        }

        if (error == Errno.Success)
        {
            ConfigureEvents();
            error = _hardware.Command(GlobalControl.TranslationEnableBit, on: true) ? Errno.Success : Errno.TimedOut;
        }

        return error;
    }

    // What an earlier owner queued runs to its end, if it does so in time.
    private Errno StopQueue()
    {
        if (!_hardware.Has(GlobalControl.QueuedInvalidationEnableBit))
        {
            return Errno.Success;
        }

        _options.Logger.LogInformation("{Name}: the invalidation queue was left on", Name);
        ulong tail = _hardware.Registers.Read64(RegisterOffset.InvalidationQueueTail) & Architecture.InvalidationQueue.OffsetMask;
        _ = _hardware.WaitFor64(RegisterOffset.InvalidationQueueHead, Architecture.InvalidationQueue.OffsetMask, tail, out _);
        if (!_hardware.Command(GlobalControl.QueuedInvalidationEnableBit, on: false))
        {
            _options.Logger.LogError("{Name}: the invalidation queue does not turn off", Name);
            return Errno.TimedOut;
        }

        return Errno.Success;
    }

    // While an earlier owner's tables translate, ours take their place at once where the hardware permits it: between modes only by way of
    // aborting all DMA (section 3.4.4).
    private Errno SetRootTable(ulong root, TranslationTableMode mode)
    {
        // Errors of an earlier owner's queue would stop ours.
        _hardware.Registers.Write32(
            RegisterOffset.FaultStatus,
            FaultStatus.QueueErrorBit | FaultStatus.TimeoutErrorBit | FaultStatus.CompletionErrorBit | FaultStatus.OverflowBit);
        if (_hardware.Has(GlobalControl.TranslationEnableBit))
        {
            TranslationTableMode left = RootTable.Mode(_hardware.Registers.Read64(RegisterOffset.RootTableAddress));
            _options.Logger.LogInformation("{Name}: translation was left on, in {Mode} mode", Name, left);
            if (left != mode && left != TranslationTableMode.AbortDma && !TryAbortDma()
                && !_hardware.Command(GlobalControl.TranslationEnableBit, on: false))
            {
                _options.Logger.LogError("{Name}: translation does not turn off", Name);
                return Errno.TimedOut;
            }
        }

        return WriteRootTable(root, mode) ? Errno.Success : Errno.TimedOut;
    }

    private bool TryAbortDma() => _extended.Has(ExtendedCapability.AbortDmaBit) && WriteRootTable(0, TranslationTableMode.AbortDma);

    private bool WriteRootTable(ulong root, TranslationTableMode mode)
    {
        _hardware.Registers.Write64(RegisterOffset.RootTableAddress, root | ((ulong)mode << RootTable.ModeShift));
        return _hardware.Command(GlobalControl.SetRootTableBit, on: true);
    }

    private Errno InvalidateEverything()
    {
        Span<QueueDescriptor> descriptors =
            [QueueDescriptor.AllContexts, QueueDescriptor.AllTranslations(DrainBits), QueueDescriptor.AllPasids];
        if (!IsScalable)
        {
            return _queue!.SubmitAndWait(descriptors[..2]);
        }

        // Contexts, then PASIDs, then translations: what is filled meanwhile comes from the new tables.
        (descriptors[1], descriptors[2]) = (descriptors[2], descriptors[1]);
        return _queue!.SubmitAndWait(descriptors);
    }

    // Messages, and nothing that an earlier owner left to be reported. The completion event stays masked: waits look at memory.
    private void ConfigureEvents()
    {
        Configure(RegisterOffset.FaultEventControl, _options.FaultMessage, isMasked: false);
        Configure(RegisterOffset.InvalidationEventControl, _options.InvalidationMessage, isMasked: true);
        if (_pageRequests is not null)
        {
            Configure(RegisterOffset.PageRequestEventControl, _options.PageRequestMessage, isMasked: false);
        }

        _faults!.Discard();
    }

    private void Configure(uint control, VtdMessage message, bool isMasked)
    {
        IRegisterWindow registers = _hardware.Registers;
        registers.Write32(control, EventControl.MaskBit);
        registers.Write32(control + (RegisterOffset.FaultEventData - RegisterOffset.FaultEventControl), message.Data);
        registers.Write32(control + (RegisterOffset.FaultEventAddress - RegisterOffset.FaultEventControl), (uint)message.Address.Value);
        registers.Write32(
            control + (RegisterOffset.FaultEventUpperAddress - RegisterOffset.FaultEventControl), (uint)(message.Address.Value >> 32));
        if (!isMasked)
        {
            registers.Write32(control, 0);
        }
    }

    // Devices are taken out while the queue still works, unless nothing gets through any more; then nothing reads the tables.
    private void Shutdown()
    {
        bool isOff = !_hardware.Has(GlobalControl.TranslationEnableBit) || TryAbortDma();
        foreach (DeviceState state in _devices.Values)
        {
            Forget(state, isOff);
        }

        _devices.Clear();
        isOff = isOff || _hardware.Command(GlobalControl.TranslationEnableBit, on: false);
        if (isOff)
        {
            while (_quarantine.TryTake(out (ContextTarget Target, uint Pasid) held))
            {
                GiveBack(held.Target, held.Pasid, isFlushed: true);
            }

            while (_quarantinedDirectories.TryTake(out PasidDirectory? directory))
            {
                directory.Free();
            }
        }

        Mask(RegisterOffset.FaultEventControl);
        Mask(RegisterOffset.InvalidationEventControl);
        if (_pageRequests is not null)
        {
            Mask(RegisterOffset.PageRequestEventControl);
        }

        _queue?.Close();
        if (isOff)
        {
            _pageRequests?.Close();
            _contexts?.Free();
        }
        else
        {
            _options.Logger.LogCritical("{Name}: the IOMMU does not turn off; its tables are never reused", Name);
        }
    }

    private void Mask(uint control) => _hardware.Registers.Write32(control, EventControl.MaskBit);

    private IommuDevice? FindDevice(ushort sourceId) => _devices.TryGetValue(sourceId, out DeviceState? state) ? state.Device : null;
}
