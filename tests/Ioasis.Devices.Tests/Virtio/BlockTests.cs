using System.Text;
using Ioasis.Devices.Virtio;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Virtio 1.3, section 5.2: requests of a block device and their answers, in both layouts of a ring.</summary>
public sealed class BlockTests : IDisposable
{
    private const ulong Discard = 1 << 13;
    private const ulong Zeroes = 1 << 14;
    private const ulong Flush = 1 << 9;

    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-virtio-").FullName;

    public static TheoryData<bool> Layouts { get; } = [false, true];

    public void Dispose() => Directory.Delete(_folder, true);

    private static VirtioHost Make(VirtioBlockOptions? options = null) => new(new VirtioBlock(options ?? new() { Size = 1 << 20 }));

    private static VirtioBlock Create(string text)
    {
        DeviceKinds.CreateDefault().TryCreate(text, out PciDevice? device, out _).ShouldBeNull();
        return device.ShouldBeOfType<VirtioBlock>();
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void What_is_written_is_read_whatever_the_framing(bool packed)
    {
        using VirtioHost host = Make();
        BlockDriver driver = new(host, host.Bring((ulong)VirtioFeatures.IndirectDescriptors, packed));
        ulong data = host.Memory.Allocate(8192);
        for (int round = 0; round < 40; round++)
        {
            host.Memory[data, 4096].Fill((byte)(round + 1));
            host.Memory[data + 4096, 4096].Clear();
            Piece[] pieces = round % 3 == 0
                ? [new(data, 4096)]
                : [new(data, 100), new(data + 100, 1), new(data + 101, 0), new(data + 101, 4096 - 101)];
            driver.Execute(round % 2 == 0, 1, (ulong)round * 8, pieces).ShouldBe(BlockDriver.Ok);
            driver.Execute(round % 2 == 1, 0, (ulong)round * 8, new Piece(data + 4096, 7, true), new Piece(data + 4103, 4089, true)).ShouldBe(BlockDriver.Ok);
            host.Memory[data + 4096, 4096].IndexOfAnyExcept((byte)(round + 1)).ShouldBe(-1);
        }
    }

    [Fact]
    public void Header_and_status_may_lie_in_any_pieces_and_the_length_counts_what_was_written()
    {
        using VirtioHost host = Make();
        DriverRing ring = host.Bring();
        BlockDriver driver = new(host, ring);
        ulong data = host.Memory.Allocate(4096);
        _ = driver.Header(0);
        _ = ring.Submit(new Piece(driver.HeaderAt, 3), new Piece(driver.HeaderAt + 3, 13), new Piece(data, 513, true));
        ring.Take().ShouldHaveSingleItem().Length.ShouldBe(513u);
        host.Memory[data + 512, 1][0].ShouldBe(BlockDriver.Ok);
        _ = ring.Submit(driver.Header(4), driver.End);
        ring.Take().ShouldHaveSingleItem().Length.ShouldBe(1u);
    }

    [Fact]
    public void The_end_of_the_disk_half_sectors_and_unknown_requests_are_answered()
    {
        using VirtioHost host = Make();
        BlockDriver driver = new(host, host.Bring(Flush));
        ulong data = host.Memory.Allocate(4096);
        driver.Execute(0, 2047, new Piece(data, 512, true)).ShouldBe(BlockDriver.Ok);
        driver.Execute(0, 2047, new Piece(data, 1024, true)).ShouldBe(BlockDriver.IoError);
        driver.Execute(1, 2048, new Piece(data, 512)).ShouldBe(BlockDriver.IoError);
        driver.Execute(1, ulong.MaxValue, new Piece(data, 512)).ShouldBe(BlockDriver.IoError);
        driver.Execute(1, 0, new Piece(data, 511)).ShouldBe(BlockDriver.IoError);
        driver.Execute(0, 0, new Piece(data, 513, true)).ShouldBe(BlockDriver.IoError);
        driver.Execute(4).ShouldBe(BlockDriver.Ok);
        foreach (uint type in (uint[])[2, 3, 10, 11, 13, 14, 99, uint.MaxValue])
        {
            driver.Execute(type).ShouldBe(BlockDriver.Unsupported, $"{type}");
        }

        host.Status.ShouldBe((VirtioStatus)15);
    }

    [Fact]
    public void Get_ID_gives_the_serial_number_in_as_much_room_as_there_is()
    {
        using VirtioHost host = Make(new() { Size = 1 << 20, Serial = "S123" });
        BlockDriver driver = new(host, host.Bring());
        ulong data = host.Memory.Allocate(4096);
        host.Memory[data, 64].Fill(0xee);
        driver.Execute(8, 0, new Piece(data, 20, true)).ShouldBe(BlockDriver.Ok);
        host.Memory[data, 20].SequenceEqual(Encoding.ASCII.GetBytes("S123\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")).ShouldBeTrue();
        host.Memory[data, 64].Fill(0xee);
        driver.Execute(8, 0, new Piece(data, 2, true)).ShouldBe(BlockDriver.Ok);
        Encoding.ASCII.GetString(host.Memory[data, 2]).ShouldBe("S1");
        host.Memory[data + 2, 1][0].ShouldBe((byte)0xee);
    }

    [Fact]
    public void Discard_and_write_zeroes_clear_ranges_and_refuse_what_is_not_possible()
    {
        using VirtioHost host = Make();
        BlockDriver driver = new(host, host.Bring(Discard | Zeroes));
        ulong data = host.Memory.Allocate(4096);
        host.Memory[data, 4096].Fill(7);
        driver.Execute(1, 0, new Piece(data, 4096)).ShouldBe(BlockDriver.Ok);
        driver.Range(11, 1, 1).ShouldBe(BlockDriver.Ok);
        driver.Range(13, 3, 2, 1).ShouldBe(BlockDriver.Ok);
        driver.Execute(0, 0, new Piece(data, 4096, true)).ShouldBe(BlockDriver.Ok);
        int[] zeroes = [.. Enumerable.Range(0, 8).Where(sector => host.Memory[data + ((ulong)sector * 512), 512].IndexOfAnyExcept((byte)0) < 0)];
        zeroes.ShouldBe([1, 3, 4]);
        driver.Range(11, 0, 1, 1).ShouldBe(BlockDriver.Unsupported);
        driver.Range(13, 0, 1, 2).ShouldBe(BlockDriver.Unsupported);
        driver.Range(11, 2047, 2).ShouldBe(BlockDriver.IoError);
        driver.Range(13, ulong.MaxValue, 1).ShouldBe(BlockDriver.IoError);
        driver.Execute(11, 0, new Piece(data, 15)).ShouldBe(BlockDriver.IoError);
        driver.Execute(11, 0, new Piece(data, 16 * 65)).ShouldBe(BlockDriver.IoError);
        driver.Execute(11).ShouldBe(BlockDriver.IoError);
    }

    [Fact]
    public void A_disk_that_is_only_read_says_so_and_refuses_writes()
    {
        using VirtioHost host = Make(new() { Size = 1 << 20, IsReadOnly = true });
        (host.Offered() & (1 << 5)).ShouldNotBe(0ul);
        (host.Offered() & (Discard | Zeroes)).ShouldBe(0ul);
        BlockDriver driver = new(host, host.Bring(1 << 5));
        ulong data = host.Memory.Allocate(4096);
        driver.Execute(1, 0, new Piece(data, 512)).ShouldBe(BlockDriver.IoError);
        driver.Execute(0, 0, new Piece(data, 512, true)).ShouldBe(BlockDriver.Ok);
    }

    [Fact]
    public void More_pieces_or_longer_ones_than_were_allowed_are_an_error_of_the_request()
    {
        using VirtioHost host = Make(new() { Size = 1 << 20, MaxSegments = 2, MaxSegmentSize = 1024 });
        host.Read(VirtioRegisters.DeviceConfiguration + 8, 4).ShouldBe(1024ul);
        host.Read(VirtioRegisters.DeviceConfiguration + 12, 4).ShouldBe(2ul);
        BlockDriver driver = new(host, host.Bring(6));
        ulong data = host.Memory.Allocate(4096);
        driver.Execute(1, 0, new Piece(data, 1024), new Piece(data, 1024)).ShouldBe(BlockDriver.Ok);
        driver.Execute(1, 0, new Piece(data, 512), new Piece(data, 512), new Piece(data, 512)).ShouldBe(BlockDriver.IoError);
        driver.Execute(1, 0, new Piece(data, 1536)).ShouldBe(BlockDriver.IoError);
    }

    [Fact]
    public void The_configuration_is_as_the_text_says_and_only_the_cache_can_be_written()
    {
        using VirtioHost host = new(Create("virtio-blk,size=2M,block=4096,queues=4,entries=64"));
        const uint At = VirtioRegisters.DeviceConfiguration;
        host.Read(At, 8).ShouldBe(4096ul);
        host.Read(At + 12, 4).ShouldBe(62ul);
        host.Read(At + 20, 4).ShouldBe(4096ul);
        host.Read(At + 34, 2).ShouldBe(4ul);
        host.Read(VirtioRegisters.QueueCount, 2).ShouldBe(4ul);
        host.Read(VirtioRegisters.QueueSize, 2).ShouldBe(64ul);
        host.Negotiate(VirtioHost.Wanted | Flush | (1 << 11)).ShouldBeTrue();
        host.Read(At + 32, 1).ShouldBe(1ul);
        host.Write(At + 32, 0, 1);
        host.Read(At + 32, 1).ShouldBe(0ul);
        host.Write(At, 1, 4);
        host.Read(At, 8).ShouldBe(4096ul);
    }

    [Fact]
    public void What_is_written_is_in_the_file_and_a_file_cut_off_is_an_error()
    {
        string path = Path.Combine(_folder, "disk,1.img");
        using VirtioHost host = new(Create($"virtio-blk,file={path.Replace(",", ",,", StringComparison.Ordinal)},size=1M"));
        BlockDriver driver = new(host, host.Bring(Zeroes));
        ulong data = host.Memory.Allocate(1 << 18);
        host.Memory[data, 1 << 18].Fill(9);
        driver.Execute(1, 8, new Piece(data, 1 << 18)).ShouldBe(BlockDriver.Ok);
        driver.Range(13, 9, 1).ShouldBe(BlockDriver.Ok);
        byte[] file = File.ReadAllBytes(path);
        file.Length.ShouldBe(1 << 20);
        file.AsSpan(0, 4096).IndexOfAnyExcept((byte)0).ShouldBe(-1);
        file.AsSpan(4096, 512).IndexOfAnyExcept((byte)9).ShouldBe(-1);
        file.AsSpan(4608, 512).IndexOfAnyExcept((byte)0).ShouldBe(-1);
        file.AsSpan(5120, (1 << 18) - 1024).IndexOfAnyExcept((byte)9).ShouldBe(-1);
        using (FileStream stream = new(path, FileMode.Open))
        {
            stream.SetLength(4096);
        }

        driver.Execute(0, 16, new Piece(data, 512, true)).ShouldBe(BlockDriver.IoError);
        driver.Execute(0, 0, new Piece(data, 512, true)).ShouldBe(BlockDriver.Ok);
    }

    [Fact]
    public void Data_that_cannot_be_reached_is_an_error_of_the_request_alone()
    {
        using VirtioHost host = Make();
        BlockDriver driver = new(host, host.Bring());
        driver.Execute(0, 0, new Piece(1ul << 40, 512, true)).ShouldBe(BlockDriver.IoError);
        driver.Execute(1, 0, new Piece(1ul << 40, 512)).ShouldBe(BlockDriver.IoError);
        driver.Execute(1, 0, new Piece(host.Memory.Allocate(4096), 512)).ShouldBe(BlockDriver.Ok);
    }

    [Theory]
    [InlineData("virtio-blk,file=/does/not/exist", "/does/not/exist")]
    [InlineData("virtio-blk,entries=100", "entries=100")]
    [InlineData("virtio-blk,queues=0", "queues=0: 1 to 1024")]
    [InlineData("virtio-blk,block=1024", "block=1024")]
    [InlineData("virtio-blk,size=1000", "size=1000")]
    [InlineData("virtio-blk,entries=16,segments=15", "segments=15")]
    [InlineData("virtio-blk,serial=123456789012345678901", "20 characters")]
    [InlineData("virtio-blk,colour=red", "has no key \"colour\"")]
    public void What_cannot_be_is_refused_in_words(string text, string words)
    {
        string? error = DeviceKinds.CreateDefault().TryCreate(text, out PciDevice? device, out _);
        device.ShouldBeNull();
        error.ShouldNotBeNull().ShouldContain(words);
    }
}
