using Ioasis.Devices.Dsa;
using Ioasis.Primitives;
using Ioasis.Uapi;
using static Ioasis.Devices.Tests.Dsa.DsaHost;

namespace Ioasis.Devices.Tests.Dsa;

/// <summary>Registers, configuration and commands (DSA specification 1.x, sections 9.2.1 to 9.2.20).</summary>
public sealed class CommandTests : IDisposable
{
    private readonly DsaHost _host = new();

    public void Dispose() => _host.Dispose();

    [Fact]
    public void After_power_up_it_says_what_it_has_and_is_disabled()
    {
        _host.Read(0, 4).ShouldBe(0x100ul, "version");
        ulong general = _host.Read(GenCap, 8);
        (general & 0x107).ShouldBe(0x107ul, "block on fault, overlap, cache control, readback");
        (general >> 12 & 3).ShouldBe(1ul, "event log of 64-byte entries");
        (general >> 16 & 0x1f).ShouldBe(16ul, "transfer");
        (general >> 21 & 0xf).ShouldBe(10ul, "batch");
        (general >> 31).ShouldBe(1ul, "configurable");
        ulong queues = _host.Read(WqCap, 8);
        (queues & 0xffff).ShouldBe(128ul);
        (queues >> 16 & 0xff).ShouldBe(8ul);
        (queues >> 24 & 0xf).ShouldBe(1ul, "64 bytes each");
        (queues >> 48).ShouldBe(0b0101_1011ul, "modes, priority, occupancy, operations; no ATS to disable");
        _host.Read(GrpCap, 8).ShouldBe(4ul);
        _host.Read(EngCap, 8).ShouldBe(4ul);
        _host.Read(OpCap, 8).ShouldBe(0x1_0003_03fful);
        _host.Read(Tables, 8).ShouldBe(0x000c_0008_0004ul);
        _host.Read(CmdCap, 4).ShouldBe(0ul);
        _host.Read(GenSts, 4).ShouldBe(0ul);
        _host.StateOf(0).ShouldBe(0u);
        _host.Read(ConfigOf(0, 32), 8).ShouldBe(0x1_0003_03fful);
        _host.Read(0x1000, 8).ShouldBe(0ul);
    }

    [Fact]
    public void The_device_is_enabled_with_what_fits_together_and_refuses_the_rest()
    {
        _host.Write(ConfigOf(0), 129, 4);
        _host.Command(Enable).ShouldBe(0x14u, "more entries than there are");
        _host.Write(ConfigOf(0), 128, 4);
        _host.Command(Enable).ShouldBe(0x16u, "a queue with entries in no group");
        _host.Write(GrpCfg, 1, 8);
        _host.Command(Enable).ShouldBe(0x15u, "no engine");
        _host.Write(GrpCfg + 32, 1, 8);
        _host.Write(GrpCfg + 64, 1, 8);
        _host.Write(GrpCfg + 96, 2, 8);
        _host.Command(Enable).ShouldBe(0x16u, "a queue in two groups");
        _host.Write(GrpCfg + 64, 2, 8);
        _host.Write(GrpCfg + 96, 1, 8);
        _host.Command(Enable).ShouldBe(0x17u, "an engine in two groups");
        _host.Write(GrpCfg + 96, 2, 8);
        _host.SetCommand(2);
        _host.Command(Enable).ShouldBe(0x12u, "no bus master");
        _host.SetCommand(6);
        _host.Command(Disable).ShouldBe(0x31u);
        _host.Command(Enable).ShouldBe(0u);
        _host.Read(GenSts, 4).ShouldBe(1ul);
        _host.Device.State.ShouldBe(DsaState.Enabled);
        _host.Command(Enable).ShouldBe(0x10u);
        _host.Write(GrpCfg, 0, 8);
        _host.Read(GrpCfg, 8).ShouldBe(1ul, "groups are fixed while it is enabled");
        _host.Write(ConfigOf(0), 1, 4);
        _host.Read(ConfigOf(0), 4).ShouldBe(128ul, "sizes too");
        _host.Command(Disable).ShouldBe(0u);
        _host.Read(GenSts, 4).ShouldBe(0ul);
        _host.Command(0).ShouldBe(1u);
        _host.Command(15).ShouldBe(1u);
        _host.Command(RequestHandle).ShouldBe(1u, "not announced");
    }

    [Theory]
    [InlineData(0u, 16u, 0x11u, 0x22u)] // its size
    [InlineData(4u, 0x01u, 0u, 0x23u)] // its priority
    [InlineData(4u, 0x13u, 0u, 0x25u)] // block on fault, without page requests
    [InlineData(4u, 0x10u, 0u, 0x26u)] // shared without PASIDs
    [InlineData(4u, 0x15u, 0u, 0x2cu)] // ATS disabled where there is none
    [InlineData(4u, 0x3000_0011u, 0u, 0x2au)] // privileged with a PASID
    [InlineData(4u, 0x11u, 0x1f1u, 0x27u)] // batches
    [InlineData(4u, 0x11u, 0x11u, 0x28u)] // transfers
    public void A_queue_that_cannot_be_as_configured_is_not_enabled(uint entries, uint mode, uint limits, uint error)
    {
        _host.Command(EnableWq).ShouldBe(0x20u, "not before the device");
        _host.Write(ConfigOf(0), entries, 4);
        _host.Write(ConfigOf(0, 8), mode, 4);
        _host.Write(ConfigOf(0, 12), limits, 4);
        _host.Write(GrpCfg, 1, 8);
        _host.Write(GrpCfg + 32, 1, 8);
        _host.Command(Enable).ShouldBe(0u);
        _host.Command(EnableWq).ShouldBe(error);
        _host.Command(EnableWq, 8).ShouldBe(2u);
        _host.StateOf(0).ShouldBe(0u);
    }

