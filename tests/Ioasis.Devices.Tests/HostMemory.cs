using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices.Tests;

/// <summary>
/// Memory of a host from address 0 on, of which a device reaches the pages that are mapped. Everything that a device did is
/// remembered as far as a test asks for it.
/// </summary>
internal sealed class HostMemory : IDmaPort
{
    public const int PageSize = 4096;

    private readonly byte[] _bytes;
    private readonly bool[] _mapped;
    private ulong _next = 0x1_0000;

    public HostMemory(int size = 8 << 20)
    {
        _bytes = new byte[size];
        _mapped = new bool[size / PageSize];
        Array.Fill(_mapped, true);
        _mapped[0] = false;
    }

    /// <summary>Accesses that were refused.</summary>
    public int Refused { get; private set; }

    /// <summary>Called before an access.</summary>
    public Action<DmaRequest, int>? OnAccess { get; set; }

    public Span<byte> this[ulong address, int length] => _bytes.AsSpan((int)address, length);

    /// <summary>Takes whole pages, zeroed.</summary>
    public ulong Allocate(int bytes)
    {
        ulong address = _next;
        _next += (ulong)((bytes + PageSize - 1) / PageSize * PageSize);
        _next.ShouldBeLessThanOrEqualTo((ulong)_bytes.Length);
        return address;
    }

    public void SetMapped(ulong address, int bytes, bool mapped)
    {
        for (ulong page = address / PageSize; page * PageSize < address + (ulong)bytes; page++)
        {
            _mapped[page] = mapped;
        }
    }

    public void Translate(in DmaRequest request, out DmaTranslation translation) => throw new NotSupportedException();

    public DmaStatus Read(in DmaRequest request, Span<byte> destination)
    {
        _ = Injection.Hit(InjectionKind.MemoryRead, request.Address.Value);
        OnAccess?.Invoke(request, destination.Length);
        if (!Allows(request.Address.Value, destination.Length))
        {
            return DmaStatus.UnsupportedRequest;
        }

        _bytes.AsSpan((int)request.Address.Value, destination.Length).CopyTo(destination);
        return DmaStatus.Success;
    }

    public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        _ = Injection.Hit(InjectionKind.MemoryWrite, request.Address.Value);
        OnAccess?.Invoke(request, source.Length);
        if (!Allows(request.Address.Value, source.Length))
        {
            return DmaStatus.UnsupportedRequest;
        }

        source.CopyTo(_bytes.AsSpan((int)request.Address.Value));
        return DmaStatus.Success;
    }

    private bool Allows(ulong address, int length)
    {
        bool isAllowed = address <= (ulong)_bytes.Length && (ulong)length <= (ulong)_bytes.Length - address;
        for (ulong page = address / PageSize; isAllowed && page * PageSize < address + (ulong)length; page++)
        {
            isAllowed = _mapped[page];
        }

        Refused += isAllowed ? 0 : 1;
        return isAllowed;
    }
}
