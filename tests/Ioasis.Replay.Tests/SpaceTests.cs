using System.Text;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Tests;

/// <summary>Traces of kernels that name no device: IOVA spaces told apart, and never all of them in one.</summary>
public sealed class SpaceTests
{
    [Fact]
    public void The_same_iova_twice_at_once_is_two_spaces_and_each_unmap_ends_its_own()
    {
        StringBuilder text = new();
        text.Append(Trace.MapLine("a-1", 0, 1.0, 0xfffff000, 0x1000, 0x10000));
        text.Append(Trace.MapLine("b-2", 1, 1.1, 0xfffff000, 0x1000, 0x20000));
        text.Append(Trace.MapLine("a-1", 0, 1.2, 0xffffe000, 0x1000, 0x30000));
        text.Append(Trace.MapLine("b-2", 1, 1.3, 0xffffd000, 0x1000, 0x40000));
        text.Append(Trace.UnmapLine("a-1", 0, 1.4, 0xffffe000, 0x1000));
        text.Append(Trace.UnmapLine("b-2", 1, 1.5, 0xffffd000, 0x1000));
        text.Append(Trace.UnmapLine("b-2", 1, 1.6, 0xfffff000, 0x1000));
        text.Append(Trace.UnmapLine("a-1", 0, 1.7, 0xfffff000, 0x1000));

        ReplayReport report = Replay(text.ToString());

        report.Devices.Select(d => $"{d.Name} +{d.Maps} -{d.Unmaps}").ShouldBe(["space 1 +2 -2", "space 2 +2 -2"]);
        report.Attribution.Spaces.ShouldBe(2);
        report.Attribution.Ways.ShouldBe([new("inferred", 4, 4)]);
        report.Mappings.NeverUnmapped.ShouldBe(0);
        report.Oddities.ShouldNotContain(o => o.Name.Contains("over a live", StringComparison.Ordinal));
    }

    [Fact]
    public void Devices_that_drivers_set_up_one_after_the_other_come_apart()
    {
        // Each driver maps from the top of its own space, as Linux hands out IOVAs; then they work side by side.
        StringBuilder text = new();
        double time = 1;
        string[] tasks = ["ahci-10", "usb-20", "net-30"];
        for (int device = 0; device < tasks.Length; device++)
        {
            for (ulong i = 0; i < 4; i++)
            {
                text.Append(Trace.MapLine(tasks[device], 0, time += 0.001, 0xfffff000 - (i << 12), 0x1000, 0x100000 + ((ulong)device << 16) + (i << 12)));
            }
        }

        for (int round = 0; round < 50; round++)
        {
            for (int device = 0; device < tasks.Length; device++)
            {
                ulong iova = 0xffff0000 - ((ulong)device << 16);
                text.Append(Trace.MapLine(tasks[device], 0, time += 0.001, iova, 0x1000, 0x100000));
                text.Append(Trace.UnmapLine(tasks[device], 0, time += 0.001, iova, 0x1000));
            }
        }

        ReplayReport report = Replay(text.ToString());

        report.Devices.Select(d => $"{d.Name} +{d.Maps} -{d.Unmaps}").ShouldBe(["space 1 +54 -50", "space 2 +54 -50", "space 3 +54 -50"]);
    }

    [Fact]
    public void The_only_device_that_is_attached_owns_what_no_event_names()
    {
        string text = "       swapper/0-1       [000] .....     0.500000: add_device_to_group: IOMMU: groupID=0 device=0000:00:02.0\n"
            + "       swapper/0-1       [000] .....     0.600000: attach_device_to_domain: IOMMU: device=0000:00:02.0\n"
            + Trace.MapLine("a-1", 0, 1.0, 0xfffff000, 0x1000, 0x10000) + Trace.UnmapLine("a-1", 0, 1.4, 0xfffff000, 0x1000);

        ReplayReport report = Replay(text);

        report.Devices.ShouldHaveSingleItem().Name.ShouldBe("0000:00:02.0");
        report.Attribution.Ways.ShouldBe([new("only device", 1, 1)]);
    }

