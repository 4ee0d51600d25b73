using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.Testing;

/// <summary><c>cqt</c> and <c>cqcsr</c>.</summary>
internal sealed class RiscVQueueRegisters : QueueRegisters
{
    public override uint Tail => RegisterOffset.CommandQueueTail;

    public override uint Status => RegisterOffset.CommandQueueCsr;

    public override uint ErrorBit => QueueCsr.MemoryFaultBit;

    public override bool ClearsError(uint offset, ulong value) => offset == RegisterOffset.CommandQueueCsr;

    public override bool IsHeardInSilence(IRegisterWindow registers, uint offset, ref ulong value) =>
        offset is not (RegisterOffset.CommandQueueTail or RegisterOffset.CommandQueueCsr);
}
