using System.Buffers.Binary;

namespace Ioasis.Devices.Ioat;

/// <summary>A descriptor of 64 bytes as it was read.</summary>
internal readonly struct IoatDescriptor
{
    public const int Size = 64;
    public const byte Copy = 0;
    public const byte Fill = 1;

    private const uint InterruptBit = 1;
    private const uint CompletionBit = 1 << 3;
    private const uint NullBit = 1 << 5;
    private const uint PageBreakBits = 3 << 6;
    private const int AddressBits = 52;

    private readonly uint _control;

    public IoatDescriptor(ReadOnlySpan<byte> bytes)
    {
        Length = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        _control = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
        Source = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]);
        Destination = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
        Next = BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]);
    }

    public uint Length { get; }

    /// <summary>Of a fill: the 8 bytes that are repeated.</summary>
    public ulong Source { get; }

    public ulong Destination { get; }

    public ulong Next { get; }

    public byte Operation => (byte)(_control >> 24);

    public bool WantsInterrupt => (_control & InterruptBit) != 0;

    public bool WantsCompletion => (_control & CompletionBit) != 0;

    /// <summary>It moves nothing, but completes as others do.</summary>
    public bool IsNull => (_control & NullBit) != 0;

    /// <summary>What is wrong with it before anything is moved.</summary>
    /// <param name="most">Most bytes of a descriptor.</param>
    public IoatErrors FindError(uint most)
    {
        // A break at the end of a page is announced by a capability that this engine does not have.
        bool breaks = (_control & PageBreakBits) != 0;
        return Operation > Fill || (breaks && !IsNull) || (IsNull && Operation != Copy) ? IoatErrors.Control
            : Length == 0 || Length > most ? IoatErrors.Length
            : IsNull ? IoatErrors.None
            : Operation == Copy && !IsAddress(Source) ? IoatErrors.SourceAddress
            : !IsAddress(Destination) ? IoatErrors.DestinationAddress
            : IoatErrors.None;
    }

    private bool IsAddress(ulong start) => start >> AddressBits == 0 && (start + Length - 1) >> AddressBits == 0;
}
