using Ioasis.Platform;

namespace Ioasis.Devices.Ioat;

/// <summary>
/// The I/OAT engine (QuickData Technology, "Crystal Beach DMA") 8086:2021, version 3.3: one channel that
/// copies and fills memory as a chain of descriptors says. A driver writes CHAINADDR, and in DMACOUNT how many descriptors are
/// there since then; the channel counts too, and works until the counts are equal.
/// </summary>
public sealed partial class IoatDevice : PciDevice
{
    // The work, and with it every DMA. Taken before the lock of the registers.
    private readonly IoLock _work = new();
    private readonly IoLock _registers = new();
    private readonly IoatOptions _options;
    private byte _generalControl;
    private IoatInterrupts _interruptControl;
    private bool _attention;
    private IoatControl _control;
    private IoatState _state = IoatState.Halted;
    private IoatErrors _errors;
    private uint _errorMask;
    private ushort _count;
    private ushort _executed;
    private ulong _chain;
    private ulong _next;
    private bool _isFirst;
    private ulong _completed;
    private ulong _current;
    private ulong _completionAddress;
    private bool _suspends;
    private bool _resetPosted;
    private int _messages;
    private bool _line;

    /// <summary>Makes an engine that is on no platform yet.</summary>
    /// <exception cref="ArgumentException">An option is not possible.</exception>
    public IoatDevice(IoatOptions? options = null)
        : base(new()
        {
            VendorId = 0x8086,
            DeviceId = 0x2021,
            Revision = 4,
            ClassCode = 0x088000,
            SubsystemVendorId = 0x8086,
            IsExpress = true,
            HasInterruptPin = true,
            Bars = [new(0, IoatRegisters.Size) { Is64Bit = true }],
            MsiX = new(1, 0, IoatRegisters.MsiXTable, IoatRegisters.MsiXPending),
        })
    {
        _options = options ?? new();
        if (_options.TransferLog2 is < 12 or > 20)
        {
            throw new ArgumentException($"A descriptor moves 2^12 to 2^20 bytes, not 2^{_options.TransferLog2}.", nameof(options));
        }
    }

    /// <summary>Descriptors that were done, since it was made.</summary>
    public long CompletedDescriptors => Volatile.Read(ref _done);

    private ulong StatusValue => (_completed & ~63ul) | (uint)_state;

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        if (bar != 0 || offset >= IoatRegisters.End)
        {
            return 0;
        }

        ulong value = 0;
        bool wasRead = false;
        using (_registers.Acquire())
        {
            for (int i = 0; i < size; i++)
            {
                value |= (ulong)ByteAt((uint)offset + (uint)i) << (8 * i);
            }

            wasRead = EndRead((uint)offset, (uint)size);
        }

        if (wasRead)
        {
            ShowLine();
        }

        return value;
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        if (bar != 0 || offset >= IoatRegisters.End)
        {
            return;
        }

        using (_registers.Acquire())
        {
            Write(new((uint)offset, (uint)size, value));
        }

        Run();
        Deliver();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _ = Interlocked.Increment(ref _resetsWanted);
        using (_work.Acquire())
        {
            using (_registers.Acquire())
            {
                ResetChannel();
                _generalControl = 0;
                _interruptControl = IoatInterrupts.None;
                _attention = false;
                _control = IoatControl.None;
                _errors = IoatErrors.None;
                _errorMask = 0;
                _completionAddress = 0;
                _messages = 0;
            }
        }

