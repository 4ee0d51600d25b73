using System.Buffers.Binary;
using System.Numerics;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Virtio;

/// <summary>
/// A virtio device on PCI: version 1.3, not transitional (section 4.1). Here are its registers and its life; a derived class says what
/// its queues are for. A driver's mistake ends in "needs reset", never in an exception or a wait.
/// </summary>
/// <remarks>
/// Two locks: one for the registers, under which nothing goes out; one for the work on the queues, under which DMA goes out and for which
/// no register write waits: what is to be done is noted, and whoever has the lock does it. A reset waits for the access that is under way.
/// </remarks>
public abstract partial class VirtioDevice : PciDevice
{
    private const ushort VendorId = 0x1af4;
    private const ushort FirstDeviceId = 0x1040;

    private readonly IoLock _registers = new();
    private readonly IoLock _work = new();
    private readonly VirtioQueue[] _queues;
    private readonly byte[] _configuration;
    private readonly VirtioFeatures _offered;
    private readonly VirtioOptions _options;
    private VirtioFeatures _accepted;
    private VirtioStatus _status;
    private uint _deviceFeatureSelect;
    private uint _driverFeatureSelect;
    private ushort _queueSelect;
    private ushort _configurationVector = VirtioRegisters.NoVector;
    private byte _generation;
    private byte _interruptStatus;
    private string? _mistake;
    private int _hasWork;
    private int _resetsWanted;
    private bool _resetPosted;

    /// <summary>Makes a device that is in no machine yet.</summary>
    /// <param name="options">How it is built.</param>
    /// <param name="type">What kind of device (chapter 5).</param>
    /// <param name="classCode">PCI class.</param>
    /// <param name="queues">How many queues it has.</param>
    /// <param name="features">What the kind offers.</param>
    /// <param name="configuration">Bytes of the kind's configuration.</param>
    private protected VirtioDevice(VirtioOptions options, ushort type, uint classCode, int queues, ulong features, byte[] configuration)
        : base(Describe(options, type, classCode, queues, configuration.Length))
    {
        _queues = [.. Enumerable.Range(0, queues).Select(index => new VirtioQueue(index, (ushort)options.QueueSize))];
        _configuration = configuration;
        _options = options;
        _misbehaver = options.Misbehaviour is { } wrong ? new(wrong) : null;
        _offered = options.Offered | (VirtioFeatures)features;
    }

    /// <summary>The device status.</summary>
    internal VirtioStatus Status
    {
        get
        {
            using (_registers.Acquire())
            {
                return _status;
            }
        }
    }

    /// <summary>The mistake of the driver for which the device needs a reset, for people; null if there is none.</summary>
    public string? DriverMistake
    {
        get
        {
            using (_registers.Acquire())
            {
                return _mistake;
            }
        }
    }

    /// <summary>The features that the driver has accepted.</summary>
    private protected ulong Features => (ulong)_accepted;

    /// <summary>Whether the queues are served, and no reset waits.</summary>
    private protected bool CanWork =>
        !IsStopping && !_isGone && !_isHung && IsBusMaster && HasDriver;

    /// <summary>Whether a driver is ready. Without a lock, for what comes from outside.</summary>
    private protected bool HasDriver => (_status & (VirtioStatus.DriverOk | VirtioStatus.NeedsReset)) == VirtioStatus.DriverOk;

    private bool IsStopping => Volatile.Read(ref _resetsWanted) != 0 || Volatile.Read(ref _resetPosted);

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        if (Volatile.Read(ref _isGone))
        {
            return ulong.MaxValue;
        }

        if (bar != 0)
        {
            return 0;
        }

        Span<byte> bytes = stackalloc byte[8];
        bytes.Clear();
        uint at = (uint)offset;
        if (at < VirtioRegisters.InterruptStatus)
        {
            ReadCommon(at, bytes[..size]);
        }
        else if (at < VirtioRegisters.DeviceConfiguration)
        {
            bytes[0] = at == VirtioRegisters.InterruptStatus ? TakeInterruptStatus() : (byte)0;
        }
        else if (at < VirtioRegisters.Notify)
        {
            using (_registers.Acquire())
            {
                int first = (int)(at - VirtioRegisters.DeviceConfiguration);
                if (first < _configuration.Length)
                {
                    ReadOnlySpan<byte> there = _configuration.AsSpan(first);
                    there[..Math.Min(size, there.Length)].CopyTo(bytes);
                }
            }
        }

        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        if (bar != 0 || Volatile.Read(ref _isGone))
        {
            return;
        }

        uint at = (uint)offset;
        if (at >= VirtioRegisters.Notify)
        {
            // The number in it says what the place says; what a driver writes there beyond that is a help that is not needed.
            uint queue = (at - VirtioRegisters.Notify) / VirtioRegisters.NotifyMultiplier;
            if (size is 2 or 4 && at % VirtioRegisters.NotifyMultiplier == 0 && queue < _queues.Length)
            {
                Notify((int)queue);
            }

            return;
        }

        using (_registers.Acquire())
        {
            if (at >= VirtioRegisters.DeviceConfiguration)
            {
                WriteConfiguration(at - VirtioRegisters.DeviceConfiguration, size, value);
            }
            else if (at < VirtioRegisters.InterruptStatus)
            {
                WriteCommon(at, size, value);
            }
        }

