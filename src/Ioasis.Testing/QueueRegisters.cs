using Ioasis.Platform;

namespace Ioasis.Testing;

/// <summary>The registers of a queue of commands, as <see cref="UnconfirmedIommu"/> needs to know them.</summary>
public abstract class QueueRegisters
{
    /// <summary>The command queue of RISC-V.</summary>
    public static QueueRegisters RiscV { get; } = new RiscVQueueRegisters();

    /// <summary>The invalidation queue of VT-d.</summary>
    public static QueueRegisters Vtd { get; } = new VtdQueueRegisters();

    /// <summary>The register whose write tells of new commands, unless it is 0.</summary>
    public abstract uint Tail { get; }

    /// <summary>The register that reports an error, 32 bits.</summary>
    public abstract uint Status { get; }

    /// <summary>Which bit of it says that a command could not be carried out.</summary>
    public abstract uint ErrorBit { get; }

    /// <summary>Whether a write acknowledges the error.</summary>
    public abstract bool ClearsError(uint offset, ulong value);

    /// <summary>Whether hardware that hears nothing of its queue hears a write.</summary>
    /// <param name="registers">The registers.</param>
    /// <param name="offset">Which one is written.</param>
    /// <param name="value">The value; becomes what is heard of it.</param>
    public abstract bool IsHeardInSilence(IRegisterWindow registers, uint offset, ref ulong value);
}
