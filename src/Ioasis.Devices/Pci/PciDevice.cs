using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices;

/// <summary>
/// A model of a PCI device: what all have in common. A derived class says what its registers do; here are the
/// configuration space, the base addresses, the interrupts on their way to the client, the bus mastering without which no DMA
/// leaves it, and reset. It behaves as a device behind Linux' vfio-pci does (docs/abi.md).
/// </summary>
/// <remarks>Thread-safe; a derived class has its own state to guard.</remarks>
public abstract class PciDevice : IDisposable
{
    private readonly PciDeviceDescription _description;
    private readonly PciBar?[] _bars = new PciBar?[6];
    private readonly SharedPages?[] _memories = new SharedPages?[6];
    private readonly SharedPages?[] _mapped = new SharedPages?[6];
    private readonly Lock _watchLock = new();
    private RegisterWatch? _watch;
    private readonly IoLock _powerLock = new();
    private PciConfigSpace _config;
    private DeviceConnection? _connection;
    private bool _lowPower;
    private IVfioEvent? _wakeup;

    /// <summary>Makes a device that is on no platform yet.</summary>
    /// <param name="description">What it is.</param>
    /// <exception cref="ArgumentException">The description does not fit together.</exception>
    protected PciDevice(PciDeviceDescription description)
        : this(description, static device => new PciDeviceBackend(device))
    {
    }

    /// <summary>Makes a device whose registers, configuration space and interrupts are elsewhere: in another process, say.</summary>
    /// <param name="description">What it is.</param>
    /// <param name="backend">Makes what VFIO's callers see; the device itself is not finished then.</param>
    /// <exception cref="ArgumentException">The description does not fit together.</exception>
    protected PciDevice(PciDeviceDescription description, Func<PciDevice, IVfioDeviceBackend> backend)
    {
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(backend);
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
            _memories[bar.Register] = bar.IsMemory ? SharedPages.Create(bar.Size) : null;
        }

