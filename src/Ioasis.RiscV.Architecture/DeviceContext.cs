namespace Ioasis.RiscV.Architecture;

/// <summary>Directory entries that are no leaves, of the DDT (section 2.1.1) and of the PDT (section 3.2.1); their PPN is a <see cref="PpnField"/>.</summary>
internal static class DirectoryEntry
{
    /// <summary><c>V</c>.</summary>
    public const ulong ValidBit = 1ul << 0;

    /// <summary>Everything but V and PPN.</summary>
    public const ulong ReservedMask = ~(ValidBit | PpnField.Mask);

    /// <summary>Bytes of an entry.</summary>
    public const int Size = 8;
}

/// <summary>How a <c>device_id</c> is partitioned (section 2, "Data structures"): DDI[0] is 7 bits in the base, 6 in the extended format.</summary>
internal static class DeviceDirectoryIndex
{
    /// <summary>The index of a level of the directory.</summary>
    /// <param name="deviceId">24 bits.</param>
    /// <param name="level">0 (leaf) to 2.</param>
    /// <param name="extendedFormat">Whether <c>capabilities.MSI_FLAT</c> is 1.</param>
    public static int At(uint deviceId, int level, bool extendedFormat)
    {
        int leafBits = extendedFormat ? 6 : 7;
        return level switch
        {
            0 => (int)(deviceId & ((1u << leafBits) - 1)),
            1 => (int)((deviceId >> leafBits) & 0x1ff),
            _ => (int)((deviceId & DeviceIdMask) >> (leafBits + 9)),
        };
    }

    private const uint DeviceIdMask = 0xff_ffff;
}

/// <summary>
/// A device context (section 2.1.2), 32 bytes (base format) or 64 (extended format, <c>capabilities.MSI_FLAT</c>): doublewords in this
/// order, in the byte order of <c>fctl.BE</c>.
/// </summary>
public static class DeviceContextOffset
{
    /// <summary><c>tc</c>: see <see cref="DeviceTranslationControl"/>.</summary>
    public const int TranslationControl = 0;

    /// <summary><c>iohgatp</c>: see <see cref="Iohgatp"/>.</summary>
    public const int Iohgatp = 8;

    /// <summary><c>ta</c>, the attributes of translation (section 2.1.3.3).</summary>
    public const int TranslationAttributes = 16;

    /// <summary><c>fsc</c>: <c>iosatp</c>, or <c>pdtp</c> with PDTV (section 2.1.3.4).</summary>
    public const int FirstStageContext = 24;

    /// <summary><c>msiptp</c>, the table of MSI pages (section 2.1.3.5); extended format only.</summary>
    public const int MsiPageTablePointer = 32;

    /// <summary><c>msi_addr_mask</c>, 52 bits; extended format only.</summary>
    public const int MsiAddressMask = 40;

    /// <summary><c>msi_addr_pattern</c>, 52 bits; extended format only.</summary>
    public const int MsiAddressPattern = 48;

    /// <summary>Reserved; extended format only.</summary>
    public const int Reserved = 56;
}

/// <summary><c>DC.tc</c> (section 2.1.2.1).</summary>
public static class DeviceTranslationControl
{
    /// <summary><c>V</c>: the context is valid.</summary>
    public const ulong ValidBit = 1ul << 0;

    /// <summary><c>EN_ATS</c>: ATS is enabled.</summary>
    public const ulong EnableAtsBit = 1ul << 1;

    /// <summary><c>EN_PRI</c>: page requests are enabled.</summary>
    public const ulong EnablePriBit = 1ul << 2;

    /// <summary><c>T2GPA</c>: ATS completions carry guest physical addresses.</summary>
    public const ulong T2gpaBit = 1ul << 3;

    /// <summary><c>DTF</c>: translation faults are not reported.</summary>
    public const ulong DisableTranslationFaultsBit = 1ul << 4;

    /// <summary><c>PDTV</c>: <c>fsc</c> points to a process directory.</summary>
    public const ulong PdtValidBit = 1ul << 5;

    /// <summary><c>PRPR</c>: page-request-group responses need the PASID.</summary>
    public const ulong PrgResponsePasidRequiredBit = 1ul << 6;

    /// <summary><c>GADE</c>: hardware updates A and D of the second stage.</summary>
    public const ulong SecondStageAdUpdateBit = 1ul << 7;

    /// <summary><c>SADE</c>: hardware updates A and D of the first stage.</summary>
    public const ulong FirstStageAdUpdateBit = 1ul << 8;

    /// <summary><c>DPE</c>: requests without process use process 0.</summary>
    public const ulong DefaultProcessBit = 1ul << 9;

    /// <summary><c>SBE</c>: process directory and first stage are big-endian.</summary>
    public const ulong FirstStageBigEndianBit = 1ul << 10;

    /// <summary><c>SXL</c>: first-stage schemes are those of 32-bit software.</summary>
    public const ulong SxlBit = 1ul << 11;

