using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Ioasis.Exec;

/// <summary>A node of a device, which only looks like a file in the tree.</summary>
/// <param name="Path">Its path.</param>
/// <param name="Kind">What opening it gives.</param>
/// <param name="Number">Major and minor number, as <c>stat(2)</c> has them.</param>
/// <param name="Mode">Type and permissions.</param>
internal sealed record ViewedNode(string Path, HandleKind Kind, ulong Number, uint Mode);

/// <summary>
/// The files by which a program finds devices: those parts of <c>/sys</c> and <c>/dev</c> that would be there if the machine had our IOMMU and
/// devices, bound to vfio-pci, as a tree of plain files and relative links somewhere else. Below each of <see cref="Prefixes"/> the
/// program sees the tree and nothing else.
/// </summary>
internal sealed class ViewTree : IDisposable
{
    private const int VfioMajor = 243;
    private const int CdevMajor = 244;
    private const int MiscMajor = 10;
    private const int ContainerMinor = 196;
    private const int IommuMinor = 123;
    private const int IoasidMinor = 122;

    private readonly Dictionary<string, ViewedNode> _nodes = new(StringComparer.Ordinal);
    private readonly SortedSet<string> _prefixes = new(StringComparer.Ordinal)
    {
        "/dev/iommu", "/dev/ioasid", "/dev/vfio", "/sys/bus/pci", "/sys/kernel/iommu_groups", "/sys/class/iommu", "/sys/class/vfio-dev",
        "/sys/devices/virtual/iommu", "/sys/module/vfio", "/sys/module/vfio_pci", "/sys/module/vfio_iommu_type1", "/sys/module/iommufd",
    };

    private readonly bool _writes;

    private ViewTree(string root, bool writes) => (Root, _writes) = (root, writes);

    /// <summary>Where the tree is.</summary>
    public string Root { get; }

    /// <summary>The paths below which the program sees the tree, themselves included.</summary>
    public IReadOnlyCollection<string> Prefixes => _prefixes;

    /// <summary>The nodes of devices, by path.</summary>
    public IReadOnlyDictionary<string, ViewedNode> Nodes => _nodes;

    /// <summary>Writes a tree.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static ViewTree Create(IReadOnlyList<ViewedDevice> devices)
    {
        string parent = Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath();
        RemoveAbandoned(parent);
        string name = string.Create(
            CultureInfo.InvariantCulture, $"ioasis-{Environment.ProcessId}-{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}");
        ViewTree tree = new(Path.Combine(parent, name), writes: true);
        _ = Directory.CreateDirectory(tree.Root);
        try
        {
            tree.Add(devices);
            return tree;
        }
        catch
        {
            tree.Dispose();
            throw;
        }
    }

    /// <summary>Describes a tree that was written before, of the same devices.</summary>
    public static ViewTree Describe(string root, IReadOnlyList<ViewedDevice> devices)
    {
        ViewTree tree = new(root, writes: false);
        tree.Add(devices);
        return tree;
    }

    /// <summary>Writes into the tree what it is: the prefixes, an empty line, and for each node its path, number and mode.</summary>
    public void WriteListing() =>
        Write("/.view", string.Concat(_prefixes.Select(static prefix => prefix + "\n")) + "\n" + string.Concat(_nodes.Values.Select(
            static node => string.Create(CultureInfo.InvariantCulture, $"{node.Path} {node.Number} {node.Mode}\n"))));

    private void Add(IReadOnlyList<ViewedDevice> devices)
    {
        AddNodes(devices);
        AddBus(devices);
        foreach (ViewedDevice device in devices)
        {
            AddDevice(device);
        }

        foreach (IGrouping<int, ViewedDevice> group in devices.GroupBy(static device => device.Group))
        {
            AddGroup(group.Key, [.. group]);
        }

        foreach (IGrouping<string, ViewedDevice> iommu in devices.GroupBy(static device => device.Iommu, StringComparer.Ordinal))
        {
            AddIommu(iommu.Key, [.. iommu]);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Remove(Root);

    private static void Remove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another user's, or gone already: nobody needs it any more.
        }
    }

    // Those of processes that were killed.
    private static void RemoveAbandoned(string parent)
    {
        foreach (string folder in Directory.EnumerateDirectories(parent, "ioasis-*-*"))
        {
            string[] parts = Path.GetFileName(folder).Split('-');
            if (parts.Length == 3 && int.TryParse(parts[1], CultureInfo.InvariantCulture, out _) && !Directory.Exists("/proc/" + parts[1]))
            {
                Remove(folder);
            }
        }
    }

