using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>Devices that cache translations themselves: they are told of every unmap, and are cut off if they do not answer.</summary>
public sealed class AtsTests
{
    private const ulong Iova = 0x1234_5000;
    private const ulong Target = 0x4000_0000;

    [Theory]
    [InlineData("scalable")]
    [InlineData("first stage")]
    [InlineData("legacy")]
    public void A_device_is_told_of_an_unmap_with_its_range(string kind)
    {
        using Rig rig = new(AttachTests.OptionsOf(kind));
        IommuDevice device = rig.AddDevice(0x0110, ats: true);
        VtdPagingDomain domain = rig.Attached(device);
        domain.ShouldMap(Iova, Target, 3 * Rig.Page);
        Translate(rig, device).Address.Value.ShouldBe(Target);
        rig.Invalidations.Clear();
        domain.ShouldUnmap(Iova);
        PcieMessage one = rig.Invalidations.ShouldHaveSingleItem();
        one.RequesterId.ShouldBe((ushort)0x0110);
        one.HasPasid.ShouldBeFalse();
        one.Payload.ShouldBe(Iova);
        rig.Invalidations.Clear();
        domain.ShouldUnmap(Iova + 0x1000, 2 * Rig.Page);

        // 0x12346 and 0x12347: two pages, bit 11 and a 0 at bit 12.
        rig.Invalidations.ShouldHaveSingleItem().Payload.ShouldBe((Iova + 0x1000) | 0x800);
        rig.Invalidations.Clear();
        device.Group.Detach().ShouldBe(Errno.Success);
        rig.Invalidations.ShouldHaveSingleItem().Payload.ShouldBe(PcieInvalidation.Everything);
    }

    [Fact]
    public void An_invalidation_for_a_PASID_carries_it()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x0110, pasidBits: 16, ats: true);
        VtdPagingDomain domain = rig.NewDomain(device);
        device.Group.AttachPasid(new(0x123), domain).ShouldBe(Errno.Success);
        domain.ShouldMap(Iova, Target);
        rig.Invalidations.Clear();
        domain.ShouldUnmap(Iova);
        PcieMessage one = rig.Invalidations.ShouldHaveSingleItem();
        one.Pasid.ShouldBe(new Pasid(0x123));
        one.Payload.ShouldBe(Iova);
    }

    [Theory]
    [InlineData("scalable")]
    [InlineData("legacy")]
    public void A_device_that_does_not_answer_is_cut_off_and_others_go_on(string kind)
    {
        using Rig rig = new(AttachTests.OptionsOf(kind));
        IommuDevice bad = rig.AddDevice(0x0110, ats: true);
        IommuDevice good = rig.AddDevice(0x0208);
        VtdPagingDomain domain = rig.Attached(bad);
        good.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.ShouldMap(Iova, Target, 2 * Rig.Page);
        Translate(rig, bad).Status.ShouldBe(DmaStatus.Success);
        rig.ShouldReach(good, Iova, Target);
        rig.TimesOut = true;
        domain.ShouldUnmap(Iova);
        rig.HandleInterrupts();
        rig.Driver.Statistics.QueueRecoveries.ShouldBeGreaterThan(0);
        rig.Log.ToString().ShouldContain("does not answer invalidations and is cut off");

        // What it kept is of no use: translated requests are refused too.
        rig.Hardware.Translate(new(bad.Id, new(Target), DmaFlags.Write, DmaKind.Translated), out DmaTranslation stale);
        stale.Status.ShouldNotBe(DmaStatus.Success);
        rig.Dma(bad, Iova + 0x1000).Status.ShouldNotBe(DmaStatus.Success);
        rig.Dma(good, Iova).Status.ShouldNotBe(DmaStatus.Success);
        rig.ShouldReach(good, Iova + 0x1000, Target + 0x1000);
        rig.Invalidations.Clear();
        domain.ShouldUnmap(Iova + 0x1000);
        rig.Invalidations.ShouldBeEmpty("a device that is cut off is not asked any more");
    }

    [Fact]
    public void An_unexpected_answer_is_counted_and_completes_nothing()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x0110, ats: true);
        VtdPagingDomain domain = rig.Attached(device);
        rig.Hardware.HandleInvalidationCompletion(new(2, 0x0110, null, Pasid.Invalid, 1ul | (1ul << 32))).ShouldBeFalse();
        rig.HandleInterrupts();
        rig.Driver.Statistics.CompletionErrors.ShouldBe(1);
        domain.ShouldMap(Iova, Target);
        domain.ShouldUnmap(Iova);
        _ = rig.ShouldFault(device, Iova, FaultReason.SecondStageNotPresent);
    }

    [Fact]
    public void A_device_that_is_not_trusted_may_not_cache()
    {
        using Rig rig = new();
        rig.Core.TryAddDevice(
            rig.Driver, new(0x0110), "outside", null, new IommuDeviceOptions { Ats = true, IsUntrusted = true }, out IommuDevice? device)
            .ShouldBe(Errno.Success);
        VtdPagingDomain domain = rig.Attached(device!);
        domain.ShouldMap(Iova, Target);
        rig.Hardware.Translate(new(device!.Id, new(Target), DmaFlags.Write, DmaKind.Translated), out DmaTranslation forged);
        forged.Status.ShouldNotBe(DmaStatus.Success);
        domain.ShouldUnmap(Iova);
        rig.Invalidations.ShouldBeEmpty();
    }

    private static DmaTranslation Translate(Rig rig, IommuDevice device)
    {
        rig.Hardware.Translate(new(device.Id, new(Iova), DmaFlags.None, DmaKind.TranslationRequest), out DmaTranslation translation);
        return translation;
    }
}
