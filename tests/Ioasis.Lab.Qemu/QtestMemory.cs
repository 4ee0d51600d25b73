using System.Buffers.Binary;
using System.Globalization;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu;

/// <summary>
/// The machine's RAM, by qtest. Aligned accesses are single accesses of the emulated machine. A compare-and-swap is a read
/// and a write with no command between them: the machine stands still then, so no device can come between.
/// </summary>
public sealed class QtestMemory(QtestConnection qtest, AddressRange ram) : IPhysicalMemory
{
    private const int PieceBytes = 16 * 1024;

    /// <summary>Where the RAM is.</summary>
    public AddressRange Ram { get; } = ram;

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        if (!Contains(address, destination.Length))
        {
            return MemoryStatus.AccessFault;
        }

        for (int offset = 0; offset < destination.Length; offset += PieceBytes)
        {
            Span<byte> piece = destination.Slice(offset, Math.Min(PieceBytes, destination.Length - offset));
            string text = qtest.Ask(Invariant($"b64read 0x{address.Value + (uint)offset:x} 0x{piece.Length:x}"));
            if (!Convert.TryFromBase64String(text, piece, out int read) || read != piece.Length)
            {
                throw new QtestException($"b64read gave '{text}'");
            }
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        if (!Contains(address, source.Length))
        {
            return MemoryStatus.AccessFault;
        }

        if (!source.IsEmpty && source.IndexOfAnyExcept(source[0]) < 0)
        {
            qtest.Post(Invariant($"memset 0x{address.Value:x} 0x{source.Length:x} 0x{source[0]:x}"));
            return MemoryStatus.Success;
        }

        for (int offset = 0; offset < source.Length; offset += PieceBytes)
        {
            ReadOnlySpan<byte> piece = source.Slice(offset, Math.Min(PieceBytes, source.Length - offset));
            qtest.Post(Invariant(
                $"b64write 0x{address.Value + (uint)offset:x} 0x{piece.Length:x} {Convert.ToBase64String(piece)}"));
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        value = 0;
        if (!Contains(address, 8))
        {
            return MemoryStatus.AccessFault;
        }

        value = qtest.AskNumber(Invariant($"readq 0x{address.Value:x}"));
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        if (!Contains(address, 8))
        {
            return MemoryStatus.AccessFault;
        }

        qtest.Post(Invariant($"writeq 0x{address.Value:x} 0x{value:x}"));
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        value = 0;
        if (!Contains(address, 4))
        {
            return MemoryStatus.AccessFault;
        }

        value = (uint)qtest.AskNumber(Invariant($"readl 0x{address.Value:x}"));
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value)
    {
        if (!Contains(address, 4))
        {
            return MemoryStatus.AccessFault;
        }

        qtest.Post(Invariant($"writel 0x{address.Value:x} 0x{value:x}"));
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        (MemoryStatus status, ulong seen) = qtest.Atomically(() =>
        {
            MemoryStatus read = Read64(address, out ulong present);
            return (read == MemoryStatus.Success && present == expected ? Write64(address, desired) : read, present);
        });
        observed = seen;
        return status;
    }

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

    /// <summary>Reads bytes that are there.</summary>
    public byte[] ReadBytes(PhysicalAddress address, int length)
    {
        byte[] bytes = new byte[length];
        return Read(address, bytes) == MemoryStatus.Success
            ? bytes
            : throw new QtestException($"{address} is not in the RAM {Ram}");
    }

    /// <summary>Reads a number that is there.</summary>
    public uint ReadWord(PhysicalAddress address) => BinaryPrimitives.ReadUInt32LittleEndian(ReadBytes(address, 4));

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private bool Contains(PhysicalAddress address, int length) =>
        Ram.Contains(address.Value) && (ulong)length <= Ram.Last - address.Value + 1;
}
