using System.Text;
using Ioasis.Devices.Nvme;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Controllers by a line of text, and raw files behind them.</summary>
public sealed class KindTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-nvme-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    private static NvmeController Create(string text)
    {
        DeviceKinds.CreateDefault().TryCreate(text, out PciDevice? device, out _).ShouldBeNull();
        return device.ShouldBeOfType<NvmeController>();
    }

    private string PathOf(string name) => Path.Combine(_folder, name);

    [Fact]
    public void What_is_written_is_in_the_file_byte_for_byte_and_survives_the_controller()
    {
        string path = PathOf("disk,1.img");
        byte[] content = Encoding.ASCII.GetBytes("written by a command");
        using (NvmeHost host = new(Create($"nvme,file={path.Replace(",", ",,", StringComparison.Ordinal)},size=1M")))
        {
            host.Enable();
            QueuePair queue = host.CreateQueue();
            ulong data = host.Memory.Allocate(4096);
            content.CopyTo(host.Memory[data, 512]);
            _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 5, 1, data));
            _ = queue.Succeed(new(NvmeIoOpcode.Flush) { Namespace = 1 });
        }

        byte[] file = File.ReadAllBytes(path);
        file.Length.ShouldBe(1 << 20);
        file.AsSpan(5 * 512, content.Length).SequenceEqual(content).ShouldBeTrue();
        file.AsSpan((5 * 512) + content.Length).IndexOfAnyExcept((byte)0).ShouldBe(-1);
        File.WriteAllBytes(path, [.. Enumerable.Repeat((byte)9, 4096)]);
        using NvmeHost again = new(Create($"nvme,file={path.Replace(",", ",,", StringComparison.Ordinal)},readonly"));
        again.Enable();
        QueuePair second = again.CreateQueue();
        ulong read = again.Memory.Allocate(4096);
        _ = second.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 8, read));
        again.Memory[read, 4096].IndexOfAnyExcept((byte)9).ShouldBe(-1);
        second.Refuse(NvmeStatus.LbaOutOfRange, Command.Blocks(NvmeIoOpcode.Read, 0, 9, read));
        second.Refuse(NvmeStatus.NamespaceWriteProtected, Command.Blocks(NvmeIoOpcode.Write, 0, 1, read));
    }

    [Fact]
    public void Zeroes_and_deallocation_reach_the_file_and_a_file_cut_off_is_an_error_of_the_medium()
    {
        string path = PathOf("disk.img");
        File.WriteAllBytes(path, [.. Enumerable.Repeat((byte)9, 65536)]);
        using NvmeHost host = new(Create($"nvme,file={path}"));
        host.Enable();
        QueuePair queue = host.CreateQueue();
        ulong data = host.Memory.Allocate(4096);
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.WriteZeroes, 1, 16));
        byte[] file = File.ReadAllBytes(path);
        file.AsSpan(512, 8192).IndexOfAnyExcept((byte)0).ShouldBe(-1);
        (file[511], file[8704]).ShouldBe(((byte)9, (byte)9));
        using (FileStream stream = new(path, FileMode.Open))
        {
            stream.SetLength(4096);
        }

        queue.Refuse(NvmeStatus.UnrecoveredReadError, Command.Blocks(NvmeIoOpcode.Read, 20, 1, data));
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 1, data));
    }

    [Fact]
    public void Namespaces_queues_and_identity_are_as_the_text_says()
    {
        using NvmeHost host = new(Create(
            "nvme,namespace=size:1M;lba:4096,namespace=size:2M;metadata:8;extended:on,serial=X,queues=3,entries=256,mdts=2,vectors=2,shadow=off,vendor=0x144d,device=0xa808"));
        host.Enable();
        ((host.Read64(0) & 0xffff) + 1).ShouldBe(256ul);
        ulong data = host.Memory.Allocate(4096);
        _ = host.Admin.Succeed(Command.Identify(1, 0, data));
        (host.Memory[data, 2][0], host.Memory[data, 2][1]).ShouldBe(((byte)0x4d, (byte)0x14));
        host.Memory[data, 4096][516].ShouldBe((byte)2);
        host.Memory[data, 4096][77].ShouldBe((byte)2);
        host.Admin.Refuse(NvmeStatus.InvalidInterruptVector, NvmeHost.CreateCompletion(1, 16, data, 2));
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, NvmeHost.CreateCompletion(4, 16, data));
    }

    [Theory]
    [InlineData("nvme,file=/does/not/exist", "/does/not/exist")]
    [InlineData("nvme,lba=1024", "lba=1024")]
    [InlineData("nvme,metadata=4", "512 or 4096")]
    [InlineData("nvme,queues=0", "queues=0: 1 to 65535")]
    [InlineData("nvme,entries=1", "entries=1: 2 to 65536")]
    [InlineData("nvme,interrupts=bell", "interrupts=bell")]
    [InlineData("nvme,namespace=volume:3", "namespace=volume")]
    [InlineData("nvme,serial=123456789012345678901", "20 characters")]
    [InlineData("nvme,colour=red", "has no key \"colour\"")]
    public void What_cannot_be_is_refused_in_words(string text, string words)
    {
        string? error = DeviceKinds.CreateDefault().TryCreate(text, out PciDevice? device, out _);
        device.ShouldBeNull();
        error.ShouldNotBeNull().ShouldContain(words);
    }
}
