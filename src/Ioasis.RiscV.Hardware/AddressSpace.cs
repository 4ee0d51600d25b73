namespace Ioasis.RiscV.Hardware;

/// <summary>
/// What tags a cached translation (section 2.8, "Identifiers used to tag IOATC entries"): a GSCID or the host, and a PSCID or no first stage.
/// </summary>
internal readonly record struct SpaceKey(bool HasGscid, uint Gscid, bool HasPscid, uint Pscid);

/// <summary>
/// The IOTLB's view of an address space. Its entries carry a short tag; to invalidate them all is to take the tag away, in
/// constant time. Changed under the cache lock, read without.
/// </summary>
internal sealed class AddressSpace(SpaceKey key)
{
    private int _tag;
    private uint _classes;

    public SpaceKey Key { get; } = key;

    /// <summary>The tag of its entries, from 1; 0 while there are none.</summary>
    public int Tag
    {
        get => Volatile.Read(ref _tag);
        set => Volatile.Write(ref _tag, value);
    }

    /// <summary>A bit for each size class that has, or had, entries since the tag was taken.</summary>
    public uint Classes
    {
        get => Volatile.Read(ref _classes);
        set => Volatile.Write(ref _classes, value);
    }

    /// <summary>How many entries carry the tag.</summary>
    public int Live { get; set; }

    /// <summary>Some entry is smaller than the first-stage page that it comes from: an address alone does not find it.</summary>
    public bool IsFractured { get; set; }
}
