using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary><c>struct iommu_ioas_map_file</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct IommuIoasMapFile : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>How to map.</summary>
    [FieldOffset(4)] public IoasMapFlags Flags;

    /// <summary>The address space.</summary>
    [FieldOffset(8)] public uint IoasId;

    /// <summary>Descriptor of the file.</summary>
    [FieldOffset(12)] public int Fd;

    /// <summary>Offset in the file, in bytes.</summary>
    [FieldOffset(16)] public ulong Start;

    /// <summary>Bytes.</summary>
    [FieldOffset(24)] public ulong Length;

    /// <summary>In with <see cref="IoasMapFlags.FixedIova"/>, out always: where it is mapped.</summary>
    [FieldOffset(32)] public ulong Iova;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.IoasMapFile;

    /// <inheritdoc/>
    public static int MinimumSize => 40;
}

/// <summary><c>struct iommu_ioas_change_process</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct IommuIoasChangeProcess : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Reserved;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.IoasChangeProcess;

    /// <inheritdoc/>
    public static int MinimumSize => 8;
}
