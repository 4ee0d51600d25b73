using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;

namespace Ioasis.Sva.Tests;

/// <summary>What devices see of changes of a process's memory. What threads see alone is in Ioasis.Processes.Tests.</summary>
public class AddressSpaceTests : SvaSuite
{
    private const ulong Base = SvaRig.Base;
    private const ulong Page = SvaRig.Size;

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void What_a_process_unmaps_is_forgotten_by_devices_before_it_is_reused()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 1).ShouldBeTrue();
        device.Ats!.Knows(binding.Pasid, Base).ShouldBeTrue();
        int frames = rig.Frames.Count;
        mm.Unmap(Base, Page).ShouldBe(Errno.Success);
        rig.Frames.Count.ShouldBe(frames - 1);
        device.Ats.Knows(binding.Pasid, Base).ShouldBeFalse();
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 1).ShouldBeFalse();
        rig.Platform.Iommu.Port.Translate(
            new(device.Id, new(Base), DmaFlags.PasidValid | DmaFlags.Write, DmaKind.Untranslated, binding.Pasid), out DmaTranslation stale);
        stale.Status.ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void A_device_faults_when_a_page_is_protected_and_again_only_until_it_is_permitted()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 5).ShouldBeTrue();
        mm.Protect(Base, Page, Access.Read).ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 6).ShouldBeFalse();
        byte[] seen = new byte[1];
        SvaRig.DeviceRead(device, binding.Pasid, Base, seen).ShouldBeTrue();
        seen[0].ShouldBe((byte)5);
        mm.Protect(Base, Page, Access.None).ShouldBe(Errno.Success);
        SvaRig.DeviceRead(device, binding.Pasid, Base, seen).ShouldBeFalse();
        mm.Protect(Base, 2 * Page, Access.ReadWrite).ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(device, binding.Pasid, Base, 7).ShouldBeTrue();
        SvaRig.Get(mm, Base, 1)[0].ShouldBe((byte)7);
        mm.Protect(Base + (15 * Page), 2 * Page, Access.Read).ShouldBe(Errno.OutOfMemory);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void A_fault_that_cannot_be_served_answers_the_device_and_is_reported()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        device.Ats!.RequestPage(binding.Pasid, 0xdead_0000, Access.Write, out PageTicket? ticket).ShouldBe(Errno.Success);
        ticket!.Code.ShouldBe((int)PageResponseCode.InvalidRequest);
        rig.Platform.TryDequeueFault(out IommuFault fault).ShouldBeTrue();
        (fault.Pasid, fault.Iova.Value, fault.Access, fault.Device).ShouldBe((binding.Pasid, 0xdead_0000ul, Access.Write, device.Device));
        rig.Platform.Driver.PageRequests.Statistics.Answered.ShouldBe(1);
    }

    [Fact]
    public void Swapped_pages_come_back_for_devices_and_threads_alike()
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace mm = rig.NewProcess();
        SvaBinding binding = rig.Bind(device, mm);
        mm.Write(Base, "abcdef"u8).ShouldBe(Errno.Success);
        byte[] seen = new byte[6];
        SvaRig.DeviceRead(device, binding.Pasid, Base, seen).ShouldBeTrue();
        mm.SwapOut(Base, Page, out int pages).ShouldBe(Errno.Success);
        (pages, mm.SwappedPages, rig.Frames.SwappedCount, rig.Frames.Count).ShouldBe((1, 1, 1, 0));
        device.Ats!.Knows(binding.Pasid, Base).ShouldBeFalse();
        seen.AsSpan().Clear();
        SvaRig.DeviceRead(device, binding.Pasid, Base, seen).ShouldBeTrue();
        seen.ShouldBe("abcdef"u8.ToArray());
        (mm.SwappedPages, rig.Frames.SwappedCount).ShouldBe((0, 0));
    }

    [Fact]
    public void Any_sequence_of_operations_on_two_related_processes_behaves_like_plain_memory()
    {
        Gen<(int Op, int Page, int Length, byte Value)[]> scripts = Gen.Choose(0, 9).SelectMany(op =>
            Gen.Choose(0, 7).SelectMany(page => Gen.Choose(1, 4).SelectMany(length => Gen.Choose(1, 255).Select(
                value => (op, page, length, (byte)value))))).ArrayOf();
        Prop.ForAll(Arb.From(scripts), script => Obey(script)).QuickCheckThrowOnFailure();
    }

    private void Obey((int Op, int Page, int Length, byte Value)[] script)
    {
        using SvaRig rig = NewRig();
        EmbeddedEndpoint device = rig.AddDevice();
        DemandPagedAddressSpace[] mm = [rig.NewProcess(pages: 12), null!];
        SvaBinding binding = rig.Bind(device, mm[0]);
        byte?[][] model = [Enumerable.Repeat<byte?>(0, 12).ToArray(), []];
        bool[][] writable = [Enumerable.Repeat(true, 12).ToArray(), []];
        foreach ((int op, int page, int length, byte value) in script)
        {
            int who = mm[1] is not null && value % 2 == 0 ? 1 : 0;
            ulong at = Base + ((ulong)page * Page);
            ulong bytes = (ulong)length * Page;
            switch (op)
            {
                case 0 or 1:
                    Errno expected = model[who][page] is null ? Errno.BadAddress : writable[who][page] ? Errno.Success : Errno.AccessDenied;
                    mm[who].Write(at + 7, [value]).ShouldBe(expected);
                    model[who][page] = expected == Errno.Success ? value : model[who][page];
                    break;
                case 2:
                    SvaRig.DeviceWrite(device, binding.Pasid, at + 7, value).ShouldBe(model[0][page] is not null && writable[0][page]);
                    model[0][page] = model[0][page] is not null && writable[0][page] ? value : model[0][page];
                    break;
                case 3:
                    byte[] seen = new byte[1];
                    SvaRig.DeviceRead(device, binding.Pasid, at + 7, seen).ShouldBe(model[0][page] is not null);
                    (model[0][page] ?? 0).ShouldBe(seen[0]);
                    break;
                case 4:
                    mm[who].Unmap(at, bytes).ShouldBe(Errno.Success);
                    Array.Fill(model[who], null, page, length);
                    break;
                case 5:
                    bool free = model[who].AsSpan(page, length).IndexOfAnyExcept((byte?)null) < 0;
                    mm[who].Map(at, bytes, Access.ReadWrite).ShouldBe(free ? Errno.Success : Errno.Exists);
                    if (free)
                    {
                        Array.Fill(model[who], (byte)0, page, length);
                        Array.Fill(writable[who], true, page, length);
                    }

                    break;
                case 6:
                    bool whole = !model[who].AsSpan(page, length).Contains(null);
                    mm[who].Protect(at, bytes, value % 3 == 0 ? Access.Read : Access.ReadWrite).ShouldBe(whole ? Errno.Success : Errno.OutOfMemory);
                    if (whole)
                    {
                        Array.Fill(writable[who], value % 3 != 0, page, length);
                    }

                    break;
                case 7:
                    mm[who].SwapOut(at, bytes, out _).ShouldBe(Errno.Success);
                    break;
                case 8 when mm[1] is null:
                    mm[0].TryFork(out DemandPagedAddressSpace? child).ShouldBe(Errno.Success);
                    mm[1] = child!;
                    (model[1], writable[1]) = ([.. model[0]], [.. writable[0]]);
                    break;
                case 9 when mm[1] is not null:
                    mm[1].Exit().ShouldBe(Errno.Success);
                    mm[1] = null!;
                    break;
            }

            for (int p = 0; p < (mm[1] is null ? 1 : 2); p++)
            {
                for (int i = 0; i < 12; i++)
                {
                    byte[] one = new byte[1];
                    mm[p].Read(Base + ((ulong)i * Page) + 7, one).ShouldBe(model[p][i] is null ? Errno.BadAddress : Errno.Success);
                    one[0].ShouldBe(model[p][i] ?? 0);
                }
            }
        }

        mm[1]?.Exit().ShouldBe(Errno.Success);
        mm[0].Exit().ShouldBe(Errno.Success);
        binding.Unbind().ShouldBe(Errno.Success);
        rig.Pages.AllocatedBytes.ShouldBe(0);
        rig.Frames.SwappedCount.ShouldBe(0);
        rig.Allocator.Audit.Live.ShouldBe(0);
    }
}
