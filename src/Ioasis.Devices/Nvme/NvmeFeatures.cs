using System.Buffers.Binary;

namespace Ioasis.Devices.Nvme;

public sealed partial class NvmeController
{
    private readonly NvmeFeatures _features;

    /// <summary>
    /// Features (base specification 2.0, sections 5.15 and 5.27): values that a driver sets and asks for. None outlives a reset.
    /// Under the controller's lock.
    /// </summary>
    private sealed class NvmeFeatures
    {
        private const byte Arbitration = 0x01;
        private const byte PowerManagement = 0x02;
        private const byte TemperatureThreshold = 0x04;
        private const byte ErrorRecovery = 0x05;
        private const byte VolatileWriteCache = 0x06;
        private const byte NumberOfQueues = 0x07;
        private const byte InterruptCoalescing = 0x08;
        private const byte InterruptVector = 0x09;
        private const byte WriteAtomicity = 0x0a;
        private const byte AsyncEvents = 0x0b;
        private const byte Timestamp = 0x0e;
        private const byte HostBehavior = 0x16;
        private const byte CommandSetProfile = 0x19;

        private const uint Changeable = 4;
        private const uint OfNamespace = 2;
        private const ushort WarningTemperature = 343;

        private readonly NvmeController _controller;
        private readonly uint[] _values = new uint[256];
        private readonly uint[] _errorRecovery;
        private readonly bool[] _coalescingDisabled;
        private readonly byte[] _hostBehavior = new byte[512];
        private ushort _overTemperature;
        private ushort _underTemperature;
        private ulong _time;
        private long _timeSetAt;
        private bool _timeIsSet;

        public NvmeFeatures(NvmeController controller)
        {
            _controller = controller;
            _errorRecovery = new uint[controller._namespaces.Length];
            _coalescingDisabled = new bool[controller.VectorCount];
            Waiting = new int[controller.VectorCount];
            Reset();
        }

        /// <summary>Completions of each vector that wait for an interrupt.</summary>
        public int[] Waiting { get; }

        /// <summary>I/O submission queues that may be made.</summary>
        public uint SubmissionQueues { get; private set; }

        /// <summary>I/O completion queues that may be made.</summary>
        public uint CompletionQueues { get; private set; }

        /// <summary>Asynchronous Event Configuration: events of namespaces' attributes are wanted.</summary>
        public const uint NamespaceNotices = 1 << 8;

        /// <summary>Which events the driver wants.</summary>
        public uint WantedEvents => _values[AsyncEvents];

        /// <summary>Whether the temperature is beyond a threshold.</summary>
        public bool IsTemperatureWrong => CurrentTemperature >= _overTemperature || CurrentTemperature <= _underTemperature;

        /// <summary>Whether writes may stay in the cache until a flush.</summary>
        public bool CachesWrites => (_values[VolatileWriteCache] & 1) != 0;

        /// <summary>All as after power-up.</summary>
        public void Reset()
        {
            Array.Clear(_values);
            _values[VolatileWriteCache] = 1;
            Array.Clear(_errorRecovery);
            Array.Clear(_coalescingDisabled);
            Array.Clear(Waiting);
            Array.Clear(_hostBehavior);
            _overTemperature = WarningTemperature;
            _underTemperature = 0;
            _timeIsSet = false;
            _time = 0;
            _timeSetAt = _controller._options.TimeProvider.GetTimestamp();
            SubmissionQueues = (uint)_controller._options.Queues;
            CompletionQueues = (uint)_controller._options.Queues;
        }

        /// <summary>How the completions of a vector share interrupts: more than so many, or after a time.</summary>
        public (int Threshold, TimeSpan Time) CoalescingOf(int vector)
        {
            uint value = _values[InterruptCoalescing];
            return _coalescingDisabled[vector]
                ? (0, TimeSpan.Zero)
                : ((int)(value & 0xff), TimeSpan.FromMicroseconds(100 * ((value >> 8) & 0xff)));
        }