        _ = Interlocked.Decrement(ref _resetsWanted);
        ShowLine();
        Run();
    }

    private byte ByteAt(uint offset)
    {
        (uint start, ulong value) = offset switch
        {
            IoatRegisters.ChannelCount => (offset, 1ul),
            IoatRegisters.TransferCapability => (offset, (ulong)_options.TransferLog2),
            IoatRegisters.GeneralControl => (offset, _generalControl),
            IoatRegisters.InterruptControl => (offset, (ulong)_interruptControl
                | (_attention ? (ulong)IoatInterrupts.IsPending : 0)
                | (_attention && HasMaster ? (ulong)IoatInterrupts.IsAsserted : 0)),
            IoatRegisters.AttentionStatus => (offset, _attention ? 1ul : 0),
            IoatRegisters.Version => (offset, IoatRegisters.Version33),
            >= IoatRegisters.Capabilities and < IoatRegisters.Capabilities + 4 => (IoatRegisters.Capabilities, IoatRegisters.CanFill),
            >= IoatRegisters.ChannelControl and < IoatRegisters.Compatibility => (IoatRegisters.ChannelControl, (ulong)_control),
            >= IoatRegisters.Compatibility and < IoatRegisters.Command => (IoatRegisters.Compatibility, IoatRegisters.CompatibleWith2And3),
            IoatRegisters.Command => (offset, _resetPosted ? IoatCommand.Reset : _suspends ? IoatCommand.Suspend : 0ul),
            >= IoatRegisters.DescriptorCount and < IoatRegisters.Status => (IoatRegisters.DescriptorCount, _count),
            >= IoatRegisters.Status and < IoatRegisters.ChainAddress => (IoatRegisters.Status, StatusValue),
            >= IoatRegisters.ChainAddress and < IoatRegisters.CompletionAddress => (IoatRegisters.ChainAddress, _chain),
            >= IoatRegisters.CompletionAddress and < IoatRegisters.CurrentDescriptor => (IoatRegisters.CompletionAddress, _completionAddress),
            >= IoatRegisters.CurrentDescriptor and < IoatRegisters.Errors => (IoatRegisters.CurrentDescriptor, _current),
            >= IoatRegisters.Errors and < IoatRegisters.ErrorMask => (IoatRegisters.Errors, (ulong)_errors),
            >= IoatRegisters.ErrorMask and < IoatRegisters.ErrorMask + 4 => (IoatRegisters.ErrorMask, _errorMask),
            _ => (offset, 0ul),
        };
        return (byte)(value >> (8 * (int)(offset - start)));
    }

    private bool HasMaster => (_interruptControl & IoatInterrupts.Master) != 0;

    // What reading does: ATTNSTATUS and the master enable are cleared (the latter not with a vector for each channel), CHANCTRL's "in use"
    // is taken.
    private bool EndRead(uint offset, uint size)
    {
        bool changes = false;
        if (Touches(offset, size, IoatRegisters.AttentionStatus) && _attention)
        {
            _attention = false;
            changes = true;
        }

        if (Touches(offset, size, IoatRegisters.InterruptControl) && (_interruptControl & IoatInterrupts.EveryVector) == 0 && HasMaster)
        {
            _interruptControl &= ~IoatInterrupts.Master;
            changes = true;
        }

        if (Touches(offset, size, IoatRegisters.ChannelControl + 1))
        {
            _control |= IoatControl.InUse;
        }

        return changes;
    }

    private static bool Touches(uint offset, uint size, uint place) => place >= offset && place < offset + size;

    private void Write(in Access access)
    {
        if (access.Takes(IoatRegisters.GeneralControl, 1, _generalControl, out ulong value))
        {
            _generalControl = (byte)(value & 1);
        }

        if (access.Takes(IoatRegisters.InterruptControl, 1, 0, out value))
        {
            bool had = HasMaster;
            _interruptControl = (IoatInterrupts)value & (IoatInterrupts.Master | IoatInterrupts.EveryVector);
            _messages += !had && HasMaster && _attention ? 1 : 0;
        }

        if (access.Takes(IoatRegisters.ChannelControl, 2, (ulong)(_control & ~IoatControl.InterruptDisabled), out value))
        {
            IoatControl written = (IoatControl)value;
            IoatControl disabled = (written & IoatControl.InterruptDisabled) != 0 ? 0 : _control & IoatControl.InterruptDisabled;

            // "In use" is only given back by writing; it is taken by reading.
            _control = (written & IoatControl.Settings) | disabled | (_control & written & IoatControl.InUse);
        }

        if (access.Takes(IoatRegisters.ChainAddress, 8, _chain, out value) && _state != IoatState.Active)
        {
            BeginChain(value);
            _state = _state == IoatState.Halted && _errors == IoatErrors.None && !_resetPosted ? IoatState.Armed : _state;
        }

        if (access.Takes(IoatRegisters.CompletionAddress, 8, _completionAddress, out value))
        {
            _completionAddress = value & ~7ul;
        }

        if (access.Takes(IoatRegisters.Errors, 4, 0, out value))
        {
            _errors &= ~(IoatErrors)value;
        }

        if (access.Takes(IoatRegisters.ErrorMask, 4, _errorMask, out value))
        {
            _errorMask = (uint)value;
        }

        if (access.Takes(IoatRegisters.Command, 1, 0, out value))
        {
            Command((byte)value);
        }

        if (access.Takes(IoatRegisters.DescriptorCount, 2, _count, out value))
        {
            _count = (ushort)value;
            Start();
        }
    }

    // A new chain: both counts and the completed address begin at 0.
    private void BeginChain(ulong address)
    {
        _chain = address;
        _next = address;
        _isFirst = true;
        _count = 0;
        _executed = 0;
        _completed = 0;
    }

    private void Command(byte value)
    {
        switch (value & (IoatCommand.Reset | IoatCommand.Suspend))
        {
            case IoatCommand.Reset:
                _resetPosted = true;
                Volatile.Write(ref _hasWork, 1);
                break;
            case IoatCommand.Suspend when _state == IoatState.Active:
                _suspends = true;
                Volatile.Write(ref _hasWork, 1);
                break;
            case IoatCommand.Suspend when _state is IoatState.Idle or IoatState.Armed:
                _state = IoatState.Suspended;
                break;
            case IoatCommand.Reset | IoatCommand.Suspend:
                Halt(IoatErrors.Command);
                break;
            default:
                break;
        }
    }

    // An error keeps the channel halted until it is cleared.
    private void Start()
    {
        if (_resetPosted || _count == _executed || (_state == IoatState.Halted && _errors != IoatErrors.None))
        {
            return;
        }

        _state = IoatState.Active;
        _suspends = false;
        Volatile.Write(ref _hasWork, 1);
    }

    private void Halt(IoatErrors error)
    {
        _errors |= error;
        _state = IoatState.Halted;
        _suspends = false;
        if ((_control & IoatControl.ErrorInterrupt) != 0 && ((uint)error & ~_errorMask) != 0)
        {
            RaiseInterrupt();
        }
    }

    // CHANCTRL, CHANCMP and what went wrong outlive a reset of the channel.
    private void ResetChannel()
    {
        BeginChain(0);
        _current = 0;
        _state = IoatState.Halted;
        _suspends = false;
        _resetPosted = false;
    }

    // One interrupt each time that the driver allows it.
    private void RaiseInterrupt()
    {
        if ((_control & IoatControl.InterruptDisabled) != 0)
        {
            return;
        }

        _control |= IoatControl.InterruptDisabled;
        _attention = true;
        _messages += (_interruptControl & (IoatInterrupts.Master | IoatInterrupts.EveryVector)) != 0 ? 1 : 0;
    }

    /// <summary>A write of 1 to 8 bytes, which may touch several registers.</summary>
    private readonly record struct Access(uint Offset, uint Size, ulong Value)
    {
        /// <summary>Whether it touches a register, and its new value: bytes that are not written stay.</summary>
        public bool Takes(uint register, uint length, ulong present, out ulong value)
        {
            value = present;
            bool takes = false;
            for (uint i = 0; i < length; i++)
            {
                if (Touches(Offset, Size, register + i))
                {
                    ulong written = (Value >> (8 * (int)(register + i - Offset))) & 0xff;
                    value = (value & ~(0xfful << (8 * (int)i))) | (written << (8 * (int)i));
                    takes = true;
                }
            }

            return takes;
        }
    }
}
