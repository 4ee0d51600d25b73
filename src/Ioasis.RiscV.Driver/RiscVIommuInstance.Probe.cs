using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <content>Taking an IOMMU over and giving it back, in the order of section 6.2.</content>
internal sealed partial class RiscVIommuInstance
{
    private const ulong AnyFirstStage =
        Architecture.Capabilities.Sv39Bit | Architecture.Capabilities.Sv48Bit | Architecture.Capabilities.Sv57Bit;

    // Not Sv32x4: the driver turns fctl.GXL off.
    private const ulong AnySecondStage =
        Architecture.Capabilities.Sv39x4Bit | Architecture.Capabilities.Sv48x4Bit | Architecture.Capabilities.Sv57x4Bit;

    /// <summary>
    /// Takes over an IOMMU, whatever state somebody left it in: stops it, sets up its queues, forgets what it cached, and gives
    /// it an empty device directory, so that every DMA faults until a device is attached.
    /// </summary>
    /// <param name="registers">Its registers.</param>
    /// <param name="memory">The memory that it and the driver share.</param>
    /// <param name="pages">Where tables and queues come from; within the IOMMU's physical address space.</param>
    /// <param name="options">How to run it.</param>
    /// <param name="instance">The IOMMU.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for options out of range; <see cref="Errno.NotSupported"/> if the hardware
    /// lacks what the driver or the options need (a log line names it); <see cref="Errno.TimedOut"/> if it does not react;
    /// <see cref="Errno.OutOfMemory"/>; <see cref="Errno.IoError"/>. After a failure the IOMMU is off.
    /// </returns>
    public static Errno TryProbe(
        IRegisterWindow registers,
        IPhysicalMemory memory,
        IPageAllocator pages,
        RiscVDriverOptions options,
        out RiscVIommuInstance? instance)
    {
        ArgumentNullException.ThrowIfNull(registers);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pages);
        ArgumentNullException.ThrowIfNull(options);
        instance = null;
        Capabilities capabilities = new(registers.Read64(RegisterOffset.Capabilities));
        if (!AreValid(options))
        {
            options.Logger.LogError("{Name}: options out of range: {Options}", options.Name, options);
            return Errno.InvalidArgument;
        }

        if (MissingFrom(capabilities, options) is { } missing)
        {
            options.Logger.LogError(
                "{Name}: not supported: {Missing} (capabilities {Capabilities:x16})",
                options.Name, missing, capabilities.Value);
            return Errno.NotSupported;
        }

        RiscVIommuInstance made = new(registers, memory, pages, options, capabilities);
        Errno error = made.Start();
        if (error != Errno.Success)
        {
            options.Logger.LogError("{Name}: probe failed: {Error}", options.Name, error);
            made.Dispose();
            return error;
        }