        public NvmeResult Set(in NvmeCommand command)
        {
            byte feature = (byte)command.Word10;
            uint attributes = AttributesOf(feature);
            if (attributes == 0)
            {
                return NvmeResult.Refuse(NvmeStatus.InvalidField);
            }

            if ((command.Word10 & (1u << 31)) != 0)
            {
                return NvmeResult.Refuse(NvmeStatus.FeatureNotSaveable);
            }

            bool isOfNamespace = (attributes & OfNamespace) != 0;
            uint space = command.NamespaceId;
            if (isOfNamespace ? space != uint.MaxValue && !_controller.TryFind(space, out _) : space is not (0 or uint.MaxValue))
            {
                return NvmeResult.Refuse(isOfNamespace ? NvmeStatus.InvalidNamespace : NvmeStatus.FeatureNotNamespaceSpecific);
            }

            if ((attributes & Changeable) == 0)
            {
                return NvmeResult.Refuse(NvmeStatus.FeatureNotChangeable);
            }

            uint value = command.Word11;
            switch (feature)
            {
                case PowerManagement:
                    // One power state.
                    return (value & 0x1f) != 0 ? NvmeResult.Refuse(NvmeStatus.InvalidField) : NvmeStatus.Success;
                case TemperatureThreshold:
                    return SetTemperature(value);
                case ErrorRecovery when (value & 0x1_0000) != 0:
                    // Reads of deallocated blocks are no error here (NSFEAT).
                    return NvmeResult.Refuse(NvmeStatus.InvalidField);
                case ErrorRecovery:
                    for (uint i = 0; i < _errorRecovery.Length; i++)
                    {
                        _errorRecovery[i] = space == uint.MaxValue || space == i + 1 ? value & 0x1_ffff : _errorRecovery[i];
                    }

                    return NvmeStatus.Success;
                case VolatileWriteCache when (value & 1) == 0 && CachesWrites:
                    _values[feature] = 0;
                    return _controller.FlushAll();
                case NumberOfQueues:
                    return SetQueues(value);
                case InterruptVector:
                    int vector = (int)(value & 0xffff);
                    if (vector >= _coalescingDisabled.Length)
                    {
                        return NvmeResult.Refuse(NvmeStatus.InvalidField);
                    }

                    _coalescingDisabled[vector] = (value & 0x1_0000) != 0;
                    return NvmeStatus.Success;
                case Timestamp:
                    return SetTime(command);
                case HostBehavior:
                    NvmeStatus status = _controller._transfer.Begin(
                        command, (ulong)_hostBehavior.Length, _controller.HostPageSize, NvmeDirection.FromHost);
                    return status == NvmeStatus.Success ? _controller._transfer.FromHost(_hostBehavior) : status;
                case CommandSetProfile:
                    return (value & 0x1ff) != 0 ? NvmeResult.Refuse(NvmeStatus.InvalidField) : NvmeStatus.Success;
                default:
                    _values[feature] = value & MaskOf(feature);
                    return NvmeStatus.Success;
            }
        }

        public NvmeResult Get(in NvmeCommand command)
        {
            byte feature = (byte)command.Word10;
            uint select = (command.Word10 >> 8) & 7;
            uint attributes = AttributesOf(feature);
            if (attributes == 0 || select > 3)
            {
                return NvmeResult.Refuse(NvmeStatus.InvalidField);
            }

            if ((attributes & OfNamespace) != 0 && !_controller.TryFind(command.NamespaceId, out _))
            {
                return NvmeResult.Refuse(NvmeStatus.InvalidNamespace);
            }

            if (select == 3)
            {
                return new(NvmeStatus.Success, attributes & (Changeable | OfNamespace));
            }

            bool isCurrent = select == 0;
            switch (feature)
            {
                case TemperatureThreshold:
                    bool isUnder = ((command.Word11 >> 20) & 3) == 1;
                    return ((command.Word11 >> 16) & 0xf) != 0 || ((command.Word11 >> 20) & 3) > 1
                        ? NvmeResult.Refuse(NvmeStatus.InvalidField)
                        : new(NvmeStatus.Success, isCurrent ? isUnder ? _underTemperature : _overTemperature : isUnder ? 0u : WarningTemperature);
                case ErrorRecovery:
                    return new(NvmeStatus.Success, isCurrent ? _errorRecovery[command.NamespaceId - 1] : 0);
                case VolatileWriteCache when !isCurrent:
                    return new(NvmeStatus.Success, 1);
                case NumberOfQueues:
                    uint most = (uint)_controller._options.Queues;
                    return new(NvmeStatus.Success, isCurrent ? Pack(SubmissionQueues, CompletionQueues) : Pack(most, most));
                case InterruptVector:
                    uint vector = command.Word11 & 0xffff;
                    return vector >= (uint)_coalescingDisabled.Length
                        ? NvmeResult.Refuse(NvmeStatus.InvalidField)
                        : new(NvmeStatus.Success, vector | (isCurrent && _coalescingDisabled[vector] ? 0x1_0000u : 0));
                case Timestamp:
                    return GetTime(command);
                case HostBehavior:
                    return _controller.Answer(command, isCurrent ? _hostBehavior : new byte[_hostBehavior.Length]);
                default:
                    return new(NvmeStatus.Success, isCurrent ? _values[feature] : 0);
            }
        }

