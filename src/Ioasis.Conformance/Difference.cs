using System.Globalization;

namespace Ioasis.Conformance;

/// <summary>One field in which the model differs from a case.</summary>
/// <param name="CaseId">The case.</param>
/// <param name="Topic">Its topic.</param>
/// <param name="Caching">Caching of the model: <c>none</c>, <c>realistic</c> or <c>hostile</c>.</param>
/// <param name="OperationIndex">Which operation of the case, from 0.</param>
/// <param name="Operation">The operation in readable form.</param>
/// <param name="Field">What differs.</param>
/// <param name="Expected">The recorded value.</param>
/// <param name="Actual">The value of the model.</param>
/// <param name="Section">Section of the RISC-V IOMMU specification that governs the field.</param>
internal sealed record Difference(
    string CaseId,
    string Topic,
    string Caching,
    int OperationIndex,
    string Operation,
    string Field,
    string Expected,
    string Actual,
    string Section)
{
    /// <summary>Two lines: where, and what.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{CaseId} ({Caching}) op {OperationIndex}: {Operation}\n    {Field}: expected {Expected}, got {Actual}  [section {Section}]");
}

/// <summary>The fields in which one operation differs.</summary>
internal sealed class DifferenceList
{
    private readonly List<(string Field, string Expected, string Actual, string Section)> _items = [];

    /// <summary>The fields so far.</summary>
    public IReadOnlyList<(string Field, string Expected, string Actual, string Section)> Items => _items;

    /// <summary>Adds a field if the numbers differ.</summary>
    public void Compare(string field, ulong expected, ulong actual, string section)
    {
        if (expected != actual)
        {
            Add(field, Hex(expected), Hex(actual), section);
        }
    }

    /// <summary>Adds a field.</summary>
    public void Add(string field, string expected, string actual, string section) => _items.Add((field, expected, actual, section));

    /// <summary>A number as reports show it.</summary>
    public static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
