using System.Globalization;
using System.Text;

namespace Ioasis.Campaigns.Tests;

/// <summary>Shards in any order, stopped and started again at any place: the merged result is that of one shard, byte for byte.</summary>
public sealed class CampaignRunnerTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("ioasis-campaign").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public void Any_shards_in_any_order_with_any_restarts_give_the_unsharded_result(int seed)
    {
        Random random = new(seed);
        byte[] whole = Unsharded(17);
        for (int round = 0; round < 10; round++)
        {
            string folder = NewFolder();
            int shards = random.Next(1, 21);
            int[] order = [.. Enumerable.Range(0, shards)];
            random.Shuffle(order);
            foreach (int shard in order)
            {
                for (int life = 0; life < random.Next(3); life++)
                {
                    // A life that ends before, in or after some unit; the next one goes on.
                    using CancellationTokenSource end = new();
                    int left = random.Next(4);
                    Campaign mortal = Make(17, _ =>
                    {
                        if (left-- == 0)
                        {
                            end.Cancel();
                            end.Token.ThrowIfCancellationRequested();
                        }
                    });
                    _ = Record.Exception(() => CampaignRunner.Run(mortal, folder, shard, shards, null, end.Token));
                }

                Run(Make(17), folder, shard, shards).ShouldBe(Enumerable.Range(0, 17).Count(unit => unit % shards == shard && unit % 5 == 3));
            }

            Merged(folder).ShouldBe(whole);
        }
    }

    [Fact]
    public void What_is_done_is_not_done_again()
    {
        string folder = NewFolder();
        List<int> done = [];
        Campaign campaign = Make(9, done.Add);
        _ = Run(campaign, folder, 1, 3);
        _ = Run(campaign, folder, 1, 3);
        done.ShouldBe([1, 4, 7]);
    }

    [Fact]
    public void Missing_shards_are_named_and_those_that_are_not_whole()
    {
        string folder = NewFolder();
        _ = Run(Make(12), folder, 0, 4);
        _ = Should.Throw<InvalidOperationException>(() => CampaignRunner.Run(Make(12, unit => Fail(unit == 9)), folder, 1, 4));
        Should.Throw<CampaignException>(() => CampaignRunner.Merge(folder)).Message
            .ShouldStartWith("3 of 4 shards are missing: 1 (1 of its 3 units), 2, 3.");
        File.Exists(Path.Combine(folder, CampaignRunner.ResultName)).ShouldBeFalse();

        static void Fail(bool now)
        {
            if (now)
            {
                throw new InvalidOperationException("the node is gone");
            }
        }
    }

    [Fact]
    public void Two_lives_of_one_shard_at_once_count_once()
    {
        string folder = NewFolder();
        bool inside = false;
        Campaign campaign = null!;
        campaign = Make(6, unit =>
        {
            // Another life does the whole shard while this one is in its first unit.
            if (!inside && unit == 0)
            {
                inside = true;
                _ = CampaignRunner.Run(campaign, folder, 0, 2);
            }
        });
        _ = Run(campaign, folder, 0, 2);
        _ = Run(campaign, folder, 1, 2);
        Merged(folder).ShouldBe(Unsharded(6));
    }

    [Fact]
    public void An_outcome_that_depends_on_something_else_is_refused()
    {
        string folder = NewFolder();
        int runs = 0;
        Campaign campaign = null!;
        campaign = new("test", [], [new("restless", cancellationToken =>
        {
            int run = ++runs;
            if (run == 1)
            {
                _ = CampaignRunner.Run(campaign, folder, 0, 1, null, cancellationToken);
            }

            return new() { Figures = new Dictionary<string, long>(StringComparer.Ordinal) { ["run"] = run } };
        })]);
        Should.Throw<CampaignException>(() => CampaignRunner.Run(campaign, folder, 0, 1)).Message.ShouldContain("unit 0 ('restless') came out otherwise than before");
    }

    [Theory]
    [InlineData("kind", "it is 'test', not 'other'")]
    [InlineData("shards", "it has 2 shards, not 3")]
    [InlineData("options", "its size is '6', not '7'")]
    [InlineData("units", "its units are others")]
    public void A_folder_of_another_campaign_is_refused_and_said_in_what(string what, string message)
    {
        string folder = NewFolder();
        _ = Run(Make(6), folder, 0, 2);
        Campaign other = what switch
        {
            "kind" => new("other", Make(6).Options, Make(6).Units),
            "options" => new("test", Make(7).Options, Make(6).Units),
            "units" => new("test", Make(6).Options, Make(5).Units),
            _ => Make(6),
        };
        Should.Throw<CampaignException>(() => CampaignRunner.Run(other, folder, 1, what == "shards" ? 3 : 2)).Message.ShouldEndWith(message);
    }

    [Fact]
    public void What_a_killed_shard_left_half_written_is_no_result_and_a_damaged_file_is_named()
    {
        string folder = NewFolder();
        _ = Run(Make(4), folder, 0, 1);
        string units = Path.Combine(folder, "units");
        File.WriteAllText(Path.Combine(units, "000002.json.node7.4711.0123.tmp"), "{\"name\":");
        Merged(folder).ShouldBe(Unsharded(4));
        string damaged = Path.Combine(units, "000002.json");
        File.WriteAllText(damaged, "{\"name\":");
        Should.Throw<CampaignException>(() => CampaignRunner.Merge(folder)).Message.ShouldStartWith($"{damaged}: damaged");
        File.Copy(Path.Combine(units, "000001.json"), damaged, overwrite: true);
        Should.Throw<CampaignException>(() => CampaignRunner.Merge(folder)).Message.ShouldStartWith($"{damaged}: not the outcome of unit 2");
    }

    [Fact]
    public void A_folder_without_a_campaign_cannot_be_merged() =>
        Should.Throw<CampaignException>(() => CampaignRunner.Merge(_root)).Message.ShouldContain("no campaign is here");

    [Fact]
    public void The_merged_result_has_sums_findings_and_documents_in_the_order_of_the_units()
    {
        string folder = NewFolder();
        _ = Run(Make(5), folder, 1, 2);
        _ = Run(Make(5), folder, 0, 2);
        CampaignResult result = CampaignRunner.Merge(folder);
        result.Figures.ShouldBe(new Dictionary<string, long>(StringComparer.Ordinal) { ["number"] = 10, ["units"] = 5 }, ignoreOrder: true);
        result.Findings.ShouldBe([("unit 3", "3 is not liked")]);
        string text = File.ReadAllText(result.Path);
        text.IndexOf("\"unit 2\"", StringComparison.Ordinal).ShouldBeLessThan(text.IndexOf("\"unit 4\"", StringComparison.Ordinal));
        text.ShouldContain("\"square\": 16");
    }

    private static Campaign Make(int units, Action<int>? before = null) => new(
        "test",
        [new("size", units.ToString(CultureInfo.InvariantCulture))],
        Enumerable.Range(0, units).Select(unit => new CampaignUnit($"unit {unit}", _ =>
        {
            before?.Invoke(unit);
            return new()
            {
                Figures = new Dictionary<string, long>(StringComparer.Ordinal) { ["number"] = unit, ["units"] = 1 },
                Findings = unit % 5 == 3 ? [$"{unit} is not liked"] : [],
                Document = Encoding.UTF8.GetBytes($"{{\"square\":{unit * unit}}}"),
            };
        })));

    private byte[] Unsharded(int units)
    {
        string folder = NewFolder();
        _ = CampaignRunner.Run(Make(units), folder, 0, 1);
        return Merged(folder);
    }

    private static byte[] Merged(string folder) => File.ReadAllBytes(CampaignRunner.Merge(folder).Path);

    private string NewFolder() => Path.Combine(_root, Guid.NewGuid().ToString("N"));

    private static int Run(Campaign campaign, string folder, int shard, int shards) =>
        CampaignRunner.Run(campaign, folder, shard, shards, cancellationToken: TestContext.Current.CancellationToken);
}
