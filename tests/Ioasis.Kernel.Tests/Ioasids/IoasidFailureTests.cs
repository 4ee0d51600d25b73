using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>
/// Each call about an IOASID with every step failing in turn: memory, room in queues, and confirmations of the IOMMU. What failed
/// leaves everything as it was, reserved regions of its devices too, and can be made again.
/// </summary>
public sealed class IoasidFailureTests
{
    private static readonly ReservedRegion[] First = [new(new(0xfee0_0000, 0xfeef_ffff), ReservedRegionKind.Msi)];
    private static readonly ReservedRegion[] Second = [new(new(0xa000_0000, 0xa000_0fff), ReservedRegionKind.Reserved)];

    private sealed record State(Rig Rig, int Iommu, uint Space, int[] Devices, int Pasids, uint Set, uint Number)
    {
        public int Bind() => Raw(Pasids, new IoasidBind { Ioasid = Number, Kind = IoasidBindKind.Ioas, Iommufd = Iommu, ObjectId = Space });

        public int Allow(int device) => Raw(Devices[device], new IoasidDeviceAllow { IoasidFd = Pasids, Ioasid = Number });

        public int Disallow(int device) => Raw(Devices[device], new IoasidDeviceDisallow { Ioasid = Number });

        public int Raw<T>(int fd, T argument)
            where T : unmanaged, ISizedArgument => Rig.Call(fd, ref argument);
    }

    private static readonly Dictionary<string, (Action<State> Prepare, Func<State, int> Call)> Calls = new(StringComparer.Ordinal)
    {
        ["bind"] = (static _ => { }, static s => s.Bind()),
        ["bind of what devices use"] = (
            static s => { s.Allow(0).ShouldBe(0); s.Allow(1).ShouldBe(0); s.Allow(2).ShouldBe(0); },
            static s => s.Bind()),
        ["allow before the bind"] = (static _ => { }, static s => s.Allow(0)),
        ["allow"] = (static s => s.Bind().ShouldBe(0), static s => s.Allow(0)),
        ["allow of a second device"] = (static s => { s.Bind().ShouldBe(0); s.Allow(0).ShouldBe(0); }, static s => s.Allow(1)),
        ["allow of a second device of a group"] = (static s => { s.Bind().ShouldBe(0); s.Allow(0).ShouldBe(0); }, static s => s.Allow(2)),
        ["disallow"] = (static s => { s.Bind().ShouldBe(0); s.Allow(0).ShouldBe(0); s.Allow(1).ShouldBe(0); }, static s => s.Disallow(0)),
        ["unbind"] = (static s => { s.Bind().ShouldBe(0); s.Allow(1).ShouldBe(0); }, static s => s.Raw(s.Pasids, new IoasidUnbind { Ioasid = s.Number })),
    };

    public static TheoryData<string> Names => [.. Calls.Keys];

    [Theory]
    [Trait("Requirement", "S1.6")]
    [Trait("Requirement", "S1.10")]
    [MemberData(nameof(Names))]
    public void A_call_that_fails_at_any_step_changes_nothing_and_succeeds_the_next_time(string name)
    {
        (Action<State> prepare, Func<State, int> call) = Calls[name];
        foreach (bool byMemory in new[] { true, false })
        {
            for (int step = 1; ; step++)
            {
                State s = Prepare();
                prepare(s);
                string before = RigState.Of(s.Rig);
                s.Rig.Iommu.Confirmations = 0;
                FailAtStep injector = new(byMemory ? step : 0, Errno.OutOfMemory);
                s.Rig.Iommu.RefusesAt = byMemory ? 0 : step;
                Injection.Current = injector;
                int result;
                try
                {
                    result = call(s);
                }
                finally
                {
                    Injection.Current = null;
                    s.Rig.Iommu.Recover();
                }

                bool isHit = byMemory ? injector.Passed >= step : s.Rig.Iommu.Confirmations >= step;
                string at = $"{name}, {(byMemory ? "memory" : "confirmation")} {step}";
                if (isHit)
                {
                    result.ShouldBe(-(int)(byMemory ? Errno.OutOfMemory : Errno.IoError), at);
                    RigState.Of(s.Rig).ShouldBe(before, at);
                    result = call(s);
                }

                result.ShouldBe(0, at);
                s.Rig.Memory.Violations.ShouldBeEmpty(at);
                s.Rig.Kernel.CloseAll();
                s.Rig.ShouldBeClean();
                s.Rig.KernelSide.Pasids.Audit.IsEmpty.ShouldBeTrue(at);
                if (!isHit)
                {
                    break;
                }
            }
        }
    }

    [Fact]
    [Trait("Requirement", "S3.4")]
    public void The_ranges_narrow_with_each_device_that_is_allowed_and_widen_when_it_goes()
    {
        State s = Prepare();
        s.Bind().ShouldBe(0);
        AddressRange[] all = s.Rig.Ranges(s.Iommu, s.Space, out _);
        s.Allow(0).ShouldBe(0);
        AddressRange[] one = s.Rig.Ranges(s.Iommu, s.Space, out _);
        one.Any(static range => range.Overlaps(First[0].Range)).ShouldBeFalse();
        s.Allow(1).ShouldBe(0);
        s.Rig.Ranges(s.Iommu, s.Space, out _).Any(static range => range.Overlaps(Second[0].Range)).ShouldBeFalse();
        s.Disallow(1).ShouldBe(0);
        s.Rig.Ranges(s.Iommu, s.Space, out _).ShouldBe(one);
        s.Disallow(0).ShouldBe(0);
        AddressRange[] after = s.Rig.Ranges(s.Iommu, s.Space, out _);
        after.Any(static range => range.Contains(First[0].Range)).ShouldBeTrue();
        after.Any(static range => range.Contains(Second[0].Range)).ShouldBeTrue();
        all.Any(static range => range.Contains(First[0].Range)).ShouldBeTrue();
        s.Rig.Kernel.CloseAll();
        s.Rig.ShouldBeClean();
    }

    // Three devices, the first and the last of one group, with reserved regions; an address space with a mapping; an IOASID.
    private static State Prepare()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint space = rig.AllocateSpace(iommu);
        rig.MapFixed(iommu, space, FakeUserMemory.Start, 0x2000, 0x10000).ShouldBe(0);
        ReservedRegion[][] regions = [First, Second, []];
        int[] groups = [0, 1, 0];
        int[] devices = [.. Enumerable.Range(0, 3).Select(i => rig.Kernel.Open(rig.AddCapableDevice(groups[i], regions[i]).Path, OpenFlags.ReadWrite))];
        foreach (int device in devices)
        {
            VfioTests.Bind(rig, device, iommu).Result.ShouldBe(0);
        }

        int pasids = rig.Kernel.Open("/dev/ioasid", OpenFlags.ReadWrite);
        IoasidSetCreate set = new() { Quota = 4 };
        rig.Call(pasids, ref set).ShouldBe(0);
        IoasidAlloc allocation = new() { SetId = set.OutSetId };
        rig.Call(pasids, ref allocation).ShouldBe(0);
        return new(rig, iommu, space, devices, pasids, set.OutSetId, allocation.OutIoasid);
    }
}
