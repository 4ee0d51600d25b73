using Ioasis.Kernel;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Embedded;

/// <summary>
/// A PCI device of the embedded platform: what all have in common. A derived class says what its registers do; here are the
/// configuration space, the base addresses, the interrupts on their way to the client, the bus mastering without which no DMA
/// leaves it, and reset. It behaves as a device behind Linux' vfio-pci does (docs/abi.md).
/// </summary>
/// <remarks>Thread-safe; a derived class has its own state to guard.</remarks>
public abstract class EmbeddedPciDevice
{
    private readonly PciDeviceDescription _description;
    private readonly PciBar?[] _bars = new PciBar?[6];
    private readonly PciBarMemory?[] _memories = new PciBarMemory?[6];
    private readonly IoLock _powerLock = new();
    private PciConfigSpace _config;
    private EmbeddedEndpoint? _endpoint;
    private bool _lowPower;
    private IVfioEvent? _wakeup;

    /// <summary>Makes a device that is on no platform yet.</summary>
    /// <param name="description">What it is.</param>
    /// <exception cref="ArgumentException">The description does not fit together.</exception>
    protected EmbeddedPciDevice(PciDeviceDescription description)
    {
        ArgumentNullException.ThrowIfNull(description);
        if (description.FindFault() is { } fault)
        {
            throw new ArgumentException(fault, nameof(description));
        }

        _description = description;
        Interrupts = new(description);
        _config = new(description, new ulong[description.Bars.Count]);
        foreach (PciBar bar in description.Bars)
        {
            _bars[bar.Register] = bar;
            _memories[bar.Register] = bar.IsMemory ? new((int)bar.Size) : null;
        }

        Backend = new PciDeviceBackend(this);
    }

    /// <summary>What it is.</summary>
    public PciDeviceDescription Description => _description;

    /// <summary>Where it is on its platform.</summary>
    /// <exception cref="InvalidOperationException">It is on none.</exception>
    public EmbeddedEndpoint Endpoint => _endpoint ?? throw new InvalidOperationException("The device is on no platform.");

    /// <summary>Whether the client allows it to do DMA and to send messages ("bus master" of the command register).</summary>
    public bool IsBusMaster => (_config.CommandValue & PciConfigSpace.CommandMaster) != 0;

    /// <summary>Whether message-signalled interrupts are enabled, so that the wire is not used.</summary>
    public bool UsesMessages => Interrupts.Kind is VfioPciInterrupt.Msi or VfioPciInterrupt.MsiX;

    /// <summary>The device as VFIO sees it.</summary>
    public IVfioDeviceBackend Backend { get; }

    internal PciInterrupts Interrupts { get; }

    internal PciConfigSpace Config => _config;

    internal bool IsMemoryEnabled => (_config.CommandValue & PciConfigSpace.CommandMemory) != 0;

    /// <summary>The devices of its slot or bus, which can be reset together; null if nothing is between it and the root.</summary>
    internal IReadOnlyList<EmbeddedPciDevice>? ResetGroup { get; private set; }

    /// <summary>
    /// Says that devices lie behind one bridge: only together can they be reset by it (VFIO_DEVICE_PCI_HOT_RESET).
    /// </summary>
    /// <param name="devices">All of them, on one platform.</param>
    public static void PlaceBehindOneBridge(params IReadOnlyList<EmbeddedPciDevice> devices)
    {
        ArgumentNullException.ThrowIfNull(devices);
        EmbeddedPciDevice[] all = [.. devices];
        foreach (EmbeddedPciDevice device in all)
        {
            device.ResetGroup = all;
        }
    }

    /// <summary>The platform's firmware gives its registers addresses.</summary>
    internal void Assign(ReadOnlySpan<ulong> bases) => _config = new(_description, bases);

    /// <summary>The device is on a platform: its requests go to the IOMMU from now on.</summary>
    internal void Connect(EmbeddedEndpoint endpoint) => _endpoint = endpoint;

