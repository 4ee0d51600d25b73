using System.Buffers.Binary;
using Ioasis.Platform;

namespace Ioasis.Devices.Dsa;

/// <summary>
/// The Data Streaming Accelerator, 8086:0b25 (architecture specification 1.x): work queues, in groups with engines, to which drivers and processes
/// give descriptors of 64 bytes by one write to a portal in base address register 2, MOVDIR64B for dedicated queues and ENQCMD, which carries the
/// process's PASID and may be told to retry, for shared ones.
/// </summary>
/// <remarks>
/// Descriptors take turns, a piece at a time; one that waits for a page holds up nobody. It works in the thread that writes to a portal, and what is
/// long goes on in another; or step by step (<see cref="Step"/>). Once a reset, an abort or a drain is done, no DMA of what it concerns follows.
/// </remarks>
public sealed partial class DsaDevice : PciDevice
{
    // The work, and with it every DMA. Taken before the lock of the registers and queues.
    private readonly IoLock _work = new();
    private readonly IoLock _lock = new();
    private readonly DsaOptions _options;
    private readonly DsaQueue[] _queues;
    private readonly byte[] _file = new byte[DsaRegisters.End];
    private readonly Queue<int> _messages = new();
    private DsaState _state;
    private int _resetsWanted;

    /// <summary>Makes an accelerator that is on no platform yet.</summary>
    /// <exception cref="ArgumentException">An option is not possible.</exception>
    public DsaDevice(DsaOptions? options = null)
        : base(Describe(options ??= new()))
    {
        _options = options;
        _queues = [.. Enumerable.Range(0, options.Queues).Select(static i => new DsaQueue(i))];
        ResetRegisters();
    }

    /// <summary>Whether it can be configured, takes descriptors, or ends what it has.</summary>
    internal DsaState State
    {
        get
        {
            using (_lock.Acquire())
            {
                return _state;
            }
        }
    }

    private static PciDeviceDescription Describe(DsaOptions options) => options.FindFault() is { } fault
        ? throw new ArgumentException(fault, nameof(options))
        : new()
        {
            VendorId = 0x8086,
            DeviceId = 0x0b25,
            ClassCode = 0x088000,
            SubsystemVendorId = 0x8086,
            IsExpress = true,
            HasAts = options.HasAts,
            HasPageRequests = options.HasPageRequests,
            PasidBits = options.PasidBits,
            Bars =
            [
                new(0, DsaRegisters.Size) { Is64Bit = true, IsPrefetchable = true },
                new(2, PortalsSize(options.Queues)) { Is64Bit = true, IsPrefetchable = true },
            ],
            MsiX = new(options.Vectors, 0, DsaRegisters.MsiXTable, DsaRegisters.MsiXPending),
        };

    private static ulong PortalsSize(int queues) =>
        System.Numerics.BitOperations.RoundUpToPowerOf2((uint)(queues * DsaRegisters.PortalsOfQueue * DsaRegisters.PortalPage));

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        if (bar != 0 || offset >= DsaRegisters.End)
        {
            return 0;
        }

        using (_lock.Acquire())
        {
            ShowQueues();
            ulong value = 0;
            for (int i = 0; i < size; i++)
            {
                value |= (ulong)_file[(int)offset + i] << (8 * i);
            }

            return value;
        }
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        // A portal takes nothing but 64 bytes at once.
        if (bar != 0 || offset >= DsaRegisters.End)
        {
            return;
        }

        using (_lock.Acquire())
        {
            for (int i = 0; i < size; i++)
            {
                WriteByte((uint)offset + (uint)i, (byte)(value >> (8 * i)));
            }

            if (offset is >= DsaRegisters.Command and < DsaRegisters.Command + 4)
            {
                Begin(Get32(DsaRegisters.Command));
            }
        }

