using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <content>
/// What happens when the queue stops (CQMF, CMD_TO, CMD_ILL, or silence; section 5.15). Commands before the one at the head
/// may have completed, timed out or been aborted, so that everything since the last fence that completed goes in again.
/// First as it was; when that stops without progress, invalidations of everything take the place of the commands; when that
/// stops too, the batches are lost and their waiters get an error. Where only a device did not answer, its invalidations are
/// dropped instead, and who asked for them is told: a device has as many attempts of its own, however often the queue stopped for
/// something else. Nothing is ever taken for completed.
/// </content>
internal sealed unsafe partial class CommandQueue
{
    private const int PlainAttempts = 2;

    private ulong _completedAtRecovery = ulong.MaxValue;
    private int _attempts;
    private int _deviceAttempts;
    private long _recoveries;
    private long _failures;
    private long _failedAt;

    /// <summary>Times that the queue was restarted.</summary>
    public long Recoveries => Volatile.Read(ref _recoveries);

    /// <summary>Times that batches were lost.</summary>
    public long Failures => Volatile.Read(ref _failures);

    private void Recover(uint csr)
    {
        if (_at.Completed != _completedAtRecovery)
        {
            _completedAtRecovery = _at.Completed;
            _attempts = 0;
            _deviceAttempts = 0;
        }

        Command culprit = _at.Head == _at.Tail ? default : _copy[(uint)_at.Head & _mask];
        _logger.LogError(
            "{Name}: command queue stopped ({Why}) at {Opcode} {Low:x16} {High:x16}; attempt {Attempt}, {Count} commands since the last fence",
            _name, Describe(csr), culprit.Opcode, culprit.Low, culprit.High, _attempts + _deviceAttempts + 1, _at.Tail - _at.Completed);

        // A time-out that no invalidation of a device explains is the queue's own.
        bool isDevice = (csr & ErrorBits) == QueueCsr.CommandTimeoutBit && IsDevicesFault();
        if (!isDevice)
        {
            _attempts++;
        }

        if (_attempts > PlainAttempts + 1 || !Restart(isDevice || _attempts <= PlainAttempts))
        {
            GiveUp();
        }
        else
        {
            _ = Interlocked.Increment(ref _recoveries);
        }
    }

    // The head is at the fence that noticed; after the attempts that a device has, the batches up to it had all the time that there is.
    private bool IsDevicesFault() => ++_deviceAttempts <= PlainAttempts || DropDeviceInvalidations(_at.Head + 1);

    private static string Describe(uint csr) =>
        (csr & QueueCsr.MemoryFaultBit) != 0 ? "CQMF: a memory access of the queue faulted"
        : (csr & QueueCsr.CommandIllegalBit) != 0 ? "CMD_ILL: an illegal or unsupported command"
        : (csr & QueueCsr.CommandTimeoutBit) != 0 ? "CMD_TO: a command timed out"
        : (csr & QueueCsr.OnBit) == 0 ? "the queue is off"
        : "no progress in the time allowed";

    // Off, on (which puts the head to 0 and clears the errors), and everything since the last completed fence again.
    private bool Restart(bool plain)
    {
        if (!TurnOff() || !TurnOn())
        {
            return false;
        }

        uint slot = 0;
        ulong count = _at.Tail - _at.Completed;
        if (count != 0 && !plain && count + 3 < _size)
        {
            if (!Store(slot++, Command.InvalidateDeviceDirectory(null))
                || !Store(slot++, Command.InvalidateFirstStage(null, null, null))
                || (_hasSecondStage && !Store(slot++, Command.InvalidateSecondStage(null, null))))
            {
                return false;
            }
        }

        _at.Origin = _at.Completed - slot;
        _at.Head = _at.Origin;
        bool substitute = slot != 0;
        for (ulong position = _at.Completed; position != _at.Tail; position++)
        {
            Command command = _copy[(uint)position & _mask];

            // There is no command for the first stages of all guests: those stay as they are.
            bool isGuests = command.Opcode == CommandOpcode.Iotinval && command.Function == CommandFunction.IotinvalVma
                && (command.Low & CommandBits.GscidValidBit) != 0;
            bool subsumed = substitute && command.Opcode is (CommandOpcode.Iotinval or CommandOpcode.Iodir) && !isGuests;
            if (!Store(Slot(position), subsumed ? Command.Fence() : command))
            {
                return false;
            }
        }

        _registers.Write32(RegisterOffset.CommandQueueTail, Slot(_at.Tail));
        return true;
    }

