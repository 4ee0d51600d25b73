using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Core.Tests.Topology;

/// <summary>Groups are what can reach or pass for each other without the IOMMU, no less and no more.</summary>
public class PcieGroupTests
{
    private const AcsControls Full = AcsControls.Isolation;

    [Fact]
    public void Groups_of_any_machine_are_those_of_the_definition() => Prop.ForAll(
        Gen.Choose(0, int.MaxValue - 1).ToArbitrary(),
        seed =>
        {
            List<PcieFunction> functions = new RandomFabric(seed).Make();
            PcieTopology.TryCreate(functions, out PcieTopology? topology, out string? error).ShouldBeTrue(error);
            Compute(topology!).ShouldBe(new Fabric(topology!.Functions).Groups().Select(Text), $"seed {seed}");
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(1500));

    [Theory]
    [InlineData("x86")]
    [InlineData("x86amd")]
    [InlineData("rv")]
    public void The_groups_of_recorded_machines_come_out(string machine)
    {
        List<PcieFunction> functions = [];
        List<List<DeviceId>> recorded = [];
        using StreamReader reader = new(typeof(PcieGroupTests).Assembly.GetManifestResourceStream(machine)!);
        while (reader.ReadLine() is { } line)
        {
            if (line.StartsWith("group", StringComparison.Ordinal))
            {
                recorded.Add([]);
                continue;
            }

            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            DeviceId.TryParse(words[1], out DeviceId id).ShouldBeTrue();
            recorded[^1].Add(id);

            // On that machine, everything is on the root bus; these models have a PCI Express capability there.
            bool isExpress = words[3] is "device=0x10d3" or "device=0x0010" or "device=0x1041";
            functions.Add(new()
            {
                Id = id,
                Kind = isExpress ? PcieFunctionKind.IntegratedEndpoint : PcieFunctionKind.ConventionalDevice,
            });
        }

        functions.Count.ShouldBeGreaterThanOrEqualTo(7);
        PcieTopology.TryCreate(functions, out PcieTopology? topology, out _).ShouldBeTrue();
        Compute(topology!).ShouldBe(recorded.Select(Text));
    }

    [Fact]
    public void Endpoints_behind_ports_with_ACS_are_apart_and_without_it_are_not() =>
        Groups(
            Port(0, 1, 0, 1, Full), Endpoint(1, 0, 0), // isolated
            Port(0, 2, 0, 2, AcsControls.None), Endpoint(2, 0, 0)) // not
            .ShouldBe(["00:01.0", "00:02.0 02:00.0", "01:00.0"]);

    [Fact]
    public void Every_control_that_the_port_has_is_needed()
    {
        foreach (AcsControls missing in (AcsControls[])[
            AcsControls.SourceValidation, AcsControls.RequestRedirect, AcsControls.CompletionRedirect, AcsControls.UpstreamForwarding])
        {
            Groups(Port(0, 1, 0, 1, Full & ~missing), Endpoint(1, 0, 0)).Count.ShouldBe(1);
            Groups(Port(0, 1, 0, 1, Full & ~missing) with { AcsSupported = Full & ~missing }, Endpoint(1, 0, 0)).Count.ShouldBe(2);
        }
    }

    [Fact]
    public void One_port_of_a_switch_without_ACS_exposes_what_is_behind_the_others() =>
        Groups(
            Port(0, 1, 0, 1, Full),
            Upstream(1, 0, 0, 2),
            Downstream(2, 0, 0, 3, Full), Endpoint(3, 0, 0),
            Downstream(2, 1, 0, 4, AcsControls.None), Endpoint(4, 0, 0))
            .ShouldBe(["00:01.0", "01:00.0 02:00.0 02:01.0 03:00.0 04:00.0"]);

    [Fact]
    public void A_root_port_without_ACS_undoes_the_ACS_of_the_switch_below() =>
        Groups(
            Port(0, 1, 0, 1, AcsControls.None),
            Upstream(1, 0, 0, 2),
            Downstream(2, 0, 0, 3, Full), Endpoint(3, 0, 0),
            Downstream(2, 1, 0, 4, Full), Endpoint(4, 0, 0)).Count.ShouldBe(1);

    [Fact]
    public void Functions_of_one_device_are_together_unless_all_of_them_isolate()
    {
        Groups(Port(0, 1, 0, 1, Full), Endpoint(1, 0, 0), Endpoint(1, 0, 1)).ShouldBe(["00:01.0", "01:00.0 01:00.1"]);
        Groups(
            Port(0, 1, 0, 1, Full),
            Endpoint(1, 0, 0) with { AcsSupported = Full, AcsEnabled = Full },
            Endpoint(1, 0, 1) with { AcsSupported = AcsControls.RequestRedirect, AcsEnabled = Full })
            .ShouldBe(["00:01.0", "01:00.0", "01:00.1"]);
        Groups(Port(0, 1, 0, 1, Full), Endpoint(1, 0, 0) with { AcsSupported = Full, AcsEnabled = Full }, Endpoint(1, 0, 1))
            .ShouldBe(["00:01.0", "01:00.0 01:00.1"]);
    }

    [Fact]
    public void Everything_behind_a_bridge_to_a_conventional_bus_is_one_requester() =>
        Groups(
            Port(0, 1, 0, 1, Full),
            Bridge(1, 0, 0, 2, PcieFunctionKind.PciePciBridge),
            Conventional(2, 1, 0), Conventional(2, 2, 0),
            Bridge(2, 3, 0, 3, PcieFunctionKind.ConventionalBridge), Conventional(3, 0, 0))
            .ShouldBe(["00:01.0", "01:00.0 02:01.0 02:02.0 02:03.0 03:00.0"]);

    [Fact]
    public void Functions_that_use_each_others_names_are_together_be_the_name_a_ghosts()
    {
        PcieFunction[] isolated =
            [.. Enumerable.Range(0, 3).Select(i => Endpoint(1, 0, i) with { AcsSupported = Full, AcsEnabled = Full })];
        Groups([Port(0, 1, 0, 1, Full), isolated[0], isolated[1] with { DmaAliases = [0] }, isolated[2]])
            .ShouldBe(["00:01.0", "01:00.0 01:00.1", "01:00.2"]);
        Groups([Port(0, 1, 0, 1, Full), isolated[0] with { DmaAliases = [7] }, isolated[1], isolated[2] with { DmaAliases = [7] }])
            .ShouldBe(["00:01.0", "01:00.0 01:00.2", "01:00.1"]);
    }

    [Fact]
    public void Requests_bear_the_name_that_the_last_bridge_gives_them()
    {
        PcieFunction device = Conventional(3, 4, 0);
        PcieTopology.TryCreate(
            [
                Port(0, 1, 0, 1, Full), Bridge(1, 0, 0, 2, PcieFunctionKind.PciePciBridge),
                Bridge(2, 3, 0, 3, PcieFunctionKind.ConventionalBridge), device,
            ],
            out PcieTopology? topology, out _).ShouldBeTrue();
        topology!.RequesterId(device).ShouldBe(DeviceId.FromPci(0, 2, 0, 0));
        topology.RequesterIds(device).ShouldBe(
            [DeviceId.FromPci(0, 3, 4, 0), DeviceId.FromPci(0, 2, 3, 0), DeviceId.FromPci(0, 2, 0, 0)]);
        topology.RequesterId(topology.Functions[0]).ShouldBe(DeviceId.FromPci(0, 0, 1, 0));
    }

    [Fact]
    public void What_is_behind_a_port_to_the_outside_is_not_trusted_and_the_port_is()
    {
        PcieFunction port = Port(0, 1, 0, 1, Full) with { IsExternalFacing = true };
        PcieFunction inner = Endpoint(3, 0, 0);
        PcieTopology.TryCreate(
            [port, Upstream(1, 0, 0, 2), Downstream(2, 0, 0, 3, Full), inner, Port(0, 2, 0, 9, Full), Endpoint(9, 0, 0)],
            out PcieTopology? topology, out _).ShouldBeTrue();
        topology!.Functions.Where(topology.IsUntrusted).Select(f => f.Id.Bus).ShouldBe([1, 2, 3]);
    }

    [Fact]
    public void What_is_no_tree_is_refused()
    {
        Refused(Endpoint(1, 0, 0), Endpoint(1, 0, 0));
        Refused(Port(0, 1, 0, 5, Full), Port(0, 2, 0, 5, Full));
        Refused(Port(0, 1, 0, 0, Full));
        Refused(Port(1, 0, 0, 2, Full), Port(2, 0, 0, 1, Full));
        Refused(Endpoint(1, 0, 0) with { SecondaryBus = 3 });
        Refused(Port(0, 1, 0, 1, Full) with { SecondaryBus = null });
    }

    private static void Refused(params PcieFunction[] functions)
    {
        PcieTopology.TryCreate(functions, out PcieTopology? topology, out string? error).ShouldBeFalse();
        topology.ShouldBeNull();
        error.ShouldNotBeNullOrEmpty();
    }

    private static List<string> Groups(params PcieFunction[] functions)
    {
        PcieTopology.TryCreate(functions, out PcieTopology? topology, out string? error).ShouldBeTrue(error);
        return Compute(topology!);
    }

    private static List<string> Compute(PcieTopology topology) =>
        [.. PcieGroups.Compute(topology).Select(group => Text(group.Select(f => f.Id)))];

    private static string Text(IEnumerable<DeviceId> group) => string.Join(' ', group.Select(id => id.ToString()[5..]));

    private static PcieFunction Endpoint(int bus, int device, int function) =>
        new() { Id = DeviceId.FromPci(0, bus, device, function), Kind = PcieFunctionKind.Endpoint };

    private static PcieFunction Conventional(int bus, int device, int function) =>
        new() { Id = DeviceId.FromPci(0, bus, device, function), Kind = PcieFunctionKind.ConventionalDevice };

    private static PcieFunction Bridge(int bus, int device, int function, int secondary, PcieFunctionKind kind) =>
        new() { Id = DeviceId.FromPci(0, bus, device, function), Kind = kind, SecondaryBus = secondary };

    private static PcieFunction Port(int bus, int device, int function, int secondary, AcsControls enabled) =>
        Bridge(bus, device, function, secondary, PcieFunctionKind.RootPort) with { AcsSupported = Full, AcsEnabled = enabled };

    private static PcieFunction Upstream(int bus, int device, int function, int secondary) =>
        Bridge(bus, device, function, secondary, PcieFunctionKind.UpstreamPort);

    private static PcieFunction Downstream(int bus, int device, int function, int secondary, AcsControls enabled) =>
        Bridge(bus, device, function, secondary, PcieFunctionKind.DownstreamPort) with { AcsSupported = Full, AcsEnabled = enabled };
}
