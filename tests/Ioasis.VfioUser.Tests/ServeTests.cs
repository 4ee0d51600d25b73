using System.Diagnostics;
using Ioasis.Testing;

namespace Ioasis.VfioUser.Tests;

/// <summary>The command <c>ioasis serve</c>, as a process.</summary>
public sealed class ServeTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ioasis");

    /// <summary>The command that was built beside these tests, in words.</summary>
    public static string Command => $"dotnet exec {Path.Combine(AppContext.BaseDirectory, "ioasis.dll")}";

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void It_serves_every_function_of_a_machine_until_it_is_told_to_end()
    {
        string file = Path.Combine(_folder.FullName, "machine.yaml");
        File.WriteAllText(
            file,
            """
            functions:
              - { id: "00:03.0", name: teacher, device: edu }
              - { id: "00:04.0", device: "nvme,size=1M" }
              - { id: "00:05.0" }
            """);
        string own = Path.Combine(_folder.FullName, "own");
        using Process server = Start("--machine", file, "--socket-dir", _folder.FullName, "--device", $"edu,addr=06:00.0,socket={own}");
        IReadOnlyList<string> lines = AwaitServing(server);
        string[] paths = [Path.Combine(_folder.FullName, "teacher.sock"), Path.Combine(_folder.FullName, "0000:00:04.0.sock"), own];
        lines.ShouldBe([$"0000:00:03.0 {paths[0]}", $"0000:00:04.0 {paths[1]}", $"0000:06:00.0 {paths[2]}"]);
        foreach ((string path, ulong id) in paths.Zip((ulong[])[0x11e8_1234, 0x0010_1b36, 0x11e8_1234]))
        {
            using TestClient client = new(path);
            client.Read(TestClient.Config, 0, 4).ShouldBe(id);
            client.TryRead(8, 0, 4, out _).ShouldNotBe(Primitives.Errno.Success);
        }

        ExternalProgram.Run("kill", TimeSpan.FromMinutes(1), null, server.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)).Status.ShouldBe(0);
        string said = server.StandardError.ReadToEnd();
        server.WaitForExit();
        server.ExitCode.ShouldBe(0);
        paths.ShouldAllBe(static path => !File.Exists(path));
        said.ShouldContain("0000:00:03.0: a client has come");
        said.ShouldContain("RegionRead of 32 bytes is refused: InvalidArgument");
    }

    /// <summary>The tables of the IOMMU are in the memory of its client, as a guest's are: the controller gets what they say, and no more.</summary>
    [Fact]
    public unsafe void A_device_of_QEMUs_behind_the_iommu_reaches_what_the_clients_tables_say()
    {
        string image = Path.Combine(_folder.FullName, "disk.img");
        File.WriteAllBytes(image, new byte[1 << 20]);
        string file = Path.Combine(_folder.FullName, "machine.yaml");
        File.WriteAllText(
            file,
            $"""
            functions:
              - id: "00:02.0"
                name: disk
                device: "qemu,program={Lab.QemuX86},device=nvme,,drive=d0,,serial=ioasis-8,option=-drive if=none,,id=d0,,format=raw,,file={image}"
            """);
        using Process server = Start("--machine", file, "--device", "riscv-iommu,addr=00:01.0,name=iommu", "--socket-dir", _folder.FullName);
        AwaitServing(server).Count.ShouldBe(2);
        using SharedMemory memory = new(1 << 20);
        using GuestTables tables = new(Path.Combine(_folder.FullName, "iommu.sock"), memory);
        using TestClient disk = new(Path.Combine(_folder.FullName, "disk.sock"));
        disk.Map(GuestTables.Memory, 1 << 20, memory).ShouldBe(Primitives.Errno.Success);
        disk.Enable();

        // Queues and data are pages 32 to 63 of the memory; the page behind is no more mapped, and the page after that for reading only.
        const ulong Iova = 0x4000_0000;
        for (ulong i = 0; i < 32; i++)
        {
            tables.Map(Iova + (i << 12), GuestTables.Memory + ((32 + i) << 12), isWritable: true);
        }

        tables.Map(Iova + (33 << 12), GuestTables.Memory + (65 << 12), isWritable: false);
        memory.Bytes[(64 << 12)..(66 << 12)].Fill(0xee);
        fixed (byte* place = memory.Bytes[(32 << 12)..])
        {
            NvmeDriver driver = new(place, Iova, (offset, value, size) => disk.Write(0, offset, size, value), offset => (uint)disk.Read(0, offset, 4));
            driver.Enable();
            ulong data = Iova + NvmeDriver.DataOffset;
            driver.Execute(0, NvmeDriver.Identify, 0, data, 0, 1).ShouldBe(0u);
            Span<byte> identity = memory.Bytes[((32 << 12) + NvmeDriver.DataOffset)..];
            System.Text.Encoding.ASCII.GetString(identity.Slice(4, 20)).TrimEnd().ShouldBe("ioasis-8");
            tables.Faults.ShouldBe(0ul);
            _ = driver.Execute(0, NvmeDriver.Identify, 0, Iova + (33 << 12), 0, 1);
            tables.Faults.ShouldBeGreaterThan(0ul);
            _ = driver.Execute(0, NvmeDriver.Identify, 0, Iova + (32 << 12), 0, 1);
            memory.Bytes[(64 << 12)..(66 << 12)].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);

            // What the driver takes from it, and gives it, while it runs.
            tables.Unmap(data);
            identity[..4096].Fill(0xee);
            _ = driver.Execute(0, NvmeDriver.Identify, 0, data, 0, 1);
            identity[..4096].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
            tables.Map(Iova + (32 << 12), GuestTables.Memory + (64 << 12), isWritable: true);
            driver.Execute(0, NvmeDriver.Identify, 0, Iova + (32 << 12), 0, 1).ShouldBe(0u);
            memory.Bytes.Slice((64 << 12) + 4, 8).SequenceEqual("ioasis-8"u8).ShouldBeTrue();
        }

        ExternalProgram.Run("kill", TimeSpan.FromMinutes(1), null, server.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)).Status.ShouldBe(0);
        server.WaitForExit();
        server.ExitCode.ShouldBe(0, server.StandardError.ReadToEnd());
    }

    [Theory]
    [InlineData("there is no function to serve")]
    [InlineData("0000:00:01.0 has no socket: socket=PATH or --socket-dir says where", "--device", "edu")]
    [InlineData("There is no device \"floppy\"", "--device", "floppy,socket=x")]
    [InlineData("no socket can be made there", "--device", "edu,socket=/no/where/at/all")]
    [InlineData("two devices are at 0000:00:01.0", "--device", "edu,addr=0:1.0,socket=a", "--device", "edu,addr=0:1.0,socket=b")]
    public void What_cannot_be_served_is_said(string reason, params string[] arguments)
    {
        using Process server = Start(arguments);
        server.StandardError.ReadToEnd().ShouldContain(reason);
        server.WaitForExit();
        server.ExitCode.ShouldBe(2);
    }

    /// <summary>Waits until a server serves.</summary>
    public static IReadOnlyList<string> AwaitServing(Process server)
    {
        List<string> lines = [];
        while (server.StandardOutput.ReadLine() is { } line && !string.Equals(line, "serving", StringComparison.Ordinal))
        {
            lines.Add(line);
        }

        return lines;
    }

    /// <summary>Starts <c>ioasis serve</c>.</summary>
    public static Process Start(params string[] arguments) => Process.Start(
        new ProcessStartInfo("dotnet", ["exec", Path.Combine(AppContext.BaseDirectory, "ioasis.dll"), "serve", .. arguments])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
}
