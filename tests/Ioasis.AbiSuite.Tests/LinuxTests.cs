namespace Ioasis.AbiSuite.Tests;

/// <summary>The same suite on Linux itself: the recording that the embedded kernel is held to is what Linux says today.</summary>
public sealed class LinuxTests
{
    private const string Debian = "Debian's kernel";
    private const string Iommufd = "Debian's sources with iommufd";

    // Debian's configuration of the kernel, where it shows: no iommufd, but dma-buf of device memory.
    private static readonly HashSet<string> s_configuration = new(StringComparer.Ordinal)
    {
        "device-unknown-calls / 0x3b76: expected EINVAL, found ENOTTY",
        "device-feature / probe-b: expected ENOTTY, found 0",
        "device-feature / probe-get-b: expected ENOTTY, found 0",
        "device-feature / probe-set-b: expected ENOTTY, found EINVAL",
    };

    /// <summary>The kernels to boot. The second is built from its sources, which takes minutes: with IOASIS_TEST_ALL=1.</summary>
    public static TheoryData<string> Kernels { get; } =
        string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal)
            ? [Debian, Iommufd]
            : [Debian];

    [Theory]
    [MemberData(nameof(Kernels))]
    [Trait("Requirement", "S3.9")]
    [Trait("Requirement", "S1.15")]
    public void Linux_answers_as_recorded_and_edu_does_its_DMA(string kernel)
    {
        bool isDebian = string.Equals(kernel, Debian, StringComparison.Ordinal);
        string[] lines = Guest.Run(isDebian ? null : Guest.BuildKernel());
        IReadOnlyDictionary<string, CaseRecord> records = CaseRecord.Parse(lines);
        SuiteRunner.Cases
            .Where(@case => !isDebian || (@case.Needs & (CaseNeeds.Iommufd | CaseNeeds.DeviceNode | CaseNeeds.Compatibility)) == 0)
            .Select(static @case => @case.Name)
            .ShouldBe(records.Keys, ignoreOrder: true);
        records.Values.SelectMany(static record => Recording.Linux[record.Name].Compare(record))
            .Select(static difference => difference.ToString())
            .Except(isDebian ? s_configuration : [], StringComparer.Ordinal)
            .ShouldBeEmpty();

        // The topology that the embedded platform of these tests copies.
        lines.Where(static line => line.StartsWith("reserved: ", StringComparison.Ordinal))
            .Select(static line => string.Join(' ', line.Split(' ')[2..]))
            .ShouldBe(Enumerable.Repeat("0x00000000fee00000 0x00000000feefffff msi", 2));
    }
}
