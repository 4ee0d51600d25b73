using Ioasis.Embedded;
using Ioasis.Embedded.Sanitizing;
using Ioasis.Primitives;

namespace Ioasis.Client.Tests;

/// <summary>Mistakes with DMA of a program in this process: each is found, with the lines of its map and its unmap, and nobody else is accused.</summary>
public sealed class SanitizerTests : IDisposable
{
    private const long Page = 4096;
    private static readonly Iova s_place = new(0x10000);

    private readonly EmbeddedPlatform _platform = new(new());
    private readonly EmbeddedEndpoint _endpoint;
    private readonly DmaSanitizer _sanitizer;
    private readonly IommuFd _iommu;
    private readonly VfioDevice _device;
    private readonly IoAddressSpace _space;
    private readonly PinnedBytes _memory = new(4 * (int)Page);

    public SanitizerTests()
    {
        _endpoint = _platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0));
        _sanitizer = new(_platform);
        _iommu = IommuFd.Open(_sanitizer.Kernel);
        _device = VfioDevice.Open(_sanitizer.Kernel, _endpoint.DevicePath);
        _ = _device.Bind(_iommu);
        _space = _iommu.AllocateAddressSpace();
        _ = _device.Attach(_space);
    }

    public void Dispose()
    {
        _device.Dispose();
        _space.Dispose();
        _iommu.Dispose();
        _sanitizer.Dispose();
        _platform.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void A_careful_program_is_not_accused()
    {
        for (int i = 0; i < 10; i++)
        {
            Map(Access.ReadWrite);
            _endpoint.Write(s_place, [1, 2, 3]).ShouldBe(Platform.DmaStatus.Success);
            Unmap();
        }

        _sanitizer.ThrowIfMistaken();
    }

    [Fact]
    public void An_access_after_the_unmap_is_told_with_the_lines_of_both()
    {
        Map(Access.ReadWrite);
        Unmap();
        _ = _endpoint.Write(s_place, [1]);
        _ = _endpoint.Write(s_place + 8, [1]);
        DmaReport report = _sanitizer.GetReports().ShouldHaveSingleItem();
        report.Mistake.ShouldBe(DmaMistake.AfterUnmap);
        report.Count.ShouldBe(2);
        report.Device.ShouldBe(_endpoint.Id);
        report.Access.ShouldBe(Access.Write);
        report.Iova.ShouldBe(s_place.Value);
        TrackedMapping mapping = report.Mapping.ShouldNotBeNull();
        mapping.Mapped.Stack[0].Source.ShouldNotBeNull().ShouldMatch(@"SanitizerTests\.Map at SanitizerTests\.cs:[0-9]+");
        mapping.Unmapped.ShouldNotBeNull().Stack[0].Source.ShouldNotBeNull().ShouldMatch(@"SanitizerTests\.Unmap at SanitizerTests\.cs:[0-9]+");
        report.ToString().ShouldStartWith("DMA after unmap: write of 0x10000 by 0000:00:03.0 (2 times)");
        DmaMistakeException e = Should.Throw<DmaMistakeException>(_sanitizer.ThrowIfMistaken);
        e.Message.ShouldBe(report.ToString());
        e.Reports.ShouldHaveSingleItem();
    }

    [Fact]
    public void What_the_program_reads_of_faults_is_judged_all_the_same()
    {
        _ = _endpoint.Read(new(0x70000), new byte[1]);
        _platform.TryDequeueFault(out _).ShouldBeTrue();
        _sanitizer.GetReports().ShouldHaveSingleItem().Mistake.ShouldBe(DmaMistake.NeverMapped);
    }

    [Fact]
    public void Each_kind_of_mistake_is_found_in_its_order()
    {
        Map(Access.Read);
        _ = _endpoint.Write(s_place, [1]);
        _ = _endpoint.Read(s_place + (ulong)Page + 16, new byte[1]);
        _space.MapErrno(new(_memory.Address, (ulong)Page), s_place, Access.Read).ShouldBe(Errno.Exists);
        _space.Map(new(_memory.Address, (ulong)Page), s_place + (16 * (ulong)Page), Access.Read);
        _ = _space.UnmapErrno(s_place + (64 * (ulong)Page), (ulong)Page, out _);
        _sanitizer.Finish().Select(static report => report.Mistake).ShouldBe(
        [
            DmaMistake.Direction, DmaMistake.PastEnd, DmaMistake.Overlap, DmaMistake.Overlap, DmaMistake.NothingUnmapped, DmaMistake.LeftMapped, DmaMistake.LeftMapped,
        ]);
    }

    [Fact]
    public void What_is_mapped_when_the_last_descriptor_is_closed_was_left()
    {
        Map(Access.ReadWrite);
        _sanitizer.GetReports().ShouldBeEmpty();
        _device.Dispose();
        _space.Dispose();
        _iommu.Dispose();
        _sanitizer.GetReports().ShouldHaveSingleItem().Mistake.ShouldBe(DmaMistake.LeftMapped);
    }

    [Fact]
    public void What_is_suppressed_is_not_told()
    {
        Suppression.TryParse("never-mapped:0000:00:03.0", out Suppression? suppression).ShouldBeNull();
        using DmaSanitizer other = new(_platform, options: new() { Suppressions = [suppression!] });
        _ = _endpoint.Read(new(0x70000), new byte[1]);
        other.GetReports().ShouldBeEmpty();
        _sanitizer.GetReports().Count.ShouldBe(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Memory_that_went_back_to_the_system_is_told_with_the_page(bool writes)
    {
        _space.Map(new(_memory.Address, 4 * (ulong)Page), s_place, Access.ReadWrite);
        nint third = (nint)_memory.Address + (2 * (int)Page);
        NativePages.TakeAway(third, (nuint)Page);
        byte[] data = new byte[3 * Page];
        (writes ? _endpoint.Write(s_place + 16, data) : _endpoint.Read(s_place + 16, data)).ShouldNotBe(Platform.DmaStatus.Success);
        DmaReport report = _sanitizer.GetReports().ShouldHaveSingleItem();
        report.Mistake.ShouldBe(DmaMistake.FreedMemory);
        report.Device.ShouldBe(_endpoint.Id);
        report.Access.ShouldBe(writes ? Access.Write : Access.Read);
        report.Iova.ShouldBe(s_place.Value + (2 * (ulong)Page));
        report.Mapping.ShouldNotBeNull().Memory.ShouldBe(_memory.Address);
        NativePages.GiveBack(third, (nuint)Page);
    }

    [Fact]
    public void Memory_that_the_program_says_it_freed_is_told_with_that_place_while_it_is_mapped()
    {
        Map(Access.ReadWrite);
        Free(64, 128);
        _ = _endpoint.Write(s_place, new byte[64]);
        _ = _endpoint.Read(s_place + 192, new byte[64]);
        _sanitizer.GetReports().ShouldBeEmpty();
        _ = _endpoint.Write(s_place, new byte[65]);
        DmaReport report = _sanitizer.GetReports().ShouldHaveSingleItem();
        (report.Mistake, report.Iova, report.Access).ShouldBe((DmaMistake.FreedMemory, s_place.Value + 64, Access.Write));
        report.Freed.ShouldNotBeNull().Stack[0].Source.ShouldNotBeNull().ShouldMatch(@"SanitizerTests\.Free at SanitizerTests\.cs:[0-9]+");
        report.ToString().ShouldContain("freed at ");

        // The next mapping of the memory is another matter.
        Unmap();
        Map(Access.ReadWrite);
        _ = _endpoint.Write(s_place, new byte[256]);
        Unmap();
        _sanitizer.Finish().ShouldHaveSingleItem().Count.ShouldBe(1);
    }

    private void Free(int offset, nuint length) => _sanitizer.MarkFreed((nint)_memory.Address + offset, length);

    private void Map(Access access) => _space.Map(new(_memory.Address, (ulong)Page), s_place, access);

    private void Unmap() => _space.Unmap(s_place, (ulong)Page);

    private sealed unsafe class PinnedBytes(int length) : IDisposable
    {
        private readonly void* _memory = System.Runtime.InteropServices.NativeMemory.AlignedAlloc((nuint)length, 4096);

        public ulong Address => (ulong)_memory;

        public void Dispose() => System.Runtime.InteropServices.NativeMemory.AlignedFree(_memory);
    }
}
