using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu;

/// <summary>
/// Enumerates the PCI functions of a machine as firmware would: finds them through the ECAM window, gives buses behind
/// bridges their numbers, places memory BARs below 4 GiB, and lets everything answer and do DMA.
/// </summary>
public sealed class PciHost
{
    private const ulong BridgeGranule = 1 << 20;

    private readonly QtestConnection _qtest;
    private readonly QemuBoard _board;
    private readonly Func<int, int> _chooseBus;
    private readonly List<PciFunction> _functions = [];
    private ulong _next;

    private PciHost(QemuMachine machine, Func<int, int> chooseBus)
    {
        _qtest = machine.Qtest;
        _board = machine.Board;
        _chooseBus = chooseBus;
        _next = _board.PciMemory.Start;
    }

    /// <summary>All functions, bridges too, in the order in which they were found.</summary>
    public IReadOnlyList<PciFunction> Functions => _functions;

    /// <summary>Enumerates.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="chooseBus">
    /// The number for the bus behind a bridge, given the lowest that is free; by default that one. Buses behind it get higher
    /// numbers still.
    /// </param>
    public static PciHost Enumerate(QemuMachine machine, Func<int, int>? chooseBus = null)
    {
        ArgumentNullException.ThrowIfNull(machine);
        PciHost host = new(machine, chooseBus ?? (static lowest => lowest));
        host._board.OpenConfiguration(host._qtest);
        int lastBus = 0;
        host.Scan(0, ref lastBus);
        if (host._next > host._board.PciMemory.Last)
        {
            throw new QtestException("the BARs do not fit");
        }

        machine.Qtest.Flush();
        return host;
    }

    /// <summary>The functions of a kind, in order.</summary>
    public IReadOnlyList<PciFunction> Find(ushort vendor, ushort product) =>
        [.. _functions.Where(f => f.VendorId == vendor && f.ProductId == product)];

    private void Scan(int bus, ref int lastBus)
    {
        for (int device = 0; device < 32; device++)
        {
            for (int function = 0; function < 8; function++)
            {
                PciFunction found = new(_qtest, _board.EcamStart, bus, device, function);
                if (found.VendorId != 0xffff)
                {
                    _functions.Add(found);
                    found.PlaceBars(ref _next);
                    if (found.IsBridge)
                    {
                        Descend(found, bus, ref lastBus);
                    }

                    found.Enable();
                }

                if (function == 0 && (found.VendorId == 0xffff || !found.IsMultifunction))
                {
                    break;
                }
            }
        }
    }

    // PCI-to-PCI bridge 1.2, 3.2.5: bus numbers, then the window of memory that it forwards.
    private void Descend(PciFunction bridge, int primary, ref int lastBus)
    {
        int secondary = _chooseBus(lastBus + 1);
        if (secondary <= lastBus || secondary > 255)
        {
            throw new QtestException($"bus {secondary} cannot be behind {bridge.Id}");
        }

        lastBus = secondary;
        bridge.Write32(0x18, (uint)(primary | (secondary << 8) | (0xff << 16)));
        _next = (_next + (BridgeGranule - 1)) & ~(BridgeGranule - 1);
        ulong start = _next;
        Scan(secondary, ref lastBus);
        _next = (_next + (BridgeGranule - 1)) & ~(BridgeGranule - 1);
        ulong last = _next - 1;
        bridge.Write32(0x18, (uint)(primary | (secondary << 8) | (lastBus << 16)));
        bridge.Write32(0x20, last > start ? (uint)((start >> 16) & 0xfff0) | (uint)(last & 0xfff0_0000) : 0x0000_fff0);
        bridge.Write32(0x24, 0x0000_fff0);
    }
}
