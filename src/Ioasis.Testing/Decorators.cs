using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>A register window that hands everything on; tests override what they want to spoil or watch.</summary>
/// <param name="inner">The registers behind.</param>
public class RegisterDecorator(IRegisterWindow inner) : IRegisterWindow
{
    /// <summary>The registers behind.</summary>
    protected IRegisterWindow Inner { get; } = inner;

    /// <inheritdoc/>
    public virtual uint Read32(uint offset) => Inner.Read32(offset);

    /// <inheritdoc/>
    public virtual ulong Read64(uint offset) => Inner.Read64(offset);

    /// <inheritdoc/>
    public virtual void Write32(uint offset, uint value) => Inner.Write32(offset, value);

    /// <inheritdoc/>
    public virtual void Write64(uint offset, ulong value) => Inner.Write64(offset, value);
}

/// <summary>A memory that hands everything on and gives no pointers, so that every access passes it.</summary>
/// <param name="inner">The memory behind.</param>
public class MemoryDecorator(IPhysicalMemory inner) : IPhysicalMemory
{
    /// <summary>The memory behind.</summary>
    protected IPhysicalMemory Inner { get; } = inner;

    /// <inheritdoc/>
    public virtual MemoryStatus Read(PhysicalAddress address, Span<byte> destination) => Inner.Read(address, destination);

    /// <inheritdoc/>
    public virtual MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) => Inner.Write(address, source);

    /// <inheritdoc/>
    public virtual MemoryStatus Read64(PhysicalAddress address, out ulong value) => Inner.Read64(address, out value);

    /// <inheritdoc/>
    public virtual MemoryStatus Write64(PhysicalAddress address, ulong value) => Inner.Write64(address, value);

    /// <inheritdoc/>
    public virtual MemoryStatus Read32(PhysicalAddress address, out uint value) => Inner.Read32(address, out value);

    /// <inheritdoc/>
    public virtual MemoryStatus Write32(PhysicalAddress address, uint value) => Inner.Write32(address, value);

    /// <inheritdoc/>
    public virtual MemoryStatus CompareExchange64(
        PhysicalAddress address, ulong expected, ulong desired, out ulong observed) =>
        Inner.CompareExchange64(address, expected, desired, out observed);

    /// <inheritdoc/>
    public virtual nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;
}

/// <summary>A link to devices that hands everything on; tests override what they want to lose or watch.</summary>
/// <param name="inner">The link behind.</param>
public class LinkDecorator(IPcieLink inner) : IPcieLink
{
    /// <summary>The link behind.</summary>
    protected IPcieLink Inner { get; } = inner;

    /// <inheritdoc/>
    public virtual void SendInvalidationRequest(in PcieMessage message) => Inner.SendInvalidationRequest(message);

    /// <inheritdoc/>
    public virtual void SendPageRequestGroupResponse(in PcieMessage message) => Inner.SendPageRequestGroupResponse(message);
}
