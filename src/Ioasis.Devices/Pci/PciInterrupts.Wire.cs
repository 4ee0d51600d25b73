using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices;

/// <content>The wired interrupt: masks, unmasks by hand and by counter, and firing.</content>
internal sealed partial class PciInterrupts
{
    // Under the lock. The counter to signal, if the wire can be heard; it is masked then.
    private IVfioEvent? Fire()
    {
        if (!_line || _masked || _disabled || _kind != VfioPciInterrupt.Intx)
        {
            return null;
        }

        _masked = true;
        return _intx;
    }

    private void StopUnmaskEvent()
    {
        if (_unmaskListener is not null)
        {
            _unmaskEvent!.Unlisten(_unmaskListener);
            _unmaskEvent = null;
            _unmaskListener = null;
        }
    }

    private bool IsOneWire(in VfioIrqSet set) => _kind == VfioPciInterrupt.Intx && set.Start == 0 && set.Count == 1;

    private Errno MaskIntx(in VfioIrqSet set, ReadOnlySpan<byte> data)
    {
        using (_lock.Acquire())
        {
            if (!IsOneWire(set))
            {
                return Errno.InvalidArgument;
            }

            switch (set.Flags & VfioIrqSetFlags.DataTypeMask)
            {
                case VfioIrqSetFlags.DataNone:
                    _masked = true;
                    return Errno.Success;
                case VfioIrqSetFlags.DataBool:
                    _masked |= data[0] != 0;
                    return Errno.Success;
                default:
                    return Errno.NotTypewriter;
            }
        }
    }

    private Errno UnmaskIntx(in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events)
    {
        IVfioEvent? unmask = null;
        Action? listener = null;
        IVfioEvent? signal = null;
        using (_lock.Acquire())
        {
            if (!IsOneWire(set))
            {
                return Errno.InvalidArgument;
            }

            if ((set.Flags & VfioIrqSetFlags.DataEventFd) == 0)
            {
                if ((set.Flags & VfioIrqSetFlags.DataNone) != 0 || data[0] != 0)
                {
                    _masked = _disabled;
                    signal = Fire();
                }
            }
            else
            {
                int descriptor = MemoryMarshal.Read<int>(data);
                if (descriptor < 0)
                {
                    StopUnmaskEvent();
                    return Errno.Success;
                }

                Errno error = events.GetEventErrno(descriptor, out unmask);
                if (error != Errno.Success)
                {
                    return error;
                }

                if (_unmaskListener is not null)
                {
                    return Errno.Busy;
                }

                listener = OnUnmaskEvent;
                _unmaskEvent = unmask;
                _unmaskListener = listener;
            }
        }

        signal?.Signal();
        if (listener is not null)
        {
            unmask!.Listen(listener);
            bool isCurrent;
            using (_lock.Acquire())
            {
                isCurrent = ReferenceEquals(_unmaskListener, listener);
            }

            if (!isCurrent)
            {
                // Disabled in the meantime.
                unmask.Unlisten(listener);
            }
        }

        return Errno.Success;
    }

    private void OnUnmaskEvent()
    {
        IVfioEvent? signal;
        using (_lock.Acquire())
        {
            if (_kind != VfioPciInterrupt.Intx)
            {
                return;
            }

            _masked = _disabled;
            signal = Fire();
        }

        signal?.Signal();
    }

    private Errno TriggerIntx(in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events)
    {
        IVfioEvent? signal = null;
        using (_lock.Acquire())
        {
            VfioIrqSetFlags kind = set.Flags & VfioIrqSetFlags.DataTypeMask;
            if (_kind == VfioPciInterrupt.Intx && set.Count == 0 && kind == VfioIrqSetFlags.DataNone)
            {
                Disable();
                return Errno.Success;
            }

            if (_kind is not (null or VfioPciInterrupt.Intx) || set.Start != 0 || set.Count != 1)
            {
                return Errno.InvalidArgument;
            }

            if (kind == VfioIrqSetFlags.DataEventFd)
            {
                int descriptor = MemoryMarshal.Read<int>(data);
                IVfioEvent? counter = null;
                if (descriptor >= 0)
                {
                    Errno error = events.GetEventErrno(descriptor, out counter);
                    if (error != Errno.Success)
                    {
                        return error;
                    }
                }

                if (_kind is null)
                {
                    _kind = VfioPciInterrupt.Intx;
                    _masked = _disabled;
                }

                _intx = counter;
                signal = Fire();
            }
            else if (_kind is null)
            {
                return Errno.InvalidArgument;
            }
            else if (kind == VfioIrqSetFlags.DataNone || data[0] != 0)
            {
                signal = _disabled ? null : _intx;
            }
        }

        signal?.Signal();
        return Errno.Success;
    }
}
