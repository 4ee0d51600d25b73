using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices;

/// <summary>
/// A PCI device's interrupts on their way to a client's event counters, by vfio-pci's rules: one of wire, MSI and MSI-X at a
/// time; the wire is masked when it fires, and fires again at the unmask if it is still asserted. Thread-safe. Counters are
/// signalled outside the lock, for what listens to them may call back.
/// </summary>
internal sealed partial class PciInterrupts(PciDeviceDescription description)
{
    private readonly IoLock _lock = new();
    private VfioPciInterrupt? _kind;
    private IVfioEvent?[] _vectors = [];
    private IVfioEvent? _intx;
    private IVfioEvent? _unmaskEvent;
    private Action? _unmaskListener;
    private IVfioEvent? _error;
    private IVfioEvent? _request;
    private bool _line;
    private bool _masked;
    private bool _disabled;

    /// <summary>Whether the wire is asserted.</summary>
    public bool Line
    {
        get
        {
            using (_lock.Acquire())
            {
                return _line;
            }
        }
    }

    /// <summary>Which of wire, MSI and MSI-X the client has enabled.</summary>
    public VfioPciInterrupt? Kind
    {
        get
        {
            using (_lock.Acquire())
            {
                return _kind;
            }
        }
    }

    /// <summary>Describes a kind of interrupt.</summary>
    public Errno Describe(int index, out DeviceInterrupt interrupt)
    {
        const VfioIrqInfoFlags Plain = VfioIrqInfoFlags.EventFd | VfioIrqInfoFlags.NoResize;
        interrupt = default;
        switch ((VfioPciInterrupt)index)
        {
            case VfioPciInterrupt.Intx:
                interrupt = new(
                    description.HasInterruptPin ? 1u : 0,
                    VfioIrqInfoFlags.EventFd | VfioIrqInfoFlags.Maskable | VfioIrqInfoFlags.AutoMasked);
                return Errno.Success;
            case VfioPciInterrupt.Msi:
                interrupt = new((uint)description.MsiVectors, Plain);
                return Errno.Success;
            case VfioPciInterrupt.MsiX:
                interrupt = description.MsiX is { } x ? new((uint)x.Vectors, VfioIrqInfoFlags.EventFd) : new(0, Plain);
                return Errno.Success;
            case VfioPciInterrupt.Error when description.IsExpress:
            case VfioPciInterrupt.Request:
                interrupt = new(1, Plain);
                return Errno.Success;
            default:
                return Errno.InvalidArgument;
        }
    }

    /// <summary>VFIO_DEVICE_SET_IRQS, its form checked.</summary>
    public Errno Set(in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events)
    {
        VfioIrqSetFlags action = set.Flags & VfioIrqSetFlags.ActionTypeMask;
        return (VfioPciInterrupt)set.Index switch
        {
            VfioPciInterrupt.Intx when action == VfioIrqSetFlags.ActionMask => MaskIntx(set, data),
            VfioPciInterrupt.Intx when action == VfioIrqSetFlags.ActionUnmask => UnmaskIntx(set, data, events),
            VfioPciInterrupt.Intx when action == VfioIrqSetFlags.ActionTrigger => TriggerIntx(set, data, events),
            VfioPciInterrupt.Msi or VfioPciInterrupt.MsiX when action == VfioIrqSetFlags.ActionTrigger =>
                TriggerMessages(set, data, events),
            VfioPciInterrupt.Error when action == VfioIrqSetFlags.ActionTrigger => TriggerSingle(ref _error, set, data, events),
            VfioPciInterrupt.Request when action == VfioIrqSetFlags.ActionTrigger =>
                TriggerSingle(ref _request, set, data, events),
            _ => Errno.NotTypewriter,
        };
    }

    /// <summary>The device asserts or releases the wire.</summary>
    public void SetLine(bool asserted)
    {
        IVfioEvent? signal;
        using (_lock.Acquire())
        {
            _line = asserted;
            signal = Fire();
        }

        signal?.Signal();
    }

    /// <summary>The device sends a message.</summary>
    /// <returns>Whether message-signalled interrupts are enabled; a vector without counter loses the message.</returns>
    public bool Send(int vector)
    {
        IVfioEvent? signal = null;
        using (_lock.Acquire())
        {
            if (_kind is not (VfioPciInterrupt.Msi or VfioPciInterrupt.MsiX))
            {
                return false;
            }

            signal = (uint)vector < (uint)_vectors.Length ? _vectors[vector] : null;
        }

        signal?.Signal();
        return true;
    }

    /// <summary>The device reports an error (PCIe AER).</summary>
    public void ReportError() => Take(ref _error)?.Signal();

