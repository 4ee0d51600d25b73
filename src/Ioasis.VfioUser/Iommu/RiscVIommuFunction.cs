using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.VfioUser;

/// <summary>
/// A RISC-V IOMMU as a PCI function (RISC-V IOMMU specification 1.0.1, section 5.1: class 0806h): base address register 0 holds its registers, with the table
/// of MSI-X where they have <c>msi_cfg_tbl</c>, whose entries are of the same form (section 5.29). It is <c>1b36:0014</c>, for which Linux has a driver.
/// </summary>
public sealed class RiscVIommuFunction : PciDevice, ITranslatingFunction, IMisbehavingDevice, IDmaPort, IMsiSink
{
    // Bits of a vector, and so vectors: one for each source of interrupts.
    private const int VectorBits = 2;
    private const uint RegisterBytes = 4096;
    private const string MemoryTypes = "svpbmt";
    private const ulong FirstMessage = 0xfee0_0000;

    private readonly RiscVIommuOptions _options;
    private readonly IommuFailures _failures;
    private readonly EpochReclaimer _users = new();
    private IPhysicalMemory? _memory;
    private RiscVIommu? _iommu;

    /// <summary>Makes one that is in no machine.</summary>
    /// <param name="options">What it supports and caches. Its interrupts are messages, and nobody else taps it.</param>
    /// <param name="failures">What of it fails; null for nothing.</param>
    public RiscVIommuFunction(RiscVIommuOptions options, IReadOnlyList<IommuFailure>? failures = null)
        : base(new()
        {
            VendorId = 0x1b36,
            DeviceId = 0x0014,
            Revision = 1,
            ClassCode = 0x08_06_00,
            SubsystemVendorId = 0x1af4,
            SubsystemId = 0x1100,
            Bars = [new(0, RegisterBytes) { Is64Bit = true }],
            MsiX = new(1 << VectorBits, 0, RegisterOffset.MsiConfigurationTable, RegisterOffset.MsiConfigurationTable + 0x100),
            IsExpress = true,
        })
    {
        ArgumentNullException.ThrowIfNull(options);
        ulong capabilities = (options.Capabilities & ~(3ul << RiscV.Architecture.Capabilities.IgsShift)) | ((ulong)InterruptGeneration.Msi << RiscV.Architecture.Capabilities.IgsShift);
        _failures = new(failures ?? []);
        _options = options with { Capabilities = capabilities, VectorBits = VectorBits, Tap = _failures };
    }

    /// <summary>How a text asks for it.</summary>
    internal static DeviceKind Kind { get; } = new(
        "riscv-iommu",
        "a RISC-V IOMMU before the other functions",
        [
            new("caching", "none, realistic or hostile"),
            new("ats", "on or off"),
            new("dirty", "on or off: it updates accessed and dirty bits"),
            new("nested", "on or off: second stages"),
            new("pasid", "on or off: process directories"),
            new(MemoryTypes, "on or off: memory types of pages (Svpbmt); off as is, for Linux 7.2 does not take an IOMMU that has them"),
            IommuFailure.Key,
        ],
        Create);

    /// <inheritdoc/>
    public IDmaPort Port => this;

    /// <inheritdoc/>
    public IReadOnlyList<DeviceMisdeed> Misdeeds => _failures.Misdeeds;

    /// <summary>The model, as it is since the last reset; null before <see cref="UseMemory"/>.</summary>
    public RiscVIommu? Hardware => Volatile.Read(ref _iommu);

    /// <inheritdoc/>
    public void UseMemory(IPhysicalMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _memory = memory;
        OnReset();
    }

    /// <inheritdoc/>
    void ITranslatingFunction.UseLog(AccessLog log, DeviceId id)
    {
        ArgumentNullException.ThrowIfNull(log);
        _failures.CommandSink = (low, high) => log.Command(id, low, high);
        _failures.FaultSink = record => log.Fault(id, new(record.DeviceId), record.Header, record.Iotval, record.Iotval2);
    }

