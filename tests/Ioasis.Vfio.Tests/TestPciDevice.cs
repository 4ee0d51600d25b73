using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Vfio.Tests;

/// <summary>A PCI Express device with everything: registers that remember their accesses, memory, I/O, MSI, MSI-X, PASIDs.</summary>
internal sealed class TestPciDevice(bool canReset = true) : PciDevice(new()
{
    VendorId = 0x1af4,
    DeviceId = 0x4321,
    Revision = 7,
    ClassCode = 0x12_34_56,
    SubsystemVendorId = 0x1111,
    SubsystemId = 0x2222,
    Bars =
    [
        new(0, 4096),
        new(2, 1 << 16) { Is64Bit = true, IsPrefetchable = true, IsMemory = true },
        new(4, 32) { IsIo = true },
    ],
    HasInterruptPin = true,
    MsiVectors = 4,
    MsiX = new(8, 2, 0x1000, 0x2000),
    IsExpress = true,
    HasAts = true,
    HasPageRequests = true,
    PasidBits = 8,
    CanReset = canReset,
})
{
    private readonly Lock _lock = new();

    public List<(int Bar, ulong Offset, int Size, ulong? Written)> Accesses { get; } = [];

    public int Resets { get; private set; }

    public DmaStatus DoWrite(Iova iova, ReadOnlySpan<byte> bytes, Pasid pasid = default) => WriteMemory(iova, bytes, pasid);

    public DmaStatus DoRead(Iova iova, Span<byte> bytes, Pasid pasid = default) => ReadMemory(iova, bytes, pasid);

    public void Line(bool asserted) => SetInterruptLine(asserted);

    public bool Message(int vector) => SendMessage(vector);

    public void Error() => ReportError();

    protected override ulong ReadRegister(int bar, ulong offset, int size)
    {
        Note(bar, offset, size, null);
        return 0x8877_6655_4433_2211ul;
    }

    protected override void WriteRegister(int bar, ulong offset, int size, ulong value) =>
        Note(bar, offset, size, value);

    protected override void OnReset() => Resets++;

    private void Note(int bar, ulong offset, int size, ulong? written)
    {
        lock (_lock)
        {
            if (Accesses.Count < 100)
            {
                Accesses.Add((bar, offset, size, written));
            }
        }
    }
}
