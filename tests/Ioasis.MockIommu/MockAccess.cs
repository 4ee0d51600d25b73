using Ioasis.Kernel;
using Ioasis.Primitives;

namespace Ioasis.MockIommu;

/// <summary>A way to memory without DMA, as a file: what it has pinned, by number.</summary>
internal sealed class MockAccess : IommufdExtensionFile, IIommufdAccessUser
{
    private const ulong Page = 4096;

    // Whoever pins holds it too, so that nothing is unmapped between a pin and its entry.
    private readonly Lock _lock = new();
    private readonly List<(uint Id, AddressRange Range)> _items = [];
    private uint _next;

    /// <summary>The way.</summary>
    public IommufdAccess Way { get; set; } = null!;

    /// <summary>Whether it pins.</summary>
    public bool Pins { get; set; }

    /// <summary>Pins pages that must be the right ones.</summary>
    /// <param name="iova">First IOVA.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="writes">Whether they are written.</param>
    /// <param name="isRight">Says so of a page, by its number.</param>
    /// <param name="id">The number of what is pinned.</param>
    public Errno Pin(ulong iova, ulong length, bool writes, Func<int, PhysicalAddress, bool> isRight, out uint id)
    {
        id = 0;
        PhysicalAddress[] pages = new PhysicalAddress[(length + Page - 1) / Page];
        lock (_lock)
        {
            Errno error = Way.PinPages(iova, length, writes, pages);
            if (error != Errno.Success)
            {
                return error;
            }

            for (int i = 0; i < pages.Length; i++)
            {
                if (!isRight(i, pages[i]))
                {
                    // EBADE on Linux.
                    Way.UnpinPages(iova, length);
                    return Errno.BadAddress;
                }
            }

            id = _next++;
            _items.Add((id, new(iova, iova + (length - 1))));
            return Errno.Success;
        }
    }

    /// <summary>Unpins.</summary>
    public Errno Unpin(uint id)
    {
        lock (_lock)
        {
            int index = _items.FindIndex(item => item.Id == id);
            if (index < 0)
            {
                return Errno.NoEntry;
            }

            UnpinAt(index);
            return Errno.Success;
        }
    }

    /// <inheritdoc/>
    public void OnUnmap(AddressRange range)
    {
        lock (_lock)
        {
            for (int i = _items.Count - 1; i >= 0; i--)
            {
                if (_items[i].Range.Overlaps(range))
                {
                    UnpinAt(i);
                }
            }
        }
    }

    /// <inheritdoc/>
    protected internal override void Release()
    {
        OnUnmap(AddressRange.All);
        Way.Dispose();
    }

    private void UnpinAt(int index)
    {
        AddressRange range = _items[index].Range;
        _items.RemoveAt(index);
        Way.UnpinPages(range.Start, range.Last - range.Start + 1);
    }
}
