using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.VfioUser;

/// <summary>
/// A machine whose functions other processes use over vfio-user, each by a socket of its own. Physical memory is what their clients show. A function that is
/// an IOMMU stands before the others: what they do then reaches the memory that the IOMMU's client has shown, by the
/// tables that are in it. Without one, a function reaches what its own client has shown.
/// </summary>
/// <example>
/// <code>
/// using ServedMachine machine = new();
/// machine.Add(disk, DeviceId.FromPci(0, 0, 1, 0), "/run/disk.sock");
/// machine.Start();
/// // qemu-system-x86_64 … -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/run/disk.sock"}}'
/// </code>
/// </example>
public sealed class ServedMachine : IDisposable
{
    private readonly ServedMachineOptions _options;
    private readonly List<ServedFunction> _functions = [];
    private bool _isStarted;

    /// <summary>Makes a machine without functions.</summary>
    /// <param name="options">How it serves; null for as is usual.</param>
    public ServedMachine(ServedMachineOptions? options = null) => _options = options ?? new();

    /// <summary>Its functions.</summary>
    public IReadOnlyList<ServedFunction> Functions => _functions;

    /// <summary>Adds a function; before <see cref="Start"/>. The machine disposes of it in the end.</summary>
    /// <param name="device">The model, which is in no machine.</param>
    /// <param name="id">Its place on the bus, free so far.</param>
    /// <param name="socketPath">Where its socket will be: at most 107 bytes.</param>
    /// <param name="iommu">Which of the machine's IOMMUs is before it, from 0; does not count if there are none, or if it is one.</param>
    /// <exception cref="ArgumentException">The place is taken.</exception>
    /// <exception cref="InvalidOperationException">The machine has started.</exception>
    public ServedFunction Add(PciDevice device, DeviceId id, string socketPath, int iommu = 0)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentException.ThrowIfNullOrEmpty(socketPath);
        if (_isStarted)
        {
            throw new InvalidOperationException("Functions are added before the machine starts.");
        }

        if (_functions.Exists(other => other.Id == id))
        {
            throw new ArgumentException($"There is a function at {id} already.", nameof(id));
        }

        ServedFunction function = new(device, id, socketPath, iommu, _options);
        _functions.Add(function);
        return function;
    }

    /// <summary>Connects the functions with each other and listens.</summary>
    /// <exception cref="InvalidOperationException">A function is behind an IOMMU that is not there.</exception>
    /// <exception cref="IOException">A socket cannot be made: then nobody listens.</exception>
    public void Start()
    {
        List<(ITranslatingFunction Function, ServedFunction Served)> iommus = [];
        foreach (ServedFunction function in _functions)
        {
            if (function.Device is ITranslatingFunction iommu)
            {
                iommu.UseMemory(function.Memory);
                iommus.Add((iommu, function));
                if (_options.Accesses is { } log)
                {
                    iommu.UseLog(log, function.Id);
                }
            }
        }

        foreach (ServedFunction function in _functions)
        {
            bool isTranslated = iommus.Count > 0 && function.Device is not ITranslatingFunction;
            if (isTranslated && (function.Iommu < 0 || function.Iommu >= iommus.Count))
            {
                throw new InvalidOperationException($"{function.Id} is behind IOMMU {function.Iommu}: the machine has {iommus.Count}, from 0.");
            }

            DeviceConnection connection = isTranslated
                ? ConnectionBehind(iommus[function.Iommu].Function, iommus[function.Iommu].Served, function.Id)
                : new(function.Id, new UntranslatedPort(function.Memory)) { Mappings = function.Memory.List };
            function.Device.Connect(connection with { DriverEnablesAts = true });
        }

        _isStarted = true;
        try
        {
            _functions.ForEach(static function => function.Start());
        }
        catch
        {
            _functions.ForEach(static function => function.Stop());
            throw;
        }
    }

    private DeviceConnection ConnectionBehind(ITranslatingFunction iommu, ServedFunction served, DeviceId id)
    {
        IDmaPort port = _options.Accesses is { } log ? new LoggedPort(iommu.Port, served.Id, log) : iommu.Port;
        return new(id, port) { Mappings = List, WhileMapped = use => iommu.WhileMapped(() => use(List(), served.Memory)) };

        List<DeviceMapping> List()
        {
            List<DeviceMapping> mappings = [];
            return iommu.TryListReach(id, mappings) ? mappings : served.Memory.List();
        }
    }

    /// <summary>Ends all connections, takes the sockets away and disposes of the functions.</summary>
    public void Dispose()
    {
        _functions.ForEach(static function => function.Stop());
        _functions.ForEach(static function => function.Device.Dispose());
        _functions.Clear();
    }
}
