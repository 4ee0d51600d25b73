using System.Globalization;
using Ioasis.Platform;

namespace Ioasis.Lab.Qemu;

/// <summary>Registers of a device at a fixed address, by qtest. Writes are posted; a read waits for all that was before it.</summary>
public sealed class QtestRegisters(QtestConnection qtest, ulong start) : IRegisterWindow
{
    /// <summary>Where they begin.</summary>
    public ulong Start { get; } = start;

    /// <inheritdoc/>
    public uint Read32(uint offset) => (uint)qtest.AskNumber(Text($"readl 0x{Start + offset:x}"));

    /// <inheritdoc/>
    public ulong Read64(uint offset) => qtest.AskNumber(Text($"readq 0x{Start + offset:x}"));

    /// <inheritdoc/>
    public void Write32(uint offset, uint value) => qtest.Post(Text($"writel 0x{Start + offset:x} 0x{value:x}"));

    /// <inheritdoc/>
    public void Write64(uint offset, ulong value) => qtest.Post(Text($"writeq 0x{Start + offset:x} 0x{value:x}"));

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
