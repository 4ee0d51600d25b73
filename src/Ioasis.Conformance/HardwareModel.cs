using System.Buffers.Binary;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Conformance;

/// <summary>The hardware model behind the seam of the replayer. It uses nothing but what every embedder has.</summary>
internal sealed class HardwareModel : IModelUnderTest, IMsiSink, IPcieLink
{
    private const string TwoTags = "itag2";

    private readonly ReplayMemory _memory;
    private readonly ObservedOutputs _outputs;
    private readonly CachingMode _caching;
    private readonly RiscVIommu _iommu;

    /// <summary>Builds a model as a case wants it.</summary>
    public HardwareModel(
        ResetParameters parameters, ReplayMemory memory, ObservedOutputs outputs, CachingMode caching)
    {
        _memory = memory;
        _outputs = outputs;
        _caching = caching;
        _iommu = new(Options(parameters), memory, lines: null, msiSink: this, link: this)
        {
            GlobalObservability = (reads, writes) => outputs.Observability.Add(new(reads, writes)),
        };
    }

    /// <summary>Whether the model, as it is built here, meets the assumptions of a case.</summary>
    public static bool Meets(IReadOnlyList<string> needs) => needs.All(need => need is TwoTags);

    /// <inheritdoc/>
    public void WriteRegister(uint offset, int size, ulong value)
    {
        // The register window has accesses of 4 and 8 bytes; one of another size reaches no register (section 5: UNSPECIFIED).
        if (size == 8)
        {
            _iommu.Write64(offset, value);
        }
        else if (size == 4)
        {
            _iommu.Write32(offset, (uint)value);
        }
    }

    /// <inheritdoc/>
    public ulong ReadRegister(uint offset, int size) => size switch
    {
        8 => _iommu.Read64(offset),
        4 => _iommu.Read32(offset),
        _ => 0,
    };

    /// <inheritdoc/>
    public TransactionResponse Translate(TransactionRequest request)
    {
        DmaFlags flags = (request.IsWrite ? DmaFlags.Write : 0)
            | (request.IsExecute ? DmaFlags.Execute : 0)
            | (request.IsPrivileged ? DmaFlags.Privileged : 0)
            | (request.IsNoWrite ? DmaFlags.NoWrite : 0)
            | (request.IsCxl ? DmaFlags.Cxl : 0)
            | (request.ProcessId is null ? 0 : DmaFlags.PasidValid);
        DmaRequest dma = new(
            new(request.DeviceId), new(request.Address), flags, (DmaKind)request.AddressType, new(request.ProcessId ?? 0));
        _iommu.Translate(dma, out DmaTranslation result);
        return new()
        {
            Status = (int)result.Status,
            Address = result.Address.Value,
            Size = 1ul << result.SizeLog2,
            MemoryType = result.MemoryType,
            IsMsi = Has(DmaTranslationFlags.Interrupt),
            Mrif = result.Interrupt is MrifTarget mrif ? (mrif.Address.Value, mrif.NoticeId, mrif.NoticeAddress.Value) : null,
            Read = Has(DmaTranslationFlags.Read),
            Write = Has(DmaTranslationFlags.Write),
            Execute = Has(DmaTranslationFlags.Execute),
            Privileged = Has(DmaTranslationFlags.Privileged),
            Global = Has(DmaTranslationFlags.Global),
            UntranslatedOnly = Has(DmaTranslationFlags.UntranslatedOnly),
            NoSnoop = Has(DmaTranslationFlags.NoSnoop),

            // AMA: the model has no way to give anything but 000b (section 2.6), so there is no flag for it.
            CxlIo = Has(DmaTranslationFlags.CxlIo),
        };

        bool Has(DmaTranslationFlags flag) => (result.Flags & flag) != 0;
    }

    /// <inheritdoc/>
    public void ReceivePageRequest(VectorMessage message) => _iommu.HandlePageRequest(ToPcie(message, code: 4));

    /// <inheritdoc/>
    public bool ReceiveCompletion(VectorMessage message) => !_iommu.HandleInvalidationCompletion(ToPcie(message, code: 2));