        RunPosted();
        Deliver();
    }

    /// <inheritdoc/>
    protected override bool WriteBlock(int bar, ulong offset, ReadOnlySpan<byte> block)
    {
        if (bar != 2)
        {
            return false;
        }

        _ = SubmitAt(offset, isDeferrable: false, block);
        return true;
    }

    /// <inheritdoc/>
    protected override bool WriteDeferrable(int bar, ulong offset, ReadOnlySpan<byte> command) =>
        bar == 2 && SubmitAt(offset, isDeferrable: true, command);

    private bool SubmitAt(ulong offset, bool isDeferrable, ReadOnlySpan<byte> command)
    {
        int portal = (int)(offset / DsaRegisters.PortalPage);
        return portal / DsaRegisters.PortalsOfQueue < _queues.Length
            && Submit(_queues[portal / DsaRegisters.PortalsOfQueue], isLimited: (portal & 1) != 0, isDeferrable, command);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _ = Interlocked.Increment(ref _resetsWanted);
        using (_work.Acquire())
        {
            using (_lock.Acquire())
            {
                DropItems(static _ => true);
                _command = null;
                _messages.Clear();
                ResetRegisters();
            }
        }

        _ = Interlocked.Decrement(ref _resetsWanted);
    }

    // Under the lock from here on.
    private uint Get32(uint offset) => BinaryPrimitives.ReadUInt32LittleEndian(_file.AsSpan((int)offset));

    private ulong Get64(uint offset) => BinaryPrimitives.ReadUInt64LittleEndian(_file.AsSpan((int)offset));

    private void Set32(uint offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_file.AsSpan((int)offset), value);

    private void Set64(uint offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(_file.AsSpan((int)offset), value);

    private void WriteByte(uint offset, byte value)
    {
        ref byte present = ref _file[(int)offset];
        switch (offset)
        {
            case >= DsaRegisters.InterruptCause and < DsaRegisters.InterruptCause + 4:
                present &= (byte)~value;
                break;
            case DsaRegisters.SoftwareError:
                ClearError(value);
                break;
            case DsaRegisters.EventLogStatus + 7:
                present &= (byte)~(value & 0x40);
                break;
            default:
                byte mask = WritableBits(offset);
                present = (byte)((present & ~mask) | (value & mask));
                break;
        }
    }

    // Bits of a byte that a driver can write now (sections 9.2.4 to 9.2.20).
    private byte WritableBits(uint offset)
    {
        bool isDisabled = _state == DsaState.Disabled;
        uint place = offset & 3;
        switch (offset)
        {
            case >= DsaRegisters.GeneralConfiguration and < DsaRegisters.GeneralConfiguration + 4:
                return ByteOf(isDisabled ? 0xff | (1u << 12) | (_options.HasEventLog ? DsaRegisters.EventLogEnable : 0) : 0, place);
            case >= DsaRegisters.GeneralControl and < DsaRegisters.GeneralControl + 4:
                return ByteOf(7, place);
            case >= DsaRegisters.Command and < DsaRegisters.Command + 4:
                return IsCommandActive ? (byte)0 : (byte)0xff;
            case >= DsaRegisters.EventLogConfiguration and < DsaRegisters.EventLogConfiguration + 16 when _options.HasEventLog && isDisabled:
                return (offset - DsaRegisters.EventLogConfiguration) switch { 0 => 3, 1 => 0xf0, 12 => 0x0f, > 12 => 0, _ => 0xff };
            case DsaRegisters.EventLogStatus or DsaRegisters.EventLogStatus + 1 when _options.HasEventLog:
                return 0xff;
            case >= DsaRegisters.Groups and < DsaRegisters.Queues when isDisabled:
                return WritableBitsOfGroup((offset - DsaRegisters.Groups) / DsaRegisters.GroupSize, (offset - DsaRegisters.Groups) % DsaRegisters.GroupSize);
            case >= DsaRegisters.Queues and < DsaRegisters.MessagePermissions:
                return WritableBitsOfQueue((offset - DsaRegisters.Queues) / DsaRegisters.QueueSize, (offset - DsaRegisters.Queues) % DsaRegisters.QueueSize);
            case >= DsaRegisters.MessagePermissions when offset < DsaRegisters.MessagePermissions + ((uint)_options.Vectors * DsaRegisters.MessagePermissionSize):
                return (offset & 4) == 0 ? ByteOf(0xffff_f00c, place) : (byte)0;
            default:
                return 0;
        }
    }

    private byte WritableBitsOfGroup(uint group, uint place) => place switch
    {
        _ when group >= _options.Groups => 0,
        < 2 => ByteOf((1u << _options.Queues) - 1, place),
        DsaRegisters.GroupEngines or DsaRegisters.GroupEngines + 1 => ByteOf((1u << _options.Groups) - 1, place - DsaRegisters.GroupEngines),
        >= DsaRegisters.GroupFlags and < DsaRegisters.GroupFlags + 8 => byte.MaxValue,
        _ => 0,
    };

    // Its size is that of the device, the rest its own.
    private byte WritableBitsOfQueue(uint queue, uint place)
    {
        if (queue >= _options.Queues || (place < 4 ? _state != DsaState.Disabled : _queues[queue].State != DsaQueueState.Disabled))
        {
            return 0;
        }

        return place switch
        {
            0 or 1 or 4 or 5 or (>= 8 and < 11) => 0xff,
            11 => 0x3f,
            12 => 0xff,
            13 => 1,
            >= 32 => (byte)(OperationBits((int)place - 32) & 0xff),
            _ => 0,
        };
    }

    private static ulong OperationBits(int place) => place < 8 ? DsaChecks.Operations >> (8 * place) : 0;

    private static byte ByteOf(uint value, uint place) => (byte)(value >> (8 * (int)place));

    private void ResetRegisters()
    {
        Array.Clear(_file);
        _state = DsaState.Disabled;
        Set32(DsaRegisters.Version, DsaRegisters.Version1);
        Set64(
            DsaRegisters.GeneralCapabilities,
            DsaRegisters.FixedCapabilities
                | ((ulong)_options.TransferLog2 << DsaRegisters.TransferShift)
                | ((ulong)_options.BatchLog2 << DsaRegisters.BatchShift)
                | (_options.NeedsHandles ? DsaRegisters.HasCommandCapabilities : 0)
                | (_options.HasEventLog ? DsaRegisters.HasEventLog : 0));
        Set64(
            DsaRegisters.QueueCapabilities,
            DsaRegisters.FixedQueueCapabilities
                | (uint)_options.Entries
                | ((ulong)_options.Queues << 16)
                | (_options.HasAts ? DsaRegisters.QueuesCanDisableAts : 0)
                | (_options.HasPageRequests ? DsaRegisters.QueuesCanDisablePageRequests : 0));
        Set64(DsaRegisters.GroupCapabilities, (ulong)_options.Groups);
        Set64(DsaRegisters.EngineCapabilities, (ulong)_options.Groups);
        Set64(DsaRegisters.OperationCapabilities, DsaChecks.Operations);
        Set64(
            DsaRegisters.Offsets,
            (DsaRegisters.Groups / DsaRegisters.TableUnit)
                | ((ulong)(DsaRegisters.Queues / DsaRegisters.TableUnit) << 16)
                | ((ulong)(DsaRegisters.MessagePermissions / DsaRegisters.TableUnit) << 32));
        Set32(DsaRegisters.CommandCapabilities, _options.NeedsHandles ? 0x7ffe : 0u);
        _handles.Clear();
        foreach (DsaQueue queue in _queues)
        {
            ResetQueue(queue);
        }
    }

    private void ResetQueue(DsaQueue queue)
    {
        uint at = PlaceOf(queue);
        _file.AsSpan((int)at, (int)DsaRegisters.QueueSize).Clear();
        Set32(at + 12, (uint)(_options.TransferLog2 | (_options.BatchLog2 << 5)));
        Set64(at + 32, DsaChecks.Operations);
        queue.State = DsaQueueState.Disabled;
    }

    private static uint PlaceOf(DsaQueue queue) => DsaRegisters.Queues + ((uint)queue.Index * DsaRegisters.QueueSize);

    // What changes by itself: states and occupancies.
    private void ShowQueues()
    {
        const uint CanBeEither = 1u << 29;
        Set32(DsaRegisters.GeneralStatus, (uint)_state);
        foreach (DsaQueue queue in _queues)
        {
            Set32(PlaceOf(queue) + 24, (uint)queue.Count | CanBeEither | ((uint)queue.State << 30));
        }
    }

    // Not under a lock.
    private void Deliver()
    {
        while (true)
        {
            int vector;
            using (_lock.Acquire())
            {
                if (!_messages.TryDequeue(out vector))
                {
                    return;
                }
            }

            _ = SendMessage(vector);
        }
    }

    private void Raise(DsaCause cause, bool isWanted)
    {
        Set32(DsaRegisters.InterruptCause, Get32(DsaRegisters.InterruptCause) | (uint)cause);
        if (isWanted)
        {
            _messages.Enqueue(0);
        }
    }
}
