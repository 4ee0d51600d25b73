namespace Ioasis.Conformance;

/// <summary>One conformance case: a line of a vector file.</summary>
/// <param name="Id">Name, unique inside its set.</param>
/// <param name="Topic">Topic, which is also the name of the file.</param>
/// <param name="Line">Line in the file, from 1.</param>
/// <param name="Parameters">What the IOMMU is built with.</param>
/// <param name="Needs">Implementation assumptions; a replayer that does not meet one skips the case.</param>
/// <param name="Continues">Whether the case goes on from the state that the previous line left.</param>
/// <param name="IsStepped">Whether commands are consumed only by <see cref="StepOperation"/>.</param>
/// <param name="Operations">What happens, in order.</param>
internal sealed record VectorCase(
    string Id,
    string Topic,
    int Line,
    ResetParameters Parameters,
    IReadOnlyList<string> Needs,
    bool Continues,
    bool IsStepped,
    IReadOnlyList<VectorOperation> Operations);

/// <summary>
/// The parameters of an IOMMU in a case. Each default is that of the file format, so that a value of this type is complete
/// after reading only the keys that a case has.
/// </summary>
internal sealed record ResetParameters
{
    /// <summary>"cap": the <c>capabilities</c> register.</summary>
    public ulong Capabilities { get; set; }

    /// <summary>"fctl": the reset value of <c>fctl</c>.</summary>
    public uint Fctl { get; set; }

    /// <summary>"gw": whether <c>fctl.GXL</c> can be written.</summary>
    public bool IsGxlWritable { get; set; }

    /// <summary>"bw": whether <c>fctl.BE</c> can be written and <c>DC.tc.SBE</c> may be either value.</summary>
    public bool IsBigEndianWritable { get; set; }

    /// <summary>"rm": the mode of <c>ddtp</c> after reset, 0 Off or 1 Bare.</summary>
    public int ResetMode { get; set; }

    /// <summary>"mm": the largest legal mode of <c>ddtp</c>.</summary>
    public int MaxMode { get; set; } = 4;

    /// <summary>"dm": the implemented bits of a device ID in a command.</summary>
    public uint DeviceIdMask { get; set; } = 0xffffff;

    /// <summary>"nh": how many HPM counters there are, the cycles counter included.</summary>
    public int HpmCounters { get; set; }

    /// <summary>"hb": bits of a counter.</summary>
    public int HpmCounterBits { get; set; }

    /// <summary>"el": the largest legal event.</summary>
    public int MaxEventId { get; set; }

    /// <summary>"vb": bits of an interrupt vector.</summary>
    public int VectorBits { get; set; } = 4;

    /// <summary>"qm": writable bits of <c>iommu_qosid</c>.</summary>
    public uint QosIdMask { get; set; }

    /// <summary>"b1": bytes that a Bare first stage contributes to the size of a translation.</summary>
    public ulong BareFirstStageSize { get; set; } = 0x4000_0000;

    /// <summary>"b2": bytes that a Bare second stage contributes.</summary>
    public ulong BareSecondStageSize { get; set; } = 0x4000_0000;

    /// <summary>"b1s": <see cref="BareFirstStageSize"/> where the only usable mode is Sv32; 0 says the same.</summary>
    public ulong BareFirstStageSizeSv32 { get; set; }

    /// <summary>"b2s": <see cref="BareSecondStageSize"/> where the only usable mode is Sv32x4; 0 says the same.</summary>
    public ulong BareSecondStageSizeSv32x4 { get; set; }
}

/// <summary>A message of the I/O side: a page request, an invalidation request or its completion, a page group response.</summary>
/// <param name="Code">Message code of an outgoing message: 1 invalidation request, 5 page group response; else 0.</param>
/// <param name="RequesterId">16 bits.</param>
/// <param name="Segment">The PCI segment, or null without one.</param>
/// <param name="Pasid">The PASID, or null without one.</param>
/// <param name="IsPrivileged">Privileged mode is requested.</param>
/// <param name="IsExecute">Execute is requested.</param>
/// <param name="Tag">Tag of an invalidation request.</param>
/// <param name="Payload">64 bits, as PCIe has them.</param>
internal readonly record struct VectorMessage(
    int Code,
    uint RequesterId,
    uint? Segment,
    uint? Pasid,
    bool IsPrivileged,
    bool IsExecute,
    uint Tag,
    ulong Payload)
{
    /// <summary>The device ID, with the segment if there is one.</summary>
    public uint DeviceId => ((Segment ?? 0) << 16) | RequesterId;
}

/// <summary>A store of the IOMMU, as the memory looks after the operation.</summary>
/// <param name="Address">The first byte.</param>
/// <param name="Bytes">Content.</param>
/// <param name="Mask">Which bits count, or null for all.</param>
internal readonly record struct ExpectedStore(ulong Address, byte[] Bytes, byte[]? Mask);

/// <summary>A message-signalled interrupt.</summary>
/// <param name="Address">Where it is stored.</param>
/// <param name="Data">4 bytes.</param>
internal readonly record struct InterruptMessage(ulong Address, uint Data);

/// <summary>A request for global observability (IOFENCE.C with PR or PW).</summary>
/// <param name="Reads">Earlier reads.</param>
/// <param name="Writes">Earlier writes.</param>
internal readonly record struct ObservabilityRequest(bool Reads, bool Writes);

/// <summary>Everything that an operation makes the IOMMU do. Within a list the order counts, except in <see cref="Stores"/>.</summary>
internal sealed record ExpectedOutputs
{
    /// <summary>Nothing at all.</summary>
    public static ExpectedOutputs None { get; } = new();

    /// <summary>"m": the complete list of stores, unordered.</summary>
    public List<ExpectedStore> Stores { get; } = [];

    /// <summary>"i": interrupt messages.</summary>
    public List<InterruptMessage> Interrupts { get; } = [];

    /// <summary>"g": messages to the I/O side.</summary>
    public List<VectorMessage> Messages { get; } = [];

    /// <summary>"y": requests for global observability.</summary>
    public List<ObservabilityRequest> Observability { get; } = [];

    /// <summary>"cache": the outcome depends on what is cached, and nothing is compared.</summary>
    public bool DependsOnCaches { get; set; }

    /// <summary>One list of outputs after another, for operations whose boundary does not show.</summary>
    public static ExpectedOutputs Merge(ExpectedOutputs first, ExpectedOutputs second)
    {
        ExpectedOutputs merged = new() { DependsOnCaches = first.DependsOnCaches || second.DependsOnCaches };
        foreach (ExpectedOutputs part in (ReadOnlySpan<ExpectedOutputs>)[first, second])
        {
            // A later store to the same place is the content afterwards.
            foreach (ExpectedStore store in part.Stores)
            {
                merged.Stores.RemoveAll(s => s.Address == store.Address && s.Bytes.Length <= store.Bytes.Length);
                merged.Stores.Add(store);
            }

            merged.Interrupts.AddRange(part.Interrupts);
            merged.Messages.AddRange(part.Messages);
            merged.Observability.AddRange(part.Observability);
        }

        return merged;
    }
}
