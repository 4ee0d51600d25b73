using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <summary>
/// A RISC-V IOMMU: the model of the device that the specification describes (riscv-non-isa/riscv-iommu, version 1.0.1 and the
/// ratified extensions QOSID, NL, S and Svrsw60t59b). It walks tables with code of its own and shares none with the
/// driver, for their agreement is the evidence.
/// </summary>
/// <remarks>
/// <para>
/// The software side is <see cref="IRegisterWindow"/>: commands run in the thread that writes <c>cqt</c>, before the write
/// returns. The device side is <see cref="IDmaPort"/>, and <see cref="HandlePageRequest"/> and
/// <see cref="HandleInvalidationCompletion"/> for messages. All members may be called from any thread.
/// </para>
/// <para>Interrupts and messages go out when no lock is held, in the order in which they arose.</para>
/// </remarks>
/// <example>
/// <code>
/// using var memory = new SparsePhysicalMemory();
/// var iommu = new RiscVIommu(new RiscVIommuOptions(), memory);
///
/// // A one-level device directory at 0x1000; the context of device 8: first stage Sv39, root table at 0x2000.
/// ulong context = 0x1000 + (8 * 64);
/// memory.Write64(new(context + DeviceContextOffset.FirstStageContext), (8ul &lt;&lt; TablePointer.ModeShift) | 0x2);
/// memory.Write64(new(context + DeviceContextOffset.TranslationControl), DeviceTranslationControl.ValidBit);
///
/// // IOVA 0x4000_0000 to 0x7fff_ffff is a 1 GiB page at physical 0x8000_0000: V R W U A D.
/// memory.Write64(new(0x2008), (0x8000_0000ul >> 2) | 0xd7);
/// iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, (0x1000 >> 2) | (ulong)IommuMode.OneLevel);
///
/// var request = new DmaRequest(new DeviceId(8), new Iova(0x4000_1234));
/// iommu.Translate(request, out DmaTranslation translation);
/// // translation.Status == DmaStatus.Success, translation.Address == 0x8000_1234
/// iommu.Write(request, "hello"u8);
/// </code>
/// </example>
public sealed partial class RiscVIommu : IRegisterWindow, IDmaPort, IPcieAtsPort
{
    private readonly IPhysicalMemory _memory;
    private readonly SparsePhysicalMemory? _sparse;

    // The same, if PAS is not in the middle of one of its chunks: the short walk checks addresses once a chunk.
    private SparsePhysicalMemory? _chunks;
    private readonly IInterruptLines? _lines;
    private readonly IMsiSink? _msiSink;
    private readonly IPcieLink? _link;
    private Capabilities _capabilities;
    private ulong _physicalMask;
    private bool _bigEndianWritable;

    // Registers, queues and commands. Never taken inside a translation that a fence may wait for.
    private readonly IoLock _lock = new();

