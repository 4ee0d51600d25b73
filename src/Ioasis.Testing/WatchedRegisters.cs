using Ioasis.Platform;

namespace Ioasis.Testing;

/// <summary>
/// A register window of which each access passes the injection seam, as one point with its offset, and may be recorded,
/// altered or suppressed.
/// </summary>
public sealed class WatchedRegisters(IRegisterWindow inner, AccessRecording? recording = null) : IRegisterWindow
{
    /// <summary>Sees the offset and the value of a read and gives what the reader gets.</summary>
    public Func<uint, ulong, ulong>? OnRead { get; set; }

    /// <summary>Sees the offset and the value of a write and says whether it reaches the device.</summary>
    public Func<uint, ulong, bool>? OnWrite { get; set; }

    /// <inheritdoc/>
    public uint Read32(uint offset)
    {
        _ = Injection.Hit(InjectionKind.RegisterRead, offset);
        return (uint)Seen(offset, 4, inner.Read32(offset));
    }

    /// <inheritdoc/>
    public ulong Read64(uint offset)
    {
        _ = Injection.Hit(InjectionKind.RegisterRead, offset);
        return Seen(offset, 8, inner.Read64(offset));
    }

    /// <inheritdoc/>
    public void Write32(uint offset, uint value)
    {
        _ = Injection.Hit(InjectionKind.RegisterWrite, offset);
        AccessRecording.Done(recording, InjectionKind.RegisterWrite, offset, 4, value);
        if (OnWrite?.Invoke(offset, value) ?? true)
        {
            inner.Write32(offset, value);
        }
    }

    /// <inheritdoc/>
    public void Write64(uint offset, ulong value)
    {
        _ = Injection.Hit(InjectionKind.RegisterWrite, offset);
        AccessRecording.Done(recording, InjectionKind.RegisterWrite, offset, 8, value);
        if (OnWrite?.Invoke(offset, value) ?? true)
        {
            inner.Write64(offset, value);
        }
    }

    private ulong Seen(uint offset, int length, ulong value)
    {
        value = OnRead?.Invoke(offset, value) ?? value;
        AccessRecording.Done(recording, InjectionKind.RegisterRead, offset, length, value);
        return value;
    }
}
