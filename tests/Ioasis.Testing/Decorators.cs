using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>A register window that hands everything on; tests override what they want to spoil or watch.</summary>
public class RegisterDecorator(IRegisterWindow inner) : IRegisterWindow
{
    protected IRegisterWindow Inner { get; } = inner;

    public virtual uint Read32(uint offset) => Inner.Read32(offset);

    public virtual ulong Read64(uint offset) => Inner.Read64(offset);

    public virtual void Write32(uint offset, uint value) => Inner.Write32(offset, value);

    public virtual void Write64(uint offset, ulong value) => Inner.Write64(offset, value);
}

/// <summary>A memory that hands everything on and gives no pointers, so that every access passes it.</summary>
public class MemoryDecorator(IPhysicalMemory inner) : IPhysicalMemory
{
    protected IPhysicalMemory Inner { get; } = inner;

    public virtual MemoryStatus Read(PhysicalAddress address, Span<byte> destination) => Inner.Read(address, destination);

    public virtual MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) => Inner.Write(address, source);

    public virtual MemoryStatus Read64(PhysicalAddress address, out ulong value) => Inner.Read64(address, out value);

    public virtual MemoryStatus Write64(PhysicalAddress address, ulong value) => Inner.Write64(address, value);

    public virtual MemoryStatus Read32(PhysicalAddress address, out uint value) => Inner.Read32(address, out value);

    public virtual MemoryStatus Write32(PhysicalAddress address, uint value) => Inner.Write32(address, value);

    public virtual MemoryStatus CompareExchange64(
        PhysicalAddress address, ulong expected, ulong desired, out ulong observed) =>
        Inner.CompareExchange64(address, expected, desired, out observed);

    public virtual nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;
}

/// <summary>A link to devices that hands everything on; tests override what they want to lose or watch.</summary>
public class LinkDecorator(IPcieLink inner) : IPcieLink
{
    protected IPcieLink Inner { get; } = inner;

    public virtual void SendInvalidationRequest(in PcieMessage message) => Inner.SendInvalidationRequest(message);

    public virtual void SendPageRequestGroupResponse(in PcieMessage message) => Inner.SendPageRequestGroupResponse(message);
}
