using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu;

/// <summary>
/// QEMU's <c>edu</c> device (QEMU documentation, "EDU device"): a buffer of 4 KiB and a DMA engine, which runs when the
/// machine's clock passes the end of its 100 ms.
/// </summary>
public sealed class EduDevice(QemuMachine machine, PciFunction function)
{
    /// <summary>Its vendor.</summary>
    public const ushort Vendor = 0x1234;

    /// <summary>Its product.</summary>
    public const ushort Product = 0x11e8;

    /// <summary>Bytes of its buffer: the longest DMA.</summary>
    public const int BufferBytes = 4096;

    private const uint InterruptRaiseOffset = 0x60;
    private const uint InterruptAcknowledgeOffset = 0x64;
    private const uint SourceOffset = 0x80;
    private const uint DestinationOffset = 0x88;
    private const uint CountOffset = 0x90;
    private const uint CommandOffset = 0x98;
    private const ulong BufferAddress = 0x4_0000;
    private const ulong Start = 1;
    private const ulong ToMemory = 2;

    private readonly QtestRegisters _registers = machine.Registers(function.Bar(0));

    /// <summary>Where it is.</summary>
    public PciFunction Function => function;

    /// <summary>The requester ID of its DMA.</summary>
    public DeviceId Id => function.Id;

    /// <summary>What its identification register holds; bits 7:0 are 0xed.</summary>
    public uint Identification => _registers.Read32(0);

    /// <summary>Has it send its interrupts as messages, which its MSI capability holds (PCI 3.0, 6.8.1).</summary>
    public void SetMessage(ulong address, ushort data)
    {
        const byte msi = 0x05;
        const uint enable = 1u << 16;
        const uint is64Bit = 1u << 23;
        int offset = function.FindCapability(msi);
        uint control = function.Read32(offset);
        function.Write32(offset + 4, (uint)address);
        if ((control & is64Bit) != 0)
        {
            function.Write32(offset + 8, (uint)(address >> 32));
            function.Write16(offset + 12, data);
        }
        else
        {
            function.Write16(offset + 8, data);
        }

        function.Write32(offset, control | enable);
    }

    /// <summary>Has it send its interrupt.</summary>
    public void RaiseInterrupt()
    {
        _registers.Write32(InterruptRaiseOffset, 1);
        _registers.Write32(InterruptAcknowledgeOffset, 1);
        _ = Identification;
    }

    /// <summary>Reads memory into its buffer.</summary>
    public void ReadMemory(Iova iova, int count, int offset = 0) =>
        Run(iova.Value, BufferAddress + (uint)offset, count, Start);

    /// <summary>Writes its buffer to memory.</summary>
    public void WriteMemory(Iova iova, int count, int offset = 0) =>
        Run(BufferAddress + (uint)offset, iova.Value, count, Start | ToMemory);

    private void Run(ulong source, ulong destination, int count, ulong command)
    {
        _registers.Write64(SourceOffset, source);
        _registers.Write64(DestinationOffset, destination);
        _registers.Write64(CountOffset, (ulong)count);
        _registers.Write64(CommandOffset, command);
        machine.StepClock(TimeSpan.FromMilliseconds(200));
        if ((_registers.Read64(CommandOffset) & Start) != 0)
        {
            throw new QtestException("the DMA of edu did not end");
        }
    }
}
