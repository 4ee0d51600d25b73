using System.Buffers.Binary;
using Ioasis.Platform;

namespace Ioasis.Devices;

/// <summary>What an accelerator can be asked to do. Numbers and places of the fields are those of Intel's DSA specification.</summary>
public enum AcceleratorOperation : byte
{
    /// <summary>Nothing; completes.</summary>
    None = 0,

    /// <summary>The descriptors of an array, one after the other.</summary>
    Batch = 1,

    /// <summary>Completes when every descriptor of the same PASID that was accepted before has.</summary>
    Drain = 2,

    /// <summary>Copies from source to destination.</summary>
    Copy = 3,

    /// <summary>Fills the destination with the 8 bytes of the source field.</summary>
    Fill = 4,

    /// <summary>Compares source and destination.</summary>
    Compare = 5,

    /// <summary>CRC32C of the source.</summary>
    Crc32C = 0x10,
}

/// <summary>How a descriptor is worked on.</summary>
[Flags]
public enum AcceleratorFlags
{
    /// <summary>No completion record, and a page fault ends it.</summary>
    None = 0,

    /// <summary>A page that is missing is asked for and waited for; without the flag the operation ends with its address.</summary>
    BlockOnFault = 2,

    /// <summary>The completion address is valid: an error is written there.</summary>
    CompletionAddressValid = 4,

    /// <summary>Success is written to the completion record too.</summary>
    RequestCompletion = 8,
}

/// <summary>How a descriptor ended.</summary>
public enum AcceleratorStatus : byte
{
    /// <summary>It has not: what software puts there to poll.</summary>
    None = 0,

    /// <summary>Done.</summary>
    Success = 1,

    /// <summary>A page is missing and was not asked for.</summary>
    PageFault = 3,

    /// <summary>A page was asked for and refused, or the IOMMU refused the access.</summary>
    PageFaultRefused = 4,

    /// <summary>A descriptor of the batch failed; its own record says why.</summary>
    BatchFailed = 5,

    /// <summary>The array of the batch could not be read.</summary>
    BatchPageFault = 6,

    /// <summary>There is no such operation, or not in a batch.</summary>
    BadOperation = 0x10,

    /// <summary>Reserved flags are set.</summary>
    BadFlags = 0x11,
}

/// <summary>A command of 64 bytes. The PASID is put in on its way (<see cref="ISharedWorkQueue"/>).</summary>
/// <param name="Operation">What to do.</param>
/// <param name="Flags">How.</param>
/// <param name="Completion">Where the completion record goes, 32-byte aligned.</param>
/// <param name="Source">Source; the pattern of a fill; the array of a batch, 64-byte aligned.</param>
/// <param name="Destination">Destination, or the second source of a compare.</param>
/// <param name="Length">Bytes; the count of a batch.</param>
/// <param name="Seed">CRC to go on from.</param>
public readonly record struct AcceleratorDescriptor(
    AcceleratorOperation Operation,
    AcceleratorFlags Flags,
    ulong Completion,
    ulong Source = 0,
    ulong Destination = 0,
    uint Length = 0,
    uint Seed = 0)
{
    /// <summary>Bytes of a descriptor.</summary>
    public const int Size = ISharedWorkQueue.CommandSize;

    private const int KnownFlags =
        (int)(AcceleratorFlags.BlockOnFault | AcceleratorFlags.CompletionAddressValid | AcceleratorFlags.RequestCompletion);

    internal bool HasKnownFlags => ((int)Flags & ~KnownFlags) == 0;

    /// <summary>The bytes, without PASID.</summary>
    public void WriteTo(Span<byte> destination)
    {
        destination[..Size].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], ((uint)Flags & 0xff_ffff) | ((uint)Operation << 24));
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], Completion);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[16..], Source);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[24..], Destination);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[32..], Length);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[40..], Seed);
    }

    /// <summary>The descriptor in 64 bytes.</summary>
    public static AcceleratorDescriptor Read(ReadOnlySpan<byte> source)
    {
        uint second = BinaryPrimitives.ReadUInt32LittleEndian(source[4..]);
        return new(
            (AcceleratorOperation)(second >> 24),
            (AcceleratorFlags)(second & 0xff_ffff),
            BinaryPrimitives.ReadUInt64LittleEndian(source[8..]),
            BinaryPrimitives.ReadUInt64LittleEndian(source[16..]),
            BinaryPrimitives.ReadUInt64LittleEndian(source[24..]),
            BinaryPrimitives.ReadUInt32LittleEndian(source[32..]),
            BinaryPrimitives.ReadUInt32LittleEndian(source[40..]));
    }
}

/// <summary>What an accelerator writes when it has ended a descriptor: 32 bytes.</summary>
/// <param name="Status">How it ended.</param>
/// <param name="Result">Compare: 0 equal, 1 different.</param>
/// <param name="Completed">Bytes done before the end, the difference or the fault; descriptors of a batch.</param>
/// <param name="FaultAddress">With a page fault: where.</param>
/// <param name="Crc">CRC32C of the bytes done.</param>
public readonly record struct AcceleratorCompletion(
    AcceleratorStatus Status, byte Result = 0, uint Completed = 0, ulong FaultAddress = 0, uint Crc = 0)
{
    /// <summary>Bytes of a record.</summary>
    public const int Size = 32;

    /// <summary>The record in 32 bytes.</summary>
    public static AcceleratorCompletion Read(ReadOnlySpan<byte> source) => new(
        (AcceleratorStatus)source[0],
        source[1],
        BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
        BinaryPrimitives.ReadUInt64LittleEndian(source[8..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[16..]));

    internal void WriteTo(Span<byte> destination)
    {
        destination[..Size].Clear();
        destination[0] = (byte)Status;
        destination[1] = Result;
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], Completed);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], FaultAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[16..], Crc);
    }
}
