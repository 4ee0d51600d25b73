using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// Physical addresses of the program's pinned pages: a part of the machine's physical memory in which each gibibyte stands for a gibibyte of
/// one process, for as long as anything in it is pinned. Addresses keep their place within the gibibyte, so that large pages stay
/// large. Reads of the table take no lock.
/// </summary>
internal sealed class ProgramPages(ulong start, int granules)
{
    /// <summary>Bytes of a granule.</summary>
    public const ulong GranuleSize = 1ul << GranuleShift;

    private const int GranuleShift = 30;

    private readonly Lock _lock = new();
    private readonly Granule?[] _granules = new Granule?[granules];
    private readonly Dictionary<(ProgramMemory Memory, ulong Number), int> _places = [];
    private readonly SortedSet<int> _free = [];
    private int _used;

    /// <summary>Tells whether a file is a device, of which a program may have mapped pages that cannot be pinned.</summary>
    public Func<FileIdentity, bool>? DeviceFiles { get; set; }

    /// <summary>Whether a file is a device.</summary>
    public bool IsDevice(ulong device, ulong inode) => DeviceFiles?.Invoke(new(device, inode)) == true;

    /// <summary>First physical address.</summary>
    public ulong Start => start;

    /// <summary>Bytes.</summary>
    public ulong Size => (ulong)_granules.Length << GranuleShift;

    /// <summary>Granules in use: 0 when nothing is pinned.</summary>
    public int Used
    {
        get
        {
            lock (_lock)
            {
                return _places.Count;
            }
        }
    }

    /// <summary>Gives a range, which is within a granule, a physical address.</summary>
    /// <returns>Success, or <see cref="Errno.OutOfMemory"/>.</returns>
    public Errno Pin(ProgramMemory memory, ulong userAddress, ulong length, out PhysicalAddress address)
    {
        ulong number = userAddress >> GranuleShift;
        address = default;
        lock (_lock)
        {
            if (!_places.TryGetValue((memory, number), out int place))
            {
                // Behind the neighbour if that is free, so that long ranges are contiguous.
                if (_places.TryGetValue((memory, number - 1), out int before) && _free.Remove(before + 1))
                {
                    place = before + 1;
                }
                else if (_used < _granules.Length)
                {
                    place = _used++;
                }
                else if (_free.Count > 0)
                {
                    place = _free.Min;
                    _ = _free.Remove(place);
                }
                else
                {
                    return Errno.OutOfMemory;
                }

                memory.Reference();
                _places.Add((memory, number), place);
                Volatile.Write(ref _granules[place], new(memory, number << GranuleShift));
            }

            _granules[place]!.Pinned += length;
            address = new(start + ((ulong)place << GranuleShift) + (userAddress & (GranuleSize - 1)));
            return Errno.Success;
        }
    }

    /// <summary>Takes back what <see cref="Pin"/> gave, whole or in parts; the range may go over several granules.</summary>
    public void Unpin(PhysicalAddress address, ulong length)
    {
        lock (_lock)
        {
            ulong offset = address.Value - start;
            while (length > 0)
            {
                int place = (int)(offset >> GranuleShift);
                ulong part = Math.Min(length, GranuleSize - (offset & (GranuleSize - 1)));
                Granule granule = _granules[place]!;
                granule.Pinned -= part;
                if (granule.Pinned == 0)
                {
                    Volatile.Write(ref _granules[place], null);
                    _ = _places.Remove((granule.Memory, granule.UserStart >> GranuleShift));
                    _ = _free.Add(place);
                    granule.Memory.Dispose();
                }

                offset += part;
                length -= part;
            }
        }
    }

    /// <summary>Finds whose memory a physical address is.</summary>
    /// <param name="address">An address of this part.</param>
    /// <param name="userAddress">What the process calls it.</param>
    /// <param name="left">Bytes until the end of the granule.</param>
    public ProgramMemory? Find(PhysicalAddress address, out ulong userAddress, out ulong left)
    {
        ulong offset = address.Value - start;
        ulong within = offset & (GranuleSize - 1);
        left = GranuleSize - within;
        Granule? granule = Volatile.Read(ref _granules[(int)(offset >> GranuleShift)]);
        userAddress = granule is null ? 0 : granule.UserStart + within;
        return granule?.Memory;
    }

    private sealed class Granule(ProgramMemory memory, ulong userStart)
    {
        public ProgramMemory Memory => memory;

        public ulong UserStart => userStart;

        public ulong Pinned { get; set; }
    }
}
