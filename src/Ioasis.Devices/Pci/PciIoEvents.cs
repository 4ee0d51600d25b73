using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices;

/// <summary>
/// The registers of a device that are written when a counter is (<c>VFIO_DEVICE_IOEVENTFD</c>): what a hypervisor's doorbell
/// sets off reaches the device without the client. They outlive their counters' descriptors and a reset, and go with the last
/// descriptor of the device. Thread-safe.
/// </summary>
internal sealed class PciIoEvents(PciDeviceBackend backend)
{
    /// <summary>As many as vfio-pci allows.</summary>
    private const int Limit = 1000;

    private readonly IoLock _lock = new();
    private readonly Dictionary<VfioIoEvent, Entry> _entries = [];

    /// <summary>Adds an entry, or removes it if the descriptor is negative. The form of the write is checked.</summary>
    public Errno Set(in VfioIoEvent write, int descriptor, IVfioEventSource events) =>
        descriptor < 0 ? Remove(write) : Add(write, descriptor, events);

    /// <summary>The last descriptor of the device is gone.</summary>
    public void Close()
    {
        Entry[] entries;
        using (_lock.Acquire())
        {
            entries = [.. _entries.Values];
            _entries.Clear();
        }

        foreach (Entry entry in entries)
        {
            entry.End();
        }
    }

    private Errno Add(in VfioIoEvent write, int descriptor, IVfioEventSource events)
    {
        Entry entry;
        using (_lock.Acquire())
        {
            if (_entries.ContainsKey(write))
            {
                return Errno.Exists;
            }

            if (_entries.Count >= Limit)
            {
                return Errno.NoSpace;
            }

            if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
            {
                return Errno.OutOfMemory;
            }

            Errno error = events.GetEventErrno(descriptor, out IVfioEvent? counter);
            if (error != Errno.Success)
            {
                return error;
            }

            entry = new(backend, write, counter!);
            _entries.Add(write, entry);
        }

        // Outside the lock, for a counter that has a count writes the register at once, and the device may signal others.
        entry.Begin();
        return Errno.Success;
    }

    private Errno Remove(in VfioIoEvent write)
    {
        Entry? entry;
        using (_lock.Acquire())
        {
            if (!_entries.Remove(write, out entry))
            {
                return Errno.NoDevice;
            }
        }

        entry.End();
        return Errno.Success;
    }

    // A write that has begun when the entry ends may still arrive.
    private sealed class Entry
    {
        private readonly PciDeviceBackend _backend;
        private readonly VfioIoEvent _write;
        private readonly IVfioEvent _counter;
        private readonly Action _listener;
        private bool _ended;

        public Entry(PciDeviceBackend backend, in VfioIoEvent write, IVfioEvent counter)
        {
            _backend = backend;
            _write = write;
            _counter = counter;
            _listener = Write;
        }

        public void Begin()
        {
            _counter.Listen(_listener);
            if (Volatile.Read(ref _ended))
            {
                // Removed in the meantime.
                _counter.Unlisten(_listener);
            }
        }

        public void End()
        {
            Volatile.Write(ref _ended, true);
            _counter.Unlisten(_listener);
        }

        // While memory space is off nothing is written, and nothing later.
        private void Write()
        {
            if (!Volatile.Read(ref _ended))
            {
                Span<byte> bytes = stackalloc byte[sizeof(ulong)];
                BinaryPrimitives.WriteUInt64LittleEndian(bytes, _write.Data);
                _ = _backend.Write(_write.Region, _write.Offset, bytes[.._write.Size], out _);
            }
        }
    }
}
