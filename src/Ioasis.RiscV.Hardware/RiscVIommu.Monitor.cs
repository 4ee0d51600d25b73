using System.Numerics;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>The hardware performance monitor (sections 5.19 to 5.23).</content>
public sealed partial class RiscVIommu
{
    private readonly ulong[] _counters = new ulong[RegisterOffset.EventCounterCount];
    private readonly ulong[] _selectors = new ulong[RegisterOffset.EventCounterCount];
    private readonly IoLock _monitorLock = new();
    private uint _inhibit;
    private ulong _cyclesRegister;
    private ulong _cyclesStart;
    private int _eventCounters;
    private uint _activeEvents;
    private bool _overflowed;

    private ulong CounterMask => Options.HpmCounterBits >= 64 ? ulong.MaxValue : (1ul << Options.HpmCounterBits) - 1;

    private ulong CyclesMask => CounterMask & CyclesCounter.CounterMask;

    private void ResetMonitor() => _cyclesStart = Options.CycleSource?.Invoke() ?? 0;

    private ulong ReadMonitor(uint offset)
    {
        using (_monitorLock.Acquire())
        {
            switch (offset)
            {
                case RegisterOffset.CounterOverflow:
                    UpdateCycles();
                    uint overflows = (_cyclesRegister & CyclesCounter.OverflowBit) != 0 ? 1u : 0;
                    for (int i = 0; i < _eventCounters; i++)
                    {
                        overflows |= (_selectors[i] & EventSelector.OverflowBit) != 0 ? 2u << i : 0;
                    }

                    return overflows;
                case RegisterOffset.CounterInhibit:
                    return _inhibit;
                case RegisterOffset.CyclesCounter:
                    UpdateCycles();
                    return _cyclesRegister;
                case >= RegisterOffset.EventSelector1:
                    return _selectors[(offset - RegisterOffset.EventSelector1) / 8];
                default:
                    return _counters[(offset - RegisterOffset.EventCounter1) / 8];
            }
        }
    }

    private void WriteMonitor(uint offset, ulong value)
    {
        if (!_capabilities.Hpm)
        {
            return;
        }

        using (_monitorLock.Acquire())
        {
            switch (offset)
            {
                case RegisterOffset.CounterOverflow:
                    break;
                case RegisterOffset.CounterInhibit:
                    UpdateCycles();
                    _inhibit = (uint)(value & ((1ul << Options.HpmCounters) - 1));
                    break;
                case RegisterOffset.CyclesCounter:
                    _cyclesStart = Options.CycleSource?.Invoke() ?? 0;
                    _cyclesRegister = value & (CyclesMask | CyclesCounter.OverflowBit);
                    break;
                case >= RegisterOffset.EventSelector1:
                    WriteSelector((int)(offset - RegisterOffset.EventSelector1) / 8, value);
                    break;
                default:
                    int counter = (int)(offset - RegisterOffset.EventCounter1) / 8;
                    if (counter < _eventCounters)
                    {
                        _counters[counter] = value & CounterMask;
                    }

                    break;
            }

            SelectActiveEvents();
        }
    }

    // Which events some counter counts, so that all others cost next to nothing.
    private void SelectActiveEvents()
    {
        uint active = 0;
        for (int i = 0; i < _eventCounters && _capabilities.Hpm; i++)
        {
            if ((_inhibit >> (i + 1) & 1) == 0)
            {
                ulong id = _selectors[i] & EventSelector.EventIdMask;
                active |= id < 32 ? 1u << (int)id : 0;
            }
        }

        Volatile.Write(ref _activeEvents, active & ~1u);
    }

    // An event that does not exist leaves the old one in place (WARL).
    private void WriteSelector(int counter, ulong value)
    {
        if (counter >= _eventCounters)
        {
            return;
        }

        if ((value & EventSelector.EventIdMask) > (ulong)Options.MaxEventId)
        {
            value = (value & ~EventSelector.EventIdMask) | (_selectors[counter] & EventSelector.EventIdMask);
        }

        _selectors[counter] = value;
    }