    // Puts fences in the place of ATS invalidations, and marks the batches that they were in. False if there are none.
    private bool DropDeviceInvalidations(ulong end)
    {
        bool any = false;
        bool isDropped = false;
        for (ulong position = _at.Completed; position != end && position != _at.Tail; position++)
        {
            ref Command command = ref _copy[(uint)position & _mask];
            if (command.Opcode == CommandOpcode.Ats && command.Function == CommandFunction.AtsInval)
            {
                any = true;
                isDropped = true;
                command = Command.Fence();
            }
            else if (command.Opcode == CommandOpcode.Iofence)
            {
                if (any)
                {
                    Volatile.Write(ref _lost, [.. _lost, (position, position + 1, Errno.TimedOut)]);
                }

                any = false;
            }
        }

        return isDropped;
    }

    private void GiveUp()
    {
        _logger.LogCritical(
            "{Name}: command queue given up; {Count} commands are lost and their callers get EIO", _name, _at.Tail - _at.Completed);

        // Neighbours are joined, so that a queue that stays dead does not make the list grow.
        bool joins = _lost.Length > 0 && _lost[^1].To == _at.Completed && _lost[^1].Result == Errno.IoError;
        Volatile.Write(
            ref _lost,
            joins ? [.. _lost[..^1], (_lost[^1].From, _at.Tail, Errno.IoError)] : [.. _lost, (_at.Completed, _at.Tail, Errno.IoError)]);

        _failed = true;
        _failedAt = _hardware.Time.GetTimestamp();
        _at.Head = _at.Tail;
        _ = Interlocked.Increment(ref _failures);
        Volatile.Write(ref _at.Completed, _at.Tail);
    }

    // A queue that was given up is tried again, not more often than the time-out, and starts with a clean slate: whatever was
    // lost is covered by invalidating everything.
    private bool TryRevive()
    {
        if (_hardware.Time.GetElapsedTime(_failedAt) < _hardware.Timeout)
        {
            return false;
        }

        _failedAt = _hardware.Time.GetTimestamp();
        _attempts = 0;
        _deviceAttempts = 0;
        _completedAtRecovery = ulong.MaxValue;
        if (!TurnOff() || !TurnOn())
        {
            return false;
        }

        _at.Origin = _at.Tail;
        _at.Head = _at.Tail;
        _failed = false;
        bool isPut = Put(_at.Tail++, Command.InvalidateDeviceDirectory(null))
            && Put(_at.Tail++, Command.InvalidateFirstStage(null, null, null))
            && (!_hasSecondStage || Put(_at.Tail++, Command.InvalidateSecondStage(null, null)))
            && Put(_at.Tail++, Command.Fence());
        if (!isPut)
        {
            _failed = true;
            return false;
        }

        _registers.Write32(RegisterOffset.CommandQueueTail, Slot(_at.Tail));
        _logger.LogWarning("{Name}: command queue is tried again", _name);
        return true;
    }

    private bool TurnOn()
    {
        _registers.Write32(RegisterOffset.CommandQueueTail, 0);
        _registers.Write32(
            RegisterOffset.CommandQueueCsr, QueueCsr.EnableBit | QueueCsr.InterruptEnableBit | ErrorBits);
        return _hardware.WaitFor32(
            RegisterOffset.CommandQueueCsr, QueueCsr.OnBit | QueueCsr.BusyBit | ErrorBits, QueueCsr.OnBit, out _);
    }

    private bool TurnOff()
    {
        _registers.Write32(RegisterOffset.CommandQueueCsr, 0);
        return _hardware.WaitFor32(RegisterOffset.CommandQueueCsr, QueueCsr.OnBit | QueueCsr.BusyBit, 0, out _);
    }
}