    /// <summary>Reserved for standard use: 23:12 and 63:32.</summary>
    public const ulong ReservedMask = 0xffff_ffff_00ff_f000;

    /// <summary>For custom use: 31:24.</summary>
    public const ulong CustomMask = 0xff00_0000;
}

/// <summary>Pointers with a mode: <c>iohgatp</c>, <c>iosatp</c>, <c>pdtp</c>, <c>msiptp</c>: PPN in 43:0, mode in 63:60.</summary>
public static class TablePointer
{
    /// <summary>The PPN, at bit 0.</summary>
    public const ulong PpnMask = (1ul << 44) - 1;

    /// <summary>Position of the mode, 4 bits.</summary>
    public const int ModeShift = 60;

    /// <summary>Reserved in <c>iosatp</c>, <c>pdtp</c> and <c>msiptp</c>: 59:44.</summary>
    public const ulong ReservedMask = 0xfffful << 44;

    /// <summary>The mode.</summary>
    public static int Mode(ulong pointer) => (int)(pointer >> ModeShift);

    /// <summary>The byte address of the root.</summary>
    public static ulong Address(ulong pointer) => (pointer & PpnMask) << 12;
}

/// <summary><c>iohgatp</c> (section 2.1.2.2): a <see cref="TablePointer"/> with a GSCID.</summary>
internal static class Iohgatp
{
    /// <summary>Position of <c>GSCID</c>, 16 bits.</summary>
    public const int GscidShift = 44;

    /// <summary><c>GSCID</c>, shifted down.</summary>
    public const ulong GscidMask = 0xffff;

    /// <summary>Bare.</summary>
    public const int ModeBare = 0;

    /// <summary>Sv32x4, when <c>fctl.GXL</c> is 1.</summary>
    public const int ModeSv32x4 = 8;

    /// <summary>Sv39x4, when <c>fctl.GXL</c> is 0.</summary>
    public const int ModeSv39x4 = 8;

    /// <summary>Sv48x4, when <c>fctl.GXL</c> is 0.</summary>
    public const int ModeSv48x4 = 9;

    /// <summary>Sv57x4, when <c>fctl.GXL</c> is 0.</summary>
    public const int ModeSv57x4 = 10;
}

/// <summary><c>DC.ta</c> (section 2.1.2.3).</summary>
internal static class DeviceTranslationAttributes
{
    /// <summary>Position of <c>PSCID</c>, 20 bits.</summary>
    public const int PscidShift = 12;

    /// <summary><c>PSCID</c>, shifted down.</summary>
    public const ulong PscidMask = 0xf_ffff;

    /// <summary>Position of <c>RCID</c>, 12 bits.</summary>
    public const int RcidShift = 40;

    /// <summary>Position of <c>MCID</c>, 12 bits.</summary>
    public const int McidShift = 52;

    /// <summary><c>RCID</c> or <c>MCID</c>, shifted down.</summary>
    public const ulong QosMask = 0xfff;

    /// <summary>Reserved whatever the capabilities are: 11:0 and 39:32.</summary>
    public const ulong ReservedMask = 0x0000_00ff_0000_0fff;
}

/// <summary><c>iosatp</c> and <c>PC.fsc</c> (sections 2.1.2.4, 2.2.2.2): a <see cref="TablePointer"/>.</summary>
internal static class Iosatp
{
    /// <summary>Bare.</summary>
    public const int ModeBare = 0;

    /// <summary>Sv32, when <c>DC.tc.SXL</c> is 1.</summary>
    public const int ModeSv32 = 8;

    /// <summary>Sv39, when <c>DC.tc.SXL</c> is 0.</summary>
    public const int ModeSv39 = 8;

    /// <summary>Sv48, when <c>DC.tc.SXL</c> is 0.</summary>
    public const int ModeSv48 = 9;

    /// <summary>Sv57, when <c>DC.tc.SXL</c> is 0.</summary>
    public const int ModeSv57 = 10;
}

/// <summary><c>pdtp</c> (section 2.1.2.4): a <see cref="TablePointer"/>.</summary>
internal static class Pdtp
{
    /// <summary>No process directory: the first stage is Bare.</summary>
    public const int ModeBare = 0;

    /// <summary>One level, 8-bit process IDs.</summary>
    public const int ModePd8 = 1;

    /// <summary>Two levels, 17-bit process IDs.</summary>
    public const int ModePd17 = 2;

    /// <summary>Three levels, 20-bit process IDs.</summary>
    public const int ModePd20 = 3;
}

/// <summary><c>msiptp</c> (section 2.1.2.5): a <see cref="TablePointer"/>.</summary>
internal static class Msiptp
{
    /// <summary>No MSI page table.</summary>
    public const int ModeOff = 0;

    /// <summary>A flat MSI page table.</summary>
    public const int ModeFlat = 1;

    /// <summary>The bits of <c>msi_addr_mask</c> and <c>msi_addr_pattern</c> that exist at most (section 2.1.2.6).</summary>
    public const ulong PatternMask = (1ul << 52) - 1;
}
