using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using PageResponseCode = Ioasis.RiscV.Architecture.PageResponseCode;

namespace Ioasis.Driver.Tests;

/// <summary>Devices that cache translations themselves are told of every unmap, or are cut off.</summary>
[Trait("Requirement", "S4.5")]
public class AtsTests
{
    private const ulong Iova = 0x10_0000;
    private const ulong Target = 0x8000_0000;

    [Theory]
    [InlineData(0u)]
    [InlineData(9u)]
    public void A_device_forgets_what_is_unmapped(uint pasidValue)
    {
        using Rig rig = new();
        Pasid pasid = new(pasidValue);
        IommuDevice device = rig.AddDevice(0x1_0010, pasidBits: 8, ats: true);
        PagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target, 0x4000);
        device.Attach(pasid, domain).ShouldBe(Errno.Success);
        DeviceCache cache = rig.CacheOf(device);
        cache.Fetch(Iova, pasid).ShouldBeTrue();
        cache.Fetch(Iova + 0x3000, pasid).ShouldBeTrue();
        cache.Access(Iova, pasid).Status.ShouldBe(DmaStatus.Success);
        domain.ShouldUnmap(Iova);
        cache.Knows(Iova, pasid).ShouldBeFalse();
        cache.Knows(Iova + 0x3000, pasid).ShouldBeTrue();
        cache.Fetch(Iova, pasid).ShouldBeFalse();
        domain.ShouldUnmap(Iova + 0x1000, 0x3000);
        cache.Knows(Iova + 0x3000, pasid).ShouldBeFalse();
        rig.Driver.Statistics.AtsInvalidations.ShouldBe(2);
    }

    [Fact]
    public void Every_device_of_a_domain_is_told_and_others_are_not()
    {
        using Rig rig = new();
        IommuDevice[] caching = [rig.AddDevice(0x10, ats: true), rig.AddDevice(0x18, ats: true)];
        IommuDevice plain = rig.AddDevice(0x20);
        PagingDomain domain = rig.NewDomain(plain);
        domain.ShouldMap(Iova, Target);
        foreach (IommuDevice device in (IommuDevice[])[.. caching, plain])
        {
            device.Group.Attach(domain).ShouldBe(Errno.Success);
        }

        caching.ShouldAllBe(device => rig.CacheOf(device).Fetch(Iova, Pasid.None));
        RiscVDriverStatistics before = rig.Driver.Statistics;
        domain.ShouldUnmap(Iova);
        (rig.Driver.Statistics.AtsInvalidations - before.AtsInvalidations).ShouldBe(2);
        (rig.Driver.Statistics.FirstStageInvalidations - before.FirstStageInvalidations).ShouldBe(1);
        caching.ShouldAllBe(device => !rig.CacheOf(device).Knows(Iova, Pasid.None));
        caching[0].Group.Detach().ShouldBe(Errno.Success);
        before = rig.Driver.Statistics;
        domain.ShouldMap(Iova, Target);
        domain.ShouldUnmap(Iova);
        (rig.Driver.Statistics.AtsInvalidations - before.AtsInvalidations).ShouldBe(1);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_device_that_is_detached_or_switched_has_forgotten_the_old_domain()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, ats: true);
        PagingDomain first = rig.NewDomain(device);
        PagingDomain second = rig.NewDomain(device);
        first.ShouldMap(Iova, Target);
        second.ShouldMap(Iova, Target + 0x10_0000);
        DeviceCache cache = rig.CacheOf(device);
        device.Group.Attach(first).ShouldBe(Errno.Success);
        cache.Fetch(Iova, Pasid.None).ShouldBeTrue();
        device.Group.Attach(second).ShouldBe(Errno.Success);
        cache.Knows(Iova, Pasid.None).ShouldBeFalse();
        cache.Fetch(Iova, Pasid.None).ShouldBeTrue();
        cache.Access(Iova, Pasid.None).Address.Value.ShouldBe(Target + 0x10_0000);
        device.Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.Success);
        cache.Knows(Iova, Pasid.None).ShouldBeFalse();
        cache.Fetch(0xdead_b000, Pasid.None).ShouldBeTrue();
        device.Group.Detach().ShouldBe(Errno.Success);
        cache.Knows(0xdead_b000, Pasid.None).ShouldBeFalse();
        cache.Fetch(Iova, Pasid.None).ShouldBeFalse();
    }

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void A_device_that_does_not_answer_is_cut_off_and_everybody_else_goes_on()
    {
        using Rig rig = new();
        IommuDevice mute = rig.AddDevice(0x10, ats: true);
        IommuDevice good = rig.AddDevice(0x18, ats: true);
        PagingDomain domain = rig.NewDomain(good);
        domain.ShouldMap(Iova, Target, 0x2000);
        mute.Group.Attach(domain).ShouldBe(Errno.Success);
        good.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.CacheOf(mute).Fetch(Iova, Pasid.None).ShouldBeTrue();
        rig.CacheOf(good).Fetch(Iova, Pasid.None).ShouldBeTrue();
        rig.CacheOf(mute).Answers = false;
        domain.ShouldUnmap(Iova);

        // It still knows the address, but nothing of it goes through any more.
        rig.CacheOf(mute).Knows(Iova, Pasid.None).ShouldBeTrue();
        rig.CacheOf(mute).Access(Iova, Pasid.None).Status.ShouldNotBe(DmaStatus.Success);
        rig.Hardware.Translate(new(mute.Id, new(Iova + 0x1000)), out DmaTranslation plain);
        plain.Status.ShouldNotBe(DmaStatus.Success);
        rig.Log.ToString().ShouldContain("is cut off");
        rig.CacheOf(good).Knows(Iova, Pasid.None).ShouldBeFalse();
        rig.CacheOf(good).Fetch(Iova + 0x1000, Pasid.None).ShouldBeTrue();
        domain.ShouldUnmap(Iova + 0x1000);
        rig.CacheOf(good).Knows(Iova + 0x1000, Pasid.None).ShouldBeFalse();
        rig.Driver.Statistics.QueueFailures.ShouldBe(0);
        mute.Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.IoError);
        mute.Group.Detach().ShouldBe(Errno.Success);
        rig.Core.RemoveDevice(mute);
        rig.Core.RemoveDevice(good);
        rig.Driver.Statistics.PscidsInUse.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void A_device_that_answers_the_second_time_is_kept()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, ats: true);
        PagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target, 0x2000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.CacheOf(device).Fetch(Iova, Pasid.None).ShouldBeTrue();
        rig.CacheOf(device).Misses = 1;
        domain.ShouldUnmap(Iova);
        rig.CacheOf(device).Knows(Iova, Pasid.None).ShouldBeFalse();
        rig.CacheOf(device).Fetch(Iova + 0x1000, Pasid.None).ShouldBeTrue();
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(1);
    }

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void A_device_that_answers_the_second_time_is_kept_although_the_queue_stopped_twice_before()
    {
        SpoiledCommands? commands = null;
        using Rig rig = new(new() { DriverMemory = inner => commands = new(inner) });
        IommuDevice device = rig.AddDevice(0x10, ats: true);
        PagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target, 0x2000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.CacheOf(device).Fetch(Iova, Pasid.None).ShouldBeTrue();
        rig.CacheOf(device).Misses = 1;
        commands!.Spoil(CommandOpcode.Iotinval, 2);
        domain.ShouldUnmap(Iova);
        rig.CacheOf(device).Knows(Iova, Pasid.None).ShouldBeFalse();
        rig.CacheOf(device).Fetch(Iova + 0x1000, Pasid.None).ShouldBeTrue();
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(3);
        rig.Driver.Statistics.QueueFailures.ShouldBe(0);
    }

    [Theory]
    [Trait("Requirement", "S4.17")]
    [InlineData(true)]
    [InlineData(false)]
    public void A_page_request_that_nobody_resolves_is_answered_as_invalid(bool needsPasid)
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, pasidBits: 8, ats: true, pageRequests: true, responsesNeedPasid: needsPasid);
        PagingDomain domain = rig.NewDomain(device);
        device.Group.AttachPasid(new(5), domain).ShouldBe(Errno.Success);
        ulong payload = Iova | PageRequestPayload.ReadBit | (0x55ul << PageRequestPayload.GroupShift);
        rig.Hardware.HandlePageRequest(new(PcieMessageCode.PageRequest, 0x10, 0, new(5), payload));
        rig.HandleInterrupts();
        rig.Responses.ShouldBeEmpty();
        rig.Hardware.HandlePageRequest(new(PcieMessageCode.PageRequest, 0x10, 0, new(5), payload | PageRequestPayload.LastBit));
        rig.HandleInterrupts();
        PcieMessage response = rig.Responses.ShouldHaveSingleItem();
        response.RequesterId.ShouldBe((ushort)0x10);
        response.Pasid.ShouldBe(needsPasid ? new Pasid(5) : Pasid.Invalid);
        (response.Payload >> PageRequestPayload.ResponseGroupShift & 0x1ff).ShouldBe(0x55ul);
        (response.Payload >> PageRequestPayload.ResponseCodeShift & 0xf).ShouldBe((ulong)PageResponseCode.InvalidRequest);
        rig.Driver.Statistics.PageRequests.ShouldBe(2);
    }

    [Theory]
    [InlineData(0x1000ul, 0x1ffful, 0x1000ul)]
    [InlineData(0x1000ul, 0x1fff_fffful, 0x0fff_f800ul)]
    [InlineData(0x2000ul, 0x3ffful, 0x2800ul)]
    [InlineData(0x4000ul, 0x7ffful, 0x5800ul)]
    [InlineData(0ul, ulong.MaxValue, PcieInvalidation.Everything)]
    public void The_payload_is_the_smallest_aligned_range(ulong start, ulong last, ulong payload) =>
        PcieInvalidation.PayloadFor(new(start, last)).ShouldBe(payload);
}
