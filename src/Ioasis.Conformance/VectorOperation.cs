using System.Globalization;
using System.Text;

namespace Ioasis.Conformance;

/// <summary>One operation of a case. <see cref="object.ToString"/> is how a report shows it.</summary>
internal abstract record VectorOperation
{
    /// <summary>What the IOMMU does in it besides its own result.</summary>
    public ExpectedOutputs Outputs { get; init; } = ExpectedOutputs.None;

    /// <summary>A number as reports show it.</summary>
    protected static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}

/// <summary>"w": software stores to memory.</summary>
internal sealed record StoreOperation(IReadOnlyList<(ulong Address, byte[] Bytes)> Stores) : VectorOperation
{
    public override string ToString() => $"w ({Stores.Count.ToString(CultureInfo.InvariantCulture)} stores)";
}

/// <summary>"wr": a register write.</summary>
internal sealed record RegisterWriteOperation(uint Offset, int Size, ulong Value) : VectorOperation
{
    public override string ToString() => $"wr {RegisterNames.Of(Offset)} = {Hex(Value)}";
}

/// <summary>"rd": a register read.</summary>
/// <param name="Offset">Byte offset in the register page.</param>
/// <param name="Size">4 or 8.</param>
/// <param name="Value">The expected value.</param>
/// <param name="Mask">Which bits count.</param>
/// <param name="DependsOnCaches">Flag "c": the value depends on caching or on a counting convention.</param>
internal sealed record RegisterReadOperation(uint Offset, int Size, ulong Value, ulong Mask, bool DependsOnCaches) : VectorOperation
{
    public override string ToString() => $"rd {RegisterNames.Of(Offset)}";
}

/// <summary>"tr": an inbound transaction.</summary>
internal sealed record TranslateOperation(TransactionRequest Request, TransactionResponse Response) : VectorOperation
{
    public override string ToString() => $"tr {Request}";
}

/// <summary>"pr": a PCIe Page Request arrives.</summary>
internal sealed record PageRequestOperation(VectorMessage Message) : VectorOperation
{
    public override string ToString() => $"pr from {Hex(Message.DeviceId)} payload {Hex(Message.Payload)}";
}

/// <summary>"ic": an ATS Invalidation Completion arrives.</summary>
internal sealed record CompletionOperation(VectorMessage Message, bool IsUnexpected) : VectorOperation
{
    public override string ToString() => $"ic from {Hex(Message.DeviceId)} payload {Hex(Message.Payload)}";
}

/// <summary>"to": ATS invalidations time out.</summary>
internal sealed record TimeoutOperation(uint Tags) : VectorOperation
{
    public override string ToString() => $"to tags {Hex(Tags)}";
}

/// <summary>"f": arms a memory fault.</summary>
internal sealed record ArmFaultOperation(ulong Address, ulong Length, bool OnRead, bool OnWrite, bool IsCorruption) : VectorOperation
{
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"f {Hex(Address)}+{Length} {(OnRead ? "r" : "")}{(OnWrite ? "w" : "")} {(IsCorruption ? "dc" : "av")}");
}

/// <summary>"f" alone: removes all armed faults.</summary>
internal sealed record DisarmFaultsOperation : VectorOperation
{
    public override string ToString() => "f (none)";
}

/// <summary>"cq": consumes one command.</summary>
internal sealed record StepOperation : VectorOperation
{
    public override string ToString() => "cq";
}

/// <summary>"force": the test bench overwrites a register word.</summary>
internal sealed record ForceOperation(uint Offset, ulong Value) : VectorOperation
{
    public override string ToString() => $"force {RegisterNames.Of(Offset)} = {Hex(Value)}";
}

/// <summary>"par": changes reset parameters in flight.</summary>
internal sealed record ParametersOperation(Action<ResetParameters> Change) : VectorOperation
{
    public override string ToString() => "par";
}

/// <summary>The request of a transaction.</summary>
internal sealed record TransactionRequest
{
    public uint DeviceId { get; set; }

    public uint? ProcessId { get; set; }

    public bool IsPrivileged { get; set; }

    public bool IsExecute { get; set; }

    public bool IsWrite { get; set; }

    public int AddressType { get; set; }

    public bool IsNoWrite { get; set; }

    public bool IsCxl { get; set; }

    public ulong Address { get; set; }

    public override string ToString()
    {
        StringBuilder text = new();
        text.Append(AddressType switch { 0 => "untranslated", 1 => "ATS translation request", _ => "translated" });
        text.Append(IsWrite ? " write" : IsExecute ? " read for execute" : " read");
        text.Append(CultureInfo.InvariantCulture, $" device 0x{DeviceId:x}");
        if (ProcessId is uint process)
        {
            text.Append(CultureInfo.InvariantCulture, $" process 0x{process:x}{(IsPrivileged ? " privileged" : "")}");
        }

        text.Append(CultureInfo.InvariantCulture, $" address 0x{Address:x}{(IsNoWrite ? " no-write" : "")}{(IsCxl ? " CXL" : "")}");
        return text.ToString();
    }
}

/// <summary>The expected response of a transaction.</summary>
internal sealed record TransactionResponse
{
    public int Status { get; set; }

    public ulong? Address { get; set; }

    public ulong Size { get; set; } = 4096;

    public int MemoryType { get; set; }

    public bool IsMsi { get; set; }

    public (ulong Address, uint NoticeId, ulong NoticeAddress)? Mrif { get; set; }

    public bool Read { get; set; }

    public bool Write { get; set; }

    public bool Execute { get; set; }

    public bool Privileged { get; set; }

    public bool Global { get; set; }

    public bool UntranslatedOnly { get; set; }

    public bool NoSnoop { get; set; }

    public bool Ama { get; set; }

    /// <summary>CXL.io, or null where it is unspecified.</summary>
    public bool? CxlIo { get; set; }
}
