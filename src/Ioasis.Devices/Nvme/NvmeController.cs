using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Nvme;

/// <summary>
/// An NVM Express controller on PCI Express: base specification 2.0, NVM command set 1.0. Here are its registers and its life:
/// enable, reset, shutdown. Commands run in the thread that rings the doorbell; nothing that a driver writes makes it throw or wait.
/// </summary>
/// <remarks>
/// One lock for all of its state, for which no register write waits: it is posted, and whoever has the lock does it (so two
/// controllers that write each other's doorbells cannot stop each other). What goes out under the lock is DMA; interrupts are sent
/// after it is released, for what listens to them may call back.
/// </remarks>
public sealed partial class NvmeController : PciDevice, INvmeBus
{
    private const uint PageSize = 4096;
    private const int LargestPage = 4;
    private const int TimeoutUnits = 120;

    // What is posted beside writes of registers: answers to page requests or times that have come, for whoever has the lock.
    private const uint LookAtPending = 0xffff_fff0;
    private const uint CoalescingTime = 0xffff_fff4;

    private readonly NvmeOptions _options;
    private readonly IoLock _lock = new();
    private readonly IoLock _postLock = new();
    private readonly Queue<(uint Offset, uint Value)> _posted = new();
    private int _postedCount;
    private int _resetsWanted;
    private bool _mayResume;
    private bool _isGone;
    private readonly ulong _capabilities;
    private readonly Pasid _pasid;
    private uint _configuration;
    private uint _status;
    private uint _interruptMask;
    private uint _adminAttributes;
    private ulong _adminSubmission;
    private ulong _adminCompletion;

    /// <summary>Makes a controller that is in no machine yet.</summary>
    /// <param name="options">How it is built.</param>
    /// <exception cref="DeviceSettingException">An option is not possible.</exception>
    /// <exception cref="IOException">A namespace's file cannot be used.</exception>
    public NvmeController(NvmeOptions? options = null)
        : base(Describe(options ??= new()))
    {
        _options = options;
        _pasid = options.Pasid;
        _capabilities = (ulong)(options.QueueEntries - 1)
            | NvmeRegisters.ContiguousQueues
            | ((ulong)TimeoutUnits << NvmeRegisters.TimeoutShift)
            | NvmeRegisters.SubsystemResetSupported
            | NvmeRegisters.NvmCommandSet
            | NvmeRegisters.IoCommandSets
            | ((ulong)LargestPage << NvmeRegisters.LargestPageShift)
            | NvmeRegisters.ReadyWithMedia;
        _submission = new SubmissionQueue?[options.Queues + 1];
        _completion = new CompletionQueue?[options.Queues + 1];
        _transfer = new(this);
        _metadataTransfer = new(this, NvmeStatus.MetadataSglLengthInvalid);
        _namespaces = OpenNamespaces(options.Namespaces, options.Serial);
        _features = new(this);
        _misbehaviour = options.Misbehaviour is { } wrong ? new(wrong) : null;
    }

    /// <summary>How it is built.</summary>
    public NvmeOptions Options => _options;

    /// <summary>Whether it takes commands.</summary>
    public bool IsReady => (Volatile.Read(ref _status) & (NvmeRegisters.Ready | NvmeRegisters.Fatal)) == NvmeRegisters.Ready;

    /// <summary>Whether it met an error from which only a reset leads.</summary>
    public bool IsFatal => (Volatile.Read(ref _status) & NvmeRegisters.Fatal) != 0;

    private uint HostPageSize => PageSize << (int)((_configuration >> 7) & 0xf);

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        if (bar != 0)
        {
            return 0;
        }

        if (Volatile.Read(ref _isGone))
        {
            return ulong.MaxValue;
        }

        uint word = (uint)offset & ~3u;
        ulong value = ReadWord(word);
        return size == 8 ? value | ((ulong)ReadWord(word + 4) << 32) : value >> (8 * ((int)offset & 3));
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        // Registers are written by 4 or 8 bytes (PCIe transport, section 3.1).
        if (bar != 0 || size < 4)
        {
            return;
        }

