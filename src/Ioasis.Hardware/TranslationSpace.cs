namespace Ioasis.Hardware;

/// <summary>
/// The IOTLB's view of an address space. Its entries carry a short tag; to invalidate them all is to take the tag away, in
/// constant time. Changed under the cache lock, read without. A model derives its own, with what it finds spaces by.
/// </summary>
internal abstract class TranslationSpace
{
    private ulong _identity;

    /// <summary><see cref="Tag"/> in 31:0 and <see cref="Classes"/> in 63:32, to be read at once.</summary>
    public ulong Identity => Volatile.Read(ref _identity);

    /// <summary>The tag of its entries, from 1; 0 while there are none.</summary>
    public int Tag
    {
        get => (int)(uint)Identity;
        set => Volatile.Write(ref _identity, (_identity & ~(ulong)uint.MaxValue) | (uint)value);
    }

    /// <summary>A bit for each size class that has, or had, entries since the tag was taken.</summary>
    public uint Classes
    {
        get => (uint)(Identity >> 32);
        set => Volatile.Write(ref _identity, (uint)_identity | ((ulong)value << 32));
    }

    /// <summary>How many entries carry the tag.</summary>
    public int Live { get; set; }

    /// <summary>Some entry is smaller than the page that an invalidation names: an address alone does not find it.</summary>
    public bool IsFractured { get; set; }
}
