using Ioasis.Platform;

namespace Ioasis.Testing.Tests;

/// <summary>A shared variable: every access is a point.</summary>
internal sealed class Cell(ulong address, int value = 0)
{
    private int _value = value;

    /// <summary>The value, for checks, without a point.</summary>
    public int Peek => _value;

    public int Read()
    {
        _ = Injection.Hit(InjectionKind.MemoryRead, address);
        AccessRecording.Done(null, InjectionKind.MemoryRead, address, 4, (uint)_value);
        return _value;
    }

    public void Write(int value)
    {
        _ = Injection.Hit(InjectionKind.MemoryWrite, address);
        AccessRecording.Done(null, InjectionKind.MemoryWrite, address, 4, (uint)value);
        _value = value;
    }
}
