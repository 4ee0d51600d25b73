using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Devices.Network;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Machines;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>Makes a platform of <c>struct ioasis_platform_options</c>: of a machine file, of its text, or of nothing but an IOMMU.</summary>
internal static class MachineMaking
{
    private const int DefaultFaultCapacity = 65536;
    private const int MostText = (1 << 20) + 1;
    private const int MostPath = 4096;
    private const int MostKind = 1024;

    // In the order of IOASIS_CACHING_…
    private static readonly CachingMode[] s_caching = [CachingMode.Realistic, CachingMode.None, CachingMode.Hostile];

    /// <summary>How many ways of caching there are.</summary>
    public static int CachingModes => s_caching.Length;

    /// <summary>Makes it, with its devices.</summary>
    /// <returns>Null; or why there is none: then nothing was made.</returns>
    public static Failure? Make(in PlatformOptions wanted, out NativePlatform? platform)
    {
        platform = null;
        MachineFile? file = null;
        Failure? failure = ReadKind(wanted.Iommu, out IommuSlot? usual) ?? ReadMachine(wanted, usual!, out file);
        if (failure is not null)
        {
            return failure;
        }

        IReadOnlyDictionary<DeviceId, PciDevice> devices = new Dictionary<DeviceId, PciDevice>();
        EmbeddedPlatform? machine = null;
        try
        {
            devices = file?.CreateDevices(DeviceKinds.CreateDefault()) ?? devices;
            if (DevicePeers.Join(file?.NamesOf(devices) ?? []) is { } wrong)
            {
                throw new MachineFileException($"{file!.Name}: {wrong}");
            }

            machine = new(new()
            {
                Iommus = file?.Iommus ?? [usual!],
                Caching = s_caching[wanted.Caching],
                PinnedMemoryLimit = wanted.PinnedLimit == 0 ? null : (long)wanted.PinnedLimit,
                FaultCapacity = wanted.FaultCapacity == 0 ? DefaultFaultCapacity : (int)wanted.FaultCapacity,
            });
            IReadOnlyDictionary<DeviceId, EmbeddedEndpoint>? endpoints = file?.AddTo(machine, devices, useNames: true);
            NativePlatform made = new(machine);
            foreach (MachineFunction function in file?.Functions ?? [])
            {
                if (!function.Function.IsBridge)
                {
                    made.Take(endpoints![function.Function.Id], devices.GetValueOrDefault(function.Function.Id));
                }
            }

            platform = made;
            return null;
        }
        catch (Exception e) when (e is MachineFileException or ArgumentException or InvalidOperationException or IommuException)
        {
            machine?.Dispose();
            foreach (PciDevice device in devices.Values)
            {
                device.Dispose();
            }

            return new(Errno.InvalidArgument, e.Message.TrimEnd('.'));
        }
    }

    private static Failure? ReadKind(nint text, out IommuSlot? slot)
    {
        string kind = IommuSlot.Kinds.First();
        if (text != 0 && CallerMemory.ReadText(text, MostKind, out kind) == Errno.BadAddress)
        {
            slot = null;
            return Failure.BadAddress("options.iommu", text);
        }

        return IommuSlot.TryParse(kind, out slot, out string? error)
            ? null
            : new(Errno.InvalidArgument, $"options.iommu is \"{kind}\": {error}");
    }

    private static Failure? ReadMachine(in PlatformOptions wanted, IommuSlot usual, out MachineFile? machine)
    {
        machine = null;
        if (wanted.Machine != 0 && wanted.MachineFile != 0)
        {
            return new(Errno.InvalidArgument, "options.machine and options.machine_file are both given: one is possible");
        }

        try
        {
            if (wanted.Machine != 0)
            {
                Errno error = CallerMemory.ReadText(wanted.Machine, MostText, out string text);
                if (error != Errno.Success)
                {
                    return error == Errno.BadAddress
                        ? Failure.BadAddress("options.machine", wanted.Machine)
                        : new(Errno.InvalidArgument, $"options.machine is longer than {MostText - 1} bytes");
                }

                machine = MachineFile.Parse(new StringReader(text), "options.machine", usual);
            }
            else if (wanted.MachineFile != 0)
            {
                if (CallerMemory.ReadText(wanted.MachineFile, MostPath, out string path) != Errno.Success)
                {
                    return Failure.BadAddress("options.machine_file", wanted.MachineFile);
                }

                using StreamReader text = File.OpenText(path);
                machine = MachineFile.Parse(text, path, usual);
            }

            return null;
        }
        catch (MachineFileException e)
        {
            return new(Errno.InvalidArgument, e.Message.TrimEnd('.'));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            return new(
                e is FileNotFoundException or DirectoryNotFoundException or ArgumentException ? Errno.NoEntry
                    : e is UnauthorizedAccessException ? Errno.AccessDenied
                    : Errno.IoError,
                $"options.machine_file: {e.Message.TrimEnd('.')}");
        }
    }
}