    private static ulong MakeNumber(int major, int minor) =>
        ((ulong)(uint)(major & 0xfff) << 8) | (uint)(minor & 0xff) | ((ulong)(uint)(minor & ~0xff) << 12);

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);

    private static int NumberOf(ViewedDevice device) => int.Parse(device.VfioName.AsSpan(4), CultureInfo.InvariantCulture);

    private void AddNodes(IReadOnlyList<ViewedDevice> devices)
    {
        AddNode("/dev/iommu", HandleKind.Iommu, MiscMajor, IommuMinor, 0x1b6);
        AddNode("/dev/ioasid", HandleKind.Ioasid, MiscMajor, IoasidMinor, 0x1b6);
        AddNode("/dev/vfio/vfio", HandleKind.Container, MiscMajor, ContainerMinor, 0x1b6);
        foreach (ViewedDevice device in devices)
        {
            string group = "/dev/vfio/" + Text(device.Group);
            if (!_nodes.ContainsKey(group))
            {
                AddNode(group, HandleKind.Group, VfioMajor, device.Group, 0x180);
            }

            AddNode(device.Node, HandleKind.Device, CdevMajor, NumberOf(device), 0x180);
        }
    }

    private void AddNode(string path, HandleKind kind, int major, int minor, uint mode)
    {
        const uint CharacterDevice = 0x2000;
        Write(path, "");
        _nodes[path] = new(path, kind, MakeNumber(major, minor), CharacterDevice | mode);
    }

    private void AddBus(IReadOnlyList<ViewedDevice> devices)
    {
        const string Driver = "/sys/bus/pci/drivers/vfio-pci";
        Folder("/sys/bus/pci/devices");
        Folder("/sys/bus/pci/slots");
        Folder("/sys/kernel/iommu_groups");
        Folder("/sys/class/iommu");
        Folder("/sys/class/vfio-dev");
        foreach (string file in (string[])["bind", "unbind", "new_id", "remove_id", "uevent"])
        {
            Write($"{Driver}/{file}", "");
        }

        Link($"{Driver}/module", "/sys/module/vfio_pci");
        Write("/sys/bus/pci/drivers_probe", "");
        Write("/sys/bus/pci/drivers_autoprobe", "1\n");
        Write("/sys/bus/pci/rescan", "");
        Write("/sys/bus/pci/uevent", "");
        Write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
        Write("/sys/module/vfio/initstate", "live\n");
        Write("/sys/module/vfio_pci/initstate", "live\n");
        Write("/sys/module/vfio_pci/parameters/disable_vga", "N\n");
        Write("/sys/module/vfio_pci/parameters/enable_sriov", "N\n");
        Write("/sys/module/vfio_iommu_type1/initstate", "live\n");
        Write("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");
        Write("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n");
        Write("/sys/module/iommufd/initstate", "live\n");
        foreach (ViewedDevice device in devices)
        {
            Link($"/sys/bus/pci/devices/{device.Name}", FolderOf(device));
            Link($"{Driver}/{device.Name}", FolderOf(device));
        }
    }

    private void AddDevice(ViewedDevice device)
    {
        string folder = FolderOf(device);
        _ = _prefixes.Add($"/sys/devices/{device.Bus}");
        string Id(int value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x4}\n");
        var description = device.Description;
        Write($"{folder}/vendor", Id(description.VendorId));
        Write($"{folder}/device", Id(description.DeviceId));
        Write($"{folder}/subsystem_vendor", Id(description.SubsystemVendorId));
        Write($"{folder}/subsystem_device", Id(description.SubsystemId));
        Write($"{folder}/class", string.Create(CultureInfo.InvariantCulture, $"0x{description.ClassCode:x6}\n"));
        Write($"{folder}/revision", string.Create(CultureInfo.InvariantCulture, $"0x{description.Revision:x2}\n"));
        Write($"{folder}/resource", Resources(device));
        WriteBytes($"{folder}/config", device.Config);
        Write($"{folder}/irq", "0\n");
        Write($"{folder}/enable", "0\n");
        Write($"{folder}/numa_node", "-1\n");
        Write($"{folder}/local_cpus", "ffffffff\n");
        Write($"{folder}/local_cpulist", string.Create(CultureInfo.InvariantCulture, $"0-{Environment.ProcessorCount - 1}\n"));
        Write($"{folder}/broken_parity_status", "0\n");
        Write($"{folder}/msi_bus", "1\n");
        Write($"{folder}/dma_mask_bits", "64\n");
        Write($"{folder}/consistent_dma_mask_bits", "64\n");
        Write($"{folder}/ari_enabled", "0\n");
        Write($"{folder}/d3cold_allowed", "1\n");
        Write($"{folder}/power_state", "D0\n");
        Write($"{folder}/power/control", "auto\n");
        Write($"{folder}/power/runtime_status", "active\n");
        Write($"{folder}/driver_override", "vfio-pci\n");
        Write($"{folder}/remove", "");
        Write($"{folder}/rescan", "");
        if (description.CanReset)
        {
            Write($"{folder}/reset", "");
            Write($"{folder}/reset_method", "flr\n");
        }

        Write($"{folder}/modalias", ModAlias(device) + "\n");
        Write($"{folder}/uevent", string.Create(
            CultureInfo.InvariantCulture,
            $"DRIVER=vfio-pci\nPCI_CLASS={description.ClassCode:X}\nPCI_ID={description.VendorId:X4}:{description.DeviceId:X4}\nPCI_SUBSYS_ID={description.SubsystemVendorId:X4}:{description.SubsystemId:X4}\nPCI_SLOT_NAME={device.Name}\nMODALIAS={ModAlias(device)}\n"));
        Link($"{folder}/subsystem", "/sys/bus/pci");
        Link($"{folder}/driver", "/sys/bus/pci/drivers/vfio-pci");
        Link($"{folder}/iommu_group", "/sys/kernel/iommu_groups/" + Text(device.Group));
        Link($"{folder}/iommu", "/sys/devices/virtual/iommu/" + device.Iommu);

        string number = string.Create(CultureInfo.InvariantCulture, $"{CdevMajor}:{NumberOf(device)}");
        string vfio = $"{folder}/vfio-dev/{device.VfioName}";
        Write($"{vfio}/dev", number + "\n");
        Write($"{vfio}/uevent", string.Create(
            CultureInfo.InvariantCulture, $"MAJOR={CdevMajor}\nMINOR={NumberOf(device)}\nDEVNAME=vfio/devices/{device.VfioName}\n"));
        Link($"{vfio}/device", folder);
        Link($"{vfio}/subsystem", "/sys/class/vfio-dev");
        Link($"/sys/class/vfio-dev/{device.VfioName}", vfio);
        Link($"/sys/dev/char/{number}", vfio);
        _ = _prefixes.Add($"/sys/dev/char/{number}");
    }

    private void AddGroup(int group, IReadOnlyList<ViewedDevice> devices)
    {
        string folder = "/sys/kernel/iommu_groups/" + Text(group);
        Write($"{folder}/type", "DMA\n");
        Write($"{folder}/reserved_regions", "");
        foreach (ViewedDevice device in devices)
        {
            Link($"{folder}/devices/{device.Name}", FolderOf(device));
        }
    }

    private void AddIommu(string name, IReadOnlyList<ViewedDevice> devices)
    {
        string folder = "/sys/devices/virtual/iommu/" + name;
        Write($"{folder}/uevent", "");
        Link($"{folder}/subsystem", "/sys/class/iommu");
        Link($"/sys/class/iommu/{name}", folder);
        foreach (ViewedDevice device in devices)
        {
            Link($"{folder}/devices/{device.Name}", FolderOf(device));
        }
    }

    private static string FolderOf(ViewedDevice device) => $"/sys/devices/{device.Bus}/{device.Name}";

    private static string ModAlias(ViewedDevice device)
    {
        var d = device.Description;
        return string.Create(
            CultureInfo.InvariantCulture,
            $"pci:v{d.VendorId:X8}d{d.DeviceId:X8}sv{d.SubsystemVendorId:X8}sd{d.SubsystemId:X8}bc{d.ClassCode >> 16:X2}sc{(d.ClassCode >> 8) & 0xff:X2}i{d.ClassCode & 0xff:X2}");
    }

    // Six base address registers, the expansion ROM, and six of bridges: first and last address, flags.
    private static string Resources(ViewedDevice device)
    {
        const uint Io = 0x100;
        const uint Memory = 0x200;
        const uint Prefetch = 0x2000;
        const uint SizeAligned = 0x40000;
        const uint Wide = 0x100000;
        (ulong First, ulong Last, uint Flags)[] lines = new (ulong, ulong, uint)[13];
        foreach (var bar in device.Description.Bars)
        {
            int at = 0x10 + (4 * bar.Register);
            ulong value = BitConverter.ToUInt32(device.Config, at);
            if (bar.Is64Bit)
            {
                value |= (ulong)BitConverter.ToUInt32(device.Config, at + 4) << 32;
            }

            ulong first = value & (bar.IsIo ? ~3ul : ~15ul);
            uint flags = SizeAligned | (uint)(value & (bar.IsIo ? 3ul : 15ul)) | (bar.IsIo ? Io : Memory)
                | (bar.IsPrefetchable ? Prefetch : 0) | (bar.Is64Bit ? Wide : 0);
            lines[bar.Register] = (first, first + bar.Size - 1, flags);
        }

        StringBuilder text = new();
        foreach ((ulong first, ulong last, uint flags) in lines)
        {
            _ = text.Append(CultureInfo.InvariantCulture, $"0x{first:x16} 0x{last:x16} 0x{flags:x16}\n");
        }

        return text.ToString();
    }

    private void Folder(string path)
    {
        if (_writes)
        {
            _ = Directory.CreateDirectory(Root + path);
        }
    }

    private void Write(string path, string text) => WriteBytes(path, Encoding.UTF8.GetBytes(text));

    private void WriteBytes(string path, byte[] bytes)
    {
        if (!_writes)
        {
            return;
        }

        _ = Directory.CreateDirectory(Path.GetDirectoryName(Root + path)!);
        File.WriteAllBytes(Root + path, bytes);
    }

    // As sysfs has them: relative to the folder that the link is in.
    private void Link(string path, string target)
    {
        if (!_writes)
        {
            return;
        }

        string folder = Path.GetDirectoryName(path)!;
        _ = Directory.CreateDirectory(Root + folder);
        _ = File.CreateSymbolicLink(Root + path, Path.GetRelativePath(folder, target));
    }
}