    [Fact]
    public void A_probe_tells_the_domain_and_an_attach_whose_it_is()
    {
        string text = "# ioasis recording 1\n# ioasis kernel 6.1.0 x86_64\n# ioasis group 3 type=DMA\n# ioasis device 0000:00:02.0 group=3\n"
            + "# ioasis domain 0xffff888100000010 group=3 type=DMA default\n# ioasis begin\n# tracer: nop\n"
            + Line("a-1", 0.9, "ioasis_map: (iommu_map+0x4/0x90) domain=0xffff888100000010 type=3 iova=0xfffff000 paddr=0x10000 size=0x1000")
            + Trace.MapLine("a-1", 0, 1.0, 0xfffff000, 0x1000, 0x10000)
            + Line("a-1", 1.05, "ioasis_attach: (__iommu_attach_device+0x4/0x90) domain=0xffff888100000020 type=3 dev=\"0000:00:03.0\"")
            + Line("b-2", 1.1, "ioasis_map_sg: (iommu_map_sg+0x4/0x90) domain=0xffff888100000020 type=3 iova=0xfffff000")
            + Trace.MapLine("b-2", 0, 1.2, 0xfffff000, 0x1000, 0x20000)
            + Line("a-1", 1.3, "ioasis_unmap_fast: (iommu_unmap_fast+0x4/0x90) domain=0xffff888100000010 type=3 iova=0xfffff000 size=0x1000")
            + Trace.UnmapLine("a-1", 0, 1.4, 0xfffff000, 0x1000)
            + "# ioasis end reason=command events=6 status=0\n";

        ReplayReport report = Replay(text);

        report.Devices.Select(d => $"{d.Name} +{d.Maps} -{d.Unmaps}").ShouldBe(["0000:00:02.0 +1 -1", "0000:00:03.0 +1 -0"]);
        report.Attribution.Ways.ShouldBe([new("probe", 2, 1)]);
        report.Inputs[0].WasCutOff.ShouldBeFalse();
        Replay(text[..text.IndexOf("# ioasis end", StringComparison.Ordinal)]).Inputs[0].WasCutOff.ShouldBeTrue();
    }

