namespace Ioasis.Replay.Recording;

/// <summary>
/// The kernel's domains by the address of their structure, and the devices that are attached to each. An address means one
/// domain from its first attach to its freeing.
/// </summary>
internal sealed class DomainTable
{
    private readonly Dictionary<ulong, List<int>> _devices = [];
    private readonly Dictionary<int, ulong> _domainOf = [];

    /// <summary>How many domains had devices.</summary>
    public int Seen { get; private set; }

    /// <summary>A device is attached: it leaves the domain that it was in.</summary>
    public void Attach(ulong domain, int device)
    {
        if (_domainOf.TryGetValue(device, out ulong former))
        {
            if (former == domain)
            {
                return;
            }

            _devices[former].Remove(device);
        }

        _domainOf[device] = domain;
        if (!_devices.TryGetValue(domain, out List<int>? devices))
        {
            _devices.Add(domain, devices = []);
            Seen++;
        }

        devices.Add(device);
    }

    /// <summary>An event showed whose a domain is that no attach told of.</summary>
    public void Learn(ulong domain, int device)
    {
        if (!_devices.TryGetValue(domain, out List<int>? devices) || devices.Count == 0)
        {
            Attach(domain, device);
        }
        else if (!devices.Contains(device) && !_domainOf.ContainsKey(device))
        {
            devices.Add(device);
            _domainOf[device] = domain;
        }
    }

    /// <summary>A domain is freed: its address may become another's.</summary>
    public void Free(ulong domain)
    {
        if (_devices.Remove(domain, out List<int>? devices))
        {
            foreach (int device in devices)
            {
                _domainOf.Remove(device);
            }
        }
    }

    /// <summary>The device of a domain: its only one, or of several the one whose DMA call is under way, or the first.</summary>
    public bool TryFind(ulong domain, int underWay, out int device)
    {
        if (!_devices.TryGetValue(domain, out List<int>? devices) || devices.Count == 0)
        {
            // Nothing told of an attach: the call that is under way shows whose it is.
            device = underWay;
            if (underWay >= 0)
            {
                Learn(domain, underWay);
            }

            return underWay >= 0;
        }

        device = devices.Count > 1 && underWay >= 0 && devices.Contains(underWay) ? underWay : devices[0];
        return true;
    }

    /// <summary>The device of a domain that has exactly one.</summary>
    public bool TrySole(ulong domain, out int device)
    {
        if (_devices.TryGetValue(domain, out List<int>? devices) && devices.Count == 1)
        {
            device = devices[0];
            return true;
        }

        device = -1;
        return false;
    }
}
