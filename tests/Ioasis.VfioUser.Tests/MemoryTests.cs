using System.Runtime.InteropServices;
using FsCheck;
using FsCheck.Fluent;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.VfioUser.Tests;

/// <summary>The device reaches what its client shows it, and nothing else.</summary>
public sealed class MemoryTests : ClientOfProbe
{
    private const ulong Page = 4096;

    private readonly SharedMemory _memory = new(1 << 20);

    public MemoryTests() => Client.Enable();

    private protected override void DisposeOthers()
    {
        _memory.Dispose();
    }

    [Fact]
    public void Memory_with_a_descriptor_is_the_clients_own()
    {
        Client.Map(0x8000_0000, 1 << 20, _memory).ShouldBe(Errno.Success);
        "from the client"u8.CopyTo(_memory.Bytes[0x1ffa..]);
        byte[] seen = new byte[15];
        Device.DmaRead(0x8000_1ffa, seen).ShouldBe(DmaStatus.Success);
        seen.ShouldBe("from the client"u8.ToArray());
        Device.DmaWrite(0x8000_3ffd, "from the device"u8).ShouldBe(DmaStatus.Success);
        _memory.Bytes.Slice(0x3ffd, 15).ToArray().ShouldBe("from the device"u8.ToArray());
    }

    [Fact]
    public void An_access_may_go_on_from_one_region_into_its_neighbour()
    {
        Client.Map(0x1_0000, Page, _memory, offset: 0x8000).ShouldBe(Errno.Success);
        Client.Map(0x1_1000, Page, _memory, offset: 0x2000).ShouldBe(Errno.Success);
        Client.MemoryByMessage[0x1_2000] = new byte[Page];
        Client.Map(0x1_2000, Page, null).ShouldBe(Errno.Success);
        byte[] data = [.. Enumerable.Range(0, 8192).Select(static i => (byte)(i * 7))];
        Device.DmaWrite(0x1_0800, data).ShouldBe(DmaStatus.Success);
        _memory.Bytes.Slice(0x8800, 0x800).SequenceEqual(data.AsSpan(0, 0x800)).ShouldBeTrue();
        _memory.Bytes.Slice(0x2000, 0x1000).SequenceEqual(data.AsSpan(0x800, 0x1000)).ShouldBeTrue();
        Client.MemoryByMessage[0x1_2000].AsSpan(0, 0x800).SequenceEqual(data.AsSpan(0x1800)).ShouldBeTrue();
        byte[] back = new byte[8192];
        Device.DmaRead(0x1_0800, back).ShouldBe(DmaStatus.Success);
        back.ShouldBe(data);

        // The fourth page is nobody's.
        Device.DmaRead(0x1_2800, back.AsSpan(0, 0x801)).ShouldBe(DmaStatus.UnsupportedRequest);
    }

    [Fact]
    public void Memory_without_descriptor_is_reached_by_messages_also_from_within_a_register_write()
    {
        Client.MemoryByMessage[0x4000_0000] = new byte[Page];
        Client.Map(0x4000_0000, Page, null).ShouldBe(Errno.Success);
        Device.OnWrite = (_, value) => Device.DmaWrite(0x4000_0010, BitConverter.GetBytes(value)).ShouldBe(DmaStatus.Success);
        Client.Write(0, 0, 4, 0x0bad_cafe);
        BitConverter.ToUInt32(Client.MemoryByMessage[0x4000_0000], 0x10).ShouldBe(0x0bad_cafeu);
    }