    /// <summary>Makes an IOMMU in its reset state.</summary>
    /// <param name="options">What it supports and how much it caches.</param>
    /// <param name="memory">The memory that tables and queues are in and that devices access.</param>
    /// <param name="lines">Where wired interrupts go.</param>
    /// <param name="msiSink">
    /// Where message-signalled interrupts go, with the data as <c>msi_data</c> has it; null: they are stored to <paramref name="memory"/>, in the
    /// byte order of <c>fctl.BE</c>.
    /// </param>
    /// <param name="link">Where PCIe messages go; null: they are dropped.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public RiscVIommu(
        RiscVIommuOptions options,
        IPhysicalMemory memory,
        IInterruptLines? lines = null,
        IMsiSink? msiSink = null,
        IPcieLink? link = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(memory);
        Options = Validate(options);
        _memory = memory;
        _sparse = memory as SparsePhysicalMemory;
        _lines = lines;
        _msiSink = msiSink;
        _link = link;
        bool realistic = options.Caching == CachingMode.Realistic;
        _devices = new(realistic ? options.DdtCacheEntries : 0);
        _contexts = new(realistic && options.DdtCacheEntries > 0 ? options.DdtCacheEntries + options.PdtCacheEntries : 0);
        _iotlb = realistic && options.IotlbEntries > 0 ? new(options.IotlbEntries, options.IotlbWays, options.IotlbReplacement) : null;
        _hostile = options.Caching == CachingMode.Hostile ? new() : null;
        AdoptOptions();
        ResetRegisters();
    }

    /// <summary>What the embedder chose.</summary>
    public RiscVIommuOptions Options { get; private set; }

    /// <summary>
    /// Called for an IOFENCE.C with PR or PW, with these two, before it completes: what devices did before must become visible
    /// to everyone (section 3.1.2). Accesses through <see cref="Read"/> and <see cref="Write"/> are without its help.
    /// Runs with the register lock held and must not call back.
    /// </summary>
    public Action<bool, bool>? GlobalObservability { get; set; }

    private void AdoptOptions()
    {
        _capabilities = new(Options.Capabilities);
        _physicalMask = (1ul << _capabilities.PhysicalAddressSize) - 1;
        _chunks = _capabilities.PhysicalAddressSize >= SparsePhysicalMemory.ChunkShift ? _sparse : null;
        _bigEndianWritable = Options.BigEndianWritable ?? _capabilities.End;
        _bareSecondStageSizeLog2 = (byte)ulong.Log2(BareSize(
            _capabilities.Sv57x4 || _capabilities.Sv48x4, _capabilities.Sv39x4, _capabilities.Sv32x4, narrow: false,
            Options.BareSecondStageSize, Options.BareSecondStageSizeSv32));
        _eventCounters = Math.Max(0, Options.HpmCounters - 1);
        SelectActiveEvents();
    }

    private static RiscVIommuOptions Validate(RiscVIommuOptions options)
    {
        Capabilities capabilities = new(options.Capabilities);
        void Check(bool holds, string what)
        {
            if (!holds)
            {
                throw new ArgumentException(what, nameof(options));
            }
        }

        Check(capabilities.PhysicalAddressSize is >= 12 and <= 56, "PAS must be 12 to 56.");
        Check(capabilities.Igs != InterruptGeneration.Reserved, "IGS 3 is reserved.");
        Check(options.ResetMode is IommuMode.Off or IommuMode.Bare, "The reset mode is Off or Bare.");
        Check(options.HpmCounters is >= 0 and <= 32, "HpmCounters must be 0 to 32.");
        Check(options.HpmCounterBits is >= 0 and <= 64, "HpmCounterBits must be 0 to 64.");
        Check(options.VectorBits is >= 0 and <= 4, "VectorBits must be 0 to 4.");
        Check(options.AtsInvalidationTags is >= 1 and <= 32, "AtsInvalidationTags must be 1 to 32.");
        Check(options.IotlbEntries >= 0 && options.IotlbWays >= 1, "The IOTLB's geometry is negative.");
        Check(options.DdtCacheEntries >= 0 && options.PdtCacheEntries >= 0, "A cache's size is negative.");
        foreach (ulong? size in (ReadOnlySpan<ulong?>)[
            options.BareFirstStageSize, options.BareSecondStageSize, options.BareFirstStageSizeSv32, options.BareSecondStageSizeSv32])
        {
            Check(size is null || (size >= 4096 && ulong.IsPow2(size.Value)), "A Bare stage's size is no power of two from 4096.");
        }

        return options;
    }

    // Memory as the IOMMU itself accesses it: nothing answers beyond PAS (section 5.3).
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private MemoryStatus ReadDoubleword(ulong address, bool bigEndian, out ulong value)
    {
        if ((address & ~_physicalMask) != 0)
        {
            value = 0;
            return MemoryStatus.AccessFault;
        }

        _ = Injection.Hit(InjectionKind.MemoryRead, address);
        MemoryStatus status = _sparse is { } sparse
            ? sparse.Read64(new(address), out value)
            : _memory.Read64(new(address), out value);
        if (bigEndian)
        {
            value = BinaryPrimitives.ReverseEndianness(value);
        }

        return status;
    }

    private MemoryStatus ReadWord(ulong address, bool bigEndian, out uint value)
    {
        if ((address & ~_physicalMask) != 0)
        {
            value = 0;
            return MemoryStatus.AccessFault;
        }

        _ = Injection.Hit(InjectionKind.MemoryRead, address);
        MemoryStatus status = _memory.Read32(new(address), out value);
        if (bigEndian)
        {
            value = BinaryPrimitives.ReverseEndianness(value);
        }

        return status;
    }

    // Several doublewords that are one access: an access fault anywhere wins over corruption.
    private MemoryStatus ReadDoublewords(ulong address, bool bigEndian, Span<ulong> values)
    {
        MemoryStatus result = MemoryStatus.Success;
        for (int i = 0; i < values.Length; i++)
        {
            MemoryStatus status = ReadDoubleword(address + ((ulong)i * 8), bigEndian, out values[i]);
            if (status != MemoryStatus.Success && result != MemoryStatus.AccessFault)
            {
                result = status;
            }
        }

        return result;
    }

    private MemoryStatus WriteDoublewords(ulong address, bool bigEndian, ReadOnlySpan<ulong> values)
    {
        if ((address & ~_physicalMask) != 0)
        {
            return MemoryStatus.AccessFault;
        }

        Span<byte> bytes = stackalloc byte[32];
        bytes = bytes[..(values.Length * 8)];
        for (int i = 0; i < values.Length; i++)
        {
            if (bigEndian)
            {
                BinaryPrimitives.WriteUInt64BigEndian(bytes[(i * 8)..], values[i]);
            }
            else
            {
                BinaryPrimitives.WriteUInt64LittleEndian(bytes[(i * 8)..], values[i]);
            }
        }

        _ = Injection.Hit(InjectionKind.MemoryWrite, address);
        return _memory.Write(new(address), bytes);
    }

    private MemoryStatus WriteWord(ulong address, bool bigEndian, uint value)
    {
        if ((address & ~_physicalMask) != 0)
        {
            return MemoryStatus.AccessFault;
        }

        _ = Injection.Hit(InjectionKind.MemoryWrite, address);
        return _memory.Write32(new(address), bigEndian ? BinaryPrimitives.ReverseEndianness(value) : value);
    }
}
