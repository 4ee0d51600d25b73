using System.Buffers.Binary;
using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Qemu;

/// <summary>
/// A PCI device of QEMU's, of an unmodified package, in a machine of this process: QEMU runs it in its machine <c>x-remote</c>. The device stands behind the
/// machine's IOMMU: what it reaches of memory is shown to QEMU as copies of the pages that are mapped, and what it writes is made as
/// its DMA. What is not mapped QEMU does not have: its device reads zeroes there, and what it writes the IOMMU refuses.
/// </summary>
/// <remarks>
/// <para>What a driver wrote reaches the device with the next access of a register; what the device wrote reaches memory with the next access, before each
/// interrupt, and by a thread that looks every few milliseconds. The memory that is mapped at a time must be in at most 7 ranges of whole GiBs, 256 MiB together; what is beyond that is
/// reported and not shown. A mapping that is taken back is gone for the device with the next access or look: until then it reads the copy, and what it
/// writes is a fault.</para>
/// <para>QEMU's machine has wires only: an interrupt comes to the client as the wire, or as the only message of MSI or MSI-X. The configuration
/// space is made here, with the identity that QEMU's device has. Resets are QEMU's.</para>
/// </remarks>
public sealed class QemuDevice : PciDevice
{
    private const int ConfigCommand = 4;
    private const int FirstBar = 0x10;
    private const int Capabilities = 0x34;
    private const byte ExpressCapability = 0x10;
    private const uint CommandSpaces = 3;
    private const uint CommandMaster = 4;
    private const uint NvmeClass = 0x01_0802;
    private const ulong NvmeConfiguration = 0x14;
    private const ulong NvmeQueues = 0x24;
    private const ulong NvmeQueuesEnd = 0x38;
    private const int LongestPause = 16;
    private const int MostLines = 100;

    // Where the registers are in QEMU's machine: beyond every IOMMU's addresses, and those that have 32 bits where no memory will be missed.
    private const ulong HighBase = 1ul << 58;
    private const ulong LowBase = 0xe000_0000;
    private const ulong LowEnd = 0xff00_0000;
    private const ulong IoBase = 0x1000;

    private readonly Setup _setup;
    private readonly Lock _gate = new();
    private readonly MirroredMemory _memory;
    private readonly RingPages _rings;
    private readonly SafeFileHandle _rises = SocketCalls.CreateEvent();
    private readonly SafeFileHandle _again = SocketCalls.CreateEvent();
    private readonly SafeFileHandle _work = SocketCalls.CreateEvent();
    private readonly HashSet<string> _refused = new(StringComparer.Ordinal);
    private readonly Thread _thread;
    private uint? _enable;
    private volatile bool _ends;

    private QemuDevice(PciDeviceDescription description, Setup setup, ulong limit, Action<string>? refused)
        : base(description)
    {
        _setup = setup;
        _memory = new(HighBase)
        {
            Limit = limit,
            Taken = setup.LowRange,
            Refused = line =>
            {
                if (_refused.Count < MostLines && _refused.Add(line))
                {
                    refused?.Invoke(line);
                }
            },
        };
        _rings = new(IsNvme, _memory);
        lock (_gate)
        {
            _ = _setup.Link.SetInterrupt(_rises, _again);
        }

        _thread = new(Run) { IsBackground = true, Name = "qemu device" };
        _thread.Start();
    }