        options.Logger.LogInformation(
            "{Name}: {Levels}-level directory, {Format} contexts, capabilities {Capabilities:x16}",
            options.Name, made.DirectoryLevels, capabilities.MsiFlat ? "extended" : "base", capabilities.Value);
        instance = made;
        return Errno.Success;
    }

    private static bool AreValid(RiscVDriverOptions options) =>
        options.CommandQueueSizeLog2 is >= CommandQueue.MinSizeLog2 and <= 15
        && options.FaultQueueSizeLog2 is >= 1 and <= 15
        && options.PageRequestQueueSizeLog2 is >= 1 and <= 15
        && options.RequiredDeviceIdBits is >= 0 and <= 24
        && options.InvalidationCommandLimit is >= 1 and <= 64
        && options.PscidBits is >= 1 and <= 20
        && options.GscidBits is >= 1 and <= 16
        && options.CommandTimeout > TimeSpan.Zero
        && options.AtsTimeout > TimeSpan.Zero
        && Enum.IsDefined(options.PreferredMode);

    // The first thing that stands in the way, in words; null if nothing does.
    private static string? MissingFrom(Capabilities capabilities, RiscVDriverOptions options)
    {
        if (capabilities.Version >> 4 != 1)
        {
            return $"version {capabilities.Version >> 4}.{capabilities.Version & 0xf} of the specification (1.x is)";
        }

        if (!capabilities.Has(AnyFirstStage))
        {
            return "a first stage in any of Sv39, Sv48 and Sv57";
        }

        return capabilities.Igs switch
        {
            InterruptGeneration.Reserved => "the way of interrupts (IGS is reserved)",
            InterruptGeneration.Msi when options.MsiMessages.Count == 0 =>
                "interrupts: the IOMMU can only send messages, and the platform gave none",
            _ => null,
        };
    }

    private Errno Start()
    {
        Errno error = Stop();
        if (error == Errno.Success)
        {
            error = ConfigureFeatures();
        }

        if (error == Errno.Success)
        {
            error = DeviceDirectory.TryCreate(_memory, _pages, _capabilities.MsiFlat, out _directory);
        }

        if (error == Errno.Success && _directory!.Root.Value >> _capabilities.PhysicalAddressSize != 0)
        {
            _options.Logger.LogError(
                "{Name}: not supported: tables at {Root}, beyond {Bits} bits of physical address",
                Name, _directory.Root, _capabilities.PhysicalAddressSize);
            return Errno.NotSupported;
        }

        if (error == Errno.Success)
        {
            ConfigureInterrupts();
            error = CommandQueue.TryCreate(_hardware, _memory, _pages, _capabilities, _options, out _commands);
        }

        if (error == Errno.Success)
        {
            error = FaultQueue.TryCreate(_hardware, _memory, _pages, _options, FindDevice, out _faults);
        }

        if (error == Errno.Success && _capabilities.Ats)
        {
            error = PageRequestQueue.TryCreate(
                _hardware, _memory, _pages, _options, _commands!, FindDevice, PageRequests, out _pageRequests);
        }

        CommandLimit = Math.Min(_options.InvalidationCommandLimit, _commands?.BatchLimit ?? 1);

        // The caches keep what an earlier owner's tables said, also while the IOMMU is off (section 5.5).
        if (error == Errno.Success)
        {
            error = InvalidateEverything();
        }

        return error == Errno.Success ? EnableDirectory() : error;
    }

    // Whatever runs is stopped: first the translations, then the queues.
    private Errno Stop()
    {
        if (!TurnOff())
        {
            _options.Logger.LogError("{Name}: the directory does not turn off", Name);
            return Errno.TimedOut;
        }

        ReadOnlySpan<uint> queues =
        [
            RegisterOffset.CommandQueueCsr, RegisterOffset.FaultQueueCsr, RegisterOffset.PageRequestQueueCsr,
        ];
        foreach (uint csr in _capabilities.Ats ? queues : queues[..2])
        {
            if (!_hardware.WaitFor32(csr, QueueCsr.BusyBit, 0, out uint value))
            {
                return Errno.TimedOut;
            }

            if ((value & (QueueCsr.EnableBit | QueueCsr.OnBit | QueueCsr.InterruptEnableBit)) != 0)
            {
                _options.Logger.LogInformation("{Name}: a queue was left on (csr {Value:x8})", Name, value);
                _hardware.Registers.Write32(csr, 0);
                if (!_hardware.WaitFor32(csr, QueueCsr.OnBit | QueueCsr.BusyBit, 0, out _))
                {
                    return Errno.TimedOut;
                }
            }
        }

        _hardware.Registers.Write32(RegisterOffset.InterruptPendingStatus, (uint)InterruptPending.All);
        return Errno.Success;
    }

    private bool TurnOff()
    {
        const uint register = RegisterOffset.DeviceDirectoryTablePointer;
        const ulong modeMask = DeviceDirectoryTablePointer.ModeMask;
        if (!_hardware.WaitFor64(register, DeviceDirectoryTablePointer.BusyBit, 0, out ulong value))
        {
            return false;
        }

        if ((value & modeMask) == (ulong)IommuMode.Off)
        {
            return true;
        }

        // The PPN must not change on the way to Off (section 5.5).
        _hardware.Registers.Write64(register, (value & ~modeMask) | (ulong)IommuMode.Off);
        return _hardware.WaitFor64(register, DeviceDirectoryTablePointer.BusyBit | modeMask, (ulong)IommuMode.Off, out _);
    }

    // Little-endian, 64-bit second stages, and the way of interrupts; only while everything is off (section 5.4).
    private Errno ConfigureFeatures()
    {
        bool canWire = _capabilities.Igs != InterruptGeneration.Msi;
        bool canMessage = _capabilities.Igs != InterruptGeneration.Wsi;
        bool wired = canWire && (_options.PreferWiredInterrupts || !canMessage || _options.MsiMessages.Count == 0);
        uint now = _hardware.Registers.Read32(RegisterOffset.FeaturesControl);
        const uint ours = FeaturesControl.BigEndianBit | FeaturesControl.WiredInterruptsBit | FeaturesControl.GxlBit;
        uint wanted = (now & ~ours) | (wired ? FeaturesControl.WiredInterruptsBit : 0);
        if (wanted != now)
        {
            _hardware.Registers.Write32(RegisterOffset.FeaturesControl, wanted);
            now = _hardware.Registers.Read32(RegisterOffset.FeaturesControl);
        }

        _features = now;
        if ((now & ours) == (wanted & ours))
        {
            return Errno.Success;
        }

        _options.Logger.LogError(
            "{Name}: not supported: {Missing} (fctl {Value:x8} stays)", Name,
            (now & FeaturesControl.BigEndianBit) != 0 ? "an IOMMU that is big-endian only"
            : (now & FeaturesControl.GxlBit) != 0 ? "an IOMMU that is 32-bit only"
            : "the way of interrupts",
            now);
        return Errno.NotSupported;
    }

    private void ConfigureInterrupts()
    {
        IRegisterWindow registers = _hardware.Registers;
        const ulong wanted = (0ul << InterruptCauseToVector.CommandQueueShift)
            | (1ul << InterruptCauseToVector.FaultQueueShift)
            | (2ul << InterruptCauseToVector.PageRequestQueueShift)
            | (3ul << InterruptCauseToVector.PerformanceMonitorShift);

        // WARL: where there are fewer vectors, causes share them.
        registers.Write64(RegisterOffset.InterruptCauseToVector, wanted);
        if ((registers.Read32(RegisterOffset.FeaturesControl) & FeaturesControl.WiredInterruptsBit) != 0)
        {
            return;
        }

        for (int vector = 0; vector < MsiConfiguration.EntryCount; vector++)
        {
            MsiMessage message = _options.MsiMessages[Math.Min(vector, _options.MsiMessages.Count - 1)];
            uint entry = RegisterOffset.MsiConfigurationTable + ((uint)vector * MsiConfiguration.EntrySize);
            registers.Write64(entry + MsiConfiguration.AddressOffset, message.Address.Value & MsiConfiguration.AddressMask);
            registers.Write32(entry + MsiConfiguration.DataOffset, message.Data);
            registers.Write32(entry + MsiConfiguration.VectorControlOffset, 0);
        }
    }

    private Errno InvalidateEverything()
    {
        Span<Command> commands =
        [
            Command.InvalidateDeviceDirectory(null),
            Command.InvalidateFirstStage(null, null, null),
            Command.InvalidateSecondStage(null, null),
        ];
        const ulong anySecondStage = Architecture.Capabilities.Sv32x4Bit | Architecture.Capabilities.Sv39x4Bit
            | Architecture.Capabilities.Sv48x4Bit | Architecture.Capabilities.Sv57x4Bit;
        return _commands!.SubmitAndWait(_capabilities.Has(anySecondStage) ? commands : commands[..2]);
    }

    // The most levels that the hardware keeps when it is asked (WARL, section 5.5).
    private Errno EnableDirectory()
    {
        const uint register = RegisterOffset.DeviceDirectoryTablePointer;
        const ulong modeMask = DeviceDirectoryTablePointer.ModeMask;
        ulong root = PpnField.FromAddress(_directory!.Root.Value);
        for (int levels = 3; levels >= 1; levels--)
        {
            if (DeviceDirectory.BitsOf(levels, _capabilities.MsiFlat) < _options.RequiredDeviceIdBits)
            {
                break;
            }

            ulong mode = (ulong)IommuMode.OneLevel + (ulong)(levels - 1);
            _hardware.Registers.Write64(register, root | mode);
            if (!_hardware.WaitFor64(register, DeviceDirectoryTablePointer.BusyBit, 0, out ulong value))
            {
                return Errno.TimedOut;
            }

            if ((value & (modeMask | PpnField.Mask)) == (root | mode))
            {
                _directory.SetLevels(levels);
                return Errno.Success;
            }

            if (!TurnOff())
            {
                return Errno.TimedOut;
            }
        }

        _options.Logger.LogError(
            "{Name}: not supported: a device directory for {Bits} bits of device ID", Name, _options.RequiredDeviceIdBits);
        return Errno.NotSupported;
    }

    // DMA stops with the directory; then nobody needs the queues; then nothing reads the tables any more.
    private void Shutdown()
    {
        bool off = TurnOff();
        foreach (DeviceState state in _devices.Values)
        {
            Forget(state, off);
        }

        _devices.Clear();
        if (off)
        {
            while (_quarantine.TryTake(out ContextTarget target))
            {
                GiveBack(target, isFlushed: true);
            }

            while (_quarantinedDirectories.TryTake(out ProcessDirectory? directory))
            {
                directory.Free();
            }
        }

        _commands?.Close();
        _faults?.Close();
        _pageRequests?.Close();
        if (off)
        {
            _directory?.Free();
        }
        else
        {
            _options.Logger.LogCritical("{Name}: the IOMMU does not turn off; its tables are never reused", Name);
        }
    }

    private Core.IommuDevice? FindDevice(uint id) => _devices.TryGetValue(id, out DeviceState? state) ? state.Device : null;
}
