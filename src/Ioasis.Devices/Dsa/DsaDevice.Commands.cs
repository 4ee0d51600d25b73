using Ioasis.Primitives;

namespace Ioasis.Devices.Dsa;

/// <content>The command register (DSA specification 1.x, section 9.2.10). Everything here is under the lock.</content>
public sealed partial class DsaDevice
{
    private const int FirstHandle = 0x100;

    private readonly Dictionary<int, int> _handles = [];
    private PendingCommand? _command;

    private bool IsCommandActive => _command is not null;

    private void Begin(uint value)
    {
        if (IsCommandActive)
        {
            return;
        }

        PendingCommand command = new((DsaCommand)(value >> 20 & 0x1f), value & 0xf_ffff, (value & DsaRegisters.CommandInterrupt) != 0, _sequence);
        DsaCommandError error = Check(command);
        if (error != DsaCommandError.None)
        {
            Finish(command, error, 0);
            return;
        }

        _command = command;
        Set32(DsaRegisters.CommandStatus, DsaRegisters.CommandActive);
        switch (command.Command)
        {
            case DsaCommand.DisableDevice:
                _state = DsaState.Draining;
                StopQueues(uint.MaxValue);
                break;
            case DsaCommand.ResetDevice:
                _state = _state == DsaState.Disabled ? _state : DsaState.Draining;
                StopQueues(uint.MaxValue);
                break;
            case DsaCommand.DisableQueue or DsaCommand.ResetQueue:
                StopQueues(command.Queues);
                break;
            default:
                break;
        }

        if (command.Command is DsaCommand.AbortAll or DsaCommand.ResetDevice or DsaCommand.AbortQueue or DsaCommand.ResetQueue or DsaCommand.AbortPasid)
        {
            DropItems(command.Concerns);
        }

        EndCommand();
    }

    // Once nothing is left of what a command waits for, it is done.
    private void EndCommand()
    {
        if (_command is not { } command || (command.Waits && _items.Exists(item => item.Sequence <= command.Sequence && command.Concerns(item))))
        {
            return;
        }

        uint result = 0;
        switch (command.Command)
        {
            case DsaCommand.EnableDevice:
                _state = DsaState.Enabled;
                break;
            case DsaCommand.DisableDevice:
                DisableQueues(uint.MaxValue);
                _state = DsaState.Disabled;
                break;
            case DsaCommand.ResetDevice:
                ResetRegisters();
                break;
            case DsaCommand.EnableQueue:
                Enable(_queues[command.Operand]);
                break;
            case DsaCommand.DisableQueue:
                DisableQueues(command.Queues);
                break;
            case DsaCommand.ResetQueue:
                foreach (DsaQueue queue in QueuesOf(command.Queues))
                {
                    ResetKeepingSize(queue);
                }

                break;
            case DsaCommand.RequestHandle:
                result = (uint)TakeHandle((int)command.Operand & 0xffff);
                break;
            case DsaCommand.ReleaseHandle:
                _ = _handles.Remove((int)command.Operand & 0xffff);
                break;
            default:
                break;
        }

        Finish(command, DsaCommandError.None, result);
    }

    private void Finish(in PendingCommand command, DsaCommandError error, uint result)
    {
        _command = null;
        Set32(DsaRegisters.CommandStatus, (uint)error | (result << 8));
        if (command.WantsInterrupt)
        {
            Raise(DsaCause.Command, isWanted: true);
        }
    }