    /// <summary>How a text asks for it.</summary>
    internal static DeviceKind Kind { get; } = new(
        "qemu",
        "a PCI device of QEMU's own, which runs in a QEMU of its own (machine x-remote)",
        [
            new("device", "what QEMU's -device gets, with two commas for one: nvme,,drive=d0,,serial=1"),
            new("option", "further words for QEMU's command line, separated by spaces: -drive if=none,,id=d0,,file=disk.img", IsRepeatable: true),
            new("program", "QEMU; qemu-system-x86_64 as is"),
            new("memory", "most bytes of memory that it is shown at a time, with K, M or G; 256M as is"),
        ],
        static settings => Start(
            settings.Text("device") ?? throw DeviceSettings.Bad("device", string.Empty, "a device of QEMU's is expected"),
            [.. settings.All("option").SelectMany(static option => option.Split(' ', StringSplitOptions.RemoveEmptyEntries))],
            settings.Text("program") ?? "qemu-system-x86_64",
            (ulong)settings.Size("memory", 256 << 20, MirrorWindow.PageSize, 16L << 30),
            static line => Console.Error.WriteLine($"ioasis: {line}")));

    private bool IsNvme => Description.ClassCode == NvmeClass;

    /// <summary>Starts a QEMU for a device.</summary>
    /// <param name="device">What <c>-device</c> gets, without an ID.</param>
    /// <param name="options">Further words of QEMU's command line: drives, say.</param>
    /// <param name="program">QEMU.</param>
    /// <param name="memory">Most bytes of memory that the device is shown at a time.</param>
    /// <param name="refused">Told of ranges of memory that it cannot be shown, once of each.</param>
    /// <exception cref="IOException">QEMU cannot be started, or does not take the device; the message has what it said.</exception>
    public static QemuDevice Start(
        string device, IReadOnlyList<string> options, string program = "qemu-system-x86_64", ulong memory = 256 << 20, Action<string>? refused = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(device);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrEmpty(program);
        QemuProcess process = QemuProcess.Start(program, device, options);
        QemuLink link = new(process.Socket, () => process.HasEnded);
        try
        {
            PciDeviceDescription? description = null;
            Setup? setup = process.AwaitReset() ? Setup.TryMake(process, link, out description) : null;
            return setup is null ? throw new IOException($"{program} -device {device}: {process.Said}") : new(description!, setup, memory, refused);
        }
        catch
        {
            link.Dispose();
            process.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        if (_setup.BaseOf(bar) is not { } place)
        {
            // The pending bits of MSI-X, which are never set.
            return 0;
        }

        ulong value;
        lock (_gate)
        {
            Enable();
            Synchronize();
            _ = _setup.Link.ReadRegister(place.IsMemory, place.Address + offset, size, out value);
            AskForInterrupt();
        }

        SocketCalls.Signal(_work);
        return value;
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        if (_setup.BaseOf(bar) is not { } place)
        {
            return;
        }

        lock (_gate)
        {
            if (IsNvme && bar == 0 && offset == NvmeConfiguration && (value & 1) != 0 && size == sizeof(uint))
            {
                // QEMU's own driver says where its queues are after it has enabled the controller: its stores come in another order than written. Every driver reads
                // then whether the controller is ready: until that access it waits.
                _enable = (uint)value;
                return;
            }

            if (!IsNvme || offset < NvmeQueues || offset >= NvmeQueuesEnd)
            {
                Enable();
            }

            Synchronize();
            _rings.Note(bar, offset, size, value);
            _ = _setup.Link.WriteRegister(place.IsMemory, place.Address + offset, size, value);
            AskForInterrupt();
        }

        SocketCalls.Signal(_work);
    }

    /// <inheritdoc/>
    protected override void OnConfigurationWritten(int offset, ReadOnlySpan<byte> bytes)
    {
        if (offset < ConfigCommand + 2 && offset + bytes.Length > ConfigCommand)
        {
            lock (_gate)
            {
                WriteCommand();
            }
        }
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        lock (_gate)
        {
            _enable = null;
            _rings.Clear();
            _ = _setup.Link.Reset();
            _ = _setup.Place();
            WriteCommand();
            SetInterruptLine(false);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _ends = true;
            SocketCalls.Signal(_work);
            _thread.Join();
            _setup.Link.Dispose();
            _setup.Process.Dispose();
            _memory.Dispose();
            _rises.Dispose();
            _again.Dispose();
            _work.Dispose();
        }

        base.Dispose(disposing);
    }

    private void WriteCommand() =>
        _ = _setup.Link.WriteConfiguration(ConfigCommand, CommandSpaces | (IsBusMaster ? CommandMaster : 0), 2);

    // Under the gate.
    private void Synchronize(bool takesIn = true) => _ = _memory.Synchronize(IsBusMaster ? Connection : null, _setup.Link, _rings.IsOne, takesIn);

    private void Enable()
    {
        if (_enable is { } value && _setup.BaseOf(0) is { } place)
        {
            _enable = null;
            Synchronize();
            _ = _setup.Link.WriteRegister(place.IsMemory, place.Address + NvmeConfiguration, sizeof(uint), value);
        }
    }

    // The wire may have fallen, or may still be high for something new: QEMU is asked to say so if it is.
    private void AskForInterrupt()
    {
        SetInterruptLine(false);
        SocketCalls.Signal(_again);
    }

    // Interrupts, and what the device writes without one. After an access it is looked at often, and then less and less.
    private void Run()
    {
        int pause = LongestPause;
        while (!_ends)
        {
            List<int> ready = SocketCalls.WaitForAny(pause, _rises, _work);
            if (ready.Contains(1))
            {
                _ = SocketCalls.TakeCount(_work);
                pause = 1;
                continue;
            }

            // Only what has a count is read: QEMU makes the counters that it gets such that readers wait.
            bool isInterrupt = ready.Contains(0) && SocketCalls.TakeCount(_rises) > 0;
            lock (_gate)
            {
                // What the machine wrote waits for an access: a driver that has just ended would be read once more.
                Synchronize(takesIn: false);
            }

            pause = Math.Min(2 * pause, LongestPause);
            if (isInterrupt && UsesMessages)
            {
                _ = SendMessage(0);
            }
            else if (isInterrupt)
            {
                SetInterruptLine(true);
            }
        }
    }

    /// <summary>QEMU's device: its process, and where its registers are in QEMU's machine.</summary>
    private sealed class Setup(QemuProcess process, QemuLink link)
    {
        private readonly List<(PciBar Bar, ulong Address)> _places = [];

        public QemuProcess Process => process;

        public QemuLink Link => link;

        /// <summary>Addresses of registers where memory of the machine could be.</summary>
        public AddressRange? LowRange { get; private set; }

        /// <summary>Where the registers behind a base address register begin; null if they are not QEMU's.</summary>
        public (bool IsMemory, ulong Address)? BaseOf(int bar)
        {
            foreach ((PciBar other, ulong address) in _places)
            {
                if (other.Register == bar)
                {
                    return (!other.IsIo, address);
                }
            }

            return null;
        }

        /// <summary>Asks what the device is, and gives its registers addresses.</summary>
        /// <returns>Null if QEMU has ended.</returns>
        public static Setup? TryMake(QemuProcess process, QemuLink link, out PciDeviceDescription? description)
        {
            description = null;
            Setup made = new(process, link);
            uint[] words = new uint[0x100 / sizeof(uint)];
            for (int i = 0; i < words.Length; i++)
            {
                if (link.ReadConfiguration(i * sizeof(uint), out words[i]) != Errno.Success)
                {
                    return null;
                }
            }

            List<PciBar> bars = [];
            for (int i = 0; i < 6; i++)
            {
                if (made.AskBar(i, words[(FirstBar / 4) + i], out PciBar? bar) != Errno.Success)
                {
                    return null;
                }

                if (bar is not null)
                {
                    bars.Add(bar);
                    i += bar.Is64Bit ? 1 : 0;
                }
            }

            if (!made.TryPlace(bars) || made.Place() != Errno.Success)
            {
                return null;
            }

            // The list of capabilities, which has no more than fit (PCI Express base specification 6.0, section 7.5.3).
            bool isExpress = false;
            int next = (byte)words[Capabilities / 4];
            for (int left = words.Length; next >= 0x40 && left > 0; left--)
            {
                isExpress |= (byte)words[next / 4] == ExpressCapability;
                next = (byte)(words[next / 4] >> 8);
            }

            // Its table of MSI-X is ours, behind a register that the device does not use.
            int free = Enumerable.Range(0, 6).LastOrDefault(i => !bars.Exists(bar => bar.Register == i || (bar.Is64Bit && bar.Register + 1 == i)), -1);
            description = new()
            {
                VendorId = (ushort)words[0],
                DeviceId = (ushort)(words[0] >> 16),
                Revision = (byte)words[2],
                ClassCode = words[2] >> 8,
                SubsystemVendorId = (ushort)words[0x2c / 4],
                SubsystemId = (ushort)(words[0x2c / 4] >> 16),
                Bars = free < 0 ? bars : [.. bars, new(free, MirrorWindow.PageSize)],
                HasInterruptPin = true,
                IsExpress = isExpress,
                MsiVectors = 1,
                MsiX = free < 0 ? null : new(1, free, 0, MirrorWindow.PageSize / 2),
            };
            return made;
        }

        /// <summary>Writes the addresses, and reads them back.</summary>
        public Errno Place()
        {
            Errno error = Errno.Success;
            foreach ((PciBar bar, ulong address) in _places)
            {
                for (int word = 0; word < (bar.Is64Bit ? 2 : 1) && error == Errno.Success; word++)
                {
                    error = link.WriteConfiguration(FirstBar + (4 * (bar.Register + word)), (uint)(address >> (32 * word)), 4);
                }
            }

            error = error == Errno.Success ? link.WriteConfiguration(ConfigCommand, CommandSpaces, 2) : error;
            for (int i = 0; i < 7 && error == Errno.Success; i++)
            {
                error = link.ReadConfiguration(i < 6 ? FirstBar + (4 * i) : ConfigCommand, out _);
            }

            return error;
        }

        private Errno AskBar(int register, uint before, out PciBar? bar)
        {
            bar = null;
            int offset = FirstBar + (4 * register);
            uint high = uint.MaxValue;
            bool isIo = (before & 1) != 0;
            bool isWide = !isIo && (before & 6) == 4 && register < 5;
            Errno error = link.WriteConfiguration(offset, uint.MaxValue, 4);
            uint low = 0;
            if (error == Errno.Success)
            {
                error = link.ReadConfiguration(offset, out low);
            }

            if (error == Errno.Success && isWide)
            {
                error = link.WriteConfiguration(offset + 4, uint.MaxValue, 4);
                error = error == Errno.Success ? link.ReadConfiguration(offset + 4, out high) : error;
            }

            uint mask = low & ~(isIo ? 3u : 15u);
            if (error == Errno.Success && mask != 0)
            {
                ulong size = ~(((ulong)high << 32) | mask) + 1;
                size = isIo ? size & 0xffff : size;
                bar = new(register, size) { IsIo = isIo, Is64Bit = isWide, IsPrefetchable = !isIo && (before & 8) != 0 };
            }

            return error;
        }

        private bool TryPlace(List<PciBar> bars)
        {
            ulong high = HighBase;
            ulong low = LowBase;
            ulong io = IoBase;
            foreach (PciBar bar in bars)
            {
                ref ulong next = ref bar.IsIo ? ref io : ref bar.Is64Bit ? ref high : ref low;
                next = (next + (bar.Size - 1)) & ~(bar.Size - 1);
                _places.Add((bar, next));
                next += bar.Size;
            }

            if (low != LowBase)
            {
                ulong first = _places.Where(static place => !place.Bar.IsIo && !place.Bar.Is64Bit).Min(static place => place.Address);
                LowRange = new(first, low - 1);
            }

            return low <= LowEnd && io <= 0x1_0000;
        }
    }
}
