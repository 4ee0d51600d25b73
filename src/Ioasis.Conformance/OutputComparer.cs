using System.Buffers.Binary;
using System.Globalization;

namespace Ioasis.Conformance;

/// <summary>Where the queues of the model are, so that a store can be shown as the record that it is.</summary>
/// <param name="FaultQueue">First byte of the fault queue.</param>
/// <param name="FaultQueueBytes">Its size.</param>
/// <param name="PageRequestQueue">First byte of the page-request queue.</param>
/// <param name="PageRequestQueueBytes">Its size.</param>
/// <param name="IsBigEndian"><c>fctl.BE</c>.</param>
internal readonly record struct QueueLayout(
    ulong FaultQueue, ulong FaultQueueBytes, ulong PageRequestQueue, ulong PageRequestQueueBytes, bool IsBigEndian)
{
    /// <summary>Reads the layout from the registers (sections 5.4, 5.9, 5.12).</summary>
    public static QueueLayout Read(IModelUnderTest model)
    {
        ulong fqb = model.ReadRegister(40, 8), pqb = model.ReadRegister(56, 8);
        return new(
            fqb >> 10 << 12, 32ul << (int)((fqb & 31) + 1), pqb >> 10 << 12, 16ul << (int)((pqb & 31) + 1), (model.ReadRegister(8, 4) & 1) != 0);
    }

    /// <summary>Whether the address lies in the fault queue.</summary>
    public bool IsFaultRecord(ulong address) => address - FaultQueue < FaultQueueBytes;

    /// <summary>Whether the address lies in the page-request queue.</summary>
    public bool IsPageRequestRecord(ulong address) => address - PageRequestQueue < PageRequestQueueBytes;
}

/// <summary>Compares what an operation made the IOMMU do with what it should have done.</summary>
internal static class OutputComparer
{
    private static readonly (string Name, int Word, int Low, int Bits)[] FaultFields =
    [
        ("CAUSE", 0, 0, 12), ("PID", 0, 12, 20), ("PV", 0, 32, 1), ("PRIV", 0, 33, 1), ("TTYP", 0, 34, 6), ("DID", 0, 40, 24),
        ("reserved", 1, 32, 32), ("iotval", 2, 0, 64), ("iotval2", 3, 0, 64),
    ];

    private static readonly (string Name, int Word, int Low, int Bits)[] PageRequestFields =
    [
        ("reserved[11:0]", 0, 0, 12), ("PID", 0, 12, 20), ("PV", 0, 32, 1), ("PRIV", 0, 33, 1), ("EXEC", 0, 34, 1),
        ("reserved[39:35]", 0, 35, 5), ("DID", 0, 40, 24), ("payload", 1, 0, 64),
    ];

    /// <summary>Compares everything.</summary>
    public static void Compare(
        ExpectedOutputs expected, ObservedOutputs observed, ReplayMemory memory, QueueLayout layout, DifferenceList differences)
    {
        CompareStores(expected, memory, layout, differences);
        CompareList("interrupt message", expected.Interrupts, observed.Interrupts, Show, SpecificationSections.InterruptMessages, differences);
        CompareList("message", expected.Messages, observed.Messages, Show, SpecificationSections.AtsCommands, differences);
        CompareList("observability request", expected.Observability, observed.Observability, Show, SpecificationSections.Fence, differences);
    }

    private static void CompareStores(ExpectedOutputs expected, ReplayMemory memory, QueueLayout layout, DifferenceList differences)
    {
        HashSet<ulong>? covered = null;
        foreach (ExpectedStore store in expected.Stores)
        {
            covered ??= [];
            for (int i = 0; i < store.Bytes.Length; i++)
            {
                _ = covered.Add(store.Address + (ulong)i);
            }

            CompareStore(store, memory, layout, differences);
        }

        // Nothing else may have changed. Neighbouring bytes are one finding.
        List<ulong>? stray = null;
        foreach ((ulong address, byte before) in memory.Before)
        {
            if (covered?.Contains(address) != true && memory.PeekByte(address) != before)
            {
                (stray ??= []).Add(address & ~7ul);
            }
        }

        if (stray is null)
        {
            return;
        }

        stray.Sort();
        for (int i = 0; i < stray.Count;)
        {
            int j = i + 1;
            while (j < stray.Count && stray[j] - stray[j - 1] <= 8)
            {
                j++;
            }

            byte[] now = new byte[stray[j - 1] - stray[i] + 8];
            memory.Peek(stray[i], now);
            differences.Add($"store at {DifferenceList.Hex(stray[i])}", "none", Describe(stray[i], now, layout), SectionOf(stray[i], now.Length, now, layout));
            i = j;
        }
    }

