using System.Buffers.Binary;

namespace Ioasis.Devices.Virtio;

/// <summary>What asking a ring for a buffer gave.</summary>
internal enum RingTake
{
    /// <summary>Nothing is there.</summary>
    Empty,

    /// <summary>A buffer.</summary>
    Taken,

    /// <summary>The driver made a mistake, or memory did not answer: <see cref="VirtioRing.Mistake"/>.</summary>
    Broken,
}

/// <summary>A place in a ring: an index, and the lap for a packed one.</summary>
internal readonly record struct RingPlace(int Index, bool Lap);

/// <summary>
/// The device's side of a virtqueue, in one of its two layouts. Nothing in memory is trusted: every walk ends. Not thread-safe; under the
/// device's lock.
/// </summary>
internal abstract class VirtioRing(VirtioDevice device, int size, VirtioFeatures features)
{
    protected const ushort Next = 1;
    protected const ushort Writable = 2;
    protected const ushort Indirect = 4;
    protected const int DescriptorSize = 16;

    /// <summary>What is wrong, once something is.</summary>
    public string? Mistake { get; private set; }

    protected int Size => size;

    protected bool HasEventIndex { get; } = features.HasFlag(VirtioFeatures.EventIndex);

    /// <summary>Takes the next buffer.</summary>
    public abstract RingTake Take(VirtioChain chain);

    /// <summary>The place from which <see cref="Take"/> goes on.</summary>
    public abstract RingPlace Place { get; }

    /// <summary>Gives buffers back that were taken since a place was noted, as if they had not been: none of them was used meanwhile.</summary>
    public abstract void GoBack(RingPlace place);

    /// <summary>Says what was written to a buffer, by its number and the descriptors of the ring that it takes. The driver sees it with <see cref="Publish"/>, all since the last one at once.</summary>
    /// <returns>False if the ring is broken.</returns>
    public abstract bool Use(uint id, int slots, uint written);

    /// <summary>Gives the buffers of <see cref="Use"/> back to the driver.</summary>
    /// <returns>False if the ring is broken.</returns>
    public abstract bool Publish();

    /// <summary>Asks to be notified of the next buffer, after <see cref="Take"/> found none.</summary>
    /// <param name="hasMore">Whether one has come meanwhile, of which nobody will tell.</param>
    /// <returns>False if the ring is broken.</returns>
    public abstract bool RequestNotification(out bool hasMore);

    /// <summary>Whether the driver wants to hear of what was given back since the last call.</summary>
    /// <returns>False if the ring is broken.</returns>
    public abstract bool TakeInterrupt(out bool isWanted);

    protected RingTake Break(string mistake)
    {
        Mistake = mistake;
        return RingTake.Broken;
    }

    protected bool Fail(string mistake)
    {
        Mistake = mistake;
        return false;
    }

    protected bool TryRead16(ulong address, out ushort value)
    {
        Span<byte> bytes = stackalloc byte[2];
        bool isThere = device.ReadGuest(address, bytes);
        value = BinaryPrimitives.ReadUInt16LittleEndian(bytes);
        return isThere;
    }

    protected bool TryWrite16(ulong address, ushort value)
    {
        Span<byte> bytes = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, value);
        return device.WriteGuest(address, bytes);
    }

    protected bool TryRead32(ulong address, out uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        bool isThere = device.ReadGuest(address, bytes);
        value = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        return isThere;
    }

    protected bool TryWrite(ulong address, ReadOnlySpan<byte> bytes) => device.WriteGuest(address, bytes);

    protected bool TryReadDescriptor(ulong address, out RingDescriptor descriptor)
    {
        Span<byte> bytes = stackalloc byte[DescriptorSize];
        bool isThere = device.ReadGuest(address, bytes);
        descriptor = new(
            BinaryPrimitives.ReadUInt64LittleEndian(bytes),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]),
            BinaryPrimitives.ReadUInt16LittleEndian(bytes[12..]),
            BinaryPrimitives.ReadUInt16LittleEndian(bytes[14..]));
        return isThere;
    }

    // Whether a descriptor may refer to a table, and how many entries that has.
    protected string? CheckIndirect(in RingDescriptor descriptor, ushort flags, out uint entries)
    {
        entries = descriptor.Length / DescriptorSize;
        return !features.HasFlag(VirtioFeatures.IndirectDescriptors) ? "an indirect descriptor without the feature"
            : (flags & Next) != 0 ? "an indirect descriptor that has a next one"
            : descriptor.Length == 0 || descriptor.Length % DescriptorSize != 0 ? $"a table of descriptors of {descriptor.Length} bytes"
            : null;
    }

    // Virtio 1.3, section 2.7.10: whether the step from one index to another passed the event.
    protected static bool Passes(ushort eventIndex, ushort now, ushort before) =>
        (ushort)(now - eventIndex - 1) < (ushort)(now - before);

    /// <summary>A descriptor as it lies in memory: the last two words are flags and next in a split ring, ID and flags in a packed one.</summary>
    protected readonly record struct RingDescriptor(ulong Address, uint Length, ushort Word12, ushort Word14);
}
