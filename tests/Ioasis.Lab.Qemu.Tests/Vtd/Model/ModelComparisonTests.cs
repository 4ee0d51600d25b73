using Ioasis.Hardware;
using Ioasis.Intel.Architecture;

namespace Ioasis.Lab.Qemu.Tests.Vtd.Model;

/// <summary>
/// Our model and QEMU's unit over the same random tables with the same requests: data where it belongs, fault records, flags in tables. Every
/// difference is of a kind that the text explains. IOASIS_TEST_ALL=1 has ten times as many.
/// </summary>
public sealed class ModelComparisonTests(ITestOutputHelper output)
{
    private const int Images = 36;
    private static readonly bool s_all = Environment.GetEnvironmentVariable("IOASIS_TEST_ALL") == "1";

    public static TheoryData<VtdTables, CachingMode> Units { get; } = new MatrixTheoryData<VtdTables, CachingMode>(
        [VtdTables.Legacy3, VtdTables.Legacy4, VtdTables.SecondStage, VtdTables.FirstStage],
        [CachingMode.None, CachingMode.Realistic, CachingMode.Hostile]);

    [Theory]
    [MemberData(nameof(Units))]
    public void Both_do_the_same_but_for_what_the_text_explains(VtdTables kind, CachingMode caching)
    {
        using TwoUnits units = new(kind, caching);
        Dictionary<Difference, int> differences = [];
        HashSet<FaultReason> reasons = [];
        int requests = 0;
        int reached = 0;
        for (int image = 0; image < Images * (s_all ? 10 : 1); image++)
        {
            int seed = (image * 100) + ((int)kind * 10) + (int)caching;
            Random random = new(seed);
            RandomTables tables = new(random, kind, units.Sources);
            ulong stamp = (1ul << 62) | ((uint)image << 20);
            List<ModelResult> results = units.Run(
                tables.Image, RandomRequests.Over(tables, random, units.Sources.Length, TwoUnits.MostRequests), stamp);
            bool isSame = results.TrueForAll(static result => result.Ours.IsRefused == result.Theirs.IsRefused);
            bool walkedAlike = isSame;
            for (int i = 0; i < results.Count; i++)
            {
                ModelResult result = results[i];
                TablePath path = tables.Image.Follow(kind, units.Sources[result.Request.Device], result.Request.Iova);
                Difference found = Differences.Find(kind, path, result);
                bool isExplained = found == Difference.OtherData
                    ? IsOverwritten(results, i, result.Theirs.Data - stamp)
                    : !found.HasFlag(Difference.Unexplained);
                isExplained.ShouldBeTrue($"seed {seed}, {kind}: {found}, {result}\n{path}");
                walkedAlike &= (found & ~Differences.OfRecordsOnly) == Difference.None;
                differences[found] = differences.GetValueOrDefault(found) + 1;
                reasons.Add(result.Ours.Reason);
                reached += result.Ours.IsRefused ? 0 : 1;
            }

            // Where one went through and the other did not, memory may differ; flags also where one ended sooner.
            requests += results.Count;
            (units.PoolsAreEqual() || !isSame).ShouldBeTrue($"seed {seed}: data went elsewhere");
            string flags = string.Join(", ", units.CompareTables(tables.Image)
                .Where(word => !Differences.IsOneFlagOnly(word.Ours, word.Theirs)
                    && !(units.HasLeftOut && Differences.IsFlaggedByOursAlone(word.Ours, word.Theirs)))
                .Select(static word => $"{word.Address:x}: {word.Ours:x}, QEMU {word.Theirs:x}"));
            (flags.Length == 0 || !walkedAlike).ShouldBeTrue($"seed {seed}, {kind}: flags in tables differ: {flags}");
            units.Resynchronise();
        }

        output.WriteLine($"{requests} requests, {reached} reached memory; differences:");
        foreach ((Difference difference, int count) in differences.OrderByDescending(static pair => pair.Value))
        {
            output.WriteLine($"{count,8} {difference}");
        }

        reached.ShouldBeGreaterThan(requests / 5);
        reasons.Count.ShouldBeGreaterThan(8);
    }

    // By a later write that went through with QEMU only, for a reason of its own.
    private static bool IsOverwritten(List<ModelResult> results, int index, ulong by) =>
        by > (ulong)index && by < (ulong)results.Count
        && results[(int)by] is { Request.IsWrite: true, Ours.IsRefused: true, Theirs.IsRefused: false };
}
