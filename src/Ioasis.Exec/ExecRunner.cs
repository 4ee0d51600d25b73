using System.Collections;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Embedded.Sanitizing;
using Ioasis.Exec.Sanitizing;
using Ioasis.Machines;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ioasis.Exec;

/// <summary>A device that a program shall find.</summary>
/// <param name="Id">Where it is.</param>
/// <param name="Device">What it is; on no platform yet.</param>
/// <param name="Options">Properties that are the machine's.</param>
internal sealed record ExecDevice(DeviceId Id, PciDevice Device, EmbeddedEndpointOptions Options)
{
    /// <summary>What its text said of its place.</summary>
    public DeviceLocation Location { get; init; } = new();
}

/// <summary>What <see cref="ExecRunner"/> runs, and on which machine.</summary>
internal sealed record ExecOptions
{
    /// <summary>The program, found by <c>PATH</c>, and its arguments.</summary>
    public IReadOnlyList<string> Program { get; init; } = [];

    /// <summary>The machine's file; its IOMMUs must be those of <see cref="Machine"/>. Null for none.</summary>
    public MachineFile? File { get; init; }

    /// <summary>The models of devices in the places of the file's functions.</summary>
    public IReadOnlyDictionary<DeviceId, PciDevice> FileDevices { get; init; } = new Dictionary<DeviceId, PciDevice>();

    /// <summary>The devices beside those of the file, all at places of their own.</summary>
    public IReadOnlyList<ExecDevice> Devices { get; init; } = [];

    /// <summary>The machine; its clients' memory is the program's.</summary>
    public EmbeddedPlatformOptions Machine { get; init; } = new();

    /// <summary>What is reported of the program's DMA; null for nothing.</summary>
    public SanitizeOptions? Sanitize { get; init; }

    /// <summary>Where log lines go.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;
}

/// <summary>How a program ended, and what it did with devices.</summary>
internal sealed record ExecResult
{
    /// <summary>Its exit status; -1 if a signal ended it.</summary>
    public int ExitStatus { get; init; }

    /// <summary>The signal that ended it; 0 if none did.</summary>
    public int Signal { get; init; }

    /// <summary>Its processes, as far as they called or executed.</summary>
    public int Processes { get; init; }

    /// <summary>Its system calls that were answered here or looked at.</summary>
    public long Calls { get; init; }

    /// <summary>Mappings that it had not taken back when the last descriptor of their address space was closed.</summary>
    public long LeftMapped { get; init; }

    /// <summary>DMA that the IOMMU refused.</summary>
    public long Faults { get; init; }

    /// <summary>The first of these.</summary>
    public IReadOnlyList<IommuFault> FirstFaults { get; init; } = [];

    /// <summary>DMA to memory that the program had given to a device and then unmapped, replaced or left: it reached nothing.</summary>
    public long StaleDma { get; init; }

    /// <summary>The first of these.</summary>
    public IReadOnlyList<StaleDma> FirstStaleDma { get; init; } = [];

    /// <summary>What the program did wrong with DMA, the worst first; null if nobody looked (<see cref="ExecOptions.Sanitize"/>).</summary>
    public IReadOnlyList<DmaReport>? Mistakes { get; init; }

    /// <summary>What devices of <see cref="ExecOptions.Devices"/> did wrong on request.</summary>
    public IReadOnlyList<(DeviceId Device, DeviceMisdeed Misdeed)> Misdeeds { get; init; } = [];

    /// <summary>What our kernel still held when the program was gone: nothing, unless something leaks.</summary>
    public Kernel.KernelAudit Audit { get; init; }

    /// <summary>Gibibytes of the program that were still pinned when it was gone: 0, unless something leaks.</summary>
    public int PinnedGibibytes { get; init; }
}

/// <summary>Runs an unmodified program on a machine with our IOMMU and devices (docs/foreign-programs.md).</summary>
internal static class ExecRunner
{
    private const int FaultsToKeep = 64;

