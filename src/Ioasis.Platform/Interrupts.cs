using Ioasis.Primitives;

namespace Ioasis.Platform;

/// <summary>The wired interrupts of a device: level-triggered lines, one a vector.</summary>
public interface IInterruptLines
{
    /// <summary>Asserts or releases a line. Called from whichever thread made the device raise it; must not block.</summary>
    /// <param name="vector">Number of the line, from 0.</param>
    /// <param name="asserted">The new level.</param>
    void SetLevel(int vector, bool asserted);
}

/// <summary>Where message-signalled interrupts go: a 4-byte store by a device.</summary>
public interface IMsiSink
{
    /// <summary>Takes a message, or says that nothing answers at <paramref name="address"/>. Must not block.</summary>
    MemoryStatus Send(PhysicalAddress address, uint data);
}
