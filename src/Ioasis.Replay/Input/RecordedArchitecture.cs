using System.Text;

namespace Ioasis.Replay.Input;

/// <summary>
/// The architecture of the machine that a recording was made on, as <c>uname -m</c> has it. Few forms tell: <c>ioasis record</c>,
/// <c>perf script --header</c>, trace-cmd's <c>trace.dat</c>, and device-side logs by the IOMMU that they are of.
/// </summary>
internal static class RecordedArchitecture
{
    /// <summary>How much of a text is looked at.</summary>
    public const int Window = 1 << 14;

    /// <summary>Whether the IOMMUs of an architecture are Intel's or close to them.</summary>
    /// <param name="architecture">A name, as <c>x86_64</c> or <c>i686</c>; empty if not known.</param>
    public static bool IsX86(string architecture) => architecture is "x86_64" or "amd64" or ['i', '3' or '4' or '5' or '6', '8', '6'];

    /// <summary>Finds it in the comments that a text begins with.</summary>
    /// <param name="head">The beginning of the text.</param>
    /// <returns>The architecture; empty if they do not tell.</returns>
    public static string FindInText(ReadOnlySpan<byte> head)
    {
        RecordedMachine machine = new();
        foreach (Range range in head.Split((byte)'\n'))
        {
            ReadOnlySpan<byte> line = head[range].TrimEnd((byte)'\r');
            if (machine.TryLine(line) && machine.Architecture.Length > 0)
            {
                return machine.Architecture;
            }

            if (line.StartsWith("# arch :"u8))
            {
                return Encoding.ASCII.GetString(line["# arch :"u8.Length..].Trim((byte)' '));
            }
        }

        return "";
    }

    /// <summary>Finds it in what <c>uname</c> said: the last word.</summary>
    public static string OfUname(string text)
    {
        string trimmed = text.Trim();
        return trimmed[(trimmed.LastIndexOf(' ') + 1)..];
    }

    /// <summary>The architecture whose machines have an IOMMU.</summary>
    /// <param name="name">The name of an event of its device model, as <c>vtd_dmar_translate</c>.</param>
    /// <returns>The architecture; empty if more than one has it.</returns>
    public static string OfEvent(string name) =>
        name.StartsWith("vtd_", StringComparison.Ordinal) || name.StartsWith("amdvi_", StringComparison.Ordinal) ? "x86_64"
        : name.StartsWith("riscv_iommu_", StringComparison.Ordinal) ? "riscv64"
        : name.StartsWith("smmu", StringComparison.Ordinal) ? "aarch64"
        : "";
}
