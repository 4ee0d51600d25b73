namespace Ioasis.AbiSuite.Tests;

/// <summary>
/// Where the embedded kernel answers a monitor of VT-d otherwise than Linux 7.2, and why: docs/abi.md has the same list. Each entry must be
/// found in each of its guests, or the test of its case fails.
/// </summary>
internal static class VtdDifferences
{
    private const string Legacy = "vtd-legacy";
    private const string SecondStage = "vtd-second-stage";
    private const string FirstStage = "vtd-first-stage";
    private const string Nesting = "vtd-nesting";
    private const string WithPasids = "vtd-pasids";
    private const string NotSupported = "EOPNOTSUPP";
    private const string Invalid = "EINVAL";

    private const string NoPasids = "PASIDs of a device that has none: Linux notes the attachment and does nothing; here it is refused";
    private const string PasidRange = "a PASID is 1 to 2^20-1; Linux takes 0 for the device itself, and counts to 2^32-2";
    private const string NoVirtualIommus = "the objects are looked up before it is asked whether the IOMMU has virtual IOMMUs: an error either way";
    private const string NoErratum = "our unit does not have the erratum that keeps Linux from read-only mappings under guests' tables";

    private static readonly string[] s_withoutPasids = [Legacy, SecondStage, FirstStage, Nesting];

    /// <summary>Guests (an asterisk for all), case, label, what the embedded kernel answers, and the reason.</summary>
    public static IReadOnlyList<(string Guest, string Case, string Label, string Found, string Reason)> All { get; } =
    [
        .. s_withoutPasids.SelectMany(static guest =>
            ((string[])["1", "64", "fffff"]).Select(pasid => (guest, "vtd-pasid", $"attach-{pasid}", NotSupported, NoPasids))),
        .. s_withoutPasids.Select(static guest => (guest, "vtd-pasid", "attach-100000", Invalid, PasidRange)),
        .. ((string[])["attach-0", "attach-plain-0", "attach-space-0", "detach-0", "detach-100000", "attach-ffffffff",
            "attach-plain-ffffffff", "attach-space-ffffffff", "detach-ffffffff"])
            .Select(static label => ("*", "vtd-pasid", label, Invalid, PasidRange)),
        .. ((string[])["1", "2", "3", "7777"]).Select(static kind => ("*", "vtd-virtual-iommu", $"on-plain-{kind}", Invalid, NoVirtualIommus)),
        .. ((string[])[Legacy, SecondStage, FirstStage, WithPasids]).SelectMany(static guest =>
            ((string[])["1", "2", "3", "7777"]).Select(kind => (guest, "vtd-virtual-iommu", $"kind-{kind}", "ENOENT", NoVirtualIommus))),
        (Nesting, "vtd-parent-maps", "read-only", "0", NoErratum),
        (Nesting, "vtd-parent-maps", "read-only-attached", "0", NoErratum),
        (Nesting, "vtd-parent-maps", "unmap", "0 0x4000", NoErratum),
        (Nesting, "vtd-nested-alloc", "length-4097", "E2BIG", "data for a driver is never longer than a page"),
        (Nesting, "vtd-dirty", "read-unattached", Invalid, "where nothing is mapped, there is nothing to tell: an error as over a hole"),
    ];

    /// <summary>Whether a difference is one of them.</summary>
    public static bool IsKnown(string guest, Difference difference) => All.Any(known => Matches(known, guest, difference));

    /// <summary>The entries of a case that did not show.</summary>
    public static IEnumerable<string> Missing(string guest, string @case, IReadOnlyList<Difference> differences) =>
        from known in All
        where IsOf(known.Guest, guest) && string.Equals(known.Case, @case, StringComparison.Ordinal)
            && !differences.Any(difference => Matches(known, guest, difference))
        select $"{known.Case} / {known.Label}: the known difference '{known.Found}' is not there";

    private static bool Matches((string Guest, string Case, string Label, string Found, string Reason) known, string guest, Difference difference) =>
        IsOf(known.Guest, guest)
        && string.Equals(known.Case, difference.Case, StringComparison.Ordinal)
        && string.Equals(known.Label, difference.Label, StringComparison.Ordinal)
        && string.Equals(known.Found, difference.Found, StringComparison.Ordinal);

    private static bool IsOf(string known, string guest) => known == "*" || string.Equals(known, guest, StringComparison.Ordinal);
}
