namespace Ioasis.Conformance;

/// <summary>What a replayer does to an IOMMU. What the IOMMU does of its own accord goes to <see cref="ObservedOutputs"/>.</summary>
internal interface IModelUnderTest : IDisposable
{
    /// <summary>Writes a register of 4 or 8 bytes.</summary>
    void WriteRegister(uint offset, int size, ulong value);

    /// <summary>Reads a register of 4 or 8 bytes.</summary>
    ulong ReadRegister(uint offset, int size);

    /// <summary>Presents a transaction.</summary>
    TransactionResponse Translate(TransactionRequest request);

    /// <summary>A page request arrives.</summary>
    void ReceivePageRequest(VectorMessage message);

    /// <summary>An invalidation completion arrives.</summary>
    /// <returns>Whether it was unexpected and dropped.</returns>
    bool ReceiveCompletion(VectorMessage message);

    /// <summary>Invalidations time out.</summary>
    void TimeOut(uint tags);

    /// <summary>Whether commands wait for <see cref="StepCommand"/>.</summary>
    void SetStepping(bool stepping);

    /// <summary>Executes one command, if the queue has one and runs.</summary>
    void StepCommand();

    /// <summary>Empties all caches.</summary>
    void EmptyCaches();

    /// <summary>Overwrites 8 bytes of registers, without access rules and side effects.</summary>
    void ForceRegister(uint offset, ulong value);

    /// <summary>Changes the reset parameters without a reset.</summary>
    void ChangeParameters(ResetParameters parameters);
}

/// <summary>What an IOMMU did during an operation, besides stores to memory.</summary>
internal sealed class ObservedOutputs
{
    /// <summary>Interrupt messages.</summary>
    public List<InterruptMessage> Interrupts { get; } = [];

    /// <summary>Messages to the I/O side.</summary>
    public List<VectorMessage> Messages { get; } = [];

    /// <summary>Requests for global observability.</summary>
    public List<ObservabilityRequest> Observability { get; } = [];

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        Interrupts.Clear();
        Messages.Clear();
        Observability.Clear();
    }
}
