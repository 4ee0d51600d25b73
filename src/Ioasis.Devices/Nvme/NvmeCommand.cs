using System.Buffers.Binary;

namespace Ioasis.Devices.Nvme;

/// <summary>Opcodes of admin commands (base specification 2.0, figure 138).</summary>
internal enum NvmeAdminOpcode : byte
{
    /// <summary>Delete I/O Submission Queue.</summary>
    DeleteSubmissionQueue = 0x00,

    /// <summary>Create I/O Submission Queue.</summary>
    CreateSubmissionQueue = 0x01,

    /// <summary>Get Log Page.</summary>
    GetLogPage = 0x02,

    /// <summary>Delete I/O Completion Queue.</summary>
    DeleteCompletionQueue = 0x04,

    /// <summary>Create I/O Completion Queue.</summary>
    CreateCompletionQueue = 0x05,

    /// <summary>Identify.</summary>
    Identify = 0x06,

    /// <summary>Abort.</summary>
    Abort = 0x08,

    /// <summary>Set Features.</summary>
    SetFeatures = 0x09,

    /// <summary>Get Features.</summary>
    GetFeatures = 0x0a,

    /// <summary>Asynchronous Event Request.</summary>
    AsyncEventRequest = 0x0c,

    /// <summary>Doorbell Buffer Config.</summary>
    DoorbellBufferConfig = 0x7c,

    /// <summary>Format NVM.</summary>
    FormatNvm = 0x80,
}

/// <summary>Opcodes of the NVM command set (NVM Command Set Specification 1.0, figure 12).</summary>
public enum NvmeIoOpcode : byte
{
    /// <summary>Flush.</summary>
    Flush = 0x00,

    /// <summary>Write.</summary>
    Write = 0x01,

    /// <summary>Read.</summary>
    Read = 0x02,

    /// <summary>Write Uncorrectable.</summary>
    WriteUncorrectable = 0x04,

    /// <summary>Compare.</summary>
    Compare = 0x05,

    /// <summary>Write Zeroes.</summary>
    WriteZeroes = 0x08,

    /// <summary>Dataset Management.</summary>
    DatasetManagement = 0x09,

    /// <summary>Verify.</summary>
    Verify = 0x0c,
}

/// <summary>A submission queue entry, 64 bytes (base specification 2.0, section 3.3.3.1).</summary>
internal readonly record struct NvmeCommand
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 64;

    /// <summary>Reads an entry.</summary>
    /// <param name="source">At least 64 bytes.</param>
    public NvmeCommand(ReadOnlySpan<byte> source)
    {
        uint first = BinaryPrimitives.ReadUInt32LittleEndian(source);
        Opcode = (byte)first;
        Fuse = (byte)((first >> 8) & 3);
        DataKind = (byte)((first >> 14) & 3);
        Id = (ushort)(first >> 16);
        NamespaceId = BinaryPrimitives.ReadUInt32LittleEndian(source[4..]);
        MetadataPointer = BinaryPrimitives.ReadUInt64LittleEndian(source[16..]);
        Data1 = BinaryPrimitives.ReadUInt64LittleEndian(source[24..]);
        Data2 = BinaryPrimitives.ReadUInt64LittleEndian(source[32..]);
        Word10 = BinaryPrimitives.ReadUInt32LittleEndian(source[40..]);
        Word11 = BinaryPrimitives.ReadUInt32LittleEndian(source[44..]);
        Word12 = BinaryPrimitives.ReadUInt32LittleEndian(source[48..]);
        Word13 = BinaryPrimitives.ReadUInt32LittleEndian(source[52..]);
        Word14 = BinaryPrimitives.ReadUInt32LittleEndian(source[56..]);
        Word15 = BinaryPrimitives.ReadUInt32LittleEndian(source[60..]);
    }

    /// <summary>The opcode.</summary>
    public byte Opcode { get; }

    /// <summary>Fused operation, 0 for a normal one.</summary>
    public byte Fuse { get; }

    /// <summary>How data is named (PSDT): 0 PRPs, 1 SGL with contiguous metadata, 2 SGL with a list for the metadata.</summary>
    public byte DataKind { get; }

    /// <summary>Command identifier.</summary>
    public ushort Id { get; }

    /// <summary>Namespace.</summary>
    public uint NamespaceId { get; }

    /// <summary>Metadata pointer.</summary>
    public ulong MetadataPointer { get; }

    /// <summary>PRP entry 1, or the first half of an SGL descriptor.</summary>
    public ulong Data1 { get; }

    /// <summary>PRP entry 2, or the second half of an SGL descriptor.</summary>
    public ulong Data2 { get; }

    /// <summary>Command dword 10.</summary>
    public uint Word10 { get; }

    /// <summary>Command dword 11.</summary>
    public uint Word11 { get; }

    /// <summary>Command dword 12.</summary>
    public uint Word12 { get; }

    /// <summary>Command dword 13.</summary>
    public uint Word13 { get; }

    /// <summary>Command dword 14.</summary>
    public uint Word14 { get; }

    /// <summary>Command dword 15.</summary>
    public uint Word15 { get; }

    /// <summary>First block, in dwords 10 and 11.</summary>
    public ulong FirstBlock => Word10 | ((ulong)Word11 << 32);
}
