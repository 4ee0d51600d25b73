using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>An ordinary VFIO driver of virtio-blk and virtio-net in C (<c>examples/foreign-driver/virtio.c</c>), behind both IOMMUs.</summary>
public sealed class VirtioTests
{
    [Theory]
    [InlineData("riscv")]
    [InlineData("vtd")]
    public void A_driver_in_C_writes_a_disk_and_reads_it_again(string iommu) =>
        ShouldPrint(
            ["--iommu", iommu, "--device", "virtio-blk,size=1M"],
            ["0000:00:01.0"],
            "virtio-blk 2048 sectors\n");

    [Theory]
    [InlineData("riscv")]
    [InlineData("vtd")]
    public void A_driver_in_C_sends_frames_between_two_cards(string iommu) =>
        ShouldPrint(
            ["--iommu", iommu, "--device", "virtio-net,name=a,peer=b", "--device", "virtio-net,name=b"],
            ["0000:00:01.0", "0000:00:02.0"],
            "virtio-net 100 frames\n");

    [Fact]
    public void A_peer_that_is_not_there_is_named() =>
        ExternalProgram.Run(
            "dotnet", TimeSpan.FromMinutes(5), null, ExternalProgram.IoasisCommand, "exec", "--device", "virtio-net,peer=nobody", "--", "true")
            .Errors.ShouldContain("peer=nobody");

    private static void ShouldPrint(string[] options, string[] arguments, string text)
    {
        ExecRun run = Programs.ExecuteOn(options, [Programs.Build("virtio.c"), .. arguments]).ShouldEnd(0);
        run.Ended.Output.ShouldBe(text);
        run.Summary!.Value.GetProperty("faults").GetInt64().ShouldBe(0);
    }
}
