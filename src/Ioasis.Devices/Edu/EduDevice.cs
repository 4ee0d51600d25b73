using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices;

/// <summary>When an <see cref="EduDevice"/> finishes what it was told to do.</summary>
public enum EduTiming
{
    /// <summary>Before the register write that starts it returns.</summary>
    Immediate,

    /// <summary>When <see cref="EduDevice.Step"/> is called, and not before.</summary>
    Stepped,

    /// <summary>After <see cref="EduDeviceOptions.Delay"/>, by a timer.</summary>
    Timed,
}

/// <summary>How an <see cref="EduDevice"/> behaves where its specification leaves it open.</summary>
public sealed record EduDeviceOptions
{
    /// <summary>When it finishes.</summary>
    public EduTiming Timing { get; init; }

    /// <summary>How long a computation or a transfer takes with <see cref="EduTiming.Timed"/>.</summary>
    public TimeSpan Delay { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Bits of an address that its DMA engine has; others are cut off.</summary>
    public ulong DmaMask { get; init; } = (1ul << 28) - 1;

    /// <summary>Whether software can reset it by itself. The original can only be reset with its bus.</summary>
    public bool CanReset { get; init; }
}

/// <summary>
/// QEMU's educational device, register for register (QEMU documentation, "EDU device"): a factorial, an interrupt that can be
/// raised and acknowledged, and a DMA engine with 4096 bytes of its own. A driver that runs against the one runs against the
/// other.
/// </summary>
public sealed class EduDevice : PciDevice
{
    /// <summary>Interrupt status: a factorial is ready.</summary>
    public const uint FactorialInterrupt = 1;

    /// <summary>Interrupt status: a transfer is done.</summary>
    public const uint DmaInterrupt = 0x100;

    private const uint Identification = 0x0100_00ed;
    private const uint StatusComputing = 1;
    private const uint StatusInterrupt = 0x80;
    private const ulong CommandRun = 1;
    private const ulong CommandToMemory = 2;
    private const ulong CommandInterrupt = 4;
    private const ulong BufferStart = 0x40000;

    private readonly IoLock _lock = new();
    private readonly EduDeviceOptions _options;
    private readonly ITimer? _factorialTimer;
    private readonly ITimer? _dmaTimer;
    private readonly byte[] _buffer = new byte[4096];
    private uint _liveness;
    private uint _factorial;
    private uint _status;
    private uint _interrupts;
    private ulong _source;
    private ulong _destination;
    private ulong _count;
    private ulong _command;
    private bool _isTransferring;

    /// <summary>Makes a device that is on no platform yet.</summary>
    public EduDevice(EduDeviceOptions? options = null)
        : base(new()
        {
            VendorId = 0x1234,
            DeviceId = 0x11e8,
            Revision = 0x10,
            ClassCode = 0x00ff00,
            SubsystemVendorId = 0x1af4,
            SubsystemId = 0x1100,
            Bars = [new(0, 1 << 20)],
            HasInterruptPin = true,
            MsiVectors = 1,
            CanReset = options?.CanReset ?? false,
        })
    {
        _options = options ?? new();
        if (_options.Timing == EduTiming.Timed)
        {
            _factorialTimer = NewTimer(FinishFactorial);
            _dmaTimer = NewTimer(FinishDma);
        }
    }

    /// <summary>The kind, for devices by text.</summary>
    internal static DeviceKind Kind { get; } = new(
        "edu",
        "QEMU's educational device: a factorial, an interrupt, a DMA engine of 4096 bytes",
        [
            new("delay", "milliseconds that a computation or a transfer takes; 0 (as is) for at once"),
            new("mask", "bits of an address that its DMA engine has; 0xfffffff as is"),
            new("reset", "on or off: whether it can be reset by itself; off as is"),
        ],
        static settings => new EduDevice(new()
        {
            Timing = settings.Number("delay", 0) > 0 ? EduTiming.Timed : EduTiming.Immediate,
            Delay = TimeSpan.FromMilliseconds(settings.Number("delay", 0, 0, 3_600_000)),
            DmaMask = (ulong)settings.Number("mask", (1L << 28) - 1),
            CanReset = settings.Switch("reset", false),
        }));

    /// <summary>Transfers that the IOMMU refused, or that were not possible, since it was made.</summary>
    public long FailedTransfers { get; private set; }

    /// <summary>Finishes what was started: a computation, then a transfer.</summary>
    /// <returns>Whether there was something.</returns>
    public bool Step()
    {
        bool computed = FinishFactorial();
        return FinishDma() || computed;
    }

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        // Whole words only; 64-bit registers may be read in one.
        if (size < 4 || (size == 8 && offset < 0x80))
        {
            return ulong.MaxValue;
        }

