using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu;

/// <summary>A PCI function, by its configuration space in the machine's ECAM window.</summary>
public sealed class PciFunction
{
    private const int CommandOffset = 0x04;
    private const uint MemoryAndBusMaster = 0x6;

    private readonly QtestConnection _qtest;
    private readonly ulong _ecam;

    internal PciFunction(QtestConnection qtest, ulong ecamStart, int bus, int device, int function)
    {
        _qtest = qtest;
        Id = DeviceId.FromPci(0, bus, device, function);
        _ecam = ecamStart + ((ulong)Id.Value << 12);
        uint identity = Read32(0);
        VendorId = (ushort)identity;
        ProductId = (ushort)(identity >> 16);
        HeaderType = (Read32(0x0c) >> 16) & 0xff;
    }

    /// <summary>Bus, device and function.</summary>
    public DeviceId Id { get; }

    /// <summary>The vendor.</summary>
    public ushort VendorId { get; }

    /// <summary>The vendor's number for it.</summary>
    public ushort ProductId { get; }

    /// <summary>Whether it leads to another bus.</summary>
    public bool IsBridge => (HeaderType & 0x7f) == 1;

    internal bool IsMultifunction => (HeaderType & 0x80) != 0;

    internal List<(ulong Start, ulong Length)?> Bars { get; } = [];

    private uint HeaderType { get; }

    /// <summary>Reads four aligned bytes of configuration space.</summary>
    public uint Read32(int offset) => (uint)_qtest.AskNumber(Text($"readl 0x{_ecam + (uint)offset:x}"));

    /// <summary>Writes four aligned bytes.</summary>
    public void Write32(int offset, uint value) => _qtest.Post(Text($"writel 0x{_ecam + (uint)offset:x} 0x{value:x}"));

    /// <summary>Writes two aligned bytes.</summary>
    public void Write16(int offset, ushort value) => _qtest.Post(Text($"writew 0x{_ecam + (uint)offset:x} 0x{value:x}"));

    /// <summary>Where a memory BAR was put.</summary>
    public ulong Bar(int index) =>
        Bars[index]?.Start ?? throw new QtestException($"{Id} has no memory BAR {index}");

    /// <summary>Lets it answer in its BARs and do DMA.</summary>
    public void Enable() => Write16(CommandOffset, (ushort)(Read32(CommandOffset) | MemoryAndBusMaster));

    /// <summary>The offset of a capability, 0 if it has none of the kind.</summary>
    public int FindCapability(byte kind)
    {
        const uint hasList = 1u << 20;
        if ((Read32(CommandOffset) & hasList) == 0)
        {
            return 0;
        }

        // A list that runs in a circle ends too: there is no room for more than 48 capabilities.
        int offset = (int)(Read32(0x34) & 0xfc);
        for (int count = 0; offset != 0 && count < 48; count++)
        {
            uint header = Read32(offset);
            if ((byte)header == kind)
            {
                return offset;
            }

            offset = (int)(header >> 8) & 0xfc;
        }

        return 0;
    }

    /// <summary>Switches messages of the MSI-X table on; the table itself is in a BAR.</summary>
    public void EnableMsix()
    {
        const byte msix = 0x11;
        const uint enable = 1u << 31;
        int offset = FindCapability(msix);
        if (offset == 0)
        {
            throw new QtestException($"{Id} has no MSI-X");
        }

        Write32(offset, Read32(offset) | enable);
    }

    // PCI 3.0, 6.2.5.1: a BAR whose bits were all set tells its size by the zeros that stay.
    internal void PlaceBars(ref ulong next)
    {
        int count = IsBridge ? 2 : 6;
        for (int i = 0; i < count; i++)
        {
            int offset = 0x10 + (4 * i);
            uint kept = Read32(offset);
            Write32(offset, uint.MaxValue);
            uint mask = Read32(offset);
            bool isMemory = mask != 0 && (mask & 1) == 0;
            bool isWide = isMemory && (mask & 6) == 4;
            if (!isMemory)
            {
                Write32(offset, kept);
                Bars.Add(null);
                continue;
            }

            ulong size = ~(ulong)(mask & 0xffff_fff0) + 1;
            if (isWide)
            {
                Write32(offset + 4, uint.MaxValue);
                size = ~(((ulong)Read32(offset + 4) << 32) | (mask & 0xffff_fff0)) + 1;
            }
            else
            {
                size &= uint.MaxValue;
            }

            next = (next + (size - 1)) & ~(size - 1);
            Write32(offset, (uint)next);
            Bars.Add((next, size));
            next += size;
            if (isWide)
            {
                Write32(offset + 4, 0);
                Bars.Add(null);
                i++;
            }
        }
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
