using System.Text;
using Ioasis.Primitives;

namespace Ioasis.Replay.Recording;

/// <summary>The devices of a recording: names to small numbers, and to requester IDs.</summary>
public sealed class DeviceTable
{
    /// <summary>The name of the device that takes what no evidence ties to a real one.</summary>
    public const string UnattributedName = "unattributed";

    // Names that are not PCI get requester IDs from here on: segment 0xff, which no recording of PCI devices uses.
    private const uint FirstForeignId = 0xff_0000;

    private readonly List<string> _names = [];
    private readonly List<byte[]> _bytes = [];
    private readonly List<DeviceId> _ids = [];
    private int _last;

    /// <summary>How many there are.</summary>
    public int Count => _names.Count;

    /// <summary>The name as the recording has it.</summary>
    public string Name(int device) => _names[device];

    /// <summary>The requester ID.</summary>
    public DeviceId Id(int device) => _ids[device];

    /// <summary>The number of a device, which is made if it is new.</summary>
    public int Intern(ReadOnlySpan<byte> name)
    {
        if (_last < _bytes.Count && _bytes[_last].AsSpan().SequenceEqual(name))
        {
            return _last;
        }

        for (int i = 0; i < _bytes.Count; i++)
        {
            if (_bytes[i].AsSpan().SequenceEqual(name))
            {
                return _last = i;
            }
        }

        string text = Encoding.UTF8.GetString(name);
        if (!DeviceId.TryParse(text, out DeviceId id))
        {
            return Add(text, name.ToArray(), new(FirstForeignId + (uint)(_names.Count & 0xffff)));
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

    /// <summary>The number of a device by requester ID, which is made with its PCI name if it is new.</summary>
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

    /// <summary>The number of the device with a requester ID, or -1.</summary>
    public int Find(DeviceId id)
    {
        if (_last < _ids.Count && _ids[_last] == id)
        {
            return _last;
        }

        int found = _ids.IndexOf(id);
        if (found >= 0)
        {
            _last = found;
        }

        return found;
    }

    private int Add(string name, byte[] bytes, DeviceId id)
    {
        _names.Add(name);
        _bytes.Add(bytes);
        _ids.Add(id);
        return _last = _names.Count - 1;
    }
}
