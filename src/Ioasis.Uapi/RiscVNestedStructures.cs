using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary>
/// Numbers of Ioasis for the RISC-V IOMMU, which Linux 7.2's iommufd does not know: from 2^31 on, where Linux has none
/// (docs/abi.md). One number for everything that belongs together.
/// </summary>
public static class RiscVUapi
{
    /// <summary>Kind of hardware information: <see cref="IommuHwInfoRiscV"/>.</summary>
    public const uint HardwareInfoType = 0x8000_0001;

    /// <summary>Kind of the data of a nested table: <see cref="IommuHwptRiscV"/>.</summary>
    public const uint HwptDataType = 0x8000_0001;

    /// <summary>Kind of the entries of an invalidation: <see cref="IommuInvalidateRiscV"/>.</summary>
    public const uint InvalidateDataType = 0x8000_0001;

    /// <summary>Kind of a virtual IOMMU. It takes no data.</summary>
    public const uint ViommuType = 0x8000_0001;

    /// <summary>Kind of a queue of virtual events: <see cref="IommuVeventRiscV"/>.</summary>
    public const uint VeventqType = 0x8000_0001;
}

/// <summary>Ioasis: what a guest's IOMMU may be told to have (<c>struct iommu_hw_info_riscv</c>).</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IommuHwInfoRiscV
{
    /// <summary>The <c>capabilities</c> register (RISC-V IOMMU specification, section 6.3).</summary>
    [FieldOffset(0)] public ulong Capabilities;

    /// <summary>The <c>fctl</c> register as it is set (section 6.4).</summary>
    [FieldOffset(8)] public uint FeatureControl;

    /// <summary>0.</summary>
    [FieldOffset(12)] public uint Reserved;
}

/// <summary>
/// Ioasis: a guest's first stage, by the three double words of its device context that are the guest's to choose
/// (<c>struct iommu_hwpt_riscv</c>; RISC-V IOMMU specification, section 3.1.3). Every address is guest-physical.
/// </summary>
/// <remarks>
/// Every bit that is not listed must be 0, else the allocation is EINVAL; what the host decides (V, ATS, page requests, the
/// second stage, MSIs) has no place here.
/// </remarks>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct IommuHwptRiscV
{
    /// <summary><c>DC.tc</c>: PDTV (bit 5), SADE (bit 8), DPE (bit 9, only with PDTV), SBE (bit 10).</summary>
    [FieldOffset(0)] public ulong TranslationControl;

    /// <summary><c>DC.ta</c>: PSCID (bits 31 to 12), only without PDTV. The guest's own number: the host keeps guests apart.</summary>
    [FieldOffset(8)] public ulong TranslationAttributes;

    /// <summary><c>DC.fsc</c>: <c>iosatp</c>, or <c>pdtp</c> with PDTV: MODE (bits 63 to 60) and PPN (bits 43 to 0).</summary>
    [FieldOffset(16)] public ulong FirstStageContext;

    /// <summary>0.</summary>
    [FieldOffset(24)] public ulong Reserved;
}

/// <summary>
/// Ioasis: one invalidation that a guest asks for: a command as the guest's driver writes it to its command queue
/// (<c>struct iommu_invalidate_riscv</c>; RISC-V IOMMU specification, section 4.1).
/// </summary>
/// <remarks>
/// For a nested table: <c>IOTINVAL.VMA</c>, and <c>IODIR.INVAL_PDT</c> where the device ID is ignored. For a virtual IOMMU also
/// <c>IODIR.INVAL_DDT</c>, <c>IODIR.INVAL_PDT</c> and <c>ATS.INVAL</c>, whose device ID is the number of a virtual device. GV
/// must be 0, for a guest has no second stage of its own. No fence is needed: when the call returns, everything is complete.
/// </remarks>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IommuInvalidateRiscV
{
    /// <summary>First double word.</summary>
    [FieldOffset(0)] public ulong Word0;

    /// <summary>Second double word.</summary>
    [FieldOffset(8)] public ulong Word1;
}

/// <summary>
/// Ioasis: a fault that is the guest's to know: a record as the guest's driver reads it from its fault queue
/// (<c>struct iommu_vevent_riscv</c>; RISC-V IOMMU specification, section 4.2). The device ID is the number of a virtual device.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct IommuVeventRiscV
{
    /// <summary>CAUSE, PID, PV, PRIV, TTYP and DID.</summary>
    [FieldOffset(0)] public ulong Word0;

    /// <summary>0.</summary>
    [FieldOffset(8)] public ulong Word1;

    /// <summary><c>iotval</c>.</summary>
    [FieldOffset(16)] public ulong Iotval;

    /// <summary><c>iotval2</c>.</summary>
    [FieldOffset(24)] public ulong Iotval2;
}
