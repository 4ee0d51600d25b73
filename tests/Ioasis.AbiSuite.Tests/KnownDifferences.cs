namespace Ioasis.AbiSuite.Tests;

/// <summary>
/// Where the embedded kernel answers otherwise than Linux 7.2, and why: the same list stands in docs/abi.md, "Deliberate
/// differences from Linux". Each entry must be found, or the test of its case fails: a difference that is gone must go here too.
/// </summary>
internal static class KnownDifferences
{
    private const string NoAccess = "a mapping without access cannot be in a RISC-V page table: a leaf without permissions is a pointer";
    private const string Registers = "edu's registers act when they are touched, which plain memory of this process cannot";

    private const string DmaBuffers = "the kernel that was recorded is configured without dma-buf of device memory; Debian's answers as here";

    /// <summary>Case, label, what the embedded kernel answers, and the reason.</summary>
    public static IReadOnlyList<(string Case, string Label, string Found, string Reason)> All { get; } =
    [
        ("device-regions", "region-0", "0 400000000300000000000000a5a5a5a500001000000000000000000000000000", Registers),
        .. ((uint[])[0x20, 0x21, 0x28, 0x40, 0x60, 0x80]).Select(static argsz => (
            "device-region-argsz",
            $"argsz-{argsz:x}",
            $"0 {argsz:x}0000000300000000000000a5a5a5a500001000000000000000000000000000",
            Registers)),
        ("device-mmap", "bar-0", "EINVAL", Registers),
        ("device-mmap", "bar-0-identification", CaseRecord.Nothing, Registers),
        ("device-mmap", "bar-0-liveness", CaseRecord.Nothing, Registers),
        ("device-mmap", "bar-0-whole", "EINVAL", Registers),
        ("device-mmap", "bar-0-whole-identification", CaseRecord.Nothing, Registers),
        ("device-mmap", "bar-0-whole-liveness", CaseRecord.Nothing, Registers),
        ("device-mmap", "bar-0-end", "EINVAL", Registers),
        ("compatible-map-flags", "flags-0", "EINVAL", NoAccess),
        ("compatible-map-flags", "  unmap", "0 0x0", NoAccess),
        ("device-feature", "probe-b", "0", DmaBuffers),
        ("device-feature", "probe-get-b", "0", DmaBuffers),
        ("device-feature", "probe-set-b", "EINVAL", DmaBuffers),
        ("ioas-map-file", "not-a-memfd", "EINVAL", "a file is looked at when it is mapped, not when the first device is attached"),
    ];

    /// <summary>Whether a difference is one of them.</summary>
    public static bool IsKnown(Difference difference) => All.Any(known => Matches(known.Case, known.Label, known.Found, difference));

    /// <summary>The entries of a case that did not show.</summary>
    public static IEnumerable<string> Missing(string @case, IReadOnlyList<Difference> differences) =>
        from known in All
        where string.Equals(known.Case, @case, StringComparison.Ordinal)
            && !differences.Any(difference => Matches(known.Case, known.Label, known.Found, difference))
        select $"{known.Case} / {known.Label}: the known difference '{known.Found}' is not there";

    private static bool Matches(string @case, string label, string found, Difference difference) =>
        string.Equals(@case, difference.Case, StringComparison.Ordinal)
        && string.Equals(label, difference.Label, StringComparison.Ordinal)
        && string.Equals(found, difference.Found, StringComparison.Ordinal);
}
