using System.Globalization;

namespace Ioasis.Conformance;

/// <summary>Which section of the RISC-V IOMMU specification governs what a report shows.</summary>
internal static class SpecificationSections
{
    public const string Translation = "2.3 Process to translate an IOVA";
    public const string AtsTranslation = "2.6 PCIe ATS translation request handling";
    public const string MsiTranslation = "2.3.3 Process to translate addresses of MSIs";
    public const string AccessedDirty = "2.4 IOMMU updating of PTE accessed (A) and dirty (D) updates";
    public const string FaultQueue = "3.2 Fault/Event-Queue (FQ)";
    public const string PageRequestQueue = "3.3 Page-Request-Queue (PQ)";
    public const string PageRequests = "2.7 PCIe ATS Page Request handling";
    public const string Fence = "3.1.2 IOMMU Command-queue Fence commands";
    public const string AtsCommands = "3.1.4 IOMMU PCIe ATS commands";
    public const string InterruptMessages = "5.29 MSI configuration table (msi_cfg_tbl)";
    public const string Endianness = "2.10 Endianness of in-memory data structures";

    /// <summary>The section that says when a cause is reported.</summary>
    public static string OfCause(uint cause) => cause switch
    {
        1 or 5 or 7 or 12 or 13 or 15 => "2.5 Faults from virtual address translation process",
        20 or 21 or 23 => "2.3 Process to translate an IOVA (second stage)",
        256 or 257 or 258 or 259 or 260 or 268 => "2.3.1 Process to locate the Device-context",
        265 or 266 or 267 or 269 => "2.3.2 Process to locate the Process-context",
        261 or 262 or 263 or 264 or 270 or 271 => MsiTranslation,
        273 => InterruptMessages,
        _ => FaultQueue,
    };

    /// <summary>A cause with its name (section 3.2, table of fault record CAUSE encodings).</summary>
    public static string NameOfCause(uint cause)
    {
        string name = cause switch
        {
            1 => "instruction access fault",
            4 => "read address misaligned",
            5 => "read access fault",
            6 => "write/AMO address misaligned",
            7 => "write/AMO access fault",
            12 => "instruction page fault",
            13 => "read page fault",
            15 => "write/AMO page fault",
            20 => "instruction guest page fault",
            21 => "read guest-page fault",
            23 => "write/AMO guest-page fault",
            256 => "all inbound transactions disallowed",
            257 => "DDT entry load access fault",
            258 => "DDT entry not valid",
            259 => "DDT entry misconfigured",
            260 => "transaction type disallowed",
            261 => "MSI PTE load access fault",
            262 => "MSI PTE not valid",
            263 => "MSI PTE misconfigured",
            264 => "MRIF access fault",
            265 => "PDT entry load access fault",
            266 => "PDT entry not valid",
            267 => "PDT entry misconfigured",
            268 => "DDT data corruption",
            269 => "PDT data corruption",
            270 => "MSI PT data corruption",
            271 => "MSI MRIF data corruption",
            272 => "internal data path error",
            273 => "IOMMU MSI write access fault",
            274 => "first/second-stage PT data corruption",
            _ => "unknown",
        };
        return string.Create(CultureInfo.InvariantCulture, $"{cause} ({name})");
    }
}