        Backend = backend(this);
    }

    /// <summary>What it is.</summary>
    public PciDeviceDescription Description => _description;

    /// <summary>Where its requests go; null while it is in no machine.</summary>
    public DeviceConnection? Connection => _connection;

    /// <summary>Whether the client allows it to do DMA and to send messages ("bus master" of the command register).</summary>
    public bool IsBusMaster => (_config.CommandValue & PciConfigSpace.CommandMaster) != 0;

    /// <summary>Whether message-signalled interrupts are enabled, so that the wire is not used.</summary>
    public bool UsesMessages => Interrupts.Kind is VfioPciInterrupt.Msi or VfioPciInterrupt.MsiX;

    /// <summary>
    /// The device as VFIO's callers see it: regions, interrupts, reset. What offers it to a program, to a virtual machine or over a
    /// socket goes through this.
    /// </summary>
    public IVfioDeviceBackend Backend { get; }

    /// <summary>Its part in the life of PASIDs; null if its requests carry none of their own.</summary>
    public virtual IPasidUser? PasidUser => null;

    internal PciInterrupts Interrupts { get; }

    internal PciConfigSpace Config => _config;

    internal bool IsMemoryEnabled => (_config.CommandValue & PciConfigSpace.CommandMemory) != 0;

    /// <summary>The devices of its slot or bus, which can be reset together; null if nothing is between it and the root.</summary>
    internal IReadOnlyList<PciDevice>? ResetGroup { get; private set; }

    /// <summary>
    /// Says that devices lie behind one bridge: only together can they be reset by it (VFIO_DEVICE_PCI_HOT_RESET).
    /// </summary>
    /// <param name="devices">All of them, on one platform.</param>
    public static void PlaceBehindOneBridge(params IReadOnlyList<PciDevice> devices)
    {
        ArgumentNullException.ThrowIfNull(devices);
        PciDevice[] all = [.. devices];
        foreach (PciDevice device in all)
        {
            device.ResetGroup = all;
        }
    }

    /// <summary>The machine's firmware gives its registers addresses. Before anybody opens it.</summary>
    /// <param name="bases">One for each base address register of the description, in its order.</param>
    public virtual void Assign(ReadOnlySpan<ulong> bases) => _config = new(_description, bases, _connection is { DriverEnablesAts: true });

    /// <summary>The device is in a machine: its requests go there from now on.</summary>
    public void Connect(DeviceConnection connection)
    {
        ArgumentNullException.ThrowIfNull(connection);
        _connection = connection;
        _config.SetControls(connection.DriverEnablesAts);
    }

    internal PciBar? BarOf(int register) => _bars[register];

    internal SharedPages? MemoryOf(int bar) => _memories[bar];

    /// <summary>The pages by which a client maps registers; from now on the device looks at them.</summary>
    internal SharedPages MapRegisters(int bar)
    {
        lock (_watchLock)
        {
            if (_mapped[bar] is { } present)
            {
                return present;
            }

            SharedPages pages = SharedPages.Create(_bars[bar]!.Size);
            Volatile.Write(ref _mapped[bar], pages);
            OnRegistersMapped(bar, new(pages));
            _watch ??= new($"{GetType().Name} {_connection?.Id}", Look);
            return pages;
        }
    }

    /// <summary>Nobody has them mapped any more.</summary>
    internal void UnmapRegisters()
    {
        RegisterWatch? watch;
        lock (_watchLock)
        {
            watch = _watch;
            _watch = null;
        }

        // Not under the lock: a look that is under way may end with a call of its own.
        watch?.End();
        Array.Clear(_mapped);
    }

    internal ulong CallRead(int bar, ulong offset, int size) => ReadRegister(bar, offset, size);

    internal void CallWrite(int bar, ulong offset, int size, ulong value) => WriteRegister(bar, offset, size, value);

    internal bool CallWriteBlock(int bar, ulong offset, ReadOnlySpan<byte> block) => WriteBlock(bar, offset, block);

    internal bool CallWriteDeferrable(int bar, ulong offset, ReadOnlySpan<byte> command) => WriteDeferrable(bar, offset, command);

    internal void CallConfigurationRead(int offset, Span<byte> bytes) => OnConfigurationRead(offset, bytes);

    internal void CallConfigurationWritten(int offset, ReadOnlySpan<byte> bytes) => OnConfigurationWritten(offset, bytes);

    internal void CallReset()
    {
        using (_powerLock.Acquire())
        {
            _lowPower = false;
            _wakeup = null;
        }

        foreach (SharedPages? memory in _memories)
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

    /// <summary>
    /// 64 bytes are written at once, as processors do by MOVDIR64B. A device that knows nothing of it gets them as words.
    /// </summary>
    /// <param name="bar">Base address register.</param>
    /// <param name="offset">Offset, aligned to 64.</param>
    /// <param name="block">The bytes.</param>
    /// <returns>Whether it took them.</returns>
    protected virtual bool WriteBlock(int bar, ulong offset, ReadOnlySpan<byte> block) => false;

    /// <summary>
    /// A deferrable write of 64 bytes (ENQCMD), whose bits 19:0 of the first four bytes are the PASID of whoever sends it. A device that knows
    /// nothing of it has it sent again, for ever.
    /// </summary>
    /// <param name="bar">Base address register.</param>
    /// <param name="offset">Offset, aligned to 64.</param>
    /// <param name="command">The bytes.</param>
    /// <returns>Whether it took them.</returns>
    protected virtual bool WriteDeferrable(int bar, ulong offset, ReadOnlySpan<byte> command) => false;

    /// <summary>
    /// The configuration space is read: what the framework has there may be changed on its way. It goes by its own, whatever is read.
    /// </summary>
    /// <param name="offset">First byte.</param>
    /// <param name="bytes">What is read, within the space.</param>
    protected virtual void OnConfigurationRead(int offset, Span<byte> bytes)
    {
    }

    /// <summary>The configuration space was written, and the framework has taken what it keeps.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="bytes">What was written, within the space.</param>
    protected virtual void OnConfigurationWritten(int offset, ReadOnlySpan<byte> bytes)
    {
    }

    /// <summary>The device goes back to the state after power-up. Its memory is cleared already.</summary>
    protected abstract void OnReset();

    /// <summary>The registers of a base address register as a client has them mapped; empty if none has.</summary>
    protected MappedRegisters MappedRegistersOf(int bar) => new(Volatile.Read(ref _mapped[bar]));

    /// <summary>A client maps registers: the device shows there what is to be read.</summary>
    protected virtual void OnRegistersMapped(int bar, MappedRegisters registers)
    {
    }

    /// <summary>
    /// Looks at registers that a client has mapped and does what was written there. Called again and again by one thread while they are
    /// mapped, memory space is enabled and the device is there. Must not throw.
    /// </summary>
    /// <returns>Whether there was something.</returns>
    protected internal virtual bool LookAtRegisters(int bar, MappedRegisters registers) => false;

    /// <summary>Ends what the device holds outside: threads, files. Nobody uses it any more.</summary>
    public void Dispose()
    {
        UnmapRegisters();
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Ends what a derived class holds.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    /// <summary>Reads memory as the device.</summary>
    /// <returns>How it ended; <see cref="DmaStatus.UnsupportedRequest"/> if the device is no bus master.</returns>
    protected DmaStatus ReadMemory(Iova address, Span<byte> destination, Pasid pasid = default) =>
        IsBusMaster && _connection is { } connection
            ? connection.Port.Read(MakeRequest(connection, address, DmaFlags.None, pasid), destination)
            : DmaStatus.UnsupportedRequest;

    /// <summary>Writes memory as the device.</summary>
    /// <returns>How it ended; <see cref="DmaStatus.UnsupportedRequest"/> if the device is no bus master.</returns>
    protected DmaStatus WriteMemory(Iova address, ReadOnlySpan<byte> source, Pasid pasid = default) =>
        IsBusMaster && _connection is { } connection
            ? connection.Port.Write(MakeRequest(connection, address, DmaFlags.Write, pasid), source)
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

    private bool Look()
    {
        bool found = false;
        for (int bar = 0; bar < _mapped.Length && IsMemoryEnabled; bar++)
        {
            if (Volatile.Read(ref _mapped[bar]) is { } pages)
            {
                found |= LookAtRegisters(bar, new(pages));
            }
        }

        return found;
    }

    private static DmaRequest MakeRequest(DeviceConnection connection, Iova address, DmaFlags flags, Pasid pasid) =>
        pasid.IsPresent
            ? new(connection.RequesterId, address, flags | DmaFlags.PasidValid, DmaKind.Untranslated, pasid)
            : new(connection.RequesterId, address, flags);
}