    private static void CompareStore(ExpectedStore store, ReplayMemory memory, QueueLayout layout, DifferenceList differences)
    {
        byte[] actual = new byte[store.Bytes.Length];
        memory.Peek(store.Address, actual);
        bool equal = true;
        for (int i = 0; i < actual.Length && equal; i++)
        {
            equal = ((actual[i] ^ store.Bytes[i]) & (store.Mask?[i] ?? 0xff)) == 0;
        }

        if (equal)
        {
            return;
        }

        string place = DifferenceList.Hex(store.Address);
        string section = SectionOf(store.Address, store.Bytes.Length, store.Bytes, layout);
        bool stored = Enumerable.Range(0, actual.Length).Any(i => memory.Before.ContainsKey(store.Address + (ulong)i));
        (string Name, int Word, int Low, int Bits)[]? fields =
            store.Bytes.Length == 32 && layout.IsFaultRecord(store.Address) ? FaultFields
            : store.Bytes.Length == 16 && layout.IsPageRequestRecord(store.Address) ? PageRequestFields
            : null;
        if (!stored || fields is null)
        {
            differences.Add(
                $"store at {place}", Describe(store.Address, store.Bytes, layout), stored ? Describe(store.Address, actual, layout) : "none", section);
            return;
        }

        byte[] all = Enumerable.Repeat((byte)0xff, actual.Length).ToArray();
        foreach ((string name, int word, int low, int bits) in fields)
        {
            ulong mask = Field(store.Mask ?? all, word, low, bits, layout);
            ulong want = Field(store.Bytes, word, low, bits, layout), got = Field(actual, word, low, bits, layout);
            if (((want ^ got) & mask) != 0)
            {
                bool cause = name is "CAUSE";
                differences.Add(
                    $"record at {place}, {name}",
                    cause ? SpecificationSections.NameOfCause((uint)want) : DifferenceList.Hex(want),
                    cause ? SpecificationSections.NameOfCause((uint)got) : DifferenceList.Hex(got),
                    section);
            }
        }
    }

    private static ulong Field(byte[] record, int word, int low, int bits, QueueLayout layout)
    {
        ReadOnlySpan<byte> bytes = record.AsSpan(word * 8, 8);
        ulong value = layout.IsBigEndian ? BinaryPrimitives.ReadUInt64BigEndian(bytes) : BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        return (value >> low) & (bits == 64 ? ulong.MaxValue : (1ul << bits) - 1);
    }

    private static string SectionOf(ulong address, int length, byte[] bytes, QueueLayout layout) =>
        layout.IsFaultRecord(address) && length == 32
            ? $"{SpecificationSections.FaultQueue}; {SpecificationSections.OfCause((uint)Field(bytes, 0, 0, 12, layout))}"
            : layout.IsFaultRecord(address) ? SpecificationSections.FaultQueue
            : layout.IsPageRequestRecord(address) ? SpecificationSections.PageRequestQueue
            : length == 4 ? SpecificationSections.Fence
            : SpecificationSections.AccessedDirty;

    private static string Describe(ulong address, byte[] bytes, QueueLayout layout) =>
        bytes.Length == 32 && layout.IsFaultRecord(address)
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"fault record CAUSE {SpecificationSections.NameOfCause((uint)Field(bytes, 0, 0, 12, layout))} TTYP {Field(bytes, 0, 34, 6, layout)} DID 0x{Field(bytes, 0, 40, 24, layout):x} iotval 0x{Field(bytes, 2, 0, 64, layout):x} iotval2 0x{Field(bytes, 3, 0, 64, layout):x}")
            : "bytes " + Convert.ToHexStringLower(bytes);

    private static void CompareList<T>(
        string name, List<T> expected, List<T> observed, Func<T, string> show, string section, DifferenceList differences)
    {
        for (int i = 0; i < Math.Max(expected.Count, observed.Count); i++)
        {
            string want = i < expected.Count ? show(expected[i]) : "none";
            string got = i < observed.Count ? show(observed[i]) : "none";
            if (!string.Equals(want, got, StringComparison.Ordinal))
            {
                differences.Add($"{name} {i.ToString(CultureInfo.InvariantCulture)}", want, got, section);
            }
        }
    }

    private static string Show(InterruptMessage message) => $"{DifferenceList.Hex(message.Address)} <- {DifferenceList.Hex(message.Data)}";

    private static string Show(ObservabilityRequest request) => $"PR={(request.Reads ? 1 : 0)} PW={(request.Writes ? 1 : 0)}";

    // A tag is the implementation's choice: CaseReplayer translates it before it comes here.
    private static string Show(VectorMessage message) => string.Create(
        CultureInfo.InvariantCulture,
        $"{(message.Code == 1 ? $"Invalidation Request tag {message.Tag}" : $"PRG Response (code {message.Code})")} rid 0x{message.RequesterId:x}{(message.Segment is uint segment ? $" segment 0x{segment:x}" : "")}{(message.Pasid is uint pasid ? $" PASID 0x{pasid:x}" : "")}{(message.IsPrivileged ? " privileged" : "")}{(message.IsExecute ? " execute" : "")} payload 0x{message.Payload:x}");
}
