using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>What VFIO_IOMMU_GET_INFO tells.</summary>
public sealed class VfioContainerInfo
{
    /// <summary>Bit n is set if a leaf can have 2^n bytes for every group.</summary>
    public ulong PageSizes { get; private init; }

    /// <summary>The usable IOVAs: sorted, disjoint, maximal. Empty if the kernel does not tell.</summary>
    public IReadOnlyList<AddressRange> Ranges { get; private set; } = [];

    /// <summary>Mappings that are still possible, or null if the kernel does not tell.</summary>
    public uint? MappingsAvailable { get; private set; }

    /// <summary>Page sizes of dirty bitmaps, 0 without dirty tracking.</summary>
    public ulong DirtyPageSizes { get; private set; }

    /// <summary>Bytes that a dirty bitmap may have at most.</summary>
    public ulong MaxDirtyBitmapBytes { get; private set; }

    internal static VfioContainerInfo Parse(ReadOnlySpan<byte> bytes)
    {
        VfioIommuType1Info header = MemoryMarshal.Read<VfioIommuType1Info>(bytes);
        VfioContainerInfo info = new()
        {
            PageSizes = (header.Flags & VfioIommuInfoFlags.PageSizes) != 0 ? header.IovaPageSizes : 0,
        };
        uint at = (header.Flags & VfioIommuInfoFlags.Caps) != 0 ? header.CapOffset : 0;

        // A kernel's mistake in the chain must neither hang nor crash us.
        for (int i = 0; i < 64 && at >= 24 && at + 8 <= (uint)bytes.Length; i++)
        {
            VfioInfoCapHeader capability = MemoryMarshal.Read<VfioInfoCapHeader>(bytes[(int)at..]);
            info.Add(capability, bytes[((int)at + 8)..]);
            at = capability.Next;
        }

        return info;
    }

    private void Add(VfioInfoCapHeader header, ReadOnlySpan<byte> body)
    {
        if (header.Version != 1)
        {
            return;
        }

        switch (header.Id)
        {
            case VfioIommuType1Info.IovaRangeCapability when body.Length >= 8:
                int count = (int)Math.Min(MemoryMarshal.Read<uint>(body), (uint)(body.Length - 8) / 16);
                AddressRange[] ranges = new AddressRange[count];
                int used = 0;
                foreach (VfioIovaRange range in MemoryMarshal.Cast<byte, VfioIovaRange>(body.Slice(8, count * 16)))
                {
                    if (range.Start <= range.End)
                    {
                        ranges[used++] = new(range.Start, range.End);
                    }
                }

                Ranges = ranges[..used];
                break;
            case VfioIommuType1Info.MigrationCapability when body.Length >= 24:
                DirtyPageSizes = MemoryMarshal.Read<ulong>(body[8..]);
                MaxDirtyBitmapBytes = MemoryMarshal.Read<ulong>(body[16..]);
                break;
            case VfioIommuType1Info.DmaAvailableCapability when body.Length >= 4:
                MappingsAvailable = MemoryMarshal.Read<uint>(body);
                break;
            default:
                break;
        }
    }
}
