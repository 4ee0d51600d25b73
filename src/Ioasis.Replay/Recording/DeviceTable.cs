using System.Buffers.Binary;
using System.Text;
using Ioasis.Primitives;

namespace Ioasis.Replay.Recording;

/// <summary>The devices of a recording: names to small numbers, and to requester IDs.</summary>
internal sealed class DeviceTable
{
    /// <summary>The name of the device that takes what no evidence ties to a real one.</summary>
    public const string UnattributedName = "unattributed";

    /// <summary>The name of the devices that stand for IOVA spaces whose device the recording does not name; a number follows.</summary>
    public const string SpaceName = "space";

    // Requester IDs that every IOMMU of the replay tells apart.
    private const int RequesterBits = 24;

    // Where the search begins for the requester IDs of what has none: names that are not PCI, and PCI domains beyond the bits above.
    private const uint FirstStandIn = 0xff_0000;

    private readonly List<string> _names = [];
    private readonly List<byte[]> _bytes = [];
    private readonly List<ulong> _tails = [];
    private readonly List<DeviceId?> _addresses = [];
    private readonly List<DeviceId> _ids = [];
    private int _last;

    /// <summary>How many there are.</summary>
    public int Count => _names.Count;

    /// <summary>The name as the recording has it.</summary>
    public string Name(int device) => _names[device];

    /// <summary>The requester ID of the device in the replay: its PCI address if the IOMMU tells it apart from others, else a stand-in.</summary>
    public DeviceId Id(int device) => _ids[device];

    /// <summary>The number of a device, which is made if it is new.</summary>
    public int Intern(ReadOnlySpan<byte> name)
    {
        if (_last < _bytes.Count && _bytes[_last].AsSpan().SequenceEqual(name))
        {
            return _last;
        }

        ulong tail = TailOf(name);
        for (int i = 0; i < _tails.Count; i++)
        {
            if (_tails[i] == tail && _bytes[i].AsSpan().SequenceEqual(name))
            {
                return _last = i;
            }
        }

        string text = Encoding.UTF8.GetString(name);
        if (!DeviceId.TryParse(text, out DeviceId id))
        {
            return Add(text, name.ToArray(), null);
        }

        int found = Find(id);
        return found >= 0 ? found : Add(text, name.ToArray(), id);
    }

    /// <summary>The number of a device by name or by another spelling of its PCI address, which is made if it is new.</summary>
    public int Intern(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        return Intern(Encoding.UTF8.GetBytes(name));
    }

    /// <summary>The number of a device by PCI address, which is made with its PCI name if it is new.</summary>
    public int Intern(DeviceId id)
    {
        int found = Find(id);
        if (found >= 0)
        {
            return found;
        }

        string name = id.ToString();
        return Add(name, Encoding.UTF8.GetBytes(name), id);
    }

    /// <summary>The number of the device with a PCI address, or -1.</summary>
    public int Find(DeviceId address)
    {
        if (_last < _addresses.Count && _addresses[_last] == address)
        {
            return _last;
        }

        int found = _addresses.IndexOf(address);
        if (found >= 0)
        {
            _last = found;
        }

        return found;
    }

    /// <summary>The number of the device whose requests carry a requester ID in the replay, or -1.</summary>
    public int FindRequester(DeviceId id) => _ids.IndexOf(id);

    // The last bytes of a name: devices mostly differ there.
    private static ulong TailOf(ReadOnlySpan<byte> name) =>
        name.Length >= sizeof(ulong) ? BinaryPrimitives.ReadUInt64LittleEndian(name[^sizeof(ulong)..]) : 0;

    private int Add(string name, byte[] bytes, DeviceId? address)
    {
        DeviceId id = address ?? new(FirstStandIn);
        for (uint standIn = FirstStandIn; id.Value >> RequesterBits != 0 || _ids.Contains(id); standIn++)
        {
            id = new(standIn & ((1u << RequesterBits) - 1));
        }

        _names.Add(name);
        _bytes.Add(bytes);
        _tails.Add(TailOf(bytes));
        _addresses.Add(address);
        _ids.Add(id);
        return _last = _names.Count - 1;
    }
}
