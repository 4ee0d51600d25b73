using System.CommandLine;
using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Exec;
using Ioasis.Machines;
using Ioasis.Primitives;
using Ioasis.VfioUser;
using Ioasis.VfioUser.Qemu;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis serve</c>: offers the functions of a machine to other processes, over vfio-user.</summary>
internal static class ServeCommand
{
    private const string SocketKey = "socket";

    /// <summary>Makes the command.</summary>
    public static Command Create(CliEnvironment environment)
    {
        Option<string?> machine = new("--machine")
        {
            HelpName = "FILE",
            Description = "The machine: the functions that have a model of a device ('device: nvme') are served.",
        };
        Option<string[]> device = new("--device")
        {
            HelpName = "KIND[,KEY=VALUE]...",
            Description = $"A function to serve: {string.Join(", ", Kinds().All.Select(static kind => kind.Name))}. "
                + "socket=PATH is its socket; addr=0000:00:03.0 its place, where the client must put it too if an IOMMU is before it.",
            AllowMultipleArgumentsPerToken = false,
        };
        Option<string?> folder = new("--socket-dir")
        {
            HelpName = "DIR",
            Description = "Where the sockets of functions are that have none of their own: NAME.sock, or ADDRESS.sock without a name.",
        };
        Option<bool> doorbells = new("--map-doorbells")
        {
            Description = "Let clients map doorbells: no message for each, but a thread for each device that looks at them.",
        };
        Option<string?> log = new("--dma-log")
        {
            HelpName = "FILE",
            Description = "Log each page that a function accesses through an IOMMU of ours, and its commands and faults, for 'ioasis run --dma FILE'.",
        };
        Command command = new("serve", "Serves the functions of a machine to other processes (QEMU's vfio-user-pci, say) over vfio-user, until it is ended by a signal.")
        {
            machine, device, folder, doorbells, log,
        };
        command.SetAction(parsed => Serve(
            parsed.GetValue(machine),
            parsed.GetValue(device) ?? [],
            new(parsed.GetValue(folder), parsed.GetValue(doorbells), parsed.GetValue(log)),
            environment));
        return command;
    }

    private static DeviceKinds Kinds()
    {
        DeviceKinds kinds = DeviceKinds.CreateDefault();
        kinds.Add(RiscVIommuFunction.Kind);
        kinds.Add(QemuDevice.Kind);
        kinds.AddMachineKey(new(SocketKey, "the path of its socket"));
        return kinds;
    }

    private sealed record Place(DeviceId Id, PciDevice Device, string? Socket, string? Name, int Iommu);

    private sealed record Manner(string? Folder, bool MapDoorbells, string? LogPath);

    private static int Serve(string? file, string[] devices, Manner manner, CliEnvironment environment)
    {
        if (OutputFile.Problem(manner.LogPath) is { } problem)
        {
            return Refuse(problem, environment);
        }

        if (ExecMachine.TryRead(file, null, devices, out ExecOptions? options, Kinds()) is { } error)
        {
            return Refuse(error, environment);
        }

        // Ended after the machine, which writes to it.
        using StreamWriter? log = manner.LogPath is { } path and not "-" ? new(path) : null;
        using ServedMachine machine = new(new()
        {
            MapDoorbells = manner.MapDoorbells,
            Accesses = manner.LogPath is null ? null : new AccessLog(log ?? environment.Error),
            Logger = new TextLogger(environment.Error),
        });
        string? wrong = null;
        foreach (Place place in PlacesOf(options!))
        {
            string name = place.Name ?? place.Id.ToString();
            string? socket = place.Socket ?? (manner.Folder is null ? null : Path.Combine(manner.Folder, name + ".sock"));
            if (socket is null || name.Contains('/', StringComparison.Ordinal))
            {
                wrong ??= socket is null ? $"{place.Id} has no socket: {SocketKey}=PATH or --socket-dir says where." : $"{name} is no name for a socket.";
            }

            // The machine has it in any case, and ends it.
            _ = machine.Add(place.Device, place.Id, socket ?? name, place.Iommu);
        }

        wrong ??= machine.Functions.Count == 0 ? "there is no function to serve: --device or a machine file with 'device:' says which." : null;
        return wrong is null ? Run(machine, environment) : Refuse(wrong, environment);
    }

    private static IEnumerable<Place> PlacesOf(ExecOptions options)
    {
        foreach (MachineFunction function in options.File?.Functions ?? [])
        {
            if (options.FileDevices.TryGetValue(function.Function.Id, out PciDevice? device))
            {
                yield return new(function.Function.Id, device, null, function.Name, function.Iommu);
            }
        }

        foreach (ExecDevice device in options.Devices)
        {
            yield return new(
                device.Id, device.Device, device.Location.Others.GetValueOrDefault(SocketKey), device.Location.Name, device.Location.Iommu);
        }
    }

    private static int Run(ServedMachine machine, CliEnvironment environment)
    {
        using ManualResetEventSlim end = new();
        void End(PosixSignalContext context)
        {
            context.Cancel = true;
            end.Set();
        }

        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, End);
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, End);
        try
        {
            machine.Start();
        }
        catch (InvalidOperationException e)
        {
            return Refuse(e.Message, environment);
        }

        foreach (ServedFunction function in machine.Functions)
        {
            environment.Out.WriteLine($"{function.Id} {function.SocketPath}");
        }

        // Whoever started this waits for this line.
        environment.Out.WriteLine("serving");
        environment.Out.Flush();
        end.Wait();
        foreach (ServedFunction function in machine.Functions)
        {
            foreach (DeviceMisdeed misdeed in (function.Device as IMisbehavingDevice)?.Misdeeds ?? [])
            {
                environment.Out.WriteLine($"{function.Id} did wrong, at {misdeed.Number}: {misdeed.What}");
            }
        }

        environment.Out.Flush();
        return ExitStatus.Ok;
    }

    private static int Refuse(string error, CliEnvironment environment)
    {
        environment.Error.WriteLine($"ioasis: {error}");
        return ExitStatus.BadInput;
    }
}