    private DsaCommandError Check(in PendingCommand command)
    {
        switch (command.Command)
        {
            case DsaCommand.EnableDevice:
                return CheckDevice();
            case DsaCommand.DisableDevice or DsaCommand.DrainAll or DsaCommand.AbortAll or DsaCommand.DrainPasid or DsaCommand.AbortPasid:
                return _state != DsaState.Enabled ? DsaCommandError.DeviceNotEnabled : DsaCommandError.None;
            case DsaCommand.ResetDevice:
                return DsaCommandError.None;
            case DsaCommand.EnableQueue:
                return command.Operand >= _queues.Length ? DsaCommandError.BadQueue : CheckQueue(_queues[command.Operand]);
            case DsaCommand.DisableQueue or DsaCommand.DrainQueue or DsaCommand.AbortQueue or DsaCommand.ResetQueue:
                return command.Queues == 0 || command.Queues >> _queues.Length != 0 ? DsaCommandError.BadQueue
                    : command.Command == DsaCommand.ResetQueue ? DsaCommandError.None
                    : _state != DsaState.Enabled ? DsaCommandError.DeviceNotEnabled
                    : QueuesOf(command.Queues).Any(static queue => queue.State != DsaQueueState.Enabled) ? DsaCommandError.QueueNotEnabled
                    : DsaCommandError.None;
            case DsaCommand.RequestHandle when _options.NeedsHandles:
                return command.Operand >= _options.Vectors ? DsaCommandError.BadVector
                    : _handles.Count >= 2 * _options.Vectors ? DsaCommandError.NoHandle
                    : DsaCommandError.None;
            case DsaCommand.ReleaseHandle when _options.NeedsHandles:
                return _handles.ContainsKey((int)command.Operand) ? DsaCommandError.None : DsaCommandError.NoHandleOfVector;
            default:
                return DsaCommandError.BadCommand;
        }
    }

    private DsaCommandError CheckDevice()
    {
        if (_state != DsaState.Disabled)
        {
            return DsaCommandError.DeviceNotDisabled;
        }

        if (!IsBusMaster)
        {
            return DsaCommandError.NoBusMaster;
        }

        if (_queues.Sum(SizeOf) > _options.Entries)
        {
            return DsaCommandError.QueueSizes;
        }

        uint allQueues = 0;
        uint allEngines = 0;
        for (uint group = 0; group < _options.Groups; group++)
        {
            uint at = DsaRegisters.Groups + (group * DsaRegisters.GroupSize);
            uint queues = Get32(at);
            uint engines = Get32(at + DsaRegisters.GroupEngines);
            if ((queues == 0) != (engines == 0))
            {
                return DsaCommandError.GroupIncomplete;
            }

            if ((queues & allQueues) != 0)
            {
                return DsaCommandError.GroupQueues;
            }

            if ((engines & allEngines) != 0)
            {
                return DsaCommandError.GroupEngines;
            }

            allQueues |= queues;
            allEngines |= engines;
        }

        // A queue with entries is in a group.
        return _queues.Any(queue => SizeOf(queue) != 0 && (allQueues >> queue.Index & 1) == 0) ? DsaCommandError.GroupQueues : DsaCommandError.None;
    }

    private int SizeOf(DsaQueue queue) => (ushort)Get32(PlaceOf(queue));

    private DsaCommandError CheckQueue(DsaQueue queue)
    {
        uint at = PlaceOf(queue);
        uint mode = Get32(at + 8);
        uint limits = Get32(at + 12);
        bool isDedicated = (mode & QueueMode.Dedicated) != 0;
        bool hasPasid = (mode & QueueMode.HasPasid) != 0;
        return _state != DsaState.Enabled ? DsaCommandError.DeviceNotEnabledForQueue
            : queue.State != DsaQueueState.Disabled ? DsaCommandError.QueueNotDisabled
            : SizeOf(queue) == 0 ? DsaCommandError.QueueSizeIsZero
            : (mode & QueueMode.Priority) == 0 ? DsaCommandError.QueuePriorityIsZero
            : (mode & QueueMode.BlockOnFault) != 0 && (!_options.HasPageRequests || (mode & (QueueMode.NoAts | QueueMode.NoPageRequests)) != 0)
                ? DsaCommandError.QueueBlockOnFault
            : (hasPasid && _options.PasidBits == 0) || (!hasPasid && !isDedicated) ? DsaCommandError.QueuePasid
            : (limits >> 5 & 0xf) > _options.BatchLog2 ? DsaCommandError.QueueBatchSize
            : (limits & 0x1f) > _options.TransferLog2 ? DsaCommandError.QueueTransferSize
            : hasPasid && isDedicated && (mode & QueueMode.Privileged) != 0 ? DsaCommandError.QueuePrivilege
            : ((mode & QueueMode.NoAts) != 0 && !_options.HasAts) || ((mode & QueueMode.NoPageRequests) != 0 && !_options.HasPageRequests)
                ? DsaCommandError.QueueAts
            : DsaCommandError.None;
    }