    internal PciBar? BarOf(int register) => _bars[register];

    internal PciBarMemory? MemoryOf(int bar) => _memories[bar];

    internal ulong CallRead(int bar, ulong offset, int size) => ReadRegister(bar, offset, size);

    internal void CallWrite(int bar, ulong offset, int size, ulong value) => WriteRegister(bar, offset, size, value);

    internal void CallReset()
    {
        using (_powerLock.Acquire())
        {
            _lowPower = false;
            _wakeup = null;
        }

        foreach (PciBarMemory? memory in _memories)
        {
            memory?.Clear();
        }

        OnReset();
    }

    /// <summary>Enters or leaves the state in which the device may be powered down while nobody uses it.</summary>
    internal Errno SetLowPower(bool low, IVfioEvent? wakeup)
    {
        using (_powerLock.Acquire())
        {
            if (low && _lowPower)
            {
                return Errno.InvalidArgument;
            }

            _lowPower = low;
            _wakeup = wakeup;
            return Errno.Success;
        }
    }

    /// <summary>A register is read.</summary>
    /// <param name="bar">Base address register.</param>
    /// <param name="offset">Offset, aligned to <paramref name="size"/>.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    /// <returns>The value; bits above the size do not count.</returns>
    protected abstract ulong ReadRegister(int bar, ulong offset, int size);

    /// <summary>A register is written.</summary>
    /// <param name="bar">Base address register.</param>
    /// <param name="offset">Offset, aligned to <paramref name="size"/>.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    /// <param name="value">The value.</param>
    protected abstract void WriteRegister(int bar, ulong offset, int size, ulong value);

    /// <summary>The device goes back to the state after power-up. Its memory is cleared already.</summary>
    protected abstract void OnReset();

    /// <summary>Reads memory as the device.</summary>
    /// <returns>How it ended; <see cref="DmaStatus.UnsupportedRequest"/> if the device is no bus master.</returns>
    protected DmaStatus ReadMemory(Iova address, Span<byte> destination, Pasid pasid = default) =>
        IsBusMaster && _endpoint is { } endpoint
            ? endpoint.Port.Read(MakeRequest(endpoint, address, DmaFlags.None, pasid), destination)
            : DmaStatus.UnsupportedRequest;

    /// <summary>Writes memory as the device.</summary>
    /// <returns>How it ended; <see cref="DmaStatus.UnsupportedRequest"/> if the device is no bus master.</returns>
    protected DmaStatus WriteMemory(Iova address, ReadOnlySpan<byte> source, Pasid pasid = default) =>
        IsBusMaster && _endpoint is { } endpoint
            ? endpoint.Port.Write(MakeRequest(endpoint, address, DmaFlags.Write, pasid), source)
            : DmaStatus.UnsupportedRequest;

    /// <summary>Asserts or releases the wired interrupt.</summary>
    protected void SetInterruptLine(bool asserted) => Interrupts.SetLine(asserted);

    /// <summary>Sends a message-signalled interrupt, which needs bus mastering as any write does.</summary>
    /// <returns>Whether it left the device.</returns>
    protected bool SendMessage(int vector)
    {
        if (!IsBusMaster || !Interrupts.Send(vector))
        {
            return false;
        }

        IVfioEvent? wakeup;
        using (_powerLock.Acquire())
        {
            wakeup = _lowPower ? _wakeup : null;
            _lowPower &= wakeup is null;
            _wakeup = null;
        }

        wakeup?.Signal();
        return true;
    }

    /// <summary>Reports an uncorrectable error to the client (PCI Express only).</summary>
    protected void ReportError() => Interrupts.ReportError();

    private static DmaRequest MakeRequest(EmbeddedEndpoint endpoint, Iova address, DmaFlags flags, Pasid pasid) =>
        pasid.IsPresent
            ? new(endpoint.RequesterId, address, flags | DmaFlags.PasidValid, DmaKind.Untranslated, pasid)
            : new(endpoint.RequesterId, address, flags);
}