    [Fact]
    public void An_answer_that_refuses_fails_the_access_and_nothing_else()
    {
        Client.Map(0x4000_0000, Page, null).ShouldBe(Errno.Success);
        Device.DmaRead(0x4000_0000, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
        Client.MemoryByMessage[0x4000_0000] = new byte[Page];
        Device.DmaRead(0x4000_0000, new byte[8]).ShouldBe(DmaStatus.Success);
    }

    [Fact]
    public void Transfers_longer_than_the_client_takes_come_in_pieces()
    {
        using Served served = new(new ProbeDevice());
        using TestClient client = new(served.PathOf(0));
        client.Enable();
        ProbeDevice device = (ProbeDevice)served.Machine.Functions[0].Device;
        client.MemoryByMessage[0] = new byte[3 << 20];
        client.Map(0, 3 << 20, null).ShouldBe(Errno.Success);
        byte[] data = new byte[(2 << 20) + 17];
        new Random(1).NextBytes(data);
        device.DmaWrite(100, data).ShouldBe(DmaStatus.Success);
        byte[] back = new byte[data.Length];
        device.DmaRead(100, back).ShouldBe(DmaStatus.Success);
        back.AsSpan().SequenceEqual(data).ShouldBeTrue();
    }

    [Fact]
    public void What_may_not_be_written_is_not()
    {
        Client.Map(0, Page, _memory, flags: DmaMapFlags.Read).ShouldBe(Errno.Success);
        Client.Map(Page, Page, _memory, flags: DmaMapFlags.Write).ShouldBe(Errno.Success);
        Device.DmaRead(0, new byte[8]).ShouldBe(DmaStatus.Success);
        Device.DmaWrite(0, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
        Device.DmaWrite(Page, new byte[8]).ShouldBe(DmaStatus.Success);
        Device.DmaRead(Page, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
    }

    [Fact]
    public void What_was_taken_back_is_gone()
    {
        Client.Map(0, Page, _memory).ShouldBe(Errno.Success);
        Client.Unmap(0, Page).ShouldBe(Errno.Success);
        Device.DmaRead(0, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
        Client.Map(0, Page, _memory).ShouldBe(Errno.Success);
        Client.Map(Page, Page, null).ShouldBe(Errno.Success);
        Client.Unmap(0, 0, DmaUnmapFlags.All).ShouldBe(Errno.Success);
        Served.Machine.Functions[0].Memory.Count.ShouldBe(0);
    }

    [Fact]
    public void Regions_do_not_overlap_and_go_as_they_came()
    {
        Client.Map(0x10000, 4 * Page, _memory).ShouldBe(Errno.Success);
        Client.Map(0x10000, 4 * Page, _memory).ShouldBe(Errno.Exists);
        Client.Map(0x13000, 4 * Page, null).ShouldBe(Errno.Exists);
        Client.Map(0xf000, 2 * Page, null).ShouldBe(Errno.Exists);
        Client.Map(0xf000, Page, null).ShouldBe(Errno.Success);
        Client.Unmap(0x10000, Page).ShouldBe(Errno.NoEntry);
        Client.Unmap(0x11000, 3 * Page).ShouldBe(Errno.NoEntry);
        Client.Unmap(0x10000, 4 * Page).ShouldBe(Errno.Success);
    }

    [Theory]
    [InlineData(0ul, 0ul, 3u)]
    [InlineData(1ul, 4096ul, 3u)]
    [InlineData(0ul, 4097ul, 3u)]
    [InlineData(0xffff_ffff_ffff_f000ul, 8192ul, 3u)]
    [InlineData(0ul, 4096ul, 4u)]
    public void A_range_that_is_none_is_refused(ulong address, ulong size, uint flags) =>
        Client.Map(address, size, null, flags: (DmaMapFlags)flags).ShouldBe(Errno.InvalidArgument);

    [Fact]
    public void The_last_page_of_all_can_be_shown()
    {
        Client.Map(ulong.MaxValue - (Page - 1), Page, _memory).ShouldBe(Errno.Success);
        Device.DmaWrite(ulong.MaxValue - 7, BitConverter.GetBytes(0x55ul)).ShouldBe(DmaStatus.Success);
        BitConverter.ToUInt64(_memory.Bytes[(int)(Page - 8)..]).ShouldBe(0x55ul);
        Client.Map(0, Page, _memory).ShouldBe(Errno.Success);
        Device.DmaWrite(ulong.MaxValue - 7, new byte[16]).ShouldBe(DmaStatus.UnsupportedRequest);
    }

    [Fact]
    public void More_regions_than_agreed_on_are_refused()
    {
        using Served served = new(new ProbeDevice());
        using TestClient client = new(served.PathOf(0), agree: false);
        client.Agree("""{"capabilities":{"max_dma_maps":3}}""").ShouldBe(Errno.Success);
        for (ulong i = 0; i < 3; i++)
        {
            client.Map(i * Page, Page, null).ShouldBe(Errno.Success);
        }

        client.Map(3 * Page, Page, null).ShouldBe(Errno.NoSpace);
    }

    [Fact]
    public void A_descriptor_that_cannot_be_mapped_gives_the_systems_error()
    {
        Client.Map(0, Page, _memory, offset: 1).ShouldBe(Errno.InvalidArgument);
        Client.Map(0, Page, _memory, offset: ulong.MaxValue - 4095).ShouldBe(Errno.InvalidArgument);
        using Microsoft.Win32.SafeHandles.SafeFileHandle readOnly = File.OpenHandle("/proc/self/exe");
        DmaMapStructure map = new(DmaMapStructure.Bytes, DmaMapFlags.All, 0, 0, Page);
        Client.Call(VfioUserCommand.DmaMap, map, [], out _, readOnly).ShouldBe(Errno.AccessDenied);
        Client.Call(VfioUserCommand.DmaMap, map, [], out _, _memory.File, _memory.File).ShouldBe(Errno.InvalidArgument);
        Served.Machine.Functions[0].Memory.Count.ShouldBe(0);
    }

    [Fact]
    public void A_file_that_becomes_shorter_fails_the_access_and_not_the_server()
    {
        Client.Map(0, 1 << 20, _memory).ShouldBe(Errno.Success);
        Device.DmaWrite(0x5000, new byte[64]).ShouldBe(DmaStatus.Success);
        _memory.Shrink();
        Device.DmaWrite(0x5000, new byte[64]).ShouldBe(DmaStatus.UnsupportedRequest);
        Device.DmaRead(0x5000, new byte[64]).ShouldBe(DmaStatus.UnsupportedRequest);
        Client.Read(TestClient.Config, 0, 2).ShouldBe(0x1234ul);
    }

    [Fact]
    public void No_access_is_under_way_when_memory_was_taken_back()
    {
        // A device that writes all the time, and a client that looks whether its memory is still.
        using CancellationTokenSource end = new();
        ulong count = 0;
        Thread writer = new(() =>
        {
            while (!end.IsCancellationRequested)
            {
                Device.DmaWrite(0, BitConverter.GetBytes(++count));
            }
        });
        writer.Start();
        for (int i = 0; i < 300; i++)
        {
            Client.Map(0, Page, _memory).ShouldBe(Errno.Success);
            Client.Unmap(0, Page).ShouldBe(Errno.Success);
            ulong last = BitConverter.ToUInt64(_memory.Bytes);
            Thread.Yield();
            BitConverter.ToUInt64(_memory.Bytes).ShouldBe(last);
        }

        end.Cancel();
        writer.Join();
    }

    [Fact]
    public void The_log_of_writes_is_what_was_written_and_is_forgotten_when_it_is_read()
    {
        Client.Map(0, 1 << 20, _memory).ShouldBe(Errno.Success);
        Prop.ForAll(
            Gen.ListOf(Gen.Choose(0, 255)).ToArbitrary(),
            pages =>
            {
                Feature(6, 1 << 17, Ulongs(4096, 0)).ShouldBe(Errno.Success);
                foreach (int page in pages)
                {
                    Device.DmaWrite(((ulong)page * Page) + 17, new byte[5]).ShouldBe(DmaStatus.Success);
                    Device.DmaRead((ulong)(255 - page) * Page, new byte[5]).ShouldBe(DmaStatus.Success);
                }

                Report(0, 1 << 20, 4096).ShouldBe(pages.Select(static page => (ulong)page).Distinct().Order());
                Report(0, 1 << 20, 4096).ShouldBeEmpty();
                Feature(7, 1 << 17, []).ShouldBe(Errno.Success);
            }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void The_log_has_the_size_of_page_that_is_asked_for()
    {
        Client.Map(0, 1 << 20, _memory).ShouldBe(Errno.Success);
        Feature(6, 1 << 17, Ulongs(2048, 0), out byte[] reply).ShouldBe(Errno.Success);
        BitConverter.ToUInt64(reply, 8).ShouldBe(4096ul);
        Device.DmaWrite(0x1_fff0, new byte[0x20]);
        Report(0x1_0000, 0x2_0000, 0x1_0000).ShouldBe([0ul, 1ul]);
        Feature(8, 1 << 16, Ulongs(0, 4096, 2048)).ShouldBe(Errno.InvalidArgument);
        Feature(8, 1 << 16, Ulongs(0, 4096, 12288)).ShouldBe(Errno.InvalidArgument);
        Feature(8, 1 << 16, Ulongs(2048, 4096, 4096)).ShouldBe(Errno.InvalidArgument);
        Feature(8, 1 << 16, Ulongs(0, 0, 4096)).ShouldBe(Errno.InvalidArgument);
        Feature(8, 1 << 16, Ulongs(0, 1ul << 50, 4096)).ShouldBe(Errno.ArgumentTooBig);
        Feature(6, 1 << 17, Ulongs(4096, 0)).ShouldBe(Errno.InvalidArgument);
        Feature(6, 5 << 16, []).ShouldBe(Errno.InvalidArgument);
        Feature(6, 6 << 16, []).ShouldBe(Errno.Success);
        Feature(8, 5 << 16, []).ShouldBe(Errno.Success);
    }

    [Fact]
    public void Without_a_log_there_is_nothing_to_report()
    {
        Feature(8, 1 << 16, Ulongs(0, 4096, 4096)).ShouldBe(Errno.InvalidArgument);
        Feature(7, 1 << 17, []).ShouldBe(Errno.InvalidArgument);
        Client.Map(0, Page, _memory).ShouldBe(Errno.Success);
        DmaUnmapStructure unmap = new(1024, DmaUnmapFlags.GetDirtyBitmap, 0, Page);
        Client.Call(VfioUserCommand.DmaUnmap, unmap, Ulongs(4096, 8), out _).ShouldBe(Errno.InvalidArgument);
        Device.DmaRead(0, new byte[8]).ShouldBe(DmaStatus.Success);
    }

    [Fact]
    public void The_older_form_of_the_log_does_the_same()
    {
        Client.Map(0, 16 * Page, _memory).ShouldBe(Errno.Success);
        Client.Call(VfioUserCommand.DirtyPages, new DirtyPagesStructure(8, DirtyPagesFlags.Start), [], out _).ShouldBe(Errno.Success);
        Device.DmaWrite(3 * Page, new byte[1]);
        Client.Call(VfioUserCommand.DirtyPages, new DirtyPagesStructure(48, DirtyPagesFlags.GetBitmap), Ulongs(0, 16 * Page, Page, 8), out byte[] reply)
            .ShouldBe(Errno.Success);
        BitConverter.ToUInt64(reply, 40).ShouldBe(8ul);
        Device.DmaWrite(5 * Page, new byte[1]);
        DmaUnmapStructure unmap = new(48, DmaUnmapFlags.GetDirtyBitmap, 0, 16 * Page);
        Client.Call(VfioUserCommand.DmaUnmap, unmap, Ulongs(4096, 8), out reply).ShouldBe(Errno.Success);
        BitConverter.ToUInt64(reply, 40).ShouldBe(32ul);
        Served.Machine.Functions[0].Memory.Count.ShouldBe(0);
        Client.Call(VfioUserCommand.DirtyPages, new DirtyPagesStructure(8, DirtyPagesFlags.Stop), [], out _).ShouldBe(Errno.Success);
        Client.Call(VfioUserCommand.DirtyPages, new DirtyPagesStructure(8, (DirtyPagesFlags)3), [], out _).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Exchanges_in_memory_with_and_without_a_descriptor_are_whole()
    {
        Client.MemoryByMessage[Page] = new byte[Page];
        Client.Map(0, Page, _memory).ShouldBe(Errno.Success);
        Client.Map(Page, Page, null).ShouldBe(Errno.Success);
        ClientMemory memory = Served.Machine.Functions[0].Memory;
        foreach (ulong address in (ulong[])[0x100, 0x1100])
        {
            memory.Write64(new(address), 5).ShouldBe(MemoryStatus.Success);
            memory.CompareExchange64(new(address), 4, 9, out ulong observed).ShouldBe(MemoryStatus.Success);
            observed.ShouldBe(5ul);
            memory.CompareExchange64(new(address), 5, 9, out observed).ShouldBe(MemoryStatus.Success);
            observed.ShouldBe(5ul);
            memory.Read64(new(address), out ulong value).ShouldBe(MemoryStatus.Success);
            value.ShouldBe(9ul);
            memory.Read32(new(address + 4), out uint high).ShouldBe(MemoryStatus.Success);
            high.ShouldBe(0u);
            memory.CompareExchange64(new(address + 4), 5, 9, out _).ShouldBe(MemoryStatus.AccessFault);
        }

        memory.CompareExchange64(new(1 << 30), 5, 9, out _).ShouldBe(MemoryStatus.AccessFault);
    }

    private static byte[] Ulongs(params ReadOnlySpan<ulong> values) => MemoryMarshal.AsBytes(values).ToArray();

    private Errno Feature(uint feature, uint flags, byte[] data) => Feature(feature, flags, data, out _);

    private Errno Feature(uint feature, uint flags, byte[] data, out byte[] reply) =>
        Client.Call(VfioUserCommand.DeviceFeature, [.. BitConverter.GetBytes(4096u), .. BitConverter.GetBytes(feature | flags)], data, out reply);

    private IEnumerable<ulong> Report(ulong address, ulong size, ulong pageSize)
    {
        Feature((uint)VfioFeature.DmaLoggingReport, 1 << 16, Ulongs(address, size, pageSize), out byte[] reply).ShouldBe(Errno.Success);
        byte[] bits = reply[32..];
        bits.Length.ShouldBe((int)(((size / pageSize) + 63) / 64 * 8));
        return Enumerable.Range(0, bits.Length * 8).Where(i => (bits[i / 8] & (1 << (i % 8))) != 0).Select(static i => (ulong)i);
    }
}