    // Where the program's pages are in physical memory: 64 TiB, from 2^50 on: within the 52 bits that every kind of IOMMU reaches. A gibibyte whose
    // pages were replaced while they were mapped takes a place for each time.
    internal const ulong PagesStart = 1ul << 50;
    internal const int PagesGranules = 65536;

    /// <summary>Ends this process by a signal, as it ended the program.</summary>
    public static void EndBySignal(int signal) => SignalEnd.Raise(signal);

    /// <summary>Whether a machine for a program can be here.</summary>
    /// <returns>Null, or a sentence that says what is missing.</returns>
    internal static string? FindObstacle() =>
        !OperatingSystem.IsLinux() || System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture
            != System.Runtime.InteropServices.Architecture.X64
            ? "exec needs Linux on x86-64."
            : null;

    /// <summary>Runs a program to its end.</summary>
    /// <param name="options">What and on which machine.</param>
    /// <param name="result">How it ended.</param>
    /// <returns>Null, or a sentence that says why it could not be run.</returns>
    public static string? Run(ExecOptions options, out ExecResult? result)
    {
        ArgumentNullException.ThrowIfNull(options);
        result = null;
        if (options.Program.Count == 0)
        {
            throw new ArgumentException("There is no program to run.", nameof(options));
        }

        if (FindObstacle() is { } obstacle)
        {
            return obstacle;
        }

        ProgramPages pages = new(PagesStart, PagesGranules);
        using EmbeddedPlatform platform = new(options.Machine with { PhysicalMemory = own => new MachineMemory(own, pages) });
        string? problem = ViewedDevices.TryAdd(options, platform, out List<ViewedDevice> viewed);
        if (problem is not null)
        {
            return problem;
        }

        using ViewTree tree = ViewTree.Create(viewed);
        ProgramSanitizer? sanitizer = options.Sanitize is { } sanitize ? new(platform, pages, sanitize) : null;
        problem = Supervisor.TryCreate(tree, platform, pages, sanitizer, options.Logger, out Supervisor? supervisor);
        if (problem is not null)
        {
            return problem;
        }

        int status;
        try
        {
            List<string> environment = [];
            foreach (DictionaryEntry entry in Environment.GetEnvironmentVariables())
            {
                environment.Add($"{entry.Key}={entry.Value}");
            }

            if (sanitizer is not null && ProgramSanitizer.AsksForManagedMethods)
            {
                environment.Add($"{ManagedMethods.Variable}={ManagedMethods.MapOnly}");
            }

            Tracer.AdoptOrphans();
            problem = Launcher.Start(options.Program, environment, supervisor!.Serve, out int process);
            if (problem is not null)
            {
                return problem;
            }

            sanitizer?.Program = process;
            status = supervisor.Tracer.Run(process);
            supervisor.WaitForEnd();
        }
        finally
        {
            supervisor!.Dispose();
        }

        IReadOnlyList<DmaReport>? mistakes = sanitizer?.Finish();
        List<IommuFault> faults = [.. sanitizer?.Faults ?? []];
        while (faults.Count < FaultsToKeep && platform.TryDequeueFault(out IommuFault fault))
        {
            faults.Add(fault);
        }

        int signal = status & 0x7f;
        result = new()
        {
            ExitStatus = signal == 0 ? (status >> 8) & 0xff : -1,
            Signal = signal,
            Processes = supervisor.ProcessCount,
            Calls = supervisor.CallCount,
            LeftMapped = supervisor.LeftMapped,
            Faults = platform.FaultCount,
            FirstFaults = faults,
            StaleDma = pages.StaleCount,
            FirstStaleDma = pages.FirstStale,
            Mistakes = mistakes,
            Misdeeds =
            [
                .. from device in options.Devices
                   let wrong = device.Device as IMisbehavingDevice
                   where wrong is not null
                   from misdeed in wrong.Misdeeds
                   select (device.Id, misdeed),
            ],
            Audit = platform.Audit,
            PinnedGibibytes = pages.Used,
        };
        return null;
    }
}
