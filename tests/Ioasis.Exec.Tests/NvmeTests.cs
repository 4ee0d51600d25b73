using System.Globalization;
using System.Text.Json;
using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>
/// QEMU's own user-space NVMe driver, in its tools as Debian ships them, on our controller: <c>nvme://0000:00:01.0/1</c>. What they write
/// is in the raw file behind the namespace. Some of it also on QEMU's own controller, in a QEMU of its own, behind our IOMMU.
/// </summary>
public sealed class NvmeTests : IDisposable
{
    private const string Disk = "nvme://0000:00:01.0/1";
    private const int Size = 8 << 20;
    private const string QemusOwn = "qemu";

    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-nvme-").FullName;

    private string Image => Path.Combine(_folder, "disk.img");

    public void Dispose() => Directory.Delete(_folder, true);

    private static string Fetch(string what)
    {
        ExternalProgram fetched = ExternalProgram.Run("lab/fetch", TimeSpan.FromMinutes(10), null, what);
        Assert.SkipWhen(fetched.LacksSomething, fetched.Describe());
        fetched.Status.ShouldBe(0, fetched.Describe());
        return fetched.Output.Trim();
    }

    private ExecRun On(string options, string tool, params string[] arguments)
    {
        string device = $"nvme,file={Image},size={Size}{options}";
        if (options.StartsWith(QemusOwn, StringComparison.Ordinal))
        {
            device = $"qemu,program={Fetch("qemu-x86")},device=nvme,,drive=d0,,serial=1,option=-drive if=none,,id=d0,,format=raw,,discard=unmap,,file={Image}";
            using FileStream image = new(Image, FileMode.OpenOrCreate);
            image.SetLength(Size);
        }

        return Programs.ExecuteOn(["--device", device], [Fetch(tool), .. arguments]);
    }

    private static void Native(string tool, params string[] arguments)
    {
        ExternalProgram ended = ExternalProgram.Run(Fetch(tool), TimeSpan.FromMinutes(2), null, arguments);
        ended.Status.ShouldBe(0, ended.Describe());
    }

    private string MakeSource()
    {
        string source = Path.Combine(_folder, "source.raw");
        byte[] bytes = new byte[Size];
        new Random(1).NextBytes(bytes);
        Array.Clear(bytes, 1 << 20, 1 << 20);
        File.WriteAllBytes(source, bytes);
        return source;
    }

    [Theory]
    [InlineData("")]
    [InlineData(QemusOwn)]
    public void An_image_goes_to_the_controller_and_back_and_is_the_same(string controller)
    {
        string source = MakeSource();
        string packed = Path.Combine(_folder, "source.qcow2");
        string back = Path.Combine(_folder, "back.raw");
        Native("qemu-img", "convert", "-f", "raw", "-O", "qcow2", source, packed);
        _ = On(controller, "qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", packed, Disk).ShouldEnd(0);
        File.ReadAllBytes(Image).AsSpan().SequenceEqual(File.ReadAllBytes(source)).ShouldBeTrue();
        ExecRun compared = On(controller, "qemu-img", "compare", "-f", "raw", "-F", "raw", source, Disk).ShouldEnd(0);
        compared.Ended.Output.ShouldContain("Images are identical");
        compared.Summary!.Value.GetProperty("faults").GetInt64().ShouldBe(0);
        _ = On(controller + ",readonly", "qemu-img", "convert", "-f", "raw", "-O", "raw", Disk, back).ShouldEnd(0);
        File.ReadAllBytes(back).AsSpan().SequenceEqual(File.ReadAllBytes(source)).ShouldBeTrue();
    }

    [Theory]
    [InlineData("")]
    [InlineData(",lba=4096")]
    public void An_image_with_a_format_of_its_own_is_created_filled_and_checked_on_it(string format)
    {
        string source = MakeSource();
        using (FileStream half = new(source, FileMode.Open))
        {
            half.SetLength(Size / 2);
        }

        _ = On(format, "qemu-img", "create", "-f", "qcow2", Disk, "4M").ShouldEnd(0);
        _ = On(format, "qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", source, Disk).ShouldEnd(0);
        _ = On(format, "qemu-img", "check", "-f", "qcow2", Disk).ShouldEnd(0);
        Native("qemu-img", "compare", "-f", "raw", "-F", "qcow2", source, Image);
        _ = On(format, "qemu-img", "info", "-f", "qcow2", Disk).ShouldEnd(0);
    }

