using System.Globalization;
using Ioasis.Linux.Discovery;
using Ioasis.Primitives;

namespace Ioasis.Linux.Tests.Discovery;

/// <summary>
/// A tree of <c>sys</c>, <c>proc</c> and <c>dev</c> in a folder of its own, as Linux lays it out, from what was recorded of a
/// machine. It behaves like the kernel when a driver is bound or unbound.
/// </summary>
internal sealed class RecordedTree : Sysfs, IDisposable
{
    private readonly string _root;

    private RecordedTree(string root)
        : base(root) => _root = root;

    public static IReadOnlyList<string> Machines { get; } = ["x86", "x86amd", "rv"];

    /// <summary>Writes so far, in order.</summary>
    public List<(string Path, string Text)> Writes { get; } = [];

    /// <summary>What a write shall fail with, by the end of its path.</summary>
    public Dictionary<string, Errno> Failing { get; } = new(StringComparer.Ordinal);

    public static string[] LinesOf(string machine) =>
        File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "Discovery", "recorded", machine + ".txt"));

    /// <summary>A machine without anything.</summary>
    public static RecordedTree Empty() => new(Directory.CreateTempSubdirectory("ioasis-sysfs-").FullName);

    /// <summary>A machine as it was recorded.</summary>
    public static RecordedTree Of(string machine)
    {
        RecordedTree tree = Empty();
        tree.AddFolder("sys/bus/pci/devices");
        tree.AddFile("sys/bus/pci/drivers_probe", "");
        tree.AddDriver(DriverBinding.VfioPci);
        tree.AddFile("dev/iommu", "");
        tree.AddFile("proc/cmdline", "root=/dev/vda console=ttyS0\n");
        string group = "", iommu = "";
        Dictionary<string, string> regions = new(StringComparer.Ordinal);
        foreach (string line in LinesOf(machine))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            switch (words)
            {
                case ["group", var number, "type", var type]:
                    group = number;
                    regions[group] = "";
                    tree.AddFile($"sys/kernel/iommu_groups/{group}/type", type + "\n");
                    break;
                case ["device", var name, var vendor, var product, var kind, var driver]:
                    tree.AddDevice(name, group, After(vendor), After(product), After(kind), After(driver));
                    break;
                case ["reserved", var start, var last, var why]:
                    regions[group] += $"{start} {last} {why}\n";
                    break;
                case ["iommu", var name, "->", _]:
                    iommu = name;
                    tree.AddFolder($"sys/class/iommu/{name}/devices");
                    break;
                case ["link", var device]:
                    tree.AddLink($"sys/class/iommu/{iommu}/devices/{device}", $"sys/bus/pci/devices/{device}");
                    tree.AddLink($"sys/devices/pci0000:00/{device}/iommu", $"sys/class/iommu/{iommu}");
                    break;
                case [var attribute, "=", var value]:
                    tree.AddFile($"sys/class/iommu/{iommu}/{attribute}", value + "\n");
                    break;
            }
        }

        foreach ((string number, string text) in regions)
        {
            tree.AddFile($"sys/kernel/iommu_groups/{number}/reserved_regions", text);
        }

        return tree;
    }

    public void AddFile(string path, string text)
    {
        _ = Directory.CreateDirectory(Path.GetDirectoryName(At(path))!);
        File.WriteAllText(At(path), text);
    }

    public void AddFolder(string path) => _ = Directory.CreateDirectory(At(path));

    public void AddDriver(string name)
    {
        AddFolder($"sys/bus/pci/drivers/{name}");
        AddFile($"sys/bus/pci/drivers/{name}/unbind", "");
    }

    public void Remove(string path)
    {
        if (Directory.Exists(At(path)))
        {
            Directory.Delete(At(path), recursive: true);
        }
        else
        {
            File.Delete(At(path));
        }
    }

    /// <summary>Takes the write, and does what the kernel does about it.</summary>
    public override Errno Write(string path, string text)
    {
        Writes.Add((path, text));
        foreach ((string end, Errno error) in Failing)
        {
            if (path.EndsWith(end, StringComparison.Ordinal))
            {
                return error;
            }
        }

        string name = text.Trim();
        if (path.EndsWith("/driver_override", StringComparison.Ordinal))
        {
            return base.Write(path, name.Length == 0 ? "(null)   \n" : text.PadRight(16));
        }

        if (path.EndsWith("/driver/unbind", StringComparison.Ordinal))
        {
            Remove($"sys/devices/pci0000:00/{name}/driver");
            return Errno.Success;
        }

        if (path.EndsWith("/drivers_probe", StringComparison.Ordinal))
        {
            string? wanted = TryRead($"sys/bus/pci/devices/{name}/driver_override");
            string driver = wanted is null or "" or "(null)" ? TryRead($"sys/devices/pci0000:00/{name}/.natural") ?? "" : wanted;
            if (driver.Length > 0)
            {
                SetDriver(name, driver);
            }

            return Errno.Success;
        }

        return base.Write(path, text);
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private static string After(string word) => word[(word.IndexOf('=') + 1)..];

    public void AddDevice(string name, string group, string vendor, string product, string kind, string driver)
    {
        string folder = $"sys/devices/pci0000:00/{name}";
        AddFile($"{folder}/vendor", vendor + "\n");
        AddFile($"{folder}/device", product + "\n");
        AddFile($"{folder}/class", kind + "\n");
        AddFile($"{folder}/driver_override", "(null)\n");
        AddFile($"{folder}/numa_node", "-1\n");
        AddFile($"{folder}/.natural", driver);
        AddLink($"{folder}/subsystem", "sys/bus/pci");
        AddLink($"{folder}/iommu_group", $"sys/kernel/iommu_groups/{group}");
        AddLink($"sys/bus/pci/devices/{name}", folder);
        AddLink(string.Create(CultureInfo.InvariantCulture, $"sys/kernel/iommu_groups/{group}/devices/{name}"), folder);
        if (driver.Length > 0)
        {
            SetDriver(name, driver);
        }
    }

    private void SetDriver(string name, string driver)
    {
        AddDriver(driver);
        AddLink($"sys/devices/pci0000:00/{name}/driver", $"sys/bus/pci/drivers/{driver}");
    }

    private void AddLink(string path, string target)
    {
        string link = At(path);
        _ = Directory.CreateDirectory(Path.GetDirectoryName(link)!);
        _ = Directory.CreateSymbolicLink(link, Path.GetRelativePath(Path.GetDirectoryName(link)!, At(target)));
    }
}
