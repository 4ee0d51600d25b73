using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Ioasis.VfioUser.Qemu;

namespace Ioasis.VfioUser.Tests;

/// <summary>A device that QEMU runs, as Debian packages it, behind our IOMMU.</summary>
public sealed class QemuDeviceTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ioasis");

    private string Image
    {
        get
        {
            string path = Path.Combine(_folder.FullName, "disk.img");
            using FileStream file = new(path, FileMode.OpenOrCreate);
            file.SetLength(4 << 20);
            return path;
        }
    }

    public void Dispose() => _folder.Delete(recursive: true);

    // The first half of the memory as one range, and eight pages behind it, each that far from the one before.
    private const ulong Far = 0x1000_0000;

    private static void MapApart(QemuNvme nvme, ulong distance)
    {
        nvme.MapFirst(128);
        for (ulong i = 0; i < 8; i++)
        {
            nvme.Space.Map(new(nvme.UserAddress + ((128 + i) * QemuNvme.Page), QemuNvme.Page), new Iova(Far + (i * distance)), Access.ReadWrite);
        }
    }

    [Fact]
    public void Its_controller_reads_and_writes_what_is_mapped_and_nothing_else()
    {
        using QemuNvme nvme = new(Image);
        nvme.Device.Description.VendorId.ShouldBe((ushort)0x1b36);
        nvme.Device.Description.ClassCode.ShouldBe(0x01_0802u);
        nvme.Enable();
        nvme.Execute(0, QemuNvme.Identify, 0, QemuNvme.Data, 0, 1).ShouldBe(0u);
        System.Text.Encoding.ASCII.GetString(nvme.At(QemuNvme.Data + 4, 20)).TrimEnd().ShouldBe("ioasis-7");
        byte[] identity = nvme.At(QemuNvme.Data, QemuNvme.Page).ToArray();

        // Nobody mapped the pages: what would go there the IOMMU refuses. QEMU's controller does not ask how its access ended, as one on a bus does not for a write.
        ulong last = QemuNvme.Base + ((QemuNvme.Pages - 1) * QemuNvme.Page);
        nvme.Memory[(4 * QemuNvme.Page)..].Fill(0xee);
        nvme.MapFirst(QemuNvme.Pages - 1);
        _ = nvme.Execute(0, QemuNvme.Identify, 0, last, 0, 1);
        _ = nvme.Execute(0, QemuNvme.Identify, 0, 0x4000_0000, 0, 1);
        _ = nvme.Execute(0, QemuNvme.Identify, 0, last - 2048, last, 1);
        nvme.At(last, QemuNvme.Page).IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
        nvme.At(QemuNvme.Data, 200 * QemuNvme.Page).IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
        nvme.At(last - 2048, 2048).SequenceEqual(identity.AsSpan(0, 2048)).ShouldBeTrue();
        nvme.Platform.FaultCount.ShouldBeGreaterThan(0);

        // What is mapped next is there.
        nvme.Space.Map(new(nvme.UserAddress + (last - QemuNvme.Base), QemuNvme.Page), new Iova(last), Access.ReadWrite);
        nvme.Execute(0, QemuNvme.Identify, 0, last, 0, 1).ShouldBe(0u);
        nvme.At(last, QemuNvme.Page).SequenceEqual(identity).ShouldBeTrue();
    }

    // The controller believes that it has written; the IOMMU refuses, and the page is as it was.
    [Fact]
    public void What_is_mapped_for_reading_only_is_not_written()
    {
        using QemuNvme nvme = new(Image);
        nvme.Enable();
        ulong last = QemuNvme.Base + ((QemuNvme.Pages - 1) * QemuNvme.Page);
        nvme.MapFirst(QemuNvme.Pages - 1);
        nvme.Space.Map(new(nvme.UserAddress + (last - QemuNvme.Base), QemuNvme.Page), new Iova(last), Access.Read);
        nvme.At(last, QemuNvme.Page).Fill(0x5a);
        nvme.Transfer(QemuNvme.Write, 0, 8, last).ShouldBe(0u);
        nvme.Platform.FaultCount.ShouldBe(0);
        nvme.Transfer(QemuNvme.Read, 8, 8, last).ShouldBe(0u);
        nvme.At(last, QemuNvme.Page).IndexOfAnyExcept((byte)0x5a).ShouldBe(-1);
        nvme.Platform.FaultCount.ShouldBeGreaterThan(0);
        nvme.Transfer(QemuNvme.Read, 0, 8, QemuNvme.Data).ShouldBe(0u);
        nvme.At(QemuNvme.Data, QemuNvme.Page).IndexOfAnyExcept((byte)0x5a).ShouldBe(-1);
    }

    [Theory]
    [InlineData(8, 512)]
    [InlineData(24, 1000)]
    [InlineData(300, 2048)]
    public void Data_comes_from_scattered_pages_and_goes_to_them(int blocks, int offset)
    {
        using QemuNvme nvme = new(Image);
        nvme.Enable();
        int bytes = blocks * 512;
        int pages = (offset + bytes + QemuNvme.Page - 1) / QemuNvme.Page;
        byte[] content = new byte[bytes];
        new Random(blocks).NextBytes(content);
        foreach (bool isWrite in (bool[])[true, false])
        {
            // Every second page, from the end to the start.
            ulong region = QemuNvme.Data + (2 * QemuNvme.Page);
            ulong PageAt(int i) => region + ((ulong)(2 * (pages - 1 - i)) * QemuNvme.Page);
            ulong list = QemuNvme.Data;
            nvme.At(list, (2 * (pages + 1) * QemuNvme.Page)).Fill(0xee);
            for (int i = 1; i < pages; i++)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(nvme.At(list + (8 * ((ulong)i - 1)), 8), PageAt(i));
            }

            for (int i = 0; i < bytes && isWrite; i++)
            {
                nvme.At(PageAt((offset + i) / QemuNvme.Page) + (ulong)((offset + i) % QemuNvme.Page), 1)[0] = content[i];
            }

            ulong more = pages switch { 1 => 0, 2 => PageAt(1), _ => list };
            nvme.Transfer(isWrite ? QemuNvme.Write : QemuNvme.Read, 100, blocks, PageAt(0) + (ulong)offset, more).ShouldBe(0u);
            for (int i = 0; i < bytes; i++)
            {
                nvme.At(PageAt((offset + i) / QemuNvme.Page) + (ulong)((offset + i) % QemuNvme.Page), 1)[0].ShouldBe(content[i], $"byte {i}");
            }

            for (int i = 0; i < pages; i++)
            {
                nvme.At(PageAt(i) + QemuNvme.Page, QemuNvme.Page).IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
            }
        }

        nvme.Platform.FaultCount.ShouldBe(0);
    }

    [Theory]
    [InlineData(VfioPciInterrupt.Intx)]
    [InlineData(VfioPciInterrupt.Msi)]
    [InlineData(VfioPciInterrupt.MsiX)]
    public void Its_interrupts_are_the_clients(VfioPciInterrupt kind)
    {
        using QemuNvme nvme = new(Image);
        TestCounter counter = new();
        VfioIrqSet set = new() { Index = (uint)kind, Count = 1, Flags = VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger };
        nvme.Device.Backend.SetInterrupts(set, MemoryMarshal.AsBytes<int>([1]), counter).ShouldBe(Errno.Success);
        nvme.Enable();
        QemuNvme.WaitFor(() => counter.Take() > 0);
        for (int i = 0; i < 3; i++)
        {
            if (kind == VfioPciInterrupt.Intx)
            {
                VfioIrqSet unmask = new() { Index = (uint)kind, Count = 1, Flags = VfioIrqSetFlags.DataNone | VfioIrqSetFlags.ActionUnmask };
                nvme.Device.Backend.SetInterrupts(unmask, [], counter).ShouldBe(Errno.Success);
            }

            nvme.Execute(0, QemuNvme.Identify, 0, QemuNvme.Data, 0, 1).ShouldBe(0u);
            QemuNvme.WaitFor(() => counter.Take() > 0);
        }
    }

    // Whether the controller wrote before the unmap, or after it and was refused, is a matter of time: nothing changes after it.
    [Fact]
    public void What_is_unmapped_in_the_middle_of_a_transfer_is_not_written_any_more()
    {
        using QemuNvme nvme = new(Image);
        nvme.Enable();
        const int Last = QemuNvme.Pages - 2;
        const ulong Target = QemuNvme.Base + (Last * QemuNvme.Page);
        nvme.At(QemuNvme.Data, QemuNvme.Page).Fill(0x11);
        nvme.Transfer(QemuNvme.Write, 0, 8, QemuNvme.Data).ShouldBe(0u);
        for (int i = 0; i < 8; i++)
        {
            nvme.MapFirst(Last);
            nvme.Space.Map(new(nvme.UserAddress + (Last * QemuNvme.Page), QemuNvme.Page), new Iova(Target), Access.ReadWrite);
            nvme.At(Target, 2 * QemuNvme.Page).Fill(0xee);
            nvme.Driver.Submit(1, QemuNvme.Read, 1, Target, 0, 0, 0, 7);
            nvme.Space.Unmap(new Iova(Target), QemuNvme.Page).ShouldBe((ulong)QemuNvme.Page);
            byte[] then = nvme.At(Target, QemuNvme.Page).ToArray();
            nvme.Driver.Complete(1).ShouldBe(0u);

            // Two looks later nothing has come either.
            _ = nvme.Execute(0, QemuNvme.Identify, 0, QemuNvme.Data, 0, 1);
            nvme.At(Target, QemuNvme.Page).SequenceEqual(then).ShouldBeTrue();
        }
    }

    // What the controller has when it begins it may read to the end, as a copy; what the driver writes there after the unmap it never has.
    [Fact]
    public void What_is_written_after_an_unmap_is_not_read_any_more()
    {
        using QemuNvme nvme = new(Image);
        nvme.Enable();
        const int Last = QemuNvme.Pages - 2;
        const ulong Source = QemuNvme.Base + (Last * QemuNvme.Page);
        for (int i = 0; i < 8; i++)
        {
            nvme.MapFirst(Last);
            nvme.Space.Map(new(nvme.UserAddress + (Last * QemuNvme.Page), QemuNvme.Page), new Iova(Source), Access.ReadWrite);
            nvme.At(Source, QemuNvme.Page).Fill(0x11);
            nvme.Driver.Submit(1, QemuNvme.Write, 1, Source, 0, 0, 0, 7);
            nvme.Space.Unmap(new Iova(Source), QemuNvme.Page).ShouldBe((ulong)QemuNvme.Page);
            nvme.At(Source, QemuNvme.Page).Fill(0x5c);
            nvme.Driver.Complete(1).ShouldBe(0u);
            nvme.Transfer(QemuNvme.Write, 8, 8, Source).ShouldBe(0u);
            nvme.Transfer(QemuNvme.Read, 0, 16, QemuNvme.Data, QemuNvme.Data + QemuNvme.Page).ShouldBe(0u);
            nvme.At(QemuNvme.Data, 2 * QemuNvme.Page).IndexOf((byte)0x5c).ShouldBe(-1);
        }
    }

    [Fact]
    public void Of_ranges_near_each_other_all_are_shown_and_what_is_between_them_is_refused()
    {
        using QemuNvme nvme = new(Image);
        nvme.Enable();
        MapApart(nvme, 2 * QemuNvme.Page);
        nvme.Memory[(128 * QemuNvme.Page)..].Fill(0xee);
        for (ulong i = 0; i < 8; i++)
        {
            nvme.Execute(0, QemuNvme.Identify, 0, Far + (i * 2 * QemuNvme.Page), 0, 1).ShouldBe(0u);
            nvme.Memory[(int)((128 + i) * QemuNvme.Page)].ShouldBe((byte)0x36, $"range {i}");
        }

        // The controller writes to the page between two ranges: the IOMMU refuses, and has it on record.
        nvme.Platform.FaultCount.ShouldBe(0);
        _ = nvme.Execute(0, QemuNvme.Identify, 0, Far + QemuNvme.Page, 0, 1);
        nvme.Platform.FaultCount.ShouldBeGreaterThan(0);
        nvme.Memory[(136 * QemuNvme.Page)..].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
    }

    [Fact]
    public void Of_more_ranges_than_it_can_be_shown_the_first_are_and_the_others_are_named()
    {
        List<string> refused = [];
        using QemuNvme nvme = new(Image, line =>
        {
            lock (refused)
            {
                refused.Add(line);
            }
        });
        nvme.Enable();
        const ulong Apart = 0x8000_0000;
        MapApart(nvme, Apart);
        for (ulong i = 0; i < 8; i++)
        {
            _ = nvme.Execute(0, QemuNvme.Identify, 0, Far + (i * Apart), 0, 1);
            (nvme.Memory[(int)((128 + i) * QemuNvme.Page)] == 0x36).ShouldBe(i < 7, $"range {i}");
        }

        lock (refused)
        {
            refused.ShouldBe(["0x390000000 and what follows, 0x1000 bytes, cannot be shown to the device: it can be shown 7 ranges"]);
        }
    }

    [Theory]
    [InlineData("edu", "MSI is not supported by interrupt controller")]
    [InlineData("no-such-device", "not a valid device model name")]
    public void What_QEMU_does_not_take_is_said(string device, string reason) =>
        Should.Throw<IOException>(() => QemuDevice.Start(device, [], Lab.QemuX86)).Message.ShouldContain(reason);

    [Fact]
    public void A_QEMU_that_is_not_there_is_said() =>
        Should.Throw<IOException>(() => QemuDevice.Start("nvme", [], "/no/such/qemu")).Message.ShouldContain("there is no program '/no/such/qemu'");
}
