using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Hardware.Tests.Concurrency;

/// <summary>Memory in which reads of one page stop at a gate.</summary>
internal sealed class GateMemory(IPhysicalMemory inner) : IPhysicalMemory
{
    public ulong? GatedPage { get; set; }

    /// <summary>Somebody stands at the gate.</summary>
    public ManualResetEventSlim Entered { get; } = new();

    /// <summary>Set it to let the reader go on.</summary>
    public ManualResetEventSlim Open { get; } = new();

    /// <summary>The reader has had its data.</summary>
    public bool Finished { get; private set; }

    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        if ((address.Value & ~0xffful) != GatedPage)
        {
            return inner.Read(address, destination);
        }

        Entered.Set();
        Open.Wait();
        MemoryStatus status = inner.Read(address, destination);
        Finished = true;
        return status;
    }

    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) => inner.Write(address, source);

    public MemoryStatus Read64(PhysicalAddress address, out ulong value) => inner.Read64(address, out value);

    public MemoryStatus Write64(PhysicalAddress address, ulong value) => inner.Write64(address, value);

    public MemoryStatus Read32(PhysicalAddress address, out uint value) => inner.Read32(address, out value);

    public MemoryStatus Write32(PhysicalAddress address, uint value) => inner.Write32(address, value);

    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed) =>
        inner.CompareExchange64(address, expected, desired, out observed);

    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;
}
