using Ioasis.Primitives;

namespace Ioasis.Linux.Discovery;

/// <summary>One write to a file of the kernel's.</summary>
/// <param name="Path">The file, from the root of the tree, with a leading slash.</param>
/// <param name="Text">What is written.</param>
/// <param name="Why">In words.</param>
public readonly record struct BindingStep(string Path, string Text, string Why);

/// <summary>The writes that give a PCI device to a driver, in order.</summary>
public sealed record BindingPlan
{
    /// <summary>The device.</summary>
    public required LinuxDevice Device { get; init; }

    /// <summary>The driver that it shall have; null for the kernel's own choice.</summary>
    public string? Driver { get; init; }

    /// <summary>The writes; none if there is nothing to do.</summary>
    public IReadOnlyList<BindingStep> Steps { get; init; } = [];

    /// <summary>What the user should know besides.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];
}

/// <summary>
/// Gives PCI devices to <c>vfio-pci</c>, so that a program can use them, and back. First a plan, which changes nothing; then its
/// writes. A device has one driver at a time: what it did until then, it stops doing.
/// </summary>
public static class DriverBinding
{
    /// <summary>The driver that hands PCI devices to programs.</summary>
    public const string VfioPci = "vfio-pci";

    private const string PciBus = "/sys/bus/pci";

    /// <summary>Plans to give a device to a driver.</summary>
    /// <param name="sysfs">The machine.</param>
    /// <param name="platform">What was discovered on it.</param>
    /// <param name="name">The device's address.</param>
    /// <param name="driver">The driver, or null to let the kernel choose again.</param>
    /// <param name="plan">The plan.</param>
    /// <param name="problem">Why there is none.</param>
    public static bool TryPlan(
        Sysfs sysfs, LinuxPlatform platform, string name, string? driver, out BindingPlan? plan, out string? problem)
    {
        ArgumentNullException.ThrowIfNull(sysfs);
        ArgumentNullException.ThrowIfNull(platform);
        plan = null;
        problem = null;
        if (!platform.TryFind(name, out LinuxDevice? device, out LinuxIommuGroup? group))
        {
            problem = $"no device '{name}' is in a group of an IOMMU";
        }
        else if (device!.Bus is not (null or "pci") || device.Id is null)
        {
            problem = $"{device.Name} is not a PCI device";
        }
        else if (device.IsPciBridge)
        {
            problem = $"{device.Name} is a bridge: it stays with the kernel, and does not keep its group from being used";
        }
        else if (driver is not null && !sysfs.Exists($"{PciBus}/drivers/{driver}"))
        {
            problem = $"the driver '{driver}' is not loaded: modprobe {driver}";
        }
        else
        {
            plan = Plan(device, group!, driver);
        }

        return problem is null;
    }

    /// <summary>Carries a plan out, up to the first write that fails, then looks whether the device has the driver.</summary>
    /// <param name="sysfs">The machine.</param>
    /// <param name="plan">The plan.</param>
    /// <param name="problem">What went wrong.</param>
    /// <returns>Success; the error of the write that failed; or <see cref="Errno.NoDevice"/> if another driver came.</returns>
    public static Errno Apply(Sysfs sysfs, BindingPlan plan, out string? problem)
    {
        ArgumentNullException.ThrowIfNull(sysfs);
        ArgumentNullException.ThrowIfNull(plan);
        problem = null;
        foreach (BindingStep step in plan.Steps)
        {
            Errno error = sysfs.Write(step.Path, step.Text + "\n");
            if (error != Errno.Success)
            {
                problem = $"{step.Path}: {error}"
                    + (error is Errno.AccessDenied or Errno.NotPermitted ? " (this needs root)" : $" ({step.Why})");
                return error;
            }
        }

        string? now = sysfs.TryReadLinkName($"{PciBus}/devices/{plan.Device.Name}/driver");
        if (plan.Driver is not null && !string.Equals(now, plan.Driver, StringComparison.Ordinal))
        {
            problem = $"{plan.Device.Name} has {(now is null ? "no driver" : $"the driver {now}")} now, not {plan.Driver}: dmesg says why";
            return Errno.NoDevice;
        }

        return Errno.Success;
    }

    // The override first: between unbind and probe, no other driver may take the device.
    private static BindingPlan Plan(LinuxDevice device, LinuxIommuGroup group, string? driver)
    {
        string folder = $"{PciBus}/devices/{device.Name}";
        List<BindingStep> steps = [];
        bool isThere = driver is null
            ? device.DriverOverride is null && device.Driver is not null and not VfioPci
            : string.Equals(device.Driver, driver, StringComparison.Ordinal);
        if (!isThere)
        {
            if (!string.Equals(device.DriverOverride, driver, StringComparison.Ordinal))
            {
                steps.Add(new($"{folder}/driver_override", driver ?? "", driver is null ? "let any driver have it" : $"let only {driver} have it"));
            }

            if (device.Driver is not null)
            {
                steps.Add(new($"{folder}/driver/unbind", device.Name, $"take it from {device.Driver}"));
            }

            steps.Add(new($"{PciBus}/drivers_probe", device.Name, "let a driver take it"));
        }

        return new() { Device = device, Driver = driver, Steps = steps, Warnings = isThere ? [] : Warnings(device, group, driver) };
    }

    private static List<string> Warnings(LinuxDevice device, LinuxIommuGroup group, string? driver)
    {
        List<string> warnings = [];
        if (device.Driver is { } current and not VfioPci && driver is not null)
        {
            warnings.Add($"{device.Name} stops working for this machine: {current} loses it.");
        }

        string[] others =
        [
            .. group.Devices.Where(other => other != device && !other.IsPciBridge && other.Driver is not null and not VfioPci)
                .Select(static other => $"{other.Name} ({other.Driver})"),
        ];
        if (driver is VfioPci && others.Length > 0)
        {
            warnings.Add($"Group {group.Number} cannot be used while kernel drivers have {string.Join(", ", others)}: bind these too.");
        }

        return warnings;
    }
}
