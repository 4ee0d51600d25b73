using System.Globalization;
using System.Text.RegularExpressions;

namespace Ioasis.Explain;

/// <summary>Lines that are no faults and yet tell of some.</summary>
internal static partial class LogShapes
{
    /// <summary>How many messages of an IOMMU the kernel did not print, if the line says so.</summary>
    public static long? Suppressed(string text)
    {
        Match match = SuppressedLine().Match(text);
        return match.Success ? long.Parse(match.Groups["count"].ValueSpan, CultureInfo.InvariantCulture) : null;
    }

    /// <summary>Whether it looks like a fault of an IOMMU.</summary>
    public static bool LooksLikeFault(string text) => Driver().IsMatch(text) && Trouble().IsMatch(text);

    [GeneratedRegex(
        @"(?:dmar|amd_iommu|iommu|smmu|fault)\S*: (?<count>\d+) callbacks suppressed", RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex SuppressedLine();

    [GeneratedRegex(@"\b(?:DMAR|AMD-Vi|arm-smmu|qcom[-_]iommu|riscv-iommu|virtio_iommu|mtk-iommu|sysmmu|iommu)\b", RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Driver();

    [GeneratedRegex(@"\b(?:page |context |global |translation )?fault\b|\bevent logged\b|\bevent\b.*\breceived\b|time-?out\b|\bblocked\b", RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Trouble();
}
