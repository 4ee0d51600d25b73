using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Testing;

/// <summary><c>IQT</c>, <c>IQA</c>, <c>FSTS.IQE</c> and <c>GCMD.QIE</c>, which shares its register with what has nothing to do with the queue.</summary>
internal sealed class VtdQueueRegisters : QueueRegisters
{
    public override uint Tail => RegisterOffset.InvalidationQueueTail;

    public override uint Status => RegisterOffset.FaultStatus;

    public override uint ErrorBit => FaultStatus.QueueErrorBit;

    public override bool ClearsError(uint offset, ulong value) =>
        offset == RegisterOffset.FaultStatus && (value & FaultStatus.QueueErrorBit) != 0;

    public override bool IsHeardInSilence(IRegisterWindow registers, uint offset, ref ulong value)
    {
        if (offset == RegisterOffset.GlobalCommand)
        {
            const ulong bit = GlobalControl.QueuedInvalidationEnableBit;
            value = (value & ~bit) | (registers.Read32(RegisterOffset.GlobalStatus) & bit);
        }

        return offset is not (RegisterOffset.InvalidationQueueTail or RegisterOffset.InvalidationQueueAddress);
    }
}
