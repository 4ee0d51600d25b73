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

    // A namespace of users and of networks, where any user may have TAP interfaces; where the machine does not allow that, the refusal is in words.
    [Fact]
    public void A_driver_in_C_sends_frames_by_a_TAP_interface_and_by_a_packet_socket_on_it()
    {
        TimeSpan limit = TimeSpan.FromMinutes(10);
        string[] command = ["dotnet", ExternalProgram.IoasisCommand, "exec", "--device", "virtio-net,tap=ioasis0", "--device", "virtio-net,packet=ioasis0", "--"];
        if (ExternalProgram.Run("sh", limit, null, "-c", "unshare -Urn sh -c 'exec 3<>/dev/net/tun'").Status == 0)
        {
            ExternalProgram sent = ExternalProgram.Run(
                "unshare",
                limit,
                null,
                ["-Urn", .. command, Programs.Build("up.c"), "ioasis0", Programs.Build("virtio.c"), "0000:00:01.0", "0000:00:02.0"]);
            (sent.Status, sent.Output).ShouldBe((0, "virtio-net 100 frames\n"), sent.Describe());
            return;
        }

        ExternalProgram refused = ExternalProgram.Run("dotnet", limit, null, [.. command[1..], "true"]);
        (refused.Status == 0 || refused.Errors.Contains("cannot be", StringComparison.Ordinal)).ShouldBeTrue(refused.Describe());
    }

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
