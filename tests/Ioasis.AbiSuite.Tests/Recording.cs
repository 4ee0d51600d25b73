namespace Ioasis.AbiSuite.Tests;

/// <summary>What Linux 7.2 answered.</summary>
internal static class Recording
{
    /// <summary>Records by name, of a kernel of Debian's sources with iommufd (docs/lab.md says how it was made).</summary>
    public static IReadOnlyDictionary<string, CaseRecord> Linux { get; } = Read("linux-7.2");

    /// <summary>A recording by the name of its file.</summary>
    public static IReadOnlyDictionary<string, CaseRecord> Read(string name) => CaseRecord.Parse(Lines(name));

    /// <summary>All lines of a recording, what the guest says of itself included.</summary>
    public static IEnumerable<string> Lines(string name) => File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Golden", name + ".txt"));

    /// <summary>The line with <c>CAP_REG</c> and <c>ECAP_REG</c> of the guest's IOMMU, in hexadecimal.</summary>
    public static string Registers(string name) => Lines(name).Single(static line => line.StartsWith("registers: ", StringComparison.Ordinal));
}