    /// <inheritdoc/>
    public void TimeOut(uint tags) => _iommu.HandleInvalidationTimeout(tags);

    /// <inheritdoc/>
    public void SetStepping(bool stepping) => _iommu.ManualCommands = stepping;

    /// <inheritdoc/>
    public void StepCommand() => _iommu.StepCommand();

    /// <inheritdoc/>
    public void EmptyCaches() => _iommu.EmptyCaches();

    /// <inheritdoc/>
    public void ForceRegister(uint offset, ulong value) => _iommu.RestoreRegister(offset, value);

    /// <inheritdoc/>
    public void ChangeParameters(ResetParameters parameters) => _iommu.Reconfigure(Options(parameters));

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>An interrupt message: a store of 4 bytes, in the byte order of <c>fctl.BE</c>.</summary>
    public MemoryStatus Send(PhysicalAddress address, uint data)
    {
        MemoryStatus status = _memory.Check(address.Value, sizeof(uint), read: false, write: true);
        if (status == MemoryStatus.Success)
        {
            Span<byte> bytes = stackalloc byte[sizeof(uint)];
            if ((_iommu.Read32(RegisterOffset.FeaturesControl) & FeaturesControl.BigEndianBit) != 0)
            {
                BinaryPrimitives.WriteUInt32BigEndian(bytes, data);
            }
            else
            {
                BinaryPrimitives.WriteUInt32LittleEndian(bytes, data);
            }

            _memory.Poke(address.Value, bytes);
            _outputs.Interrupts.Add(new(address.Value, data));
        }

        return status;
    }

    /// <inheritdoc/>
    public void SendInvalidationRequest(in PcieMessage message) => _outputs.Messages.Add(FromPcie(message));

    /// <inheritdoc/>
    public void SendPageRequestGroupResponse(in PcieMessage message) => _outputs.Messages.Add(FromPcie(message));

    private static PcieMessage ToPcie(VectorMessage message, byte code) => new(
        code,
        (ushort)message.RequesterId,
        (ushort?)message.Segment,
        message.Pasid is uint pasid ? new(pasid) : Pasid.Invalid,
        message.Payload,
        Tag: 0,
        message.IsPrivileged,
        message.IsExecute);

    private static VectorMessage FromPcie(in PcieMessage message) => new(
        message.Code,
        message.RequesterId,
        message.Segment,
        message.HasPasid ? message.Pasid.Value : null,
        message.IsPrivileged,
        message.IsExecute,
        message.Tag,
        message.Payload);

    private RiscVIommuOptions Options(ResetParameters parameters)
    {
        return new()
        {
            Capabilities = parameters.Capabilities,
            FeaturesControl = parameters.Fctl,
            GxlWritable = parameters.IsGxlWritable,
            BigEndianWritable = parameters.IsBigEndianWritable,
            ResetMode = (IommuMode)parameters.ResetMode,
            MaxMode = (IommuMode)parameters.MaxMode,
            DeviceIdMask = parameters.DeviceIdMask,
            HpmCounters = parameters.HpmCounters,
            HpmCounterBits = parameters.HpmCounterBits,
            MaxEventId = parameters.MaxEventId,
            VectorBits = parameters.VectorBits,
            QosIdMask = parameters.QosIdMask,
            BareFirstStageSize = parameters.BareFirstStageSize,
            BareSecondStageSize = parameters.BareSecondStageSize,
            BareFirstStageSizeSv32 = parameters.BareFirstStageSizeSv32 == 0 ? null : parameters.BareFirstStageSizeSv32,
            BareSecondStageSizeSv32 = parameters.BareSecondStageSizeSv32x4 == 0 ? null : parameters.BareSecondStageSizeSv32x4,
            AtsInvalidationTags = 2,
            Caching = _caching,

            // Where the recordings depart from the text, and choices of theirs (docs/conformance.md).
            Deviations = ReferenceDeviations.All,
        };
    }
}