    [Fact]
    public void A_breakpoint_in_an_interrupt_is_told_from_the_call_that_the_interrupt_came_to_by_the_stack()
    {
        // A breakpoint's event has the flags of a non-maskable interrupt wherever it is: Z. Two devices share domain 10, one has 20.
        const string first = "domain=0xffff888100000010 type=11";
        const string second = "domain=0xffff888100000020 type=11";
        string text = "# ioasis recording 1\n# ioasis kernel 6.1.0 x86_64\n# ioasis group 3 type=DMA\n# ioasis device 0000:00:02.0 group=3\n"
            + "# ioasis device 0000:00:02.1 group=3\n# ioasis group 4 type=DMA\n# ioasis device 0000:00:03.0 group=4\n"
            + "# ioasis domain 0xffff888100000010 group=3 type=DMA default\n# ioasis domain 0xffff888100000020 group=4 type=DMA default\n"
            + "# ioasis begin\n# tracer: nop\n"

            // A map of the second function of the first group; into it comes an interrupt that maps the same IOVA for another device.
            + Break(1.00, "ioasis_dma_map_page: (f+0x5/0x90) dev=\"0000:00:02.1\" sp=0xffffc90000013f00")
            + Break(1.01, $"ioasis_map: (f+0x5/0x90) {first} iova=0xfffff000 paddr=0x10000 size=0x1000 sp=0xffffc90000013e80")
            + Break(1.02, "ioasis_dma_map_page: (f+0x5/0x90) dev=\"0000:00:03.0\" sp=0xffffc90000550f00")
            + Break(1.03, $"ioasis_map: (f+0x5/0x90) {second} iova=0xfffff000 paddr=0x20000 size=0x1000 sp=0xffffc90000550e80")
            + Trace.MapLine("a-1", 0, 1.04, 0xfffff000, 0x1000, 0x20000)
            + Trace.MapLine("a-1", 0, 1.05, 0xfffff000, 0x1000, 0x10000)

            // A list, and an interrupt on the same stack between its two maps.
            + Break(1.10, "ioasis_dma_map_sg: (f+0x5/0x90) dev=\"0000:00:02.0\" sp=0xffffc90000013f00")
            + Break(1.11, $"ioasis_map_sg_atomic: (f+0x5/0x90) {first} iova=0xffff0000 sp=0xffffc90000013e80")
            + Trace.MapLine("a-1", 0, 1.12, 0xffff0000, 0x1000, 0x30000)
            + Break(1.13, "ioasis_dma_unmap_page: (f+0x5/0x90) dev=\"0000:00:03.0\" sp=0xffffc90000013900")
            + Break(1.14, $"ioasis_unmap_fast: (f+0x5/0x90) {second} iova=0xfffff000 size=0x1000 sp=0xffffc90000013880")
            + Trace.UnmapLine("a-1", 0, 1.15, 0xfffff000, 0x1000)
            + Trace.MapLine("a-1", 0, 1.16, 0xffff1000, 0x2000, 0x50000)

            // After both, the first function unmaps what it has, and a map past the DMA API is the group's, not the last caller's.
            + Break(1.20, "ioasis_dma_unmap_sg: (f+0x5/0x90) dev=\"0000:00:02.0\" sp=0xffffc90000013f10")
            + Break(1.21, $"ioasis_unmap_fast: (f+0x5/0x90) {first} iova=0xffff0000 size=0x3000 sp=0xffffc90000013e90")
            + Trace.UnmapLine("a-1", 0, 1.22, 0xffff0000, 0x3000)
            + Break(1.30, "ioasis_dma_unmap_page: (f+0x5/0x90) dev=\"0000:00:02.1\" sp=0xffffc90000013f00")
            + Break(1.31, $"ioasis_unmap_fast: (f+0x5/0x90) {first} iova=0xfffff000 size=0x1000 sp=0xffffc90000013e80")
            + Trace.UnmapLine("a-1", 0, 1.32, 0xfffff000, 0x1000)
            + Break(1.40, $"ioasis_map: (f+0x5/0x90) domain=0xffff888100000010 type=1 iova=0x1000 paddr=0x60000 size=0x1000 sp=0xffffc90000013d80")
            + Trace.MapLine("a-1", 0, 1.41, 0x1000, 0x1000, 0x60000)
            + "# ioasis end reason=command events=22 status=0\n";

        ReplayReport report = Replay(text);

        report.Devices.Select(d => $"{d.Name} +{d.Maps} -{d.Unmaps}").ShouldBe(
            ["0000:00:02.0 +3 -1", "0000:00:02.1 +1 -1", "0000:00:03.0 +1 -1"], ignoreOrder: true);
        report.Attribution.Ways.ShouldBe([new("probe", 5, 3)]);
    }

    private static string Break(double time, string text) => Line("a-1", time, text).Replace(" ..... ", " d.Z1. ", StringComparison.Ordinal);

    private static ReplayReport Replay(string text)
    {
        KernelTrace trace = Recordings.Parse(text).Trace!;
        ReplayReport report = TraceReplayer.Run(trace, null, new() { Check = CheckLevel.All }, cancellationToken: TestContext.Current.CancellationToken);
        report.Checks.MismatchCount.ShouldBe(0);

        // Read and replayed piece by piece, it is the same.
        string path = Path.Combine(Directory.CreateTempSubdirectory("ioasis-space").FullName, "trace.txt");
        File.WriteAllText(path, text);
        ReplayReport streamed = TraceReplayer.Run(path, null, new() { Check = CheckLevel.All }, cancellationToken: TestContext.Current.CancellationToken);
        streamed.Checks.MismatchCount.ShouldBe(0);
        streamed.Devices.Select(d => (d.Name, d.Maps, d.Unmaps)).ShouldBe(report.Devices.Select(d => (d.Name, d.Maps, d.Unmaps)));
        streamed.Attribution.Ways.ShouldBe(report.Attribution.Ways);
        return report;
    }

    private static string Line(string task, double time, string text) =>
        string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{task,16}       [000] .....     {time:F6}: {text}\n");
}
