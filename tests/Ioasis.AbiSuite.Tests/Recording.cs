namespace Ioasis.AbiSuite.Tests;

/// <summary>What Linux 7.2 answered.</summary>
internal static class Recording
{
    /// <summary>Records by name, of a kernel of Debian's sources with iommufd (docs/lab.md says how it was made).</summary>
    public static IReadOnlyDictionary<string, CaseRecord> Linux { get; } =
        CaseRecord.Parse(File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Golden", "linux-7.2.txt")));
}
