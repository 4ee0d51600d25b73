namespace Ioasis.Lab.Recordings.Tests;

/// <summary>What the kernel's own events say, from boot on.</summary>
public sealed class KernelEventTests
{
    /// <summary>Options of lab/record, accesses that the log must have at least, and whether faults were provoked.</summary>
    public static TheoryData<string, int, bool> Machines { get; } = MakeMachines();

    [Theory]
    [MemberData(nameof(Machines))]
    public void What_Linux_does_now_replays_without_a_mismatch(string machine, int accesses, bool faults)
    {
        FreshRecording recording = FreshRecording.Of(machine, ".ftrace.txt");

        recording.ShouldHold(accesses);
        recording.MappedDevices.ShouldBeGreaterThanOrEqualTo(machine.Contains("--model ioasis", StringComparison.Ordinal) ? 2 : 3);
        recording.Checked("logged fault faults").ShouldBe(recording.Logged("faulted in the recording"));
        (recording.Checked("logged fault faults") > 0).ShouldBe(faults);
    }

    private static TheoryData<string, int, bool> MakeMachines()
    {
        TheoryData<string, int, bool> machines = new()
        {
            { "--iommu intel --workload mixed --seed 11", 10_000, false },
            { "--iommu amd --workload faults --seed 12 --bridge", 200, true },
            { "--arch arm64 --disk ahci --workload faults --seed 14", 200, true },
        };
        if (string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal))
        {
            machines.Add("--kernel 6.12 --disk ahci,virtio-scsi --workload light --seed 13", 2_000, false);
            machines.Add("--iommu intel --workload mixed --seed 15 --strict --bridge", 10_000, false);
            machines.Add("--iommu intel --workload faults --seed 16", 200, true);
            machines.Add("--iommu amd --workload mixed --seed 17", 10_000, false);

            // Our own IOMMU and disks, over vfio-user; the log is our model's. A kernel is built for it.
            machines.Add("--arch riscv64 --model ioasis --seed 19", 2_000, false);
            machines.Add("--arch riscv64 --model ioasis --seed 20 --strict", 2_000, false);
            machines.Add("--kernel 6.12 --arch arm64 --disk usb --workload mixed --seed 18 --bridge", 5_000, false);
        }

        return machines;
    }
}
