using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Core.Tests.Topology;

/// <summary>Machines of any shape that the specifications permit, from a seed.</summary>
internal sealed class RandomFabric(int seed)
{
    private const AcsControls PortAcs = AcsControls.Isolation | AcsControls.TranslationBlocking;

    private readonly Random _random = new(seed);
    private readonly List<PcieFunction> _functions = [];
    private int _nextBus = 1;

    public List<PcieFunction> Make()
    {
        int devices = _random.Next(1, 5);
        for (int device = 0; device < devices; device++)
        {
            int functions = Some(1, 3);
            for (int function = 0; function < functions; function++)
            {
                PcieFunctionKind kind = _random.Next(6) switch
                {
                    0 => PcieFunctionKind.IntegratedEndpoint,
                    1 => PcieFunctionKind.ConventionalDevice,
                    2 => PcieFunctionKind.ConventionalBridge,
                    _ => PcieFunctionKind.RootPort,
                };
                Add(0, device, function, functions, kind, depth: 0);
            }
        }

        return _functions;
    }

    private int Some(int least, int most) => _random.Next(3) == 0 ? _random.Next(least, most + 1) : least;

    private void Add(int bus, int device, int function, int functions, PcieFunctionKind kind, int depth)
    {
        PcieFunction made = new()
        {
            Id = DeviceId.FromPci(0, bus, device, function),
            Kind = kind,
            AcsSupported = _random.Next(4) == 0 ? null : _random.Next(3) == 0 ? (AcsControls)_random.Next(128) : PortAcs,
            AcsEnabled = _random.Next(3) == 0 ? (AcsControls)_random.Next(128) : PortAcs,
            IsMultiFunction = functions > 1 || _random.Next(10) == 0,
            DmaAliases = _random.Next(8) == 0 ? [(byte)_random.Next(24)] : [],
            AliasesSecondaryBus = _random.Next(2) == 0,
        };
        if (!made.IsBridge)
        {
            _functions.Add(made);
            return;
        }

        int secondary = _nextBus++;
        _functions.Add(made with { SecondaryBus = secondary });
        if (_nextBus > 24 || depth > 4)
        {
            return;
        }

        switch (kind)
        {
            case PcieFunctionKind.RootPort or PcieFunctionKind.DownstreamPort or PcieFunctionKind.PciPcieBridge:
                // One device on a link.
                int count = Some(1, 3);
                for (int i = 0; i < count && _random.Next(6) != 0; i++)
                {
                    PcieFunctionKind next = _random.Next(5) switch
                    {
                        0 => PcieFunctionKind.PciePciBridge,
                        1 or 2 => PcieFunctionKind.UpstreamPort,
                        _ => PcieFunctionKind.Endpoint,
                    };
                    Add(secondary, 0, i, count, next, depth + 1);
                }

                break;
            case PcieFunctionKind.UpstreamPort:
                int ports = _random.Next(1, 4);
                bool oneDevice = _random.Next(2) == 0;
                for (int i = 0; i < ports; i++)
                {
                    Add(secondary, oneDevice ? 0 : i, oneDevice ? i : 0, oneDevice ? ports : 1, PcieFunctionKind.DownstreamPort, depth + 1);
                }

                break;
            default:
                int members = _random.Next(0, 4);
                for (int i = 0; i < members; i++)
                {
                    PcieFunctionKind next = _random.Next(6) switch
                    {
                        0 => PcieFunctionKind.ConventionalBridge,
                        1 => PcieFunctionKind.PciPcieBridge,
                        _ => PcieFunctionKind.ConventionalDevice,
                    };
                    Add(secondary, i, 0, 1, next, depth + 1);
                }

                break;
        }
    }
}