        Post((uint)offset, (uint)value, size == 8 ? (uint)(value >> 32) : null);
        RunPosted();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        // Work that is under way ends after the command that it is at.
        _ = Interlocked.Increment(ref _resetsWanted);
        Outgoing outgoing;
        using (_lock.Acquire())
        {
            _ = Interlocked.Decrement(ref _resetsWanted);
            ResetAll();
            _isHung = false;
            _misbehaviour?.StrayAfterReset(((INvmeBus)this).Write);
            outgoing = EndWork();
        }

        Deliver(outgoing);
        RunPosted();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _ = Interlocked.Increment(ref _resetsWanted);
        using (_lock.Acquire())
        {
            ResetAll();
            _timer?.Dispose();
            _delayTimer?.Dispose();
            foreach (NvmeNamespace space in _namespaces)
            {
                space.Dispose();
            }
        }
    }

    private bool HasPosted => Volatile.Read(ref _postedCount) > 0;

    private void Post(uint offset, uint value, uint? next = null)
    {
        using (_postLock.Acquire())
        {
            _posted.Enqueue((offset, value));
            if (next is { } second)
            {
                _posted.Enqueue((offset + 4, second));
            }

            Volatile.Write(ref _postedCount, _posted.Count);
        }
    }

    // Does what is posted, unless somebody is at it: whoever has the lock looks again after giving it back. A reset that waits
    // forgets it.
    private void RunPosted()
    {
        while (HasPosted && Volatile.Read(ref _resetsWanted) == 0 && !_lock.IsHeld && _lock.TryAcquire(out IoLock.Scope scope))
        {
            Outgoing outgoing;
            using (scope)
            {
                Work();
                outgoing = EndWork();
            }

            Deliver(outgoing);
        }
    }

    // Under the lock. In the order in which they were written.
    private void ApplyPosted()
    {
        while (HasPosted && Volatile.Read(ref _resetsWanted) == 0)
        {
            (uint Offset, uint Value) write;
            using (_postLock.Acquire())
            {
                if (!_posted.TryDequeue(out write))
                {
                    return;
                }

                Volatile.Write(ref _postedCount, _posted.Count);
            }

            WriteWord(write.Offset, write.Value);
        }
    }

    private void ForgetPosted()
    {
        using (_postLock.Acquire())
        {
            _posted.Clear();
            Volatile.Write(ref _postedCount, 0);
        }
    }

    // Under the lock, at the end of everything that may have changed something.
    private Outgoing EndWork()
    {
        Publish(MappedRegistersOf(0));
        return TakeOutgoing();
    }

    private uint ReadWord(uint offset) => offset switch
    {
        NvmeRegisters.Capabilities => (uint)_capabilities,
        NvmeRegisters.Capabilities + 4 => (uint)(_capabilities >> 32),
        NvmeRegisters.Version => NvmeRegisters.Version20,
        NvmeRegisters.InterruptMaskSet or NvmeRegisters.InterruptMaskClear => Volatile.Read(ref _interruptMask),
        NvmeRegisters.Configuration => Volatile.Read(ref _configuration),
        NvmeRegisters.Status => Volatile.Read(ref _status),
        NvmeRegisters.AdminQueueAttributes => Volatile.Read(ref _adminAttributes),
        NvmeRegisters.AdminSubmissionQueue => (uint)Volatile.Read(ref _adminSubmission),
        NvmeRegisters.AdminSubmissionQueue + 4 => (uint)(Volatile.Read(ref _adminSubmission) >> 32),
        NvmeRegisters.AdminCompletionQueue => (uint)Volatile.Read(ref _adminCompletion),
        NvmeRegisters.AdminCompletionQueue + 4 => (uint)(Volatile.Read(ref _adminCompletion) >> 32),
        NvmeRegisters.ReadyTimeouts => TimeoutUnits,
        _ => 0,
    };

    // Under the lock.
    private void WriteWord(uint offset, uint value)
    {
        if (_isGone)
        {
            return;
        }

        switch (offset)
        {
            case LookAtPending:
                _mayResume = true;
                break;
            case CoalescingTime:
                EndCoalescing();
                break;
            case NvmeRegisters.InterruptMaskSet:
                _interruptMask |= value;
                UpdateLine();
                break;
            case NvmeRegisters.InterruptMaskClear:
                _interruptMask &= ~value;
                UpdateLine();
                SendUnmasked();
                break;
            case NvmeRegisters.Configuration when !_isHung:
                WriteConfiguration(value & NvmeRegisters.ConfigurationMask);
                break;
            case NvmeRegisters.Status:
                _status &= ~(value & NvmeRegisters.SubsystemResetOccurred);
                break;
            case NvmeRegisters.SubsystemReset when value == NvmeRegisters.SubsystemResetValue:
                _isHung = false;
                ResetAll(forgetsPosted: false);
                _status = NvmeRegisters.SubsystemResetOccurred;
                break;
            case NvmeRegisters.AdminQueueAttributes:
                _adminAttributes = value & 0x0fff_0fff;
                break;
            case NvmeRegisters.AdminSubmissionQueue:
                _adminSubmission = (_adminSubmission & ~0xffff_fffful) | (value & ~0xfffu);
                break;
            case NvmeRegisters.AdminSubmissionQueue + 4:
                _adminSubmission = (uint)_adminSubmission | ((ulong)value << 32);
                break;
            case NvmeRegisters.AdminCompletionQueue:
                _adminCompletion = (_adminCompletion & ~0xffff_fffful) | (value & ~0xfffu);
                break;
            case NvmeRegisters.AdminCompletionQueue + 4:
                _adminCompletion = (uint)_adminCompletion | ((ulong)value << 32);
                break;
            case >= NvmeRegisters.Doorbells:
                RingDoorbell((offset - NvmeRegisters.Doorbells) >> 2, value & 0xffff);
                break;
            default:
                break;
        }
    }

    private void WriteConfiguration(uint value)
    {
        const uint Enable = NvmeRegisters.Enable;
        const uint Fixed = 0x3ff0;
        const uint Shutdown = 0xc000;
        uint before = _configuration;
        if ((before & Enable) == 0 && (value & Enable) != 0)
        {
            Volatile.Write(ref _configuration, value);
            EnableController();
        }
        else if ((before & Enable) != 0 && (value & Enable) == 0)
        {
            ResetController();
            Volatile.Write(ref _configuration, value);
            _misbehaviour?.StrayAfterReset(((INvmeBus)this).Write);
        }
        else
        {
            // While it is enabled, page size, command set and arbitration stay as they were.
            Volatile.Write(ref _configuration, (value & Enable) != 0 ? (value & ~Fixed) | (before & Fixed) : value);
        }

        bool wasShut = (before & Shutdown) != 0;
        bool isShut = (value & Shutdown) != 0;
        if (isShut && !wasShut)
        {
            // What was fetched and waits is not done any more; the host ends its queues before (section 3.6).
            foreach (NvmeNamespace space in _namespaces)
            {
                _ = space.Flush();
            }

            SetStatus((_status & ~NvmeRegisters.ShutdownMask) | NvmeRegisters.ShutdownComplete);
        }
        else if (!isShut && wasShut)
        {
            SetStatus(_status & ~NvmeRegisters.ShutdownMask);
        }
    }

    private void EnableController()
    {
        uint commandSet = (_configuration >> 4) & 7;
        uint page = (_configuration >> 7) & 0xf;
        uint arbitration = (_configuration >> 11) & 7;
        uint submissionEntries = (_adminAttributes & 0xfff) + 1;
        uint completionEntries = ((_adminAttributes >> 16) & 0xfff) + 1;
        if (commandSet is not (0 or 6)
            || page > LargestPage
            || arbitration != 0
            || submissionEntries < 2
            || completionEntries < 2
            || ((_adminSubmission | _adminCompletion) & (HostPageSize - 1)) != 0)
        {
            SetStatus(_status | NvmeRegisters.Fatal);
            return;
        }

        CompletionQueue completion = new(0, completionEntries, _adminCompletion, hasInterrupts: true, vector: 0) { Users = 1 };
        _completion[0] = completion;
        _submission[0] = new(0, submissionEntries, _adminSubmission, completion);
        ForgetMappedDoorbell(0);
        ForgetMappedDoorbell(1);
        SetStatus((_status & ~NvmeRegisters.ShutdownMask) | NvmeRegisters.Ready);
    }

    // Base specification 2.0, section 3.7.2: what a reset by CC.EN leaves are AQA, ASQ and ACQ.
    private void ResetController()
    {
        Array.Clear(_submission);
        Array.Clear(_completion);
        _ready.Clear();
        _headChecks.Clear();
        _heldCompletions.Clear();
        _misbehaviour?.ForgetLate();
        _pending.Clear();
        _pendingFetches.Clear();
        _shadowDoorbells = 0;
        _eventIndexes = 0;
        ResetEvents();
        ResetInterrupts();
        _features.Reset();
        SetStatus(_status & NvmeRegisters.SubsystemResetOccurred);
    }

    private void ResetAll(bool forgetsPosted = true)
    {
        if (forgetsPosted)
        {
            ForgetPosted();
        }

        ResetController();
        Volatile.Write(ref _configuration, 0);
        Volatile.Write(ref _adminAttributes, 0);
        Volatile.Write(ref _adminSubmission, 0);
        Volatile.Write(ref _adminCompletion, 0);
        Volatile.Write(ref _interruptMask, 0);
        SetStatus(0);
        UpdateLine();
    }

    private void SetStatus(uint value) => Volatile.Write(ref _status, value);

    // From here only a reset leads on (base specification 2.0, section 9.6.1).
    private void SetFatal() => SetStatus(_status | NvmeRegisters.Fatal);

    private static PciDeviceDescription Describe(NvmeOptions options)
    {
        options.Check();
        int vectors = options.Vectors > 0 ? options.Vectors : Math.Min(options.Queues + 1, 2048);
        ulong registers = NvmeRegisters.Doorbells + (8ul * ((uint)options.Queues + 1));
        ulong size = System.Numerics.BitOperations.RoundUpToPowerOf2(Math.Max(registers, 16384));
        uint table = (uint)vectors * 16;
        uint pending = (table + 4095) & ~4095u;
        return new()
        {
            VendorId = options.PciId.Vendor,
            DeviceId = options.PciId.Device,
            Revision = 2,
            ClassCode = 0x010802,
            SubsystemVendorId = 0x1af4,
            SubsystemId = 0x1100,
            Bars =
            [
                new(0, size)
                {
                    Is64Bit = true,
                    Areas = [new(0, 4096, DeviceAreaKind.Registers), new(4096, size - 4096, DeviceAreaKind.Doorbells)],
                },
                .. options.Interrupts.HasFlag(NvmeInterrupts.MsiX)
                    ? (PciBar[])[new(4, System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)pending + 4096)) { IsMemory = true }]
                    : [],
            ],
            HasInterruptPin = options.Interrupts.HasFlag(NvmeInterrupts.Pin),
            MsiVectors = options.Interrupts.HasFlag(NvmeInterrupts.Msi)
                ? (int)Math.Min(32, System.Numerics.BitOperations.RoundUpToPowerOf2((uint)options.Queues + 1))
                : 0,
            MsiX = options.Interrupts.HasFlag(NvmeInterrupts.MsiX) ? new(vectors, 4, 0, pending) : null,
            IsExpress = true,
            HasAts = options.Ats,
            HasPageRequests = options.PageRequests,
            PasidBits = options.PasidBits,
        };
    }
}