    private void UpdateCycles()
    {
        if (Options.CycleSource is not { } source || !_capabilities.Hpm)
        {
            return;
        }

        ulong now = source();
        if ((_inhibit & 1) == 0)
        {
            ulong before = _cyclesRegister & CyclesMask;
            ulong after = (before + (now - _cyclesStart)) & CyclesMask;
            bool wrapped = now - _cyclesStart > CyclesMask - before;
            if (wrapped && (_cyclesRegister & CyclesCounter.OverflowBit) == 0)
            {
                _cyclesRegister |= CyclesCounter.OverflowBit;
                Volatile.Write(ref _overflowed, true);
            }

            _cyclesRegister = (_cyclesRegister & CyclesCounter.OverflowBit) | after;
        }

        _cyclesStart = now;
    }

    // Cheap when nothing counts the event. The interrupt of an overflow goes out at the end of the request.
    private void CountEvent(in Request request, HpmEvent counted)
    {
        if ((Volatile.Read(ref _activeEvents) >> (int)counted & 1) == 0)
        {
            return;
        }

        using (_monitorLock.Acquire())
        {
            for (int i = 0; i < _eventCounters; i++)
            {
                if ((_inhibit >> (i + 1) & 1) != 0 || (HpmEvent)(_selectors[i] & EventSelector.EventIdMask) != counted
                    || !Matches(_selectors[i], request, counted))
                {
                    continue;
                }

                _counters[i] = (_counters[i] + 1) & CounterMask;
                if (_counters[i] == 0 && (_selectors[i] & EventSelector.OverflowBit) == 0)
                {
                    _selectors[i] |= EventSelector.OverflowBit;
                    Volatile.Write(ref _overflowed, true);
                }
            }
        }
    }

    // The filters of section 5.23; an event that does not support IDT=1 does not count with it.
    private static bool Matches(ulong selector, in Request request, HpmEvent counted)
    {
        uint process = (uint)(selector >> EventSelector.PidPscidShift) & 0xf_ffff;
        uint device = (uint)(selector >> EventSelector.DidGscidShift) & 0xff_ffff;
        uint mask = (selector & EventSelector.DmaskBit) != 0
            ? ~(uint)((2ul << BitOperations.TrailingZeroCount(~device)) - 1)
            : uint.MaxValue;
        mask &= 0xff_ffff;
        bool byProcess = (selector & EventSelector.PvPscvBit) != 0;
        bool byDevice = (selector & EventSelector.DvGscvBit) != 0;
        if ((selector & EventSelector.IdtBit) == 0)
        {
            return (!byProcess || (request.HasProcess && request.ProcessId == process))
                && (!byDevice || (request.DeviceId & mask) == (device & mask));
        }

        return counted is HpmEvent.TlbMiss or HpmEvent.FirstStageWalk or HpmEvent.SecondStageWalk
            && (!byProcess || (request.HasPscid && request.Pscid == process))
            && (!byDevice || (request.HasGscid && (request.Gscid & mask) == (device & mask)));
    }

    // Called without any lock.
    private void RaiseOverflow()
    {
        if (!Volatile.Read(ref _overflowed))
        {
            return;
        }

        using (_lock.Acquire())
        {
            RaiseOverflowLocked();
        }

        Deliver();
    }

    // Called with the register lock held.
    private void RaiseOverflowLocked()
    {
        if (_overflowed)
        {
            _overflowed = false;
            Raise(InterruptPending.PerformanceMonitor);
        }
    }

    // The cycles counter is looked at when software looks: at the counter, at iocountovf and iocountinh, and at ipsr.
    private uint ReadPending()
    {
        if (Options.CycleSource is not null)
        {
            using (_monitorLock.Acquire())
            {
                UpdateCycles();
            }

            RaiseOverflowLocked();
        }

        return _ipsr;
    }
}
