using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>Memory that goes bad between the driver's write of a command and the doorbell.</summary>
/// <param name="inner">The registers.</param>
/// <param name="doorbell">The register that tells of new commands.</param>
/// <param name="next">Where the next command to be read is, given what the doorbell is about to get; null if there is none.</param>
/// <param name="becomes">What becomes of the command's first doubleword.</param>
internal sealed class SpoiltCommands(
    IRegisterWindow inner, uint doorbell, Func<IRegisterWindow, ulong, PhysicalAddress?> next, ulong becomes) : RegisterDecorator(inner)
{
    public QtestMemory? Memory { get; set; }

    public int Left { get; set; }

    public override void Write32(uint offset, uint value)
    {
        Spoil(offset, value);
        base.Write32(offset, value);
    }

    public override void Write64(uint offset, ulong value)
    {
        Spoil(offset, value);
        base.Write64(offset, value);
    }

    private void Spoil(uint offset, ulong value)
    {
        if (offset == doorbell && Left > 0 && next(Inner, value) is { } place)
        {
            Left--;
            _ = Memory!.Write64(place, becomes);
        }
    }
}
