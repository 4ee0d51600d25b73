using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// The way in by the name of a transport, so that a program chooses its kernel by configuration: <c>linux</c> once
/// <c>Ioasis.Linux</c> is registered, or whatever name a program gave to an embedded platform's kernel. Thread-safe.
/// </summary>
/// <example>
/// <code>
/// LinuxKernelAbi.Register();
/// Iommu.Register("embedded", () => platform.Kernel);
/// using IommuFd iommu = Iommu.Open(args[0]);
/// </code>
/// </example>
public static class Iommu
{
    private static readonly Lock s_lock = new();
    private static readonly SortedDictionary<string, Func<IKernelAbi>> s_transports = new(StringComparer.Ordinal);

    /// <summary>The names that can be opened, sorted.</summary>
    public static IReadOnlyList<string> Transports
    {
        get
        {
            lock (s_lock)
            {
                return [.. s_transports.Keys];
            }
        }
    }

    /// <summary>Gives a transport a name, or a name another transport.</summary>
    /// <param name="name">The name; case counts.</param>
    /// <param name="transport">Gives the kernel, each time that the name is used.</param>
    public static void Register(string name, Func<IKernelAbi> transport)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(transport);
        lock (s_lock)
        {
            s_transports[name] = transport;
        }
    }

    /// <summary>The kernel behind a name.</summary>
    /// <exception cref="ArgumentException">No transport has this name; the message lists those that there are.</exception>
    public static IKernelAbi GetKernel(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        Func<IKernelAbi>? transport;
        lock (s_lock)
        {
            _ = s_transports.TryGetValue(name, out transport);
        }

        return transport is null
            ? throw new ArgumentException(
                $"No transport is named '{name}'. Registered: {string.Join(", ", Transports)}.", nameof(name))
            : transport();
    }

    /// <summary>The kernel of the only transport that is registered.</summary>
    /// <exception cref="InvalidOperationException">None is, or several are; the message says which.</exception>
    public static IKernelAbi GetKernel() => Transports switch
    {
        [string only] => GetKernel(only),
        [] => throw new InvalidOperationException(
            "No transport is registered. LinuxKernelAbi.Register() gives this machine's kernel, Iommu.Register(name, () => platform.Kernel) an embedded platform's."),
        var several => throw new InvalidOperationException($"Several transports are registered ({string.Join(", ", several)}): say which."),
    };

    /// <summary>Opens <c>/dev/iommu</c> of the kernel behind a name.</summary>
    /// <exception cref="ArgumentException">No transport has this name.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static IommuFd Open(string name) => IommuFd.Open(GetKernel(name));

    /// <summary>Opens <c>/dev/iommu</c> of a kernel, such as an embedded platform's.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static IommuFd Open(IKernelAbi kernel) => IommuFd.Open(kernel);

    /// <summary>Opens <c>/dev/iommu</c> of a kernel, such as an embedded platform's.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno OpenErrno(IKernelAbi kernel, out IommuFd? iommu) => IommuFd.OpenErrno(kernel, out iommu);
}