    private void Enable(DsaQueue queue)
    {
        uint at = PlaceOf(queue);
        uint mode = Get32(at + 8);
        uint limits = Get32(at + 12);
        queue.Size = SizeOf(queue);
        queue.Threshold = Math.Min(queue.Size, (ushort)Get32(at + 4));
        queue.IsDedicated = (mode & QueueMode.Dedicated) != 0;
        queue.BlockOnFault = (mode & QueueMode.BlockOnFault) != 0;
        queue.UsesAts = (mode & QueueMode.NoAts) == 0;
        queue.UsesPageRequests = (mode & QueueMode.NoPageRequests) == 0;
        queue.HasPasid = (mode & QueueMode.HasPasid) != 0;
        queue.Pasid = queue.HasPasid ? new(mode >> 8 & Pasid.MaxValue) : default;
        queue.MaxTransfer = 1ul << (int)(limits & 0x1f);
        queue.MaxBatch = 1u << (int)(limits >> 5 & 0xf);
        queue.Operations = Get64(at + 32);
        queue.State = DsaQueueState.Enabled;
    }

    private IEnumerable<DsaQueue> QueuesOf(uint mask) => _queues.Where(queue => (mask >> queue.Index & 1) != 0);

    private void StopQueues(uint mask)
    {
        foreach (DsaQueue queue in QueuesOf(mask))
        {
            queue.State = queue.State == DsaQueueState.Enabled ? DsaQueueState.Busy : queue.State;
        }
    }

    private void DisableQueues(uint mask)
    {
        foreach (DsaQueue queue in QueuesOf(mask))
        {
            queue.State = DsaQueueState.Disabled;
        }
    }

    // Its share of the entries is the device's to give.
    private void ResetKeepingSize(DsaQueue queue)
    {
        uint size = Get32(PlaceOf(queue));
        ResetQueue(queue);
        Set32(PlaceOf(queue), _state == DsaState.Disabled ? 0 : size);
    }

    private int TakeHandle(int vector)
    {
        int handle = FirstHandle;
        while (!_handles.TryAdd(handle, vector))
        {
            handle++;
        }

        return handle;
    }

    // The vector behind a handle, if a descriptor with this PASID may use it (MSIXPERM, section 9.2.20); else -1.
    private int FindVector(ushort handle, Pasid pasid)
    {
        const uint IgnoresPasid = 4;
        const uint HasPasid = 8;
        int vector = !_options.NeedsHandles ? handle : _handles.TryGetValue(handle, out int found) ? found : -1;
        if (vector < 0 || vector >= _options.Vectors)
        {
            return -1;
        }

        uint permission = Get32(DsaRegisters.MessagePermissions + ((uint)vector * DsaRegisters.MessagePermissionSize));
        Pasid permitted = (permission & HasPasid) != 0 ? new(permission >> 12) : default;
        return (permission & IgnoresPasid) != 0 || permitted == pasid ? vector : -1;
    }

    private static class QueueMode
    {
        public const uint Dedicated = 1;
        public const uint BlockOnFault = 2;
        public const uint NoAts = 4;
        public const uint NoPageRequests = 8;
        public const uint Priority = 0xf0;
        public const uint HasPasid = 1u << 28;
        public const uint Privileged = 1u << 29;
    }

    private readonly record struct PendingCommand(DsaCommand Command, uint Operand, bool WantsInterrupt, long Sequence)
    {
        // Bits 15:0 for sixteen queues of which bits 19:16 say the first; none but the first sixteen are there.
        public uint Queues => Operand >> 16 == 0 ? Operand & 0xffff : 1u << 31;

        // Whether it is done only when nothing is left of what it concerns.
        public bool Waits => Command is (>= DsaCommand.DisableDevice and <= DsaCommand.ResetDevice)
            or (>= DsaCommand.DisableQueue and <= DsaCommand.AbortPasid);

        public bool Concerns(WorkItem item) => Command switch
        {
            DsaCommand.DisableQueue or DsaCommand.DrainQueue or DsaCommand.AbortQueue or DsaCommand.ResetQueue => (Queues >> item.Queue.Index & 1) != 0,
            DsaCommand.DrainPasid or DsaCommand.AbortPasid => item.Pasid.Value == (Operand & Pasid.MaxValue),
            _ => true,
        };
    }
}
