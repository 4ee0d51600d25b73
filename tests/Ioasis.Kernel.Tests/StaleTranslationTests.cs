using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Embedded.Sanitizing;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// A program that writes page tables of its own, and the device that uses a translation which it changed without having it forgotten: the sanitizer names the access, and
/// accuses nobody who invalidates.
/// </summary>
public sealed class StaleTranslationTests
{
    private const ulong GuestBase = 1ul << 20;
    private const ulong Place = 0x5000;

    public static TheoryData<string, CachingMode, bool> Machines
    {
        get
        {
            TheoryData<string, CachingMode, bool> machines = [];
            foreach (string kind in (ReadOnlySpan<string>)[RiscVIommuSlot.KindName, VtdIommuSlot.KindName])
            {
                machines.Add(kind, CachingMode.Realistic, false);
                machines.Add(kind, CachingMode.Hostile, false);
                machines.Add(kind, CachingMode.Realistic, true);
            }

            return machines;
        }
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void A_page_that_was_moved_without_invalidation_is_told_with_where_the_access_went(string kind, CachingMode caching, bool ats)
    {
        using Guest guest = new(kind, caching, ats);
        guest.Write(Place).ShouldBeTrue();
        guest.Point(page: 9);
        guest.Write(Place).ShouldBeTrue();
        guest.Call();
        DmaReport report = guest.Sanitizer.GetReports().ShouldHaveSingleItem();
        report.Mistake.ShouldBe(DmaMistake.StaleTranslation);
        report.Device.ShouldBe(guest.Endpoint.Id);
        report.Iova.ShouldBe(Place);
        report.Access.ShouldBe(Access.Write);
        report.Reached.ShouldBe(guest.MemoryOf(8));
        report.Current.ShouldBe(guest.MemoryOf(9));
        report.Mapping.ShouldNotBeNull().Iova.ShouldBe(GuestBase);
        report.ToString().ShouldContain("an invalidation is missing");

        // When the program makes up for it, the next access is right, and there is nothing to add.
        guest.Invalidate(Place);
        guest.Write(Place).ShouldBeTrue();
        guest.Call();
        guest.Sanitizer.GetReports().ShouldHaveSingleItem().Count.ShouldBe(1);
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void A_page_that_was_taken_away_without_invalidation_leads_nowhere(string kind, CachingMode caching, bool ats)
    {
        using Guest guest = new(kind, caching, ats);
        guest.Write(Place).ShouldBeTrue();
        guest.Clear();
        guest.Write(Place).ShouldBeTrue();
        guest.Write(Place).ShouldBeTrue();
        DmaReport report = guest.Sanitizer.Finish()[0];
        report.Mistake.ShouldBe(DmaMistake.StaleTranslation);
        report.Reached.ShouldBe(guest.MemoryOf(8));
        report.Current.ShouldBeNull();
        report.Count.ShouldBe(2);
        report.Headline.ShouldContain("lead to nowhere");
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void An_access_while_the_program_is_about_to_invalidate_is_no_mistake(string kind, CachingMode caching, bool ats)
    {
        using Guest guest = new(kind, caching, ats);
        for (int i = 0; i < 4; i++)
        {
            guest.Write(Place).ShouldBeTrue();
            guest.Point(page: 9 + i);
            guest.Write(Place).ShouldBeTrue();
            guest.Invalidate(Place);
            guest.Write(Place).ShouldBeTrue();
            guest.Call();
        }

        guest.Sanitizer.GetReports().ShouldBeEmpty();
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void An_invalidation_of_another_page_does_not_excuse(string kind, CachingMode caching, bool ats)
    {
        using Guest guest = new(kind, caching, ats);
        guest.Write(Place).ShouldBeTrue();
        guest.Point(page: 9);
        guest.Write(Place).ShouldBeTrue();
        guest.Invalidate(Place + 4096);
        guest.Sanitizer.GetReports().ShouldBeEmpty();
        guest.Call();
        guest.Sanitizer.GetReports().ShouldHaveSingleItem().Mistake.ShouldBe(DmaMistake.StaleTranslation);
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void An_invalidation_after_another_call_came_too_late(string kind, CachingMode caching, bool ats)
    {
        using Guest guest = new(kind, caching, ats);

        // Another thread calls too, so that nothing is known before the end.
        Thread other = new(guest.Call);
        other.Start();
        other.Join();
        guest.Call();
        guest.Write(Place).ShouldBeTrue();
        guest.Point(page: 9);
        guest.Write(Place).ShouldBeTrue();
        guest.Call();
        guest.Sanitizer.GetReports().ShouldBeEmpty();
        guest.Invalidate(Place);
        guest.Sanitizer.GetReports().ShouldHaveSingleItem().Mistake.ShouldBe(DmaMistake.StaleTranslation);
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void Other_tables_for_the_device_excuse_what_was_under_way(string kind, CachingMode caching, bool ats)
    {
        using Guest guest = new(kind, caching, ats);
        guest.Write(Place).ShouldBeTrue();
        guest.Clear();
        guest.Write(Place).ShouldBeTrue();
        _ = guest.Device.Attach(guest.Parent);
        guest.Call();
        guest.Sanitizer.GetReports().ShouldBeEmpty();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_table_of_one_PASID_is_looked_at_too(bool invalidates)
    {
        using Guest guest = new(VtdIommuSlot.KindName, CachingMode.Realistic, ats: false, new Pasid(5));
        guest.Write(Place).ShouldBeTrue();
        guest.Point(page: 9);
        guest.Write(Place).ShouldBeTrue();
        if (invalidates)
        {
            guest.Invalidate(Place);
        }

        guest.Call();
        guest.Sanitizer.GetReports().Select(static report => report.Mistake).ShouldBe(invalidates ? [] : [DmaMistake.StaleTranslation]);
    }

    private sealed class Guest : IDisposable
    {
        private readonly EmbeddedPlatform _platform;
        private readonly IommuFd _iommu;
        private readonly IoAddressSpace _space;
        private readonly SharedMemory _memory;
        private readonly HardwarePageTable _nested;
        private readonly GuestFirstStage _stage;

        private readonly Pasid _pasid;

        public Guest(string kind, CachingMode caching, bool ats, Pasid pasid = default)
        {
            _pasid = pasid;
            IommuSlot slot = kind == VtdIommuSlot.KindName ? new VtdIommuSlot() : new RiscVIommuSlot();
            _platform = new(new() { Iommus = [slot], Caching = caching });
            Endpoint = _platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0), new() { Ats = ats, PasidBits = pasid.IsPresent ? 8 : 0 });
            Sanitizer = new(_platform);
            _iommu = IommuFd.Open(Sanitizer.Kernel);
            Device = VfioDevice.Open(Sanitizer.Kernel, Endpoint.DevicePath);
            _ = Device.Bind(_iommu);
            _space = _iommu.AllocateAddressSpace();
            _memory = SharedMemory.Create(Sanitizer.Kernel, "guest", 16 * 4096);
            _memory.MapErrno(_space, 0, _memory.Length, new(GuestBase), Access.ReadWrite).ShouldBe(Errno.Success);
            _stage = GuestFirstStage.Of(slot);
            _stage.Write(Store, GuestBase, Place, page: 8);
            Parent = _iommu.AllocatePageTable(Device, _space, HwptAllocFlags.NestParent);
            _nested = _stage.Allocate(_iommu, Device, Parent, GuestBase, pasid.IsPresent ? HwptAllocFlags.Pasid : HwptAllocFlags.None);
            if (pasid.IsPresent)
            {
                Device.AttachPasid(pasid, _nested);
            }
            else
            {
                _ = Device.Attach(_nested);
            }
        }

        public EmbeddedEndpoint Endpoint { get; }

        public VfioDevice Device { get; }

        public HardwarePageTable Parent { get; }

        public DmaSanitizer Sanitizer { get; }

        // Of a file, memory is told by its place in it.
        public ulong MemoryOf(int page) => Sanitizer.GetReports()[0].Mapping!.Memory + ((ulong)page * 4096);

        public bool Write(ulong iova)
        {
            if (Endpoint.Ats is { } ats)
            {
                return ats.Write(Pasid.Invalid, iova, [1], out _) == AtsStatus.Success;
            }

            DmaFlags flags = DmaFlags.Write | (_pasid.IsPresent ? DmaFlags.PasidValid : DmaFlags.None);
            return Endpoint.Port.Write(new(Endpoint.Id, new(iova), flags, DmaKind.Untranslated, _pasid), [1]) == DmaStatus.Success;
        }

        public void Point(int page) => _stage.Point(Store, GuestBase, Place, page);

        public void Clear() => Store(_stage.Levels - 1, (int)(Place >> 12), 0);

        public void Invalidate(ulong iova) => _stage.Invalidate(_nested, iova);

        public void Call() => _ = Device.GetInfo();

        public void Dispose()
        {
            if (_pasid.IsPresent)
            {
                Device.DetachPasidErrno(_pasid).ShouldBe(Errno.Success);
            }
            else
            {
                _ = Device.Attach(Parent);
            }

            _nested.Dispose();
            Device.Dispose();
            Parent.Dispose();
            _ = _space.UnmapErrno(new(GuestBase), _memory.Length, out _);
            _space.Dispose();
            _memory.Dispose();
            _iommu.Dispose();
            _platform.Audit.ShouldBe(default);
            Sanitizer.Dispose();
            _platform.Dispose();
        }

        private void Store(int page, int index, ulong entry) =>
            MemoryMarshal.Write(_memory.Slice(((ulong)page * 4096) + ((ulong)index * 8), 8), entry);
    }
}