    /// <inheritdoc/>
    public bool TryListReach(DeviceId device, ICollection<DeviceMapping> mappings)
    {
        ArgumentNullException.ThrowIfNull(mappings);
        List<ReachedRange> ranges = [];
        using (_users.Enter())
        {
            if (Hardware is { } iommu && !iommu.TryListReach(device, ranges))
            {
                return false;
            }
        }

        foreach (ReachedRange range in ranges)
        {
            mappings.Add(new(range.Start, range.Length, range.Address, range.Access));
        }

        return true;
    }

    /// <inheritdoc/>
    public void WhileMapped(Action use)
    {
        ArgumentNullException.ThrowIfNull(use);
        using (_users.Enter())
        {
            if (Hardware is { } iommu)
            {
                using (iommu.BeginAccess())
                {
                    use();
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Translate(in DmaRequest request, out DmaTranslation translation)
    {
        using (_users.Enter())
        {
            if (Hardware is { } iommu)
            {
                iommu.Translate(request, out translation);
            }
            else
            {
                translation = new(default, DmaStatus.UnsupportedRequest);
            }
        }
    }

    /// <inheritdoc/>
    public DmaStatus Read(in DmaRequest request, Span<byte> destination)
    {
        using (_users.Enter())
        {
            return Hardware?.Read(request, destination) ?? DmaStatus.UnsupportedRequest;
        }
    }

    /// <inheritdoc/>
    public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        using (_users.Enter())
        {
            return Hardware?.Write(request, source) ?? DmaStatus.UnsupportedRequest;
        }
    }

    /// <inheritdoc/>
    public MemoryStatus Send(PhysicalAddress address, uint data)
    {
        // What the function itself has in its table: vectors of its MSI-X.
        _ = SendMessage((int)data);
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        IRegisterWindow? registers = Hardware;
        return registers is null ? 0 : size switch
        {
            8 => registers.Read64((uint)offset),
            4 => registers.Read32((uint)offset),
            2 => registers.Read16((uint)offset),
            _ => registers.Read8((uint)offset),
        };
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        if (offset == RegisterOffset.CommandQueueTail && _failures.Any)
        {
            _failures.OnTail();
        }

        // There are no registers of less than 4 bytes.
        if (size == 8)
        {
            Hardware?.Write64((uint)offset, value);
        }
        else if (size == 4)
        {
            Hardware?.Write32((uint)offset, (uint)value);
        }
    }

    /// <summary>Another model takes the place of the one that there was. No request is under way in that when this returns.</summary>
    protected override void OnReset()
    {
        if (_memory is null)
        {
            return;
        }

        _failures.Reset();
        RiscVIommu fresh = new(_options, _memory, msiSink: this);

        // Whom a message is for the client says in the table of MSI-X, which never comes here.
        for (uint i = 0; i < 1 << VectorBits; i++)
        {
            uint entry = RegisterOffset.MsiConfigurationTable + (i * MsiConfiguration.EntrySize);
            fresh.Write64(entry + MsiConfiguration.AddressOffset, FirstMessage);
            fresh.Write32(entry + MsiConfiguration.DataOffset, i);
            fresh.Write32(entry + MsiConfiguration.VectorControlOffset, 0);
        }

        Volatile.Write(ref _iommu, fresh);
        if (!_users.IsInside)
        {
            _users.Synchronize();
        }
    }

    private static RiscVIommuFunction Create(DeviceSettings settings)
    {
        IommuSlot? slot = new RiscVIommuSlot();
        foreach (DeviceKey key in Kind.Keys.Where(static key => key.Name is not MemoryTypes && !key.IsRepeatable))
        {
            if (settings.Text(key.Name) is { } value && slot!.Set(key.Name, value, out slot) is { } wrong)
            {
                throw new DeviceSettingException($"{wrong}.");
            }
        }

        RiscVIommuOptions options = ((RiscVIommuSlot)slot!).Hardware;
        RiscVIommuOptions chosen = options with
        {
            Caching = slot.Caching ?? options.Caching,
            Capabilities = settings.Switch(MemoryTypes, false)
                ? options.Capabilities
                : options.Capabilities & ~RiscV.Architecture.Capabilities.SvpbmtBit,
        };
        return new(chosen, [.. settings.All(IommuFailure.Key.Name).Select(IommuFailure.Parse)]);
    }
}