        private static uint AttributesOf(byte feature) => feature switch
        {
            ErrorRecovery => Changeable | OfNamespace,
            Arbitration or PowerManagement or TemperatureThreshold or VolatileWriteCache or NumberOfQueues or InterruptCoalescing
                or InterruptVector or WriteAtomicity or AsyncEvents or Timestamp or HostBehavior or CommandSetProfile => Changeable,
            _ => 0,
        };

        private static uint MaskOf(byte feature) => feature switch
        {
            Arbitration => 0xffff_ff07,
            VolatileWriteCache or WriteAtomicity => 1,
            InterruptCoalescing => 0xffff,
            _ => uint.MaxValue,
        };

        private static uint Pack(uint submission, uint completion) => (submission - 1) | ((completion - 1) << 16);

        private NvmeResult SetQueues(uint value)
        {
            uint submission = value & 0xffff;
            uint completion = value >> 16;
            if (submission == 0xffff || completion == 0xffff)
            {
                return NvmeResult.Refuse(NvmeStatus.InvalidField);
            }

            // Before the first I/O queue only (section 5.27.1.5).
            for (int i = 1; i < _controller._completion.Length; i++)
            {
                if (_controller._completion[i] is not null || _controller._submission[i] is not null)
                {
                    return NvmeResult.Refuse(NvmeStatus.CommandSequenceError);
                }
            }

            uint most = (uint)_controller._options.Queues;
            SubmissionQueues = Math.Min(submission + 1, most);
            CompletionQueues = Math.Min(completion + 1, most);
            return new(NvmeStatus.Success, Pack(SubmissionQueues, CompletionQueues));
        }

        private NvmeResult SetTemperature(uint value)
        {
            uint kind = (value >> 20) & 3;
            if (((value >> 16) & 0xf) is not (0 or 0xf) || kind > 1)
            {
                return NvmeResult.Refuse(NvmeStatus.InvalidField);
            }

            _overTemperature = kind == 0 ? (ushort)value : _overTemperature;
            _underTemperature = kind == 1 ? (ushort)value : _underTemperature;
            _controller.TellTemperature();
            return NvmeStatus.Success;
        }

        private NvmeResult SetTime(in NvmeCommand command)
        {
            Span<byte> data = stackalloc byte[8];
            NvmeStatus status = _controller._transfer.Begin(command, 8, _controller.HostPageSize, NvmeDirection.FromHost);
            status = status == NvmeStatus.Success ? _controller._transfer.FromHost(data) : status;
            if (status != NvmeStatus.Success)
            {
                return status;
            }

            _time = BinaryPrimitives.ReadUInt64LittleEndian(data) & 0xffff_ffff_ffff;
            _timeSetAt = _controller._options.TimeProvider.GetTimestamp();
            _timeIsSet = true;
            return NvmeStatus.Success;
        }

        private NvmeResult GetTime(in NvmeCommand command)
        {
            TimeSpan since = _controller._options.TimeProvider.GetElapsedTime(_timeSetAt);
            Span<byte> data = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(data, (_time + (ulong)since.TotalMilliseconds) & 0xffff_ffff_ffff);
            data[6] = (byte)(_timeIsSet ? 1 << 1 : 0);
            return _controller.Answer(command, data);
        }
    }
}
