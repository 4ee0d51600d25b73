using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Embedded.Sanitizing;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Native;

/// <summary>
/// A machine of the library's caller, with what the C interface adds to it: names of devices, counters, and an end that waits for
/// the calls that are under way.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "What looks for mistakes ends with the machine, in End.")]
internal sealed class NativePlatform(EmbeddedPlatform machine) : IPlatformMember
{
    private readonly KernelProcess _process = machine.CreateProcess(new() { PinnedMemoryLimit = machine.Options.PinnedMemoryLimit });
    private readonly EpochReclaimer _calls = new();
    private readonly Lock _deviceLock = new();
    private readonly ConcurrentDictionary<string, NativeDevice> _devices = new(StringComparer.Ordinal);
    private volatile DmaSanitizer? _sanitizer;
    private bool _ended;
    private long _reads;
    private long _writes;
    private long _readBytes;
    private long _writtenBytes;
    private long _refused;

    /// <summary>The machine.</summary>
    public EmbeddedPlatform Machine => machine;

    /// <inheritdoc/>
    NativePlatform IPlatformMember.Platform => this;

    /// <summary>What system calls go to.</summary>
    public IKernelAbi Kernel => _sanitizer?.Kernel ?? _process;

    /// <summary>What looks for mistakes; null if nothing does.</summary>
    public DmaSanitizer? Sanitizer => _sanitizer;

    /// <summary>The mistakes that were counted last.</summary>
    public IReadOnlyList<DmaReport> Mistakes { get; set; } = [];

    /// <summary>Its own handle.</summary>
    public nint Handle { get; set; }

    /// <summary>Guards adding and removing of devices.</summary>
    public Lock DeviceLock => _deviceLock;

    /// <summary>Whether the calling thread is in a call of this platform: then it is a callback's.</summary>
    public bool IsInside => _calls.IsInside;

    /// <summary>Devices by name.</summary>
    public ConcurrentDictionary<string, NativeDevice> Devices => _devices;

    /// <summary>Takes a device of the machine, before anybody has the platform.</summary>
    public void Take(EmbeddedEndpoint endpoint, PciDevice? function)
    {
        NativeDevice device = new(this, function, function is null ? null : function.Dispose) { Endpoint = endpoint };
        device.Handle = HandleTable.Add(device);
        _devices[endpoint.Device.Name] = device;
    }

    /// <summary>Begins a call; what it uses stays until the scope ends.</summary>
    public EpochReclaimer.Scope Enter() => _calls.Enter();

    /// <summary>Waits for the calls that have begun.</summary>
    public void Synchronize() => _calls.Synchronize();

    /// <summary>Whether it has ended; inside a scope, no means that it will not before the scope does.</summary>
    public bool IsEnded => Volatile.Read(ref _ended);

    /// <summary>Counts an access by DMA.</summary>
    public void Count(bool isWrite, int bytes, bool succeeded)
    {
        _ = Interlocked.Increment(ref isWrite ? ref _writes : ref _reads);
        if (succeeded)
        {
            _ = Interlocked.Add(ref isWrite ? ref _writtenBytes : ref _readBytes, bytes);
        }
        else
        {
            _ = Interlocked.Increment(ref _refused);
        }
    }

    /// <summary>Looks for mistakes from now on.</summary>
    /// <returns>False if something is open, or it does so already.</returns>
    public bool TrySanitize(SanitizeOptions options)
    {
        lock (_deviceLock)
        {
            if (_sanitizer is not null || machine.Audit.Descriptors > 0)
            {
                return false;
            }

            _sanitizer = new(machine, _process, options, NativeStack.Take);
            return true;
        }
    }

    /// <summary>Reads all counters.</summary>
    public Stats ReadStats()
    {
        KernelAudit audit = machine.Audit;
        return new()
        {
            Descriptors = (uint)audit.Descriptors,
            AddressSpaces = (uint)audit.AddressSpaces,
            Devices = (uint)_devices.Count,
            Mappings = (ulong)audit.Areas,
            PinnedBytes = (ulong)audit.PinnedBytes,
            TableBytes = (ulong)machine.TableBytes,
            Faults = (ulong)machine.FaultCount,
            FaultsLost = (ulong)machine.LostFaults,
            DmaReads = (ulong)Volatile.Read(ref _reads),
            DmaWrites = (ulong)Volatile.Read(ref _writes),
            DmaReadBytes = (ulong)Volatile.Read(ref _readBytes),
            DmaWriteBytes = (ulong)Volatile.Read(ref _writtenBytes),
            DmaRefused = (ulong)Volatile.Read(ref _refused),
        };
    }

    /// <summary>Ends the machine. The handle is gone already, so that no call begins any more.</summary>
    public void End()
    {
        Volatile.Write(ref _ended, true);

        // Who waits in a call wakes up; then nobody is inside, and nothing can be in use.
        _process.Exit();
        _calls.Synchronize();
        foreach (NativeDevice device in _devices.Values)
        {
            _ = HandleTable.Remove(device.Handle);
        }

        machine.Dispose();
        _sanitizer?.Dispose();
        foreach (NativeDevice device in _devices.Values)
        {
            device.End();
        }

        _devices.Clear();
    }
}