        using (_lock.Acquire())
        {
            return offset switch
            {
                0x00 => Identification,
                0x04 => _liveness,
                0x08 => _factorial,
                0x20 => _status,
                0x24 => _interrupts,
                0x80 => _source,
                0x88 => _destination,
                0x90 => _count,
                0x98 => _command,
                _ => ulong.MaxValue,
            };
        }
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        if (size < 4 || (size == 8 && offset < 0x80))
        {
            return;
        }

        bool startsFactorial = false;
        bool startsDma = false;
        using (_lock.Acquire())
        {
            switch (offset)
            {
                case 0x04:
                    _liveness = ~(uint)value;
                    break;
                case 0x08 when (_status & StatusComputing) == 0:
                    _factorial = (uint)value;
                    _status |= StatusComputing;
                    startsFactorial = true;
                    break;
                case 0x20:
                    _status = (_status & ~StatusInterrupt) | ((uint)value & StatusInterrupt);
                    break;
                case 0x60:
                    Raise((uint)value);
                    break;
                case 0x64:
                    _interrupts &= ~(uint)value;
                    if (_interrupts == 0)
                    {
                        SetInterruptLine(false);
                    }

                    break;
                case >= 0x80 and <= 0x98 when (_command & CommandRun) == 0:
                    startsDma = WriteDmaRegister(offset, value);
                    break;
                default:
                    break;
            }
        }

        if (startsFactorial)
        {
            Start(_factorialTimer, FinishFactorial);
        }

        if (startsDma)
        {
            Start(_dmaTimer, FinishDma);
        }
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        using (_lock.Acquire())
        {
            _liveness = 0;
            _factorial = 0;
            _status = 0;
            _interrupts = 0;
            _source = 0;
            _destination = 0;
            _count = 0;
            _command = 0;
            Array.Clear(_buffer);
            SetInterruptLine(false);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _factorialTimer?.Dispose();
        _dmaTimer?.Dispose();
    }

    private static uint Factorial(uint n)
    {
        uint result = 1;

        // From 34 on, the product has more than 32 factors of 2.
        for (uint i = Math.Min(n, 34); i > 0; i--)
        {
            result *= i;
        }

        return result;
    }

    private static bool TryLocate(ulong address, ulong count, out int offset)
    {
        offset = (int)Math.Min(address - BufferStart, int.MaxValue);
        return address >= BufferStart && address - BufferStart <= 4096 && count <= 4096 - (address - BufferStart);
    }

    private ITimer NewTimer(Func<bool> finish) =>
        _options.TimeProvider.CreateTimer(_ => finish(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

    private void Start(ITimer? timer, Func<bool> finish)
    {
        if (_options.Timing == EduTiming.Immediate)
        {
            _ = finish();
        }
        else
        {
            _ = timer?.Change(_options.Delay, Timeout.InfiniteTimeSpan);
        }
    }

    // Under the lock.
    private bool WriteDmaRegister(ulong offset, ulong value)
    {
        switch (offset)
        {
            case 0x80:
                _source = value;
                return false;
            case 0x88:
                _destination = value;
                return false;
            case 0x90:
                _count = value;
                return false;
            case 0x98 when (value & CommandRun) != 0:
                _command = value;
                return true;
            default:
                return false;
        }
    }

    // Under the lock.
    private void Raise(uint interrupts)
    {
        _interrupts |= interrupts;
        if (_interrupts == 0)
        {
            return;
        }

        if (UsesMessages)
        {
            _ = SendMessage(0);
        }
        else
        {
            SetInterruptLine(true);
        }
    }

    private bool FinishFactorial()
    {
        using (_lock.Acquire())
        {
            if ((_status & StatusComputing) == 0)
            {
                return false;
            }

            _factorial = Factorial(_factorial);
            _status &= ~StatusComputing;
            if ((_status & StatusInterrupt) != 0)
            {
                Raise(FactorialInterrupt);
            }

            return true;
        }
    }

    private bool FinishDma()
    {
        ulong source;
        ulong destination;
        ulong count;
        ulong command;
        using (_lock.Acquire())
        {
            if ((_command & CommandRun) == 0 || _isTransferring)
            {
                return false;
            }

            // While it runs, the registers cannot change.
            (source, destination, count, command) = (_source, _destination, _count, _command);
            _isTransferring = true;
        }

        bool success;
        if ((command & CommandToMemory) != 0)
        {
            success = TryLocate(source, count, out int offset)
                && WriteMemory(new(destination & _options.DmaMask), _buffer.AsSpan(offset, (int)count)) == DmaStatus.Success;
        }
        else
        {
            success = TryLocate(destination, count, out int offset)
                && ReadMemory(new(source & _options.DmaMask), _buffer.AsSpan(offset, (int)count)) == DmaStatus.Success;
        }

        using (_lock.Acquire())
        {
            FailedTransfers += success ? 0 : 1;
            _isTransferring = false;
            _command &= ~CommandRun;
            if ((command & CommandInterrupt) != 0)
            {
                Raise(DmaInterrupt);
            }

            return true;
        }
    }
}