    /// <summary>The platform wants the device back.</summary>
    public void RequestRelease() => Take(ref _request)?.Signal();

    /// <summary>"Interrupt disable" of the command register was written.</summary>
    public void SetDisabled(bool disabled)
    {
        IVfioEvent? signal = null;
        using (_lock.Acquire())
        {
            if (_disabled == disabled)
            {
                return;
            }

            _disabled = disabled;
            _masked = disabled;
            signal = Fire();
        }

        signal?.Signal();
    }

    /// <summary>Everything off: the last client closed the device.</summary>
    public void Close()
    {
        using (_lock.Acquire())
        {
            Disable();
            _error = null;
            _request = null;
            _disabled = false;
        }
    }

    private IVfioEvent? Take(ref IVfioEvent? place)
    {
        using (_lock.Acquire())
        {
            return place;
        }
    }

    // Under the lock.
    private void Disable()
    {
        StopUnmaskEvent();
        _kind = null;
        _vectors = [];
        _intx = null;
        _masked = false;
    }

    private Errno TriggerMessages(in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events)
    {
        VfioPciInterrupt wanted = (VfioPciInterrupt)set.Index;
        VfioIrqSetFlags kind = set.Flags & VfioIrqSetFlags.DataTypeMask;
        List<IVfioEvent> signals = [];
        using (_lock.Acquire())
        {
            if (_kind == wanted && set.Count == 0 && kind == VfioIrqSetFlags.DataNone)
            {
                Disable();
                return Errno.Success;
            }

            if (_kind is not null && _kind != wanted)
            {
                return Errno.InvalidArgument;
            }

            if (kind == VfioIrqSetFlags.DataEventFd)
            {
                return SetVectors(wanted, (int)set.Start, MemoryMarshal.Cast<byte, int>(data), events);
            }

            if (_kind is null)
            {
                return Errno.InvalidArgument;
            }

            for (uint i = 0; i < set.Count; i++)
            {
                uint vector = set.Start + i;
                if ((kind == VfioIrqSetFlags.DataNone || data[(int)i] != 0)
                    && vector < (uint)_vectors.Length
                    && _vectors[vector] is { } counter)
                {
                    signals.Add(counter);
                }
            }
        }

        foreach (IVfioEvent counter in signals)
        {
            counter.Signal();
        }

        return Errno.Success;
    }

    // Under the lock. When one vector fails, those before it are without counter, and what was not enabled stays so.
    private Errno SetVectors(VfioPciInterrupt wanted, int start, ReadOnlySpan<int> descriptors, IVfioEventSource events)
    {
        bool isNew = _kind is null;
        if (isNew)
        {
            if (start + descriptors.Length == 0)
            {
                return Errno.OutOfRange;
            }

            if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
            {
                return Errno.OutOfMemory;
            }

            // MSI allocates its vectors at once, MSI-X as they come.
            _kind = wanted;
            _vectors = new IVfioEvent?[wanted == VfioPciInterrupt.MsiX ? description.MsiX!.Vectors : start + descriptors.Length];
        }

        for (int i = 0; i < descriptors.Length; i++)
        {
            Errno error = SetVector(start + i, descriptors[i], events);
            if (error == Errno.Success)
            {
                continue;
            }

            while (--i >= 0)
            {
                _vectors[start + i] = null;
            }

            if (isNew)
            {
                Disable();
            }

            return error;
        }

        return Errno.Success;
    }

    private Errno SetVector(int vector, int descriptor, IVfioEventSource events)
    {
        if (vector >= _vectors.Length)
        {
            return descriptor < 0 ? Errno.Success : Errno.InvalidArgument;
        }

        _vectors[vector] = null;
        return descriptor < 0 ? Errno.Success : events.GetEventErrno(descriptor, out _vectors[vector]);
    }

    private Errno TriggerSingle(ref IVfioEvent? place, in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events)
    {
        IVfioEvent? signal = null;
        using (_lock.Acquire())
        {
            if (set.Start != 0 || set.Count > 1)
            {
                return Errno.InvalidArgument;
            }

            switch (set.Flags & VfioIrqSetFlags.DataTypeMask)
            {
                case VfioIrqSetFlags.DataNone when place is not null:
                    signal = set.Count > 0 ? place : null;
                    place = set.Count > 0 ? place : null;
                    break;
                case VfioIrqSetFlags.DataBool when set.Count > 0:
                    signal = data[0] != 0 ? place : null;
                    break;
                case VfioIrqSetFlags.DataEventFd when set.Count > 0:
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

                    place = descriptor >= -1 ? counter : place;
                    break;
                default:
                    return Errno.InvalidArgument;
            }
        }

        signal?.Signal();
        return Errno.Success;
    }
}
