using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.VfioUser.Tests;

/// <summary>
/// A function that does what a test tells it: registers that keep what was written, memory that can be mapped, doorbells, interrupts of each kind, DMA.
/// </summary>
internal sealed class ProbeDevice() : PciDevice(new()
{
    VendorId = 0x1234,
    DeviceId = 0x0001,
    ClassCode = 0xff0000,
    IsExpress = true,
    HasInterruptPin = true,
    MsiVectors = 4,
    MsiX = new(8, 4, 0, 0x800),
    Bars =
    [
        new(0, 16384) { Areas = [new(4096, 4096, DeviceAreaKind.Doorbells), new(12288, 4096, DeviceAreaKind.Registers)] },
        new(2, 65536) { IsMemory = true, Is64Bit = true },
        new(4, 4096),
        new(5, 256) { IsIo = true },
    ],
})
{
    private readonly byte[] _registers = new byte[16384];

    /// <summary>The writes of registers, in order.</summary>
    public List<(ulong Offset, int Size, ulong Value)> Writes { get; } = [];

    public int Resets { get; private set; }

    /// <summary>What a write does besides.</summary>
    public Action<ulong, ulong>? OnWrite { get; set; }

    public DmaStatus DmaRead(ulong address, Span<byte> destination) => ReadMemory(new(address), destination);

    public DmaStatus DmaWrite(ulong address, ReadOnlySpan<byte> source) => WriteMemory(new(address), source);

    public bool Interrupt(int vector) => SendMessage(vector);

    public void SetLine(bool asserted) => SetInterruptLine(asserted);

    public void Fail() => ReportError();

    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        byte[] word = new byte[8];
        _registers.AsSpan((int)offset, size).CopyTo(word);
        return BitConverter.ToUInt64(word);
    }

    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        lock (Writes)
        {
            Writes.Add((offset, size, value));
        }

        BitConverter.GetBytes(value).AsSpan(0, size).CopyTo(_registers.AsSpan((int)offset));
        OnWrite?.Invoke(offset, value);
    }

    protected override void OnReset()
    {
        Resets++;
        Array.Clear(_registers);
    }

    protected internal override bool LookAtRegisters(int bar, MappedRegisters registers)
    {
        uint value = registers.Exchange32(4096, 0);
        if (value == 0)
        {
            return false;
        }

        lock (Writes)
        {
            Writes.Add((4096, 4, value));
        }

        return true;
    }
}