    [Theory]
    [InlineData("", 1, false)]
    [InlineData("", 8, true)]
    [InlineData("", 64, false)]
    [InlineData(QemusOwn, 8, true)]
    public void The_benchmark_runs_at_its_depth(string controller, int depth, bool writes)
    {
        string number = depth.ToString(CultureInfo.InvariantCulture);
        ExecRun run = On(controller, "qemu-img", [.. (string[])["bench", "-f", "raw", "-n", "-d", number, "-c", "2000", "-s", "4096"], .. writes ? (string[])["-w"] : [], Disk]);
        run.ShouldEnd(0).Ended.Output.ShouldContain("Run completed");
    }

    [Theory]
    [InlineData("")]
    [InlineData(",lba=4096,queues=2,entries=128,mdts=5")]
    [InlineData(",interrupts=msix,shadow=off,vectors=1")]
    [InlineData(QemusOwn)]
    public void Patterns_are_written_and_verified(string options)
    {
        _ = On(
            options,
            "qemu-io",
            "-f", "raw",
            "-c", "write -P 0x5a 1M 256k",
            "-c", "read -P 0x5a 1M 256k",
            "-c", "write -z 1M 64k",
            "-c", "read -P 0 1M 64k",
            "-c", "read -P 0x5a 1088k 192k",
            "-c", "discard 3M 64k",
            "-c", "aio_write -P 3 4M 1M",
            "-c", "aio_write -P 4 5M 1M",
            "-c", "aio_flush",
            "-c", "read -P 3 4M 1M",
            "-c", "read -P 4 5M 1M",
            "-c", "flush",
            Disk).ShouldEnd(0);
        byte[] bytes = File.ReadAllBytes(Image);
        bytes.AsSpan(1 << 20, 64 << 10).IndexOfAnyExcept((byte)0).ShouldBe(-1);
        bytes.AsSpan((1 << 20) + (64 << 10), 192 << 10).IndexOfAnyExcept((byte)0x5a).ShouldBe(-1);
        bytes.AsSpan(4 << 20, 1 << 20).IndexOfAnyExcept((byte)3).ShouldBe(-1);
        bytes.AsSpan(5 << 20, 1 << 20).IndexOfAnyExcept((byte)4).ShouldBe(-1);
    }

    [Fact]
    public void A_block_that_fails_on_request_is_an_error_of_the_program_and_its_neighbours_are_not()
    {
        ExecRun run = On(",fail=read@2048:0x281", "qemu-io", "-f", "raw", "-c", "read 1044480 4096", "-c", "read 1M 4096", Disk);
        run.Ended.Status.ShouldBe(1, run.Ended.Describe());
        run.Ended.Output.ShouldContain("read 4096/4096 bytes at offset 1044480", Case.Sensitive, run.Ended.Describe());
        run.Ended.Describe().ShouldContain("read failed");
        JsonElement misdeed = run.Summary!.Value.GetProperty("misdeeds")[0];
        misdeed.GetProperty("what").GetString().ShouldNotBeNull().ShouldEndWith("failed with 0x281");
    }

    [Fact]
    public void Commands_that_are_late_and_out_of_order_come_all_the_same()
    {
        _ = On(
            ",delay=write:5ms,reorder",
            "qemu-io",
            "-f", "raw",
            "-c", "aio_write -P 1 0 64k",
            "-c", "aio_write -P 2 64k 64k",
            "-c", "aio_write -P 3 128k 64k",
            "-c", "aio_flush",
            "-c", "read -P 1 0 64k",
            "-c", "read -P 2 64k 64k",
            "-c", "read -P 3 128k 64k",
            Disk).ShouldEnd(0);
    }
}
