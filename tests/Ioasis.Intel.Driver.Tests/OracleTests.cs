using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>
/// Random maps, unmaps and switches of several devices and PASIDs, checked after each step against what should be reachable: the hostile
/// unit serves whatever it was not told to forget (invariant 1).
/// </summary>
public sealed class OracleTests
{
    private const int Domains = 3;
    private const int Slots = 24;

    // Pages, runs over the end of a table, and parts of large leaves.
    private static readonly ulong[] s_places = [0x1000, 0x2000, 0x1f_f000, 0x20_0000, 0x3f_f000, 0x40_0000, 0x60_0000, 0x3fff_f000, 0x4000_0000];
    private static readonly ulong[] s_lengths = [0x1000, 0x2000, 0x5000, 0x20_0000, 0x20_1000, 0x40_0000];

    internal readonly record struct Step(int Kind, int Domain, int User, int Place, int Length)
    {
        public override string ToString() => $"({Kind}, {Domain}, {User}, {Place}, {Length})";
    }

    private static readonly Arbitrary<Step[]> s_steps = Gen.ArrayOf(
        from kind in Gen.Choose(0, 9)
        from domain in Gen.Choose(0, Domains - 1)
        from user in Gen.Choose(0, 4)
        from place in Gen.Choose(0, s_places.Length - 1)
        from length in Gen.Choose(0, s_lengths.Length - 1)
        select new Step(kind, domain, user, place, length)).ToArbitrary();

    public static TheoryData<string> Kinds => AttachTests.Kinds;

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Devices_reach_what_the_oracle_says_and_nothing_else(string kind) =>
        Check.One(
            Config.QuickThrowOnFailure.WithMaxTest(60).WithEndSize(Slots * 2).WithQuietOnSuccess(true),
            Prop.ForAll(s_steps, steps => Run(AttachTests.OptionsOf(kind), steps)));

    // Users: two devices, and in scalable mode three PASIDs of the first.
    private static void Run(RigOptions options, Step[] steps)
    {
        using Rig rig = new(options);
        bool hasPasids = rig.Driver.IsScalable;
        IommuDevice[] devices = [rig.AddDevice(0x0110, pasidBits: hasPasids ? 10 : 0), rig.AddDevice(0x0080)];
        VtdPagingDomain[] domains = [.. Enumerable.Range(0, Domains).Select(_ => rig.NewDomain(devices[0]))];
        var mapped = new SortedDictionary<ulong, ulong>[Domains];
        for (int i = 0; i < Domains; i++)
        {
            mapped[i] = [];
        }

        int[] attached = [-1, -1, -1, -1, -1];
        ulong nextMemory = 0x100_0000_0000;
        (IommuDevice Device, Pasid Pasid) UserOf(int user) => user < 2 ? (devices[user], Pasid.None) : (devices[0], new((uint)user * 97));
        foreach (Step step in steps)
        {
            int user = hasPasids ? step.User : step.User % 2;
            (IommuDevice device, Pasid pasid) = UserOf(user);
            ulong start = s_places[step.Place];
            ulong length = s_lengths[step.Length];
            SortedDictionary<ulong, ulong> pages = mapped[step.Domain];
            switch (step.Kind)
            {
                case 0 or 1 or 2 or 3:
                    bool isFree = !Pages(start, length).Any(pages.ContainsKey);
                    Errno error = domains[step.Domain].Map(new(start), new(nextMemory + start), length, Access.ReadWrite);
                    error.ShouldBe(isFree ? Errno.Success : Errno.AddressInUse);
                    if (isFree)
                    {
                        foreach (ulong page in Pages(start, length))
                        {
                            pages.Add(page, nextMemory + page);
                        }

                        nextMemory += 1ul << 30;
                    }

                    break;
                case 4 or 5 or 6:
                    InvalidationGather gather = default;
                    domains[step.Domain].Unmap(new(start), length, ref gather, out _).ShouldBe(Errno.Success);
                    domains[step.Domain].Sync(ref gather).ShouldBe(Errno.Success);
                    foreach (ulong page in Pages(start, length))
                    {
                        _ = pages.Remove(page);
                    }

                    break;
                case 7 or 8:
                    AttachTo(device, pasid, attached[user] >= 0 ? domains[attached[user]] : null, domains[step.Domain]);
                    attached[user] = step.Domain;
                    break;
                default:
                    if (attached[user] >= 0)
                    {
                        (pasid.IsPresent ? device.Group.DetachPasid(pasid) : device.Group.Detach()).ShouldBe(Errno.Success);
                        attached[user] = -1;
                    }

                    break;
            }

            for (int other = 0; other < (hasPasids ? 5 : 2); other++)
            {
                (IommuDevice asker, Pasid under) = UserOf(other);
                Probe(rig, asker, under, attached[other] < 0 ? [] : mapped[attached[other]], step);
            }
        }
    }

    private static void AttachTo(IommuDevice device, Pasid pasid, PagingDomain? old, PagingDomain next)
    {
        if (!pasid.IsPresent)
        {
            device.Group.Attach(next).ShouldBe(Errno.Success);
            return;
        }

        if (old is not null)
        {
            device.Group.DetachPasid(pasid).ShouldBe(Errno.Success);
        }

        device.Group.AttachPasid(pasid, next).ShouldBe(Errno.Success);
    }

    private static void Probe(Rig rig, IommuDevice device, Pasid pasid, SortedDictionary<ulong, ulong> pages, Step step)
    {
        foreach (ulong iova in s_places)
        {
            DmaTranslation translation = rig.Dma(device, iova + 0x18, write: true, pasid);
            string what = $"{device.Name} PASID {pasid} at {iova:x} after {step}";
            if (pages.TryGetValue(iova, out ulong address))
            {
                translation.Status.ShouldBe(DmaStatus.Success, what);
                translation.Address.Value.ShouldBe(address + 0x18, what);
            }
            else
            {
                translation.Status.ShouldNotBe(DmaStatus.Success, what);
            }
        }
    }

    private static IEnumerable<ulong> Pages(ulong start, ulong length)
    {
        for (ulong at = start; at < start + length; at += Rig.Page)
        {
            yield return at;
        }
    }
}