        Run();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _ = Interlocked.Increment(ref _resetsWanted);
        using (_work.Acquire())
        {
            _ = Interlocked.Decrement(ref _resetsWanted);
            ResetAll();
            Volatile.Write(ref _isHung, false);
            _misbehaver?.StrayAfterReset(StrayTo);
        }

        ShowLine();
        Run();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _ = Interlocked.Increment(ref _resetsWanted);
        using (_work.Acquire())
        {
            ResetAll();
            _timer?.Dispose();
            End();
        }
    }

    /// <summary>Reads memory for a queue's work.</summary>
    internal bool ReadGuest(ulong address, Span<byte> destination) =>
        !IsStopping && ReadMemory(new(address), destination) == DmaStatus.Success;

    /// <summary>Writes memory for a queue's work.</summary>
    internal bool WriteGuest(ulong address, ReadOnlySpan<byte> source) =>
        !IsStopping && WriteMemory(new(address), source) == DmaStatus.Success;

    /// <summary>Serves a queue that was notified. Under the lock of the work.</summary>
    /// <returns>Whether there may be more in it.</returns>
    private protected abstract bool Serve(VirtioQueue queue);

    /// <summary>The driver writes the kind's configuration. Under the lock of the registers.</summary>
    private protected virtual void WriteConfiguration(uint offset, int size, ulong value)
    {
    }

    /// <summary>Which features go together: what else is wrong with those that a driver wants.</summary>
    private protected virtual bool AreConsistent(ulong features) => true;

    /// <summary>What the kind keeps goes back to its beginning. Under both locks.</summary>
    private protected virtual void ResetKind()
    {
    }

    /// <summary>Files and the like are closed. Under the lock of the work.</summary>
    private protected virtual void End()
    {
    }

    /// <summary>The kind's configuration, under the lock of the registers.</summary>
    private protected Span<byte> Configuration => _configuration;

    /// <summary>From here only a reset leads on (section 2.1.2). The first mistake is told.</summary>
    private protected void NeedReset(string mistake)
    {
        // What a reset cut off is no mistake.
        if (IsStopping)
        {
            return;
        }

        using (_registers.Acquire())
        {
            SetNeedsReset(mistake);
        }
    }

    // Under the lock of the registers.
    private void SetNeedsReset(string mistake)
    {
        if ((_status & VirtioStatus.NeedsReset) == 0)
        {
            _status |= VirtioStatus.NeedsReset;
            _mistake = mistake;
            if ((_status & VirtioStatus.DriverOk) != 0)
            {
                _configurationChanged = true;
                Volatile.Write(ref _hasWork, 1);
            }
        }
    }

    // Under the lock of the work.
    private void ResetAll()
    {
        using (_registers.Acquire())
        {
            Volatile.Write(ref _resetPosted, false);
            _status = VirtioStatus.None;
            _accepted = VirtioFeatures.None;
            _deviceFeatureSelect = 0;
            _driverFeatureSelect = 0;
            _queueSelect = 0;
            _configurationVector = VirtioRegisters.NoVector;
            _interruptStatus = 0;
            _configurationChanged = false;
            _mistake = null;
            foreach (VirtioQueue queue in _queues)
            {
                queue.Reset();
            }

            ResetKind();
        }

        _raised.Clear();
        ForgetHeld(null);
    }

    private static PciDeviceDescription Describe(VirtioOptions options, ushort type, uint classCode, int queues, int configuration)
    {
        options.Check();
        int vectors = options.Vectors > 0 ? options.Vectors : Math.Min(queues + 1, 2048);
        uint notify = ((uint)queues * VirtioRegisters.NotifyMultiplier + 4095) & ~4095u;
        ulong size = BitOperations.RoundUpToPowerOf2((ulong)VirtioRegisters.Notify + notify);
        uint pending = ((uint)(vectors * 16) + 4095) & ~4095u;
        return new()
        {
            VendorId = VendorId,
            DeviceId = (ushort)(FirstDeviceId + type),
            Revision = 1,
            ClassCode = classCode,
            SubsystemVendorId = VendorId,
            SubsystemId = (ushort)(FirstDeviceId + type),
            Bars =
            [
                new(0, size) { Is64Bit = true, Areas = [new(VirtioRegisters.Notify, notify, DeviceAreaKind.Doorbells)] },
                new(4, BitOperations.RoundUpToPowerOf2((ulong)pending + 4096)) { IsMemory = true },
            ],
            HasInterruptPin = true,
            MsiX = new(vectors, 4, 0, pending),
            IsExpress = true,
            VendorCapabilities =
            [
                Capability(1, VirtioRegisters.Common, VirtioRegisters.CommonSize),
                Capability(2, VirtioRegisters.Notify, (uint)queues * VirtioRegisters.NotifyMultiplier, VirtioRegisters.NotifyMultiplier),
                Capability(3, VirtioRegisters.InterruptStatus, 1),
                Capability(4, VirtioRegisters.DeviceConfiguration, (uint)configuration),
                Capability(5, 0, 0, 0) with { IsWindow = true },
            ],
        };
    }

    // Section 4.1.4: kind, base address register 0, ID 0, place, length, and what a kind adds.
    private static PciVendorCapability Capability(byte kind, uint offset, uint length, uint? last = null)
    {
        byte[] body = new byte[last is null ? 13 : 17];
        body[0] = kind;
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(5), offset);
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(9), length);
        if (last is { } word)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(13), word);
        }

        return new(body);
    }
}