    [Fact]
    public void Queues_are_enabled_disabled_and_reset_by_themselves()
    {
        _host.Bring(new() { Queue = 0 }, new() { Queue = 3 });
        (_host.StateOf(0), _host.StateOf(1), _host.StateOf(3)).ShouldBe((1u, 0u, 1u));
        _host.Command(EnableWq, 3).ShouldBe(0x21u);
        _host.Write(ConfigOf(3, 8), 0, 4);
        _host.Read(ConfigOf(3, 8), 4).ShouldBe(0x11ul, "fixed while it is enabled");
        _host.Command(DisableWq, 0b0010).ShouldBe(0x32u);
        _host.Command(DisableWq, 0).ShouldBe(2u);
        _host.Command(DrainWq, 0x1_0001).ShouldBe(2u, "there are no more than eight");
        _host.Command(DisableWq, 0b1000).ShouldBe(0u);
        (_host.StateOf(0), _host.StateOf(3)).ShouldBe((1u, 0u));
        _host.Command(ResetWq, 0b1001).ShouldBe(0u);
        _host.StateOf(0).ShouldBe(0u);
        _host.Read(ConfigOf(0, 8), 4).ShouldBe(0ul);
        _host.Read(ConfigOf(0), 4).ShouldBe(16ul, "its entries are the device's to give");
        _host.Command(EnableWq, 3).ShouldBe(0x23u);
        _host.Command(Reset).ShouldBe(0u);
        _host.Read(ConfigOf(0), 4).ShouldBe(0ul);
        _host.Read(GrpCfg, 8).ShouldBe(0ul);
    }

    [Fact]
    public void The_end_of_a_command_is_told_by_vector_0_if_that_is_wanted()
    {
        _host.Connect(VfioPciInterrupt.MsiX, 9);
        _host.Command(Reset);
        _host.TakeSignals().ShouldBe(0);
        _host.Write(Cmd, (1u << 31) | (Reset << 20), 4);
        _host.TakeSignals().ShouldBe(1);
        _host.Read(IntCause, 4).ShouldBe(2ul);
        _host.Write(Cmd, (1u << 31) | (Disable << 20), 4);
        _host.TakeSignals().ShouldBe(1, "also of one that failed");
        _host.Write(IntCause, 2, 4);
        _host.Read(IntCause, 4).ShouldBe(0ul);
    }

    [Fact]
    public void Interrupt_handles_are_asked_for_where_they_are_announced()
    {
        using DsaHost host = new(new() { HasAts = false, HasPageRequests = false, NeedsHandles = true });
        (host.Read(GenCap, 8) >> 4 & 1).ShouldBe(1ul);
        (host.Read(CmdCap, 4) >> 13 & 3).ShouldBe(3ul);
        host.Bring();
        host.Connect(VfioPciInterrupt.MsiX, 9);
        host.Command(RequestHandle, 9).ShouldBe(0x41u);
        uint status = host.Command(RequestHandle, 2);
        (status & 0xff).ShouldBe(0u);
        ushort handle = (ushort)(status >> 8);
        host.Execute(new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: 2)).Status.ShouldBe(DsaStatus.BadHandle);
        host.Execute(new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: handle)).Status.ShouldBe(DsaStatus.Success);
        host.TakeSignals(2).ShouldBe(1);
        host.Command(ReleaseHandle, handle).ShouldBe(0u);
        host.Command(ReleaseHandle, handle).ShouldBe(0x43u);
        host.Execute(new(DsaOperation.None, DsaFlags.RequestInterrupt, Handle: handle)).Status.ShouldBe(DsaStatus.BadHandle);
    }

    [Fact]
    public void It_is_asked_for_by_a_line_of_text()
    {
        DeviceKinds kinds = DeviceKinds.CreateDefault();
        kinds.TryCreate("dsa,queues=2,transfer=31,ats=off", out PciDevice? device, out _).ShouldBeNull();
        (device!.Description.VendorId, device.Description.DeviceId).ShouldBe(((ushort)0x8086, (ushort)0x0b25));
        (device.Description.HasAts, device.Description.HasPageRequests, device.Description.PasidBits).ShouldBe((false, false, 20));
        device.Dispose();
        kinds.TryCreate("dsa,transfer=32", out _, out _).ShouldBe("transfer=32: 12 to 31 are possible.");
        kinds.TryCreate("dsa,ats=off,pri=on", out _, out _).ShouldNotBeNull().ShouldContain("Page requests need ATS.");
        Should.Throw<ArgumentException>(static () => new DsaDevice(new() { Queues = 17 })).Message.ShouldContain("Queues is 17");
    }
}
