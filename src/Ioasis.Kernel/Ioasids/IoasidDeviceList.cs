using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// The IOASIDs that a device may use, kept by its descriptor (S1.12), which alone knows what the device is (S1.11). DMA with
/// any other PASID faults, for the IOMMU does not know it.
/// </summary>
internal sealed class IoasidDeviceList(IommuDevice device)
{
    private readonly IoLock _lock = new();
    private readonly SortedDictionary<uint, IoasidDeviceEntry> _entries = [];

    /// <summary>Whether a request is one of these.</summary>
    public static bool Handles(uint request) => request is
        IoasidRequests.DeviceAllow or IoasidRequests.DeviceDisallow or IoasidRequests.DeviceList;

    /// <summary>Runs a call on the device's descriptor.</summary>
    public Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument)
    {
        switch (request)
        {
            case IoasidRequests.DeviceAllow:
                Errno error = SizedArgument.Take(argument, out IoasidDeviceAllow allow);
                return error != Errno.Success ? error
                    : allow.Flags != 0 ? Errno.NotSupported
                    : Allow(caller, allow.IoasidFd, allow.Ioasid);
            case IoasidRequests.DeviceDisallow:
                error = SizedArgument.Take(argument, out IoasidDeviceDisallow disallow);
                return error != Errno.Success ? error
                    : disallow.Flags != 0 ? Errno.NotSupported
                    : Disallow(disallow.Ioasid);
            case IoasidRequests.DeviceList:
                error = SizedArgument.Take(argument, out IoasidDeviceListArgument list);
                if (error != Errno.Success || list.Flags != 0 || list.Reserved != 0)
                {
                    return error != Errno.Success ? error : Errno.NotSupported;
                }

                error = List(caller, ref list);
                if (error is Errno.Success or Errno.MessageTooLong)
                {
                    SizedArgument.Give(argument, list);
                }

                return error;
            default:
                return Errno.NotTypewriter;
        }
    }

    /// <summary>The lowest PASID that the device may use; none if there is none.</summary>
    public Pasid Lowest
    {
        get
        {
            using (_lock.Acquire())
            {
                foreach ((uint pasid, IoasidDeviceEntry entry) in _entries)
                {
                    if (entry.Context.Ioasid.IsLive)
                    {
                        return new(pasid);
                    }
                }

                return Pasid.None;
            }
        }
    }

    /// <summary>The descriptor is closed: takes everything away, drained (S1.15).</summary>
    public void Release()
    {
        foreach (uint pasid in Numbers(all: true))
        {
            _ = Disallow(pasid);
        }
    }

    private Errno Allow(KernelProcess caller, int descriptor, uint number)
    {
        Errno error = IoasidFile.TryGet(caller, descriptor, number, out IoasidContext? context);
        if (error != Errno.Success)
        {
            return error;
        }

        error = Allow(context!);
        context!.Ioasid.Put();
        return error;
    }

    private Errno Allow(IoasidContext context)
    {
        int bits = Math.Min(device.PasidBits, device.Iommu.Capabilities.PasidBits);
        uint pasid = context.Ioasid.Pasid.Value;
        if (bits == 0 || pasid >> bits != 0)
        {
            return bits == 0 ? Errno.NotSupported : Errno.Overflow;
        }

        using (_lock.Acquire())
        {
            if (_entries.TryGetValue(pasid, out IoasidDeviceEntry? old))
            {
                // Of an IOASID that has ended, and is parked for this reference.
                return old.Context == context ? Errno.Exists : Errno.Busy;
            }

            // A user first and in the IOMMU afterwards: no end of its life can miss the device.
            IoasidDeviceEntry entry = new(context, device);
            Errno error = context.Ioasid.TryAddUser(entry);
            if (error != Errno.Success)
            {
                return error;
            }

            error = context.Attach(entry);
            if (error != Errno.Success)
            {
                _ = context.Ioasid.RemoveUser(entry);
                return error;
            }

            _entries.Add(pasid, entry);
            return Errno.Success;
        }
    }

    private Errno Disallow(uint pasid)
    {
        using (_lock.Acquire())
        {
            if (!_entries.TryGetValue(pasid, out IoasidDeviceEntry? entry))
            {
                return Errno.NoEntry;
            }

            Errno error = entry.Context.Ioasid.RemoveUser(entry);
            if (error is Errno.Success or Errno.NoEntry)
            {
                _ = _entries.Remove(pasid);
                return Errno.Success;
            }

            return error;
        }
    }

    private Errno List(KernelProcess caller, ref IoasidDeviceListArgument list)
    {
        uint[] numbers = Numbers(all: false);
        int fits = (int)Math.Min((uint)numbers.Length, list.Count);
        list.Count = (uint)numbers.Length;
        Errno error = fits == 0
            ? Errno.Success
            : caller.Memory.Write(list.Ioasids, MemoryMarshal.AsBytes(numbers.AsSpan(0, fits)));
        return error != Errno.Success ? error : fits < numbers.Length ? Errno.MessageTooLong : Errno.Success;
    }

    private uint[] Numbers(bool all)
    {
        using (_lock.Acquire())
        {
            return [.. _entries.Where(entry => all || entry.Value.Context.Ioasid.IsLive).Select(static entry => entry.Key)];
        }
    }
}

/// <summary>A device's use of an IOASID, with a reference: part of its drain.</summary>
internal sealed class IoasidDeviceEntry(IoasidContext context, IommuDevice device) : IPasidDrain
{
    /// <summary>The IOASID.</summary>
    public IoasidContext Context => context;

    /// <summary>The device, as the core knows it.</summary>
    public IommuDevice Device => device;

    /// <summary>Whether the IOMMU must not get it any more. Under the context's lock.</summary>
    public bool IsStopped { get; set; }

    /// <inheritdoc/>
    public string Name => string.Create(CultureInfo.InvariantCulture, $"device {device.Name}");

    /// <summary>
    /// The device's queues take nothing new; then the IOMMU does not know the PASID any more (S1.8), which waits for
    /// translations, translation caches and page requests.
    /// </summary>
    public Errno Stop(Ioasid ioasid)
    {
        Errno error = device.PasidDevice?.Stop(ioasid) ?? Errno.Success;
        return error == Errno.Success ? context.Detach(this) : error;
    }

    /// <summary>What is left is what the device has accepted and is working on.</summary>
    public bool IsDrained(Ioasid ioasid, out string? holds)
    {
        holds = null;
        return device.PasidDevice?.IsDrained(ioasid, out holds) ?? true;
    }
}
