namespace Ioasis.Explain;

/// <summary>Which IOMMU, by its kernel driver, printed a fault.</summary>
internal enum FaultSource
{
    /// <summary>Intel VT-d ("DMAR:").</summary>
    Intel,

    /// <summary>AMD's I/O virtualization ("AMD-Vi:").</summary>
    Amd,

    /// <summary>Arm SMMU of version 1 or 2 ("arm-smmu").</summary>
    ArmSmmu,

    /// <summary>Arm SMMU of version 3 ("arm-smmu-v3").</summary>
    ArmSmmuV3,

    /// <summary>Qualcomm's variant of the SMMU ("qcom-iommu").</summary>
    Qualcomm,

    /// <summary>RISC-V IOMMU ("riscv-iommu").</summary>
    RiscV,

    /// <summary>virtio-iommu.</summary>
    Virtio,
}

/// <summary>What a device tried.</summary>
internal enum FaultAccess
{
    /// <summary>The line does not say.</summary>
    Unknown,

    /// <summary>To read memory.</summary>
    Read,

    /// <summary>To write memory.</summary>
    Write,

    /// <summary>To fetch instructions.</summary>
    Execute,

    /// <summary>To raise an interrupt by a message.</summary>
    Interrupt,

    /// <summary>To ask for a translation (PCIe ATS).</summary>
    TranslationRequest,

    /// <summary>To ask for a page (PCIe PRI).</summary>
    PageRequest,
}

/// <summary>What kind of rule a fault broke.</summary>
internal enum FaultKind
{
    /// <summary>The reason is not one that is known.</summary>
    Unknown,

    /// <summary>Nothing is mapped at the address.</summary>
    NotMapped,

    /// <summary>Something is mapped there, and not for this access.</summary>
    Denied,

    /// <summary>Nothing is mapped there, or not for this access: the hardware does not tell which.</summary>
    NotMappedOrDenied,

    /// <summary>The address has more bits than the tables translate.</summary>
    AddressTooWide,

    /// <summary>The IOMMU has no entry for the device.</summary>
    DeviceUnknown,

    /// <summary>The device is not allowed this type of request.</summary>
    RequestRefused,

    /// <summary>The PASID is not one of the device's.</summary>
    PasidUnknown,

    /// <summary>A table is damaged, wrongly made, or cannot be read.</summary>
    TableError,

    /// <summary>An interrupt was refused.</summary>
    Interrupt,

    /// <summary>A command of the kernel's driver was refused or not confirmed.</summary>
    Command,

    /// <summary>Two translations of one address are cached at once.</summary>
    CacheConflict,
}

/// <summary>One fault, as a kernel printed it.</summary>
internal sealed record Fault
{
    /// <summary>Who printed it.</summary>
    public required FaultSource Source { get; init; }

    /// <summary>The rule it broke.</summary>
    public FaultKind Kind { get; init; }

    /// <summary>What was tried.</summary>
    public FaultAccess Access { get; init; }

    /// <summary>The device: a PCI address <c>DDDD:BB:DD.F</c> or a name of the kernel's; null if the line has none.</summary>
    public string? Device { get; init; }

    /// <summary>The stream or requester ID as a number, where the line has one.</summary>
    public uint? Requester { get; init; }

    /// <summary>The PASID or substream, where there is one.</summary>
    public uint? Pasid { get; init; }

    /// <summary>The address that the device used (IOVA), where the line has one.</summary>
    public ulong? Address { get; init; }

    /// <summary>The hardware's number of the reason.</summary>
    public int? Code { get; init; }

    /// <summary>The reason's name, of the specification or of the kernel.</summary>
    public required string Reason { get; init; }

    /// <summary>The specification's section that defines the reason.</summary>
    public required string Section { get; init; }

    /// <summary>The reason in words.</summary>
    public required string Meaning { get; init; }

    /// <summary>Everything else that the line says, decoded.</summary>
    public IReadOnlyList<FaultField> Fields { get; init; } = [];

    /// <summary>Seconds since the kernel started, where the line has them.</summary>
    public double? Time { get; init; }

    /// <summary>Line of the input, from 1.</summary>
    public int Line { get; init; }

    /// <summary>The line itself, without its prefix.</summary>
    public string Text { get; init; } = "";
}

/// <summary>A decoded field of a fault.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Value">Its value in words or digits.</param>
internal sealed record FaultField(string Name, string Value);
