using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Intel.Driver;

/// <content>
/// What happens when the queue stops (IQE, ITE, or silence; section 6.5.2.11). Descriptors before the one at the head may be done, timed
/// out or aborted, so that everything since the last wait that reported goes in again, with new numbers. First as it was; when that stops
/// without progress, invalidations of everything take its place; when that stops too, the batches are lost and their waiters get an error.
/// Where only a device did not answer, what was asked of it is dropped instead, and who asked is told. Nothing is ever taken for completed.
/// </content>
internal sealed partial class InvalidationQueue
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

    // While devices are asked to invalidate, a wait takes as long as they do.
    private TimeSpan Patience => _completed < _afterDevices ? _hardware.AtsTimeout : _hardware.Timeout;

    private bool NeedsRecovery(long start, out uint status)
    {
        status = ReadStatus();
        return (status & ErrorBits) != 0 || _hardware.Time.GetElapsedTime(start) >= Patience;
    }

    // ICE says that a device answered what it was not asked (section 6.5.2.11). The queue goes on, and what was asked still has to be answered.
    private uint ReadStatus()
    {
        uint status = _registers.Read32(RegisterOffset.FaultStatus);
        if ((status & FaultStatus.CompletionErrorBit) != 0)
        {
            ulong record = _registers.Read64(RegisterOffset.InvalidationQueueErrorRecord);
            _registers.Write32(RegisterOffset.FaultStatus, FaultStatus.CompletionErrorBit);
            _ = Interlocked.Increment(ref _completionErrors);
            _logger.LogWarning(
                "{Name}: ICE: device {Device:x4} answered an invalidation that it was not asked for",
                _name, (ushort)(record >> InvalidationQueueErrorRecord.CompletionSourceShift));
        }

        return status;
    }

    private void Recover(uint status)
    {
        if (_completed != _completedAtRecovery)
        {
            _completedAtRecovery = _completed;
            _attempts = 0;
            _deviceAttempts = 0;
        }

        ulong head = HeadPosition();
        ulong record = _registers.Read64(RegisterOffset.InvalidationQueueErrorRecord);
        QueueDescriptor culprit = head == _tail ? default : _copy[(uint)head & _mask];
        _logger.LogError(
            "{Name}: invalidation queue stopped ({Why}) at {Type} {Low:x16} {High:x16}; attempt {Attempt}, {Count} descriptors are not confirmed",
            _name, Describe(status, record), culprit.Type, culprit.Low, culprit.High, _attempts + _deviceAttempts + 1, _tail - _completed);

        // A device has as many attempts of its own, however often the queue stopped for something else; a time-out that no invalidation of a
        // device explains is the queue's own.
        bool isDevice = (status & ErrorBits) == FaultStatus.TimeoutErrorBit
            && (++_deviceAttempts <= PlainAttempts
                || DropDeviceInvalidations(head, (ushort)(record >> InvalidationQueueErrorRecord.TimeoutSourceShift)));
        if (!isDevice)
        {
            _attempts++;
        }

        if (_attempts > PlainAttempts + 1 || !Restart(status, isDevice || _attempts <= PlainAttempts))
        {
            GiveUp();
        }
        else
        {
            _ = Interlocked.Increment(ref _recoveries);
        }
    }

    private string Describe(uint status, ulong record) =>
        (status & FaultStatus.QueueErrorBit) != 0 ? $"IQE: {(InvalidationQueueError)(record & InvalidationQueueErrorRecord.ErrorMask)}"
        : (status & FaultStatus.TimeoutErrorBit) != 0
            ? $"ITE: device {(ushort)(record >> InvalidationQueueErrorRecord.TimeoutSourceShift):x4} does not answer"
        : _hardware.Has(GlobalControl.QueuedInvalidationEnableBit) ? "no progress in the time allowed"
        : "the queue is off";

    // A head that lies outside of what is queued counts as no progress.
    private ulong HeadPosition()
    {
        ulong moved = (SlotAt(_registers.Read64(RegisterOffset.InvalidationQueueHead)) - Slot(_completed)) & _mask;
        return moved > _tail - _completed ? _completed : _completed + moved;
    }

    // Everything since the last completed wait again.
    private bool Restart(uint status, bool plain)
    {
        if (!TurnOver(status))
        {
            return false;
        }

        uint slot = 0;
        ulong count = _tail - _completed;
        if (count != 0 && !plain && count + 4 < _size && !StoreEverything(ref slot))
        {
            return false;
        }

        _origin = _completed - slot;
        for (ulong position = _completed; position != _tail; position++)
        {
            ref QueueDescriptor descriptor = ref _copy[(uint)position & _mask];
            if (descriptor.IsReporting)
            {
                descriptor = QueueDescriptor.Report(++_stamp, _status, (descriptor.Low & Descriptor.WaitDrainBit) != 0);
            }

            if (!Store(Slot(position), slot != 0 && descriptor.IsForCaches ? QueueDescriptor.Nothing : descriptor))
            {
                return false;
            }
        }

        WriteTail();
        return true;
    }

    // What did not run yet becomes nothing, so that the queue runs empty when the error is cleared: the text does not say what becomes of
    // a queue that is turned off with descriptors in it, and some do not turn off then (QEMU). If it does not run empty, turning it off is
    // what is left. What the hardware has is told by its registers: a queue that was given up has forgotten.
    private bool Drain(uint status)
    {
        ulong tail = _registers.Read64(RegisterOffset.InvalidationQueueTail) & Architecture.InvalidationQueue.OffsetMask;
        for (uint slot = SlotAt(_registers.Read64(RegisterOffset.InvalidationQueueHead)); slot != SlotAt(tail); slot = (slot + 1) & _mask)
        {
            if (!Store(slot, QueueDescriptor.Nothing))
            {
                return false;
            }
        }

        for (int attempt = 0; (status & ErrorBits) != 0 && attempt < PlainAttempts; attempt++)
        {
            _registers.Write32(RegisterOffset.FaultStatus, status & ErrorBits);

            // Some go on only when they are told of descriptors (QEMU); to others it says nothing new.
            _registers.Write64(RegisterOffset.InvalidationQueueTail, tail);
            status = RunEmpty(tail);
        }

        return true;
    }

    // Until the queue has run empty, or the time is up, or it has stopped again: then it never will by itself. Gives the errors.
    private uint RunEmpty(ulong tail)
    {
        long start = _hardware.Time.GetTimestamp();
        for (int spins = 0; ; spins++)
        {
            bool isEmpty = (_registers.Read64(RegisterOffset.InvalidationQueueHead) & Architecture.InvalidationQueue.OffsetMask) == tail;
            uint errors = isEmpty ? 0 : _registers.Read32(RegisterOffset.FaultStatus) & ErrorBits;
            if (isEmpty || errors != 0 || _hardware.Time.GetElapsedTime(start) >= _hardware.Timeout)
            {
                return errors;
            }

            RegisterAccess.Pause(spins);
        }
    }

    // Off and on, which puts the head to 0. An error that came while it ran empty would hold up the queue from its first descriptor on.
    private bool TurnOver(uint status)
    {
        if (!Drain(status) || !TurnOff())
        {
            return false;
        }

        uint errors = _registers.Read32(RegisterOffset.FaultStatus) & ErrorBits;
        if (errors != 0)
        {
            _registers.Write32(RegisterOffset.FaultStatus, errors);
        }

        return TurnOn();
    }

    private uint SlotAt(ulong offset) => (uint)((offset & Architecture.InvalidationQueue.OffsetMask) >> (_isWide ? 5 : 4)) & _mask;

    private bool StoreEverything(ref uint slot) =>
        Store(slot++, QueueDescriptor.AllContexts)
        && (!_isScalable || Store(slot++, QueueDescriptor.AllPasids))
        && Store(slot++, QueueDescriptor.AllTranslations(_drains));

    // Puts nothing in the place of invalidations of a device, or of all before the head if the hardware does not name one, and marks the
    // batches that they were in. False if there are none.
    private bool DropDeviceInvalidations(ulong head, ushort source)
    {
        bool any = false;
        bool isDropped = false;
        for (ulong position = _completed; position != _tail; position++)
        {
            ref QueueDescriptor descriptor = ref _copy[(uint)position & _mask];
            if (descriptor.IsForDevice && (source != 0 ? descriptor.DeviceTlbSource == source : position <= head))
            {
                any = true;
                isDropped = true;
                descriptor = QueueDescriptor.Nothing;
            }
            else if (descriptor.IsReporting)
            {
                if (any)
                {
                    _lost = [.. _lost, (position, position + 1, Errno.TimedOut)];
                }

                any = false;
            }
        }

        return isDropped;
    }

    private void GiveUp()
    {
        _logger.LogCritical(
            "{Name}: invalidation queue given up; {Count} descriptors are lost and their callers get EIO", _name, _tail - _completed);

        // Neighbours are joined, so that a queue that stays dead does not make the list grow.
        bool joins = _lost.Length > 0 && _lost[^1].To == _completed && _lost[^1].Result == Errno.IoError;
        _lost = joins
            ? [.. _lost[..^1], (_lost[^1].From, _tail, Errno.IoError)]
            : [.. _lost, (_completed, _tail, Errno.IoError)];
        _failed = true;
        _failedAt = _hardware.Time.GetTimestamp();
        _ = Interlocked.Increment(ref _failures);
        _completed = _tail;
    }

    // A queue that was given up is tried again, not more often than the time-out, and starts with a clean slate: whatever was lost is
    // covered by invalidating everything.
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
        if (!TurnOver(ReadStatus()))
        {
            return false;
        }

        _origin = _tail;
        bool isPut = Put(_tail, QueueDescriptor.AllContexts)
            && Put(_tail + 1, _isScalable ? QueueDescriptor.AllPasids : QueueDescriptor.Nothing)
            && Put(_tail + 2, QueueDescriptor.AllTranslations(_drains))
            && Put(_tail + 3, QueueDescriptor.Report(++_stamp, _status));
        if (!isPut)
        {
            return false;
        }

        _failed = false;
        _tail += 4;
        WriteTail();
        _logger.LogWarning("{Name}: invalidation queue is tried again", _name);
        return true;
    }

    private bool TurnOn()
    {
        int sizeField = _bytesLog2 - PageLog2;
        _registers.Write64(RegisterOffset.InvalidationQueueTail, 0);
        _registers.Write64(
            RegisterOffset.InvalidationQueueAddress,
            _base.Value | (uint)sizeField | (_isWide ? Architecture.InvalidationQueue.WideDescriptorsBit : 0));
        return _hardware.Command(GlobalControl.QueuedInvalidationEnableBit, on: true);
    }

    private bool TurnOff() => _hardware.Command(GlobalControl.QueuedInvalidationEnableBit, on: false);
}
