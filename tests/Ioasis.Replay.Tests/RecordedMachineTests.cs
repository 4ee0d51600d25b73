using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Tests;

public sealed class RecordedMachineTests
{
    [Fact]
    public void The_machine_of_a_recording_is_read_line_by_line()
    {
        RecordedMachine machine = Read(
            "# ioasis recording 1",
            "# ioasis tool 0.1.0",
            "# ioasis kernel 6.1.0-50-amd64 x86_64 #1 SMP PREEMPT_DYNAMIC Debian",
            "# ioasis command-line quiet intel_iommu=on  iommu.strict=1",
            "# ioasis clock mono",
            "# ioasis started 2026-11-28T10:20:00Z",
            "# ioasis iommu dmar0 kind=intel",
            "# ioasis group 3 type=DMA-FQ",
            "# ioasis reserved 3 0x0-0xffffff direct-relaxable",
            "# ioasis reserved 3 0xfee00000-0xfeefffff msi",
            "# ioasis device 0000:00:02.0 group=3 iommu=dmar0 pci=8086:10d3 class=0x020000 driver=e1000e",
            "# ioasis device serial8250 group=4",
            "# ioasis domain 0xffff8881012a3010 group=3 type=DMA-FQ default",
            "# ioasis domain 0xffff888105550010 group=4 type=unmanaged",
            "# ioasis event iommu:map",
            "# ioasis probe ioasis_map p iommu_map",
            "# ioasis note iommu_map_sg could not be probed",
            "# ioasis begin");

        machine.IsPresent.ShouldBeTrue();
        machine.Version.ShouldBe(1);
        machine.HasBegun.ShouldBeTrue();
        (machine.Kernel, machine.Architecture, machine.Clock).ShouldBe(("6.1.0-50-amd64", "x86_64", "mono"));
        machine.CommandLine.ShouldBe("quiet intel_iommu=on  iommu.strict=1");
        machine.Iommus.ShouldBe([new("dmar0", "intel")]);
        RecordedGroup group = machine.Groups.ShouldHaveSingleItem();
        (group.Id, group.Type).ShouldBe((3, "DMA-FQ"));
        group.ReservedRegions.ShouldBe([new(0, 0xffffff, "direct-relaxable"), new(0xfee00000, 0xfeefffff, "msi")]);
        machine.Devices.Count.ShouldBe(2);
        machine.Devices[0].ShouldBe(new("0000:00:02.0", 3)
        {
            Iommu = "dmar0", PciId = "8086:10d3", PciClass = "0x020000", Driver = "e1000e",
        });
        machine.Domains.ShouldBe([new(0xffff8881012a3010, 3, "DMA-FQ", true), new(0xffff888105550010, 4, "unmanaged", false)]);
        machine.Events.ShouldBe(["iommu:map"]);
        machine.Probes.ShouldBe(["ioasis_map p iommu_map"]);
        machine.Notes.ShouldBe(["iommu_map_sg could not be probed"]);
        machine.End.ShouldBeNull();
    }

    [Fact]
    public void What_was_lost_and_how_it_ended_stands_after_the_events()
    {
        RecordedMachine machine = Read(
            "# ioasis recording 1",
            "# ioasis begin",
            "# ioasis lost cpu=1 events=123",
            "# ioasis missed probe=ioasis_map hits=9 misses=3",
            "# ioasis end reason=command events=4711 status=1");

        machine.LostEvents.ShouldBe(new Dictionary<int, long> { [1] = 123 });
        machine.Misses.ShouldBe([new("ioasis_map", 9, 3)]);
        machine.End.ShouldBe(new("command", 4711, 1));
    }

    [Fact]
    public void Only_the_recorders_lines_are_taken()
    {
        RecordedMachine machine = new();

        machine.TryLine("# tracer: nop"u8).ShouldBeFalse();
        machine.TryLine("# ioasis"u8).ShouldBeFalse();
        machine.TryLine("           dd-1  [000] .....  1.000000: map: IOMMU: iova=0x1000"u8).ShouldBeFalse();
        machine.IsPresent.ShouldBeFalse();
    }

    [Fact]
    public void Unknown_keys_and_broken_values_are_passed_over()
    {
        RecordedMachine machine = Read(
            "# ioasis recording 2 with-more",
            "# ioasis weather fine",
            "# ioasis group -3 type=DMA",
            "# ioasis reserved 3 0xff-0x1 msi",
            "# ioasis device 0000:00:02.0 color=blue group=x",
            "# ioasis domain ffff group=1",
            "# ioasis device 0000:00:03.0 color=blue group=5 driver=");

        machine.Version.ShouldBe(2);
        machine.Groups.ShouldBeEmpty();
        machine.Domains.ShouldBeEmpty();
        machine.Devices.ShouldBe([new("0000:00:03.0", 5)]);
    }

    [Fact]
    public void No_line_whatever_its_bytes_is_an_error() =>
        Prop.ForAll(
            Gen.Elements("group", "reserved", "device", "domain", "end", "lost", "missed", "kernel", "iommu", "begin", "recording", "?")
                .Zip(ArbMap.Default.GeneratorFor<byte[]>())
                .ToArbitrary(),
            static pair => new RecordedMachine().TryLine([.. Encoding.ASCII.GetBytes($"# ioasis {pair.Item1} "), .. pair.Item2]))
            .QuickCheckThrowOnFailure();

    private static RecordedMachine Read(params string[] lines)
    {
        RecordedMachine machine = new();
        foreach (string line in lines)
        {
            machine.TryLine(Encoding.UTF8.GetBytes(line)).ShouldBeTrue();
        }

        return machine;
    }
}
