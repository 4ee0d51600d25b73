using System.IO.Compression;
using Ioasis.Testing;

namespace Ioasis.Lab.Recordings.Tests;

/// <summary>
/// What <c>ioasis record</c> recorded inside the guest. On every kernel, also on those that have no event that names a map's
/// device, each map and unmap has its device; and the machine is as it was (lab/record looks).
/// </summary>
/// <remarks>Two classes, so that two guests run side by side.</remarks>
public abstract class RecorderSuite
{
    private protected static void EveryMapHasItsDeviceAndEveryCheckHolds(string machine, int accesses)
    {
        FreshRecording recording = FreshRecording.Of("--recorder ioasis " + machine, ".ioasis");

        recording.ShouldHold(accesses);
        // Probes are breakpoints, which no interrupt comes into: none is missed, however slow the machine.
        MissedProbes(recording.Report.Inputs[0].Path).ShouldBeEmpty();
        recording.Report.Attribution.MapsWithoutEvidence.ShouldBe(0);
        recording.Report.Attribution.UnmapsWithoutEvidence.ShouldBe(0);

        // The disks and both network cards, at least.
        int disks = machine.Split(' ').SkipWhile(static word => word != "--disk").ElementAt(1).Split(',').Length;
        recording.MappedDevices.ShouldBeGreaterThanOrEqualTo(disks + 2);
    }

    // "# ioasis missed probe=NAME hits=H misses=M", at the recording's end.
    private static string[] MissedProbes(string path)
    {
        using StreamReader lines = new(new GZipStream(File.OpenRead(path), CompressionMode.Decompress));
        return [.. lines.ReadToEnd().Split('\n').Where(static line => line.StartsWith("# ioasis missed ", StringComparison.Ordinal))];
    }
}

/// <summary>The recorder on kernels that have no event for a map's device, and where it starts late.</summary>
public sealed class OldKernelRecorderTests : RecorderSuite
{
    /// <summary>Options of lab/record, and accesses that the log must have at least.</summary>
    public static TheoryData<string, int> Machines { get; } = MakeMachines();

    [Theory]
    [MemberData(nameof(Machines))]
    public void Every_map_has_its_device_and_every_check_holds(string machine, int accesses) => EveryMapHasItsDeviceAndEveryCheckHolds(machine, accesses);

    private static TheoryData<string, int> MakeMachines()
    {
        TheoryData<string, int> machines = new()
        {
            { "--kernel 6.1 --disk ahci,usb --workload light --seed 21", 2_000 },
            { "--kernel 6.1 --disk nvme,virtio-scsi --iommu amd --late --workload light --seed 25", 2_000 },
        };
        if (ExplorerOptions.All)
        {
            machines.Add("--kernel 6.1 --arch arm64 --disk ahci,usb --workload mixed --seed 26", 5_000);
        }

        return machines;
    }
}

/// <summary>The recorder on later kernels.</summary>
public sealed class RecorderTests : RecorderSuite
{
    /// <summary>Options of lab/record, and accesses that the log must have at least.</summary>
    public static TheoryData<string, int> Machines { get; } = MakeMachines();

    [Theory]
    [MemberData(nameof(Machines))]
    public void Every_map_has_its_device_and_every_check_holds(string machine, int accesses) => EveryMapHasItsDeviceAndEveryCheckHolds(machine, accesses);

    private static TheoryData<string, int> MakeMachines()
    {
        TheoryData<string, int> machines = new()
        {
            { "--kernel 6.12 --disk ahci,usb --iommu amd --workload light --seed 22", 2_000 },
            { "--arch arm64 --disk nvme --workload light --seed 24", 2_000 },
        };
        if (ExplorerOptions.All)
        {
            machines.Add("--kernel 7.2 --disk ahci,usb --bridge --strict --workload light --seed 23", 2_000);
            machines.Add("--kernel 6.12 --disk nvme,ahci,usb,virtio-scsi --bridge --workload mixed --seed 27", 10_000);
            machines.Add("--kernel 7.2 --disk nvme,virtio-scsi --iommu amd --late --workload mixed --seed 28", 10_000);
        }

        return machines;
    }
}
