using System.Globalization;

namespace Ioasis.Recorder.Tests;

/// <summary>Finding a group's domain in words whose layout is not known, as kernels have them.</summary>
public sealed class GroupStateTests
{
    private const ulong Heap = 0xff35_9c4c_0000_0000;

    // Where a kernel's group has its number, and what stands behind its default domain.
    public static TheoryData<string, int, bool> Kernels { get; } = new()
    {
        { "5.4", 19, false },
        { "6.1", 18, true },
        { "with lock debugging", 33, true },
    };

    [Theory]
    [MemberData(nameof(Kernels))]
    public void The_domain_of_each_group_is_found_whatever_the_layout(string kernel, int number, bool hasBlocking)
    {
        _ = kernel;
        GroupSnapshot[] groups =
        [
            Group(0, number, hasBlocking, (Domain(0), 11), (Domain(0), 11)),
            Group(1, number, hasBlocking, (Domain(1), 4), (Domain(1), 4)),
            Group(2, number, hasBlocking, (Domain(2), 11), (Domain(7), 1)),
            Group(3, number, hasBlocking, (0, 0), (0, 0)),
        ];

        GroupState.Domains(groups, Types("DMA-FQ", "identity", "DMA-FQ", "unknown"), hasBlocking).ShouldBe(
        [
            new(Domain(0), 0, "DMA-FQ", true), new(Domain(1), 1, "identity", true), new(Domain(7), 2, "unmanaged", false),
        ]);
    }

    [Fact]
    public void One_group_with_the_number_0_is_enough()
    {
        // Many words are 0 and have a pointer behind them: only the type of what it points to tells them from the number.
        GroupSnapshot group = Group(0, 18, true, (Domain(0), 11), (Domain(0), 11));

        GroupState.Domains([group], Types("DMA-FQ"), true).ShouldBe([new(Domain(0), 0, "DMA-FQ", true)]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Where_no_group_is_attached_to_its_default_the_kernels_version_decides(bool hasBlocking)
    {
        GroupSnapshot group = Group(4, 18, hasBlocking, (Domain(4), 3), (Domain(9), 1));

        GroupState.Domains([group], new Dictionary<int, string> { [4] = "DMA" }, hasBlocking).ShouldBe([new(Domain(9), 4, "unmanaged", false)]);
    }

    [Fact]
    public void Nothing_is_guessed_when_the_type_that_sysfs_tells_is_nowhere()
    {
        GroupSnapshot group = Group(0, 18, true, (Domain(0), 11), (Domain(0), 11));

        GroupState.Domains([group], Types("identity"), true).ShouldBeEmpty();
        GroupState.Domains([], Types(), true).ShouldBeEmpty();
    }

    [Fact]
    public void A_line_of_the_trace_is_read()
    {
        const string line =
            "             cat-123     [001] .....    18.123722: ioasis_group: (iommu_group_show_type+0x0/0x170) name=\"12\" "
            + "words={0xff359c4c41b92b60,0x0,0xffffffffb37c0ba0} t1=(fault) t2=11";

        GroupSnapshot.TryParse(line, out GroupSnapshot? group).ShouldBeTrue();
        group!.Group.ShouldBe(12);
        group.Words.ShouldBe([0xff359c4c41b92b60, 0, 0xffffffffb37c0ba0]);
        group.Types.ShouldBe([null, null, 11u]);
    }

    [Theory]
    [InlineData("")]
    [InlineData("x-1 [0] . 1.0: ioasis_group: (f+0x0/0x1) name=\"a\" words={0x1}")]
    [InlineData("x-1 [0] . 1.0: ioasis_group: (f+0x0/0x1) name=\"1\" words={0x1")]
    [InlineData("x-1 [0] . 1.0: ioasis_group: (f+0x0/0x1) name=\"1\" words={,}")]
    [InlineData("x-1 [0] . 1.0: map: IOMMU: iova=0x1")]
    public void What_is_no_such_line_is_not(string line) =>
        GroupSnapshot.TryParse(line, out _).ShouldBeFalse();

    private static ulong Domain(int number) => Heap + 0x41a8_9010 + ((ulong)number * 0xc0);

    private static Dictionary<int, string> Types(params string[] types) => types.Select(static (type, i) => (i, type)).ToDictionary();

    // Words of a group: kobject (lists that point at themselves, names), mutex, then the number and the domains.
    private static GroupSnapshot Group(int group, int number, bool hasBlocking, (ulong Address, uint Type) byDefault, (ulong Address, uint Type) now)
    {
        ulong[] words = new ulong[ProbeCatalogue.GroupWords];
        uint?[] types = new uint?[ProbeCatalogue.GroupWords];
        for (int i = 0; i < number - 1; i++)
        {
            // A pointer behind each 0, and a 0 behind each pointer.
            words[i] = i % 2 == 0 ? Heap + 0x41b9_7a08 + ((ulong)group * 0x1000) + ((ulong)i * 8) : 0;
            types[i] = i % 2 == 0 ? (uint)words[i] : null;
        }

        words[number] = (uint)group;
        (words[number + 1], types[number + 1]) = byDefault;
        int at = number + (hasBlocking ? 3 : 2);
        (words[at], types[at]) = now;
        words[at + 1] = Heap + 0x41b9_7cb0;
        types[at + 1] = (uint)words[at + 1];
        return new(group, words, types);
    }
}
