using System.Globalization;

namespace Ioasis.Conformance;

/// <summary>Names and sections of registers for reports (specification chapter 5, "Memory-mapped register interface").</summary>
internal static class RegisterNames
{
    private static readonly (uint First, uint Last, string Name, string Section)[] Table =
    [
        (0, 7, "capabilities", "5.3"),
        (8, 11, "fctl", "5.4"),
        (16, 23, "ddtp", "5.5"),
        (24, 31, "cqb", "5.6"),
        (32, 35, "cqh", "5.7"),
        (36, 39, "cqt", "5.8"),
        (40, 47, "fqb", "5.9"),
        (48, 51, "fqh", "5.10"),
        (52, 55, "fqt", "5.11"),
        (56, 63, "pqb", "5.12"),
        (64, 67, "pqh", "5.13"),
        (68, 71, "pqt", "5.14"),
        (72, 75, "cqcsr", "5.15"),
        (76, 79, "fqcsr", "5.16"),
        (80, 83, "pqcsr", "5.17"),
        (84, 87, "ipsr", "5.18"),
        (88, 91, "iocountovf", "5.19"),
        (92, 95, "iocountinh", "5.20"),
        (96, 103, "iohpmcycles", "5.21"),
        (600, 607, "tr_req_iova", "5.24"),
        (608, 615, "tr_req_ctl", "5.25"),
        (616, 623, "tr_response", "5.26"),
        (624, 627, "iommu_qosid", "5.27"),
        (760, 767, "icvec", "5.28"),
    ];

    /// <summary>The name of the register at an offset.</summary>
    public static string Of(uint offset) => Find(offset).Name;

    /// <summary>The section that defines the register at an offset.</summary>
    public static string SectionOf(uint offset)
    {
        (string name, string section) = Find(offset);
        return $"{section} {name}";
    }

    private static (string Name, string Section) Find(uint offset)
    {
        foreach ((uint first, uint last, string name, string section) in Table)
        {
            if (offset >= first && offset <= last)
            {
                return (offset == first ? name : Numbered(name, "+", offset - first), section);
            }
        }

        return offset switch
        {
            >= 104 and < 352 => (Numbered("iohpmctr", "", ((offset - 104) / 8) + 1), "5.22"),
            >= 352 and < 600 => (Numbered("iohpmevt", "", ((offset - 352) / 8) + 1), "5.23"),
            >= 768 and < 1024 => (
                Numbered((offset & 0xf) switch { < 8 => "msi_addr_", < 12 => "msi_data_", _ => "msi_vec_ctl_" }, "", (offset - 768) / 16), "5.29"),
            _ => (Numbered("offset ", "", offset), "5.1"),
        };
    }

    private static string Numbered(string name, string separator, uint number) =>
        string.Create(CultureInfo.InvariantCulture, $"{name}{separator}{number}");
}
