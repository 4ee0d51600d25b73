using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

public sealed class SupervisorTests
{
    [Fact]
    public void What_a_killed_process_held_is_free_once_its_parent_knows_of_its_end() =>
        Programs.Execute(Programs.Build("killed.c")).ShouldEnd(0).Ended.Output.ShouldBe("free\n");

    [Fact]
    public void A_driver_in_C_runs_unmodified_by_group_and_by_iommufd_and_its_late_transfer_faults()
    {
        ExecRun run = Programs.Execute(Programs.Build("driver.c")).ShouldEnd(7);
        run.Ended.Output.ShouldBe("done\n");
        run.Summary!.Value.GetProperty("leftMapped").GetInt64().ShouldBe(0);
        run.Summary.Value.GetProperty("faults").GetInt64().ShouldBe(2);
        run.Summary.Value.GetProperty("firstFaults")[0].GetProperty("iova").GetString().ShouldBe("0x10000");
    }

    [Fact]
    public void A_static_program_runs_as_well() => Programs.Execute(Programs.Build("driver.c", "-static")).ShouldEnd(7);

    [Theory]
    [InlineData("dup")]
    [InlineData("fork")]
    [InlineData("pass")]
    [InlineData("memory")]
    [InlineData("epoll")]
    [InlineData("ioeventfd")]
    [InlineData("descriptors")]
    [InlineData("sysfs")]
    [InlineData("exec")]
    [InlineData("threads")]
    public void Descriptors_and_memory_behave_as_on_Linux(string feature) =>
        Programs.Execute(Programs.Build("features.c"), feature).ShouldEnd(0).Ended.Output.ShouldBe(feature + "\n");

    [Fact]
    public void Memory_that_is_taken_away_while_it_is_mapped_is_no_devices_and_transfers_to_it_are_told()
    {
        System.Text.Json.JsonElement summary = Programs.Execute(Programs.Build("features.c"), "taken").ShouldEnd(0).Summary!.Value;
        summary.GetProperty("staleDma").GetInt64().ShouldBe(12);
        summary.GetProperty("faults").GetInt64().ShouldBe(0);
        summary.GetProperty("firstStaleDma")[0].GetProperty("access").GetString().ShouldBe("write");
    }

    [Fact]
    public void Mapped_registers_act_at_each_access_whatever_instruction_thread_or_child_makes_it() =>
        Programs.Execute(Programs.Build("mapped.c")).ShouldEnd(128 + 11).Ended.Output.ShouldBe("mapped\n");

    [Fact]
    public void Registers_stay_the_devices_whatever_else_of_it_is_mapped() =>
        Programs.ExecuteOn(["--device", "virtio-blk"], Programs.Build("bars.c")).ShouldEnd(0).Ended.Output.ShouldBe("mapped\n");

    [Fact]
    public void A_store_of_64_bytes_reaches_the_device_at_once() =>
        Programs.ExecuteOn(["--device", "dsa"], Programs.Build("block.c")).ShouldEnd(0).Ended.Output.ShouldBe("copied\n");

    [Fact]
    [Trait("Requirement", "S1.13")]
    public void A_command_by_ENQCMD_goes_with_the_PASID_that_the_device_is_attached_with() =>
        Programs.ExecuteOn(["--device", "dsa"], Programs.Build("commands.c")).ShouldEnd(0).Ended.Output.ShouldBe("enqueued\n");

    [Fact]
    public void A_program_that_is_killed_in_the_middle_of_a_transfer_and_its_child_in_the_middle_of_a_map_leave_nothing() =>
        Programs.Execute(Programs.Build("features.c"), "killed").ShouldEnd(128 + 9)
            .Summary!.Value.GetProperty("leftMapped").GetInt64().ShouldBeGreaterThan(0);

    [Fact]
    public void Devices_stand_where_they_were_placed() =>
        Programs.ExecuteOn(
            ["--device", "edu,addr=0001:02:03.0", "--device", "edu"], "ls", "/sys/bus/pci/devices")
            .ShouldEnd(0).Ended.Output.ShouldBe("0000:00:01.0\n0001:02:03.0\n");

    [Fact]
    public void Everything_else_of_the_machine_is_as_it_is() =>
        Programs.Execute("sh", "-c", "exit $(ls /proc/self/fd >/dev/null && uname >/dev/null && echo 3)").ShouldEnd(3);

    [Fact]
    public void A_limit_on_the_size_of_files_is_the_programs_and_no_obstacle()
    {
        Testing.ExternalProgram run = Testing.ExternalProgram.Run(
            "bash", TimeSpan.FromMinutes(1), null, "-c", $"ulimit -f 8; DOTNET_EnableWriteXorExecute=0 dotnet {ExternalProgram.IoasisCommand} exec --device edu -- {Programs.Build("driver.c")}");
        run.Status.ShouldBe(7, run.Describe());
    }

    [Theory]
    [InlineData("edu,addr=nowhere", "addr=nowhere: [DDDD:]BB:DD.F")]
    [InlineData("toaster", "There is no device \"toaster\": edu")]
    [InlineData("edu,iommu=1", "iommu=1: the machine has 1, from 0")]
    public void A_device_that_cannot_be_is_refused_in_words(string device, string words)
    {
        ExecRun run = Programs.ExecuteOn(["--device", device], "true");
        run.Ended.Status.ShouldBe(2);
        run.Ended.Errors.ShouldContain(words);
    }

    [Fact]
    public void A_machine_file_says_which_devices_there_are()
    {
        string file = Path.Combine(Programs.Sources, "machine.yaml");
        File.WriteAllText(
            file,
            """
            iommus: [ { name: first, mode: sv39 }, { name: second } ]
            functions:
              - { id: "00:01.0", kind: integrated-endpoint, name: card, device: edu, iommu: second }
              - { id: "00:02.0", kind: root-port, bus: 1, acs: on }
              - { id: "01:00.0", device: edu }
            """);
        _ = Programs.ExecuteOn(["--machine", file], Programs.Build("driver.c")).ShouldEnd(7);
        Programs.ExecuteOn(["--machine", file, "--device", "edu"], "sh", "-c", "ls /sys/bus/pci/devices /sys/class/iommu").ShouldEnd(0).Ended.Output
            .ShouldBe("/sys/bus/pci/devices:\n0000:00:01.0\n0000:00:03.0\n0000:01:00.0\n\n/sys/class/iommu:\nfirst\nsecond\n");
    }

    [Theory]
    [InlineData("functions: [ { id: \"00:01.0\", device: toaster } ]", "machine.bad.yaml:1: 'device': There is no device \"toaster\"")]
    [InlineData("colour: red", "machine.bad.yaml")]
    public void A_machine_file_that_cannot_be_is_refused_with_its_line(string text, string words)
    {
        string file = Path.Combine(Programs.Sources, "machine.bad.yaml");
        File.WriteAllText(file, text);
        ExecRun run = Programs.ExecuteOn(["--machine", file], "true");
        run.Ended.Status.ShouldBe(2);
        run.Ended.Errors.ShouldContain(words);
    }

    [Fact]
    public void A_program_that_is_not_there_is_named()
    {
        ExecRun run = Programs.Execute("/no/such/program");
        run.Ended.Status.ShouldBe(2);
        run.Ended.Errors.ShouldContain("'/no/such/program' is not there");
    }
}
