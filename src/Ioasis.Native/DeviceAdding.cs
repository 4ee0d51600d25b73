using Ioasis.Devices;
using Ioasis.Devices.Network;
using Ioasis.Embedded;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>Where a device of a caller is to be, and how it is called.</summary>
internal readonly record struct DevicePlace(DeviceId? Id, string? Name, int? Group, int PasidBits, int Iommu = 0)
{
    /// <summary>Reads it from what a text says of the machine.</summary>
    public static DevicePlace Of(DeviceLocation location, int pasidBits = 0) =>
        new(location.Address, location.Name, location.Group, pasidBits, location.Iommu);

    /// <summary>Reads it from the options of a device in C.</summary>
    public static Failure? Read(in DeviceOptions options, out DevicePlace place)
    {
        place = default;
        string? name = null;
        if (options.Name != 0 && CallerMemory.ReadText(options.Name, NameLimit, out name) is not Errno.Success and var error)
        {
            return error == Errno.BadAddress
                ? Failure.BadAddress("options.name", options.Name)
                : new(Errno.InvalidArgument, $"options.name is longer than {NameLimit - 1} bytes");
        }

        DeviceId? id = null;
        if (options.Address != 0)
        {
            if (CallerMemory.ReadText(options.Address, NameLimit, out string address) == Errno.BadAddress)
            {
                return Failure.BadAddress("options.address", options.Address);
            }

            if (!DeviceId.TryParse(address, out DeviceId parsed))
            {
                return new(Errno.InvalidArgument, $"options.address is \"{address}\": [DDDD:]BB:DD.F in hexadecimal digits is expected");
            }

            id = parsed;
        }

        place = new(id, string.IsNullOrEmpty(name) ? null : name, null, 0);
        return null;
    }

    private const int NameLimit = 64;
}

/// <summary>Adds devices to a platform: all or nothing, and one at a time, so that free addresses are given once.</summary>
internal static class DeviceAdding
{
    /// <summary>Adds a function, or a device without registers.</summary>
    public static Failure? Add(
        NativePlatform platform, in DevicePlace place, PciDevice? function, out NativeDevice? device, Action? end)
    {
        device = null;
        lock (platform.DeviceLock)
        {
            DeviceId id = place.Id ?? FindFree(platform);
            if (platform.Machine.Subsystem.Devices.Any(other => other.Id == id))
            {
                return new(Errno.Exists, $"address {id} is taken");
            }

            if (place.Iommu >= platform.Machine.Iommus.Count)
            {
                return new(Errno.InvalidArgument, $"iommu is {place.Iommu}: the platform has {platform.Machine.Iommus.Count}");
            }

            EmbeddedEndpointOptions options = new() { Name = place.Name, GroupId = place.Group, PasidBits = place.PasidBits, Iommu = place.Iommu };
            NativeDevice added = new(platform, function, end);
            added.Handle = HandleTable.Add(added);
            if (function is CallbackDevice callbacks)
            {
                // Before it is on the machine: from then on a driver may find it.
                callbacks.Handle = added.Handle;
            }

            Errno error = function is null
                ? platform.Machine.AddEndpointErrno(id, options, out EmbeddedEndpoint? endpoint)
                : platform.Machine.AddDeviceErrno(function, id, options, out endpoint);
            if (error != Errno.Success)
            {
                _ = HandleTable.Remove(added.Handle);
                return new(error, error switch
                {
                    Errno.Exists => $"the name \"{place.Name ?? id.ToString()}\" is taken",
                    Errno.NoSpace => "no addresses below 4 GiB are left for its registers",
                    _ => $"the IOMMU in front of {id} does not take it: no group {place.Group}, another segment, or no room",
                });
            }

            added.Endpoint = endpoint!;
            platform.Devices[endpoint!.Device.Name] = added;
            device = added;
            return null;
        }
    }

    /// <summary>Adds what a text describes.</summary>
    public static Failure? Add(NativePlatform platform, string text, out NativeDevice? device)
    {
        device = null;
        if (Kinds.TryCreate(text, out PciDevice? made, out DeviceLocation location) is { } wrong)
        {
            return new(Errno.InvalidArgument, wrong.TrimEnd('.'));
        }

        if (location.Name is { Length: 0 or > MostName } name)
        {
            made!.Dispose();
            return new(Errno.InvalidArgument, $"name is \"{name}\": 1 to {MostName} bytes are expected");
        }

        NamedDevice[] others = [.. from one in platform.Devices where one.Value.Function is not null select new NamedDevice(one.Value.Endpoint.Id, one.Key, one.Value.Function!)];
        if (DevicePeers.JoinOne(new(default, null, made!), others) is { } alone)
        {
            made!.Dispose();
            return new(Errno.InvalidArgument, alone.TrimEnd('.'));
        }

        // What only does DMA, by calls of this library, has no registers.
        BareDevice? bare = made as BareDevice;
        Failure? failure = Add(
            platform, DevicePlace.Of(location, bare?.PasidBits ?? 0), bare is null ? made : null, out device, bare is null ? made!.Dispose : null);
        if (failure is not null || bare is not null)
        {
            made!.Dispose();
        }

        return failure;
    }

    /// <summary>The kinds that a text can name: the library's own, and one without registers.</summary>
    public static DeviceKinds Kinds { get; } = MakeKinds();

    private const int MostName = 63;

    private static DeviceKinds MakeKinds()
    {
        DeviceKinds kinds = DeviceKinds.CreateDefault();
        kinds.Add(new(
            "dma",
            "a device without registers, whose DMA is its caller's",
            [new("pasid-bits", "bits of PASID that it can send, 0 to 20")],
            static settings => new BareDevice((int)settings.Number("pasid-bits", 0, 0, 20))));
        return kinds;
    }

    // Stands for a place without a model, while its text is read.
    private sealed class BareDevice(int pasidBits) : PciDevice(new() { VendorId = 0, DeviceId = 0 })
    {
        public int PasidBits => pasidBits;

        protected override ulong ReadRegister(int bar, ulong offset, int size) => 0;

        protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
        {
        }

        protected override void OnReset()
        {
        }
    }

    private static DeviceId FindFree(NativePlatform platform)
    {
        HashSet<DeviceId> used = [.. platform.Machine.Subsystem.Devices.Select(static device => device.Id)];
        for (int bus = 0; bus < 256; bus++)
        {
            for (int slot = 1; slot < 32; slot++)
            {
                DeviceId id = DeviceId.FromPci(0, bus, slot, 0);
                if (!used.Contains(id))
                {
                    return id;
                }
            }
        }

        return DeviceId.FromPci(0, 0, 1, 0);
    }
}
