using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>Which pages devices wrote, by the dirty bits that the hardware sets in second stages (SSADE; S4.17).</summary>
public sealed class DirtyTrackingTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;

    [Theory]
    [InlineData(0u)]
    [InlineData(9u)]
    public void Each_write_after_a_page_was_made_clean_is_reported_again(uint pasidValue)
    {
        using Rig rig = new();
        Pasid pasid = new(pasidValue);
        IommuDevice device = rig.AddDevice(8, pasidBits: 10);
        VtdPagingDomain domain = rig.NewDomain(device, new() { DirtyTracking = true });
        domain.ShouldMap(Iova, Target, 0x4000);
        (pasid.IsPresent ? device.Group.AttachPasid(pasid, domain) : device.Group.Attach(domain)).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova + 0x3000, Target + 0x3000, write: true, pasid);
        domain.SetDirtyTracking(true).ShouldBe(Errno.Success);
        Read(domain).ShouldBe(0ul, "what was written before does not count");
        for (int i = 0; i < 3; i++)
        {
            rig.ShouldReach(device, Iova, Target, pasid: pasid);
            rig.ShouldReach(device, Iova + 0x1000, Target + 0x1000, write: true, pasid);
            rig.ShouldReach(device, Iova + 0x3000, Target + 0x3000, write: true, pasid);
            Read(domain, clear: false).ShouldBe(0b1010ul);
            Read(domain).ShouldBe(0b1010ul);
            Read(domain).ShouldBe(0ul);
        }

        domain.SetDirtyTracking(false).ShouldBe(Errno.Success);
        domain.ReadDirty(new(Iova), 0x1000, true, new DirtyBitmap([0ul], new(Iova), 12)).ShouldBe(Errno.InvalidArgument);
    }

    [Theory]
    [InlineData(VtdMode.Legacy, 0ul)]
    [InlineData(VtdMode.Scalable, ExtendedCapability.SecondStageDirtyBit)]
    public void Without_the_hardware_it_is_refused(VtdMode mode, ulong without)
    {
        using Rig rig = new(new RigOptions { Driver = new() { Mode = mode } }.With(withoutExtended: without));
        IommuDevice device = rig.AddDevice(8);
        rig.Driver.Capabilities.DirtyTracking.ShouldBeFalse();
        rig.Driver.TryAllocatePagingDomain(device, new() { DirtyTracking = true }, out _).ShouldBe(Errno.NotSupported);
        rig.NewDomain(device).SetDirtyTracking(true).ShouldBe(Errno.NotSupported);
    }

    private static ulong Read(VtdPagingDomain domain, bool clear = true)
    {
        ulong[] bits = [0];
        domain.ReadDirty(new(Iova), 0x4000, clear, new DirtyBitmap(bits, new(Iova), 12)).ShouldBe(Errno.Success);
        return bits[0];
    }
}
